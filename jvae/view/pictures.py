"""Pictures of a trained model: functions from model, data and key to a matplotlib Figure.

They show one run, by its index from 0, and one level of latents, of which 0 is nearest x. The key decides the random
draws; by default it is `jax.random.key(0)`. Of a data set the test set is shown; only `training` and `training_gif` ask
for the very set that the model was trained on.

Each raises a ValueError if there is no such run or level, or the key is not a key; a NotEnoughMemoryError if even the
smallest part of the work does not fit in memory; and the errors that it names itself.
"""

from collections.abc import Sequence
from typing import SupportsIndex

import jax
import numpy as np
from matplotlib.figure import Figure

from jvae.data.dataset import Dataset
from jvae.decoders import GaussianDecoder, bounded_scale
from jvae.errors import JvaeError, at_least_one
from jvae.latents import latent_grid, principal_projection
from jvae.priors import VampPrior
from jvae.runs.api import decode, encode, sample, test_images
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.given import AnyKey, generator_of, key_or_zero, own_types
from jvae.runs.sweep import Result
from jvae.vae import VAE
from jvae.view import image_grids, plots, unfolding
from jvae.view.views import (
    as_images,
    latents_of_test_set,
    name_level,
    prior_name,
    prior_view,
    reconstructed,
    title,
    top_prior,
)

MANIFOLD_SIDE = 20


@own_types
def samples(
    model: TrainedModel,
    key: AnyKey | None = None,
    num_images: SupportsIndex = 64,
    mean: bool = False,
    run: SupportsIndex = 0,
) -> Figure:
    """Plot images drawn from the model, or with `mean` the means of p(x|z) at draws from the prior.

    Raises:
        ValueError: num_images is below 1.
        JvaeError: the data are not images.
    """
    x = sample(model, key_or_zero(key), at_least_one("num_images", num_images), run, mean)
    kind = f"{'means of' if mean else 'samples of'} p(x|z), z ~ p(z)"
    return image_grids.plot_images(as_images(x), title=f"{kind}\n{title(model, run)}")


@own_types
def samples_beside_means(
    model: TrainedModel, key: AnyKey | None = None, num_images: SupportsIndex = 64, run: SupportsIndex = 0
) -> Figure:
    """Plot samples x ~ p(x|z) beside the means of p(x|z) at the same draws z ~ p(z).

    Raises:
        ValueError: num_images is below 1.
        JvaeError: the data are not images.
    """
    left, right = (as_images(sample(model, key_or_zero(key), num_images, run, mean)) for mean in (False, True))
    return image_grids.plot_side_by_side(left, right, ("samples of p(x|z)", "means of p(x|z)"), title(model, run))


@own_types
def posterior(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> Figure:
    """Plot samples of the test set's aggregate posterior, one z ~ q(z|x) per datum, coloured by class.

    With more than two latent dimensions they are projected onto their first two principal components.

    Raises:
        ValueError: there are no test images, or they have another shape than the model's data.
    """
    which = name_level(model, level)
    z = latents_of_test_set(model, dataset, key, run, level)
    projection = principal_projection(z)
    heading = f"aggregate posterior{which}\n{title(model, run)}"
    return plots.plot_posterior(projection.project(z), dataset.test_labels, projection.labels, heading)


@own_types
def manifold(model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0) -> Figure:
    """Plot the decoder's means over the part of the latent space, or its principal plane, that the test set covers.

    Raises:
        ValueError: there are no test images, or they have another shape than the model's data.
        JvaeError: the data are not images.
    """
    z = latents_of_test_set(model, dataset, key, run)
    projection = principal_projection(z)
    height, width = as_images(dataset.test_images[:1].astype(np.float32)).shape[1:3]
    points, ticks = latent_grid(projection.project(z), MANIFOLD_SIDE, height / width)
    means = decode(model, projection.lift(points), run)
    heading = f"decoder means\n{title(model, run)}"
    return image_grids.plot_manifold(as_images(means), ticks, projection.labels, heading)


@own_types
def reconstructions(
    model: TrainedModel,
    dataset: Dataset,
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    num_images: SupportsIndex = 20,
) -> Figure:
    """Plot the first test images of every class in turn, each above the mean of p(x|z) at one draw z ~ q(z|x).

    They are among the first 1,000 test images, and at most `num_images`. Images are shown as x, after the transform.

    Raises:
        ValueError: num_images is below 1, there are no test images, or they have another shape than the model's data.
        JvaeError: the data are not images.
    """
    x, means = reconstructed(model, dataset, key, run, num_images)
    return image_grids.plot_reconstructions(x, means, f"reconstructions\n{title(model, run)}")


@own_types
def prior(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> Figure:
    """Plot the prior's density below the aggregate posterior, in the same projection, with its components marked.

    The density is that of the projected prior, as in `jvae.latents.projected_prior_density`.

    Raises:
        ValueError: there are no test images, or they have another shape than the model's data.
    """
    which = name_level(model, level)
    view, exact = prior_view(model, dataset, key, run, level)
    how = "density" if exact else "estimate"
    if len(view.ticks) == 2:
        how += ", 20 to 99 % contours"
    return plots.plot_prior(view, f"prior ({how}) and aggregate posterior{which}\n{title(model, run)}")


@own_types
def priors(models: dict[str, TrainedModel], dataset: Dataset, key: AnyKey | None = None) -> Figure:
    """Plot several models' priors over their aggregate posteriors, side by side, by name.

    Args:
        models: name -> model, at least one; of each, the first run and the level nearest x are shown.
        dataset: the data set of all models.
        key: decides the draws.

    Raises:
        ValueError: there are no models, there are no test images, or they have another shape than a model's data.
    """
    if not models:
        raise ValueError("models is empty: there must be at least one")
    views = {name: prior_view(model, dataset, key)[0] for name, model in models.items()}
    return plots.plot_priors(views, "priors (contours hold 20 to 99 % of the mass) over aggregate posteriors")


@own_types
def pseudo_inputs(model: TrainedModel, run: SupportsIndex = 0) -> Figure:
    """Plot a VampPrior's pseudo-inputs, each scaled to its largest value; with two levels the means of p(x|z1) there.

    Raises:
        JvaeError: the model has another prior, or the data are not images.
    """
    vae = model.recipe.model
    if not isinstance(top_prior(vae), VampPrior):
        has = f"the model has a {prior_name(vae)} prior"
        raise JvaeError(f"{has}: only a vamp prior has pseudo-inputs; train with --prior vamp")

    def read(vae: VAE) -> jax.Array:
        return vae.prior.pseudo_inputs() if one_level else vae.decode(vae.prior.prior.pseudo_inputs()).mean()

    one_level, params = vae.num_levels == 1, model.run_params(run)
    images, kind = as_images(jax.jit(lambda params: vae.apply(params, method=read))(params)), "decoded pseudo-inputs"
    if one_level:
        images, kind = image_grids.brightened(images), "pseudo-inputs, each scaled to its largest value"
    return image_grids.plot_images(images, title=f"{kind}\n{title(model, run)}")


@own_types
def scale(model: TrainedModel, run: SupportsIndex = 0) -> Figure:
    """Plot the learned standard deviation of every pixel, in the unit of x; of several channels, their mean.

    Raises:
        JvaeError: the model does not learn a standard deviation per pixel, or the data are not images.
    """
    decoder = model.recipe.model.decoder
    if not isinstance(decoder, GaussianDecoder) or decoder.variance != "pixel":
        how = "train with --decoder gaussian --variance pixel"
        raise JvaeError(f"the model does not learn a standard deviation per pixel: {how}")
    (learned,) = as_images(bounded_scale(model.run_params(run)["params"]["decoder"]["log_scale"])[None])
    return plots.plot_scale(learned, f"learned scale\n{title(model, run)}")


@own_types
def interpolation(
    model: TrainedModel,
    dataset: Dataset,
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    rows: SupportsIndex = 8,
    columns: SupportsIndex = 11,
) -> Figure:
    """Plot decoder means along straight lines between the posterior means of test images of different classes.

    The key decides which images. There are `rows` lines of `columns` points, ends included; both are at least 1.

    Raises:
        ValueError: there are no test images, they have another shape than the model's data, or a number is below 1.
        JvaeError: the data are not images.
    """
    rows, columns = at_least_one("rows", rows), at_least_one("columns", columns)
    images, labels, generator = test_images(dataset), dataset.test_labels, generator_of(key)
    several = len(np.unique(labels)) > 1
    first = generator.choice(len(labels), rows)
    others = [np.flatnonzero(labels != labels[i]) for i in first]  # empty if there is only one class
    second = np.array([generator.choice(other if len(other) else len(labels)) for other in others])
    z = encode(model, images[np.concatenate([first, second])], key_or_zero(key), run).loc
    t = np.linspace(0, 1, columns, dtype=z.dtype)[None, :, None]
    lines = (1 - t) * z[:rows, None] + t * z[rows:, None]
    means = as_images(decode(model, lines.reshape(rows * columns, -1), run))
    return image_grids.plot_rows(
        means.reshape(rows, columns, *means.shape[1:]),
        [f"{labels[i]} to {labels[j]}" if several else "" for i, j in zip(first, second, strict=True)],
        "decoder means from one image's latent mean to another's",
        f"interpolation\n{title(model, run)}",
    )


@own_types
def traversals(
    model: TrainedModel,
    dataset: Dataset,
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    rows: SupportsIndex = 10,
    columns: SupportsIndex = 11,
) -> Figure:
    """Plot decoder means as one latent dimension at a time crosses the aggregate posterior's central 98 %.

    The other dimensions stay at one test image's posterior mean, which the key decides; the dimensions are the `rows`
    with the most variance of their means. Each has `columns` points; both numbers are at least 1.

    Raises:
        ValueError: there are no test images, they have another shape than the model's data, or a number is below 1.
        JvaeError: the data are not images.
    """
    rows, columns = at_least_one("rows", rows), at_least_one("columns", columns)
    means, _, z = encode(model, dataset.test_images, key_or_zero(key), run)
    chosen = generator_of(key).integers(len(z))
    dimensions = np.argsort(-means.var(axis=0))[:rows]
    low, high = np.quantile(z, [0.01, 0.99], axis=0)
    points = np.repeat(means[chosen][None, None], len(dimensions), 0).repeat(columns, 1)
    for row, d in enumerate(dimensions):
        points[row, :, d] = np.linspace(low[d], high[d], columns)
    decoded = as_images(decode(model, points.reshape(-1, z.shape[1]), run))
    which = f" of class {dataset.test_labels[chosen]}" if len(np.unique(dataset.test_labels)) > 1 else ""
    return image_grids.plot_rows(
        decoded.reshape(len(dimensions), columns, *decoded.shape[1:]),
        [f"$z_{{{d + 1}}}$" for d in dimensions],
        "decoder means as one dimension crosses the aggregate posterior's central 98 %",
        f"traversals from a test image{which}\n{title(model, run)}",
    )


def sweep(results: Sequence[Result]) -> Figure:
    """Plot the test-set ELBOs of a sweep's successful cells, one panel per unit; at least one cell must be successful.

    Raises:
        ValueError: no cell is successful.
    """
    panels: dict[str, dict[str, list[float]]] = {}
    for result in (each for each in results if each.runs):
        name = result.cell.name.replace("=", " ").replace(",", ", ")
        panels.setdefault(result.unit, {})[name] = [run["elbo"] for run in result.runs]
    if not panels:
        raise ValueError("results: no cell is successful, so there is nothing to plot")
    return plots.plot_sweep(panels)


@own_types
def history(model: TrainedModel) -> Figure:
    """Plot the bound and its parts, in nats per image, over the epochs of training, with one line per run.

    Raises:
        JvaeError: the model has no history, as with imported weights.
    """
    if not model.history:
        raise JvaeError("the model has no history: no epoch of it was trained here; train it with --resume")
    return plots.plot_history(model.history, title(model))


@own_types
def training(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> Figure:
    """Plot some snapshots of the training side by side: aggregate posterior over prior, reconstructions and samples.

    Projection and axes are the last snapshot's; all draws have one key. Bound: the one-draw test ELBO, nats per image.

    Raises:
        JvaeError: the model has no snapshots, or the data are not images.
        DataError: the data set is not the one that the model was trained on.
    """
    frames = unfolding.frames_of(model, dataset, key, run, level)
    return unfolding.plot_strip(frames, f"training{name_level(model, level)}: {title(model, run)}")


@own_types
def training_gif(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> bytes:
    """Return a GIF with one frame per snapshot of the training, drawn as in `training`.

    Raises:
        JvaeError: the model has no snapshots, or the data are not images.
        DataError: the data set is not the one that the model was trained on.
    """
    frames = unfolding.frames_of(model, dataset, key, run, level)
    return unfolding.gif_of(unfolding.figures_of(frames, title(model, run) + name_level(model, level)))
