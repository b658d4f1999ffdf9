"""Pictures of a trained model: model file, data and seed -> matplotlib Figure, by way of `jvae.plots`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure

from jvae import plots
from jvae.checkpoint import ModelFile
from jvae.config import Config, build_model, build_transform
from jvae.datasets import Dataset
from jvae.latents import aggregate_posterior, latent_grid, principal_projection

MANIFOLD_SIDE = 20


def title(config: Config) -> str:
    """What the model is, in a line."""
    return f"{config.dataset}, {config.prior} prior, {config.decoder} output, {config.network}, M = {config.latent_dim}"


def samples(model: ModelFile, seed: int, num_images: int, mean: bool) -> Figure:
    """Images drawn from the model, or the means of the output distribution at draws from the prior."""
    vae = build_model(model.config, model.image_shape)
    draw = jax.jit(lambda params, key: vae.apply(params, key, num_images, mean, method="sample"))
    x = draw(model.state.params, jax.random.key(seed))
    kind = "means of p(x|z), z ~ p(z)" if mean else "samples"
    return plots.plot_images(np.asarray(x), title=f"{kind}: {title(model.config)}")


def latents_of_test_set(model: ModelFile, dataset: Dataset, seed: int) -> Float[np.ndarray, "n m"]:
    """One draw z ~ q(z|x) for every test image."""
    vae, transform = build_model(model.config, model.image_shape), build_transform(model.config)
    return aggregate_posterior(vae, model.state.params, jax.random.key(seed), dataset.test_images, transform)


def posterior(model: ModelFile, dataset: Dataset, seed: int) -> Figure:
    """Samples of the test set's aggregate posterior, coloured by class."""
    z = latents_of_test_set(model, dataset, seed)
    projection = principal_projection(z)
    heading = f"aggregate posterior: {title(model.config)}"
    return plots.plot_posterior(projection.project(z), dataset.test_labels, projection.labels, heading)


def manifold(model: ModelFile, dataset: Dataset, seed: int) -> Figure:
    """The decoder's means over the part of the latent space, or of its principal plane, where the test set lies."""
    z = latents_of_test_set(model, dataset, seed)
    projection = principal_projection(z)
    points, ticks = latent_grid(projection.project(z), MANIFOLD_SIDE)
    vae = build_model(model.config, model.image_shape)
    decode = jax.jit(lambda params, z: vae.apply(params, z, method="decode").mean())
    means = decode(model.state.params, jnp.asarray(projection.lift(points)))
    heading = f"decoder means: {title(model.config)}"
    return plots.plot_manifold(np.asarray(means), ticks, projection.labels, heading)


def reconstructions(model: ModelFile, dataset: Dataset, seed: int, num_images: int = 20) -> Figure:
    """The first test images of every class in turn, each above the mean of p(x|z) at one draw z ~ q(z|x)."""
    vae, transform = build_model(model.config, model.image_shape), build_transform(model.config)

    @jax.jit
    def reconstruct(params: PyTree, key: Key[Array, ""], images: Array) -> tuple[Array, Array]:
        transform_key, z_key = jax.random.split(key)
        x = transform(transform_key, images)
        z = vae.apply(params, x, method="posterior").sample(seed=z_key)
        return x, vae.apply(params, z, method="decode").mean()

    labels = dataset.test_labels
    rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels[:1000])])
    chosen = np.lexsort((labels[:1000], rank))[:num_images]
    x, means = reconstruct(model.state.params, jax.random.key(seed), jnp.asarray(dataset.test_images[chosen]))
    return plots.plot_reconstructions(np.asarray(x), np.asarray(means), f"reconstructions: {title(model.config)}")


def history(model: ModelFile) -> Figure:
    """The bound and its parts over the epochs of training."""
    return plots.plot_history(model.history, f"training: {title(model.config)}")
