"""Draws from trained models: images and latents."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jvae.errors import JvaeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.reporting.lab import Lab
    from experiments.reporting.two_samples import Features
    from jvae.runs.checkpoint import TrainedModel


def sample_images(models: Sequence["TrainedModel"], n: int, mean: bool = False) -> list[np.ndarray]:
    """Draw n images [n, h, w, c] of every model; the models differ in their seeds only."""
    return sample(models, lambda vae, params, key: vae.apply(params, key, n, mean, method="sample"))


def sample_priors(models: Sequence["TrainedModel"], n: int) -> list[np.ndarray]:
    """Draw n latents z ~ p(z), [n, m], of every model; the models differ in their seeds only."""
    return sample(models, lambda vae, params, key: vae.apply(params, key, n, method="sample_latents")[0])


def sample(models: Sequence["TrainedModel"], draw: Callable[[Any, Any, Any], Any]) -> list[np.ndarray]:
    """Draw from every model by a function of VAE, parameters and key; the key's seed is the model's index."""
    import jax

    vae = models[0].recipe.model
    compiled = jax.jit(lambda params, key: draw(vae, params, key))
    return [np.asarray(compiled(model.run_params(), jax.random.key(i))) for i, model in enumerate(models)]


def rows_of_means(models: dict[str, "TrainedModel"], title: str, columns: int = 14) -> "Figure":
    """Plot a row of means of p(x|z), z ~ p(z), for every model, by name."""
    from jvae.view.image_grids import plot_rows

    rows = [sample_images([model], columns, mean=True)[0] for model in models.values()]
    return plot_rows(np.stack(rows), list(models), "means of p(x|z) at draws z ~ p(z), not chosen", title)


def features_of(lab: "Lab", binary: bool, n: int) -> tuple["Features", float]:
    """Return features learned from binary or grey images, and the Fréchet distance of n training images from the test.

    Few images bias the distance upwards: compare it only with that of n samples.

    Raises:
        JvaeError: the images have no labels of two classes or more, from which features could be learned.
    """
    from experiments.reporting.two_samples import frechet_distance, learn_features

    def prepare(images: np.ndarray) -> np.ndarray:
        return (images >= 128).astype(np.float32) if binary else images / np.float32(255)

    data, most = lab.data, lab.settings.choose(60_000, 10_000)
    if len(np.unique(data.train_labels[:most])) < 2:
        raise JvaeError(f"{data.name} has no labels of two classes, from which the Fréchet distance's features are")
    lab.say("learning the features of the Fréchet distance")
    train, test = prepare(data.train_images[:most]), prepare(data.test_images)
    features = learn_features(train, data.train_labels[:most], test, data.test_labels, epochs=5)
    return features, frechet_distance(features.of(prepare(data.train_images[:n])), features.of(test))
