"""Views: the content of a trained model's pictures, as texts and arrays."""

from operator import index
from typing import NamedTuple, SupportsIndex

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from jvae import latents
from jvae.data.dataset import Dataset
from jvae.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder
from jvae.errors import JvaeError, at_least_one
from jvae.latents import Projection, principal_projection, prior_mixture, prior_sample, projected_prior_density
from jvae.nn.networks import describe_network
from jvae.priors import FlowPrior, GaussianPrior, MoGPrior, VampPrior
from jvae.runs.api import decode, encode
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.given import AnyKey, key_or_zero
from jvae.runs.portions import encoding_batch
from jvae.vae import VAE, latent_dims
from jvae.view.plots import PriorView

PRIORS = {GaussianPrior: "gaussian", MoGPrior: "mog", VampPrior: "vamp", FlowPrior: "flow"}
OUTPUTS = {
    BernoulliDecoder: "bernoulli",
    GaussianDecoder: "gaussian",
    ContinuousBernoulliDecoder: "continuous-bernoulli",
}
"""The names of the output distributions on the command line and the explorer's page."""


def title(model: TrainedModel, run: SupportsIndex | None = None) -> str:
    """Return a description of the model in one line, with the run that is shown if there are several.

    Args:
        model: the model.
        run: the index of the run that is shown; None to name none. It is not checked.
    """
    vae = model.recipe.model
    decoder, net = vae.decoder, getattr(vae.encoder, "net", vae.encoder)
    learned = f" ({decoder.variance} variance)" if isinstance(decoder, GaussianDecoder) else ""
    dims = " + ".join(map(str, latent_dims(vae, model.run_params(), model.data_shape)))
    prior = prior_name(vae)
    output = OUTPUTS.get(type(decoder)) or own_name(decoder, "Decoder")
    shown = "" if run is None or model.num_runs == 1 else f", run\N{NO-BREAK SPACE}{index(run)}"
    return f"{model.data_name}, {prior} prior, {output} output{learned}, {describe_network(net)}, M = {dims}{shown}"


def prior_name(vae: VAE) -> str:
    """Return the name of the highest level's prior, as on the command line if it is jvae's."""
    return PRIORS.get(type(top_prior(vae))) or own_name(top_prior(vae), "Prior")


def own_name(module: nn.Module, kind: str) -> str:
    """Return the name of a user's class, without the kind of module that it may end in."""
    name = type(module).__name__
    return name.removesuffix(kind) or name


def top_prior(vae: VAE) -> nn.Module:
    """Return the module of the highest level's prior."""
    return top_prior(vae.prior) if isinstance(vae.prior, VAE) else vae.prior


def as_images(x: Float[Array | np.ndarray, "n ..."]) -> Float[np.ndarray, "n h w c"]:
    """Return data as images.

    Raises:
        JvaeError: they are not images.
    """
    if x.ndim not in (3, 4):
        raise JvaeError(f"data have the shape {list(x.shape[1:])}: pictures of them need [h, w] or [h, w, c]")
    return np.asarray(x if x.ndim == 4 else x[..., None])


def latents_of_test_set(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> Float[np.ndarray, "n m"]:
    """Draw one z ~ q(z|x) of a level for every test image: samples of the aggregate posterior.

    Raises:
        ValueError: there are no test images, they have another shape than the model's data, the key is not a key, or
            there is no such run or level.
    """
    return encode(model, dataset.test_images, key_or_zero(key), run, level).z


def name_level(model: TrainedModel, level: SupportsIndex) -> str:
    """Return a level's name, as the end of a title; empty if there is only one level.

    Raises:
        ValueError: the model has no such level.
    """
    number = model.check_level(level)
    return f" of level {number + 1}" if model.recipe.model.num_levels > 1 else ""


class LatentAxes(NamedTuple):
    """The plane that latents are shown on, and the visible part of it."""

    projection: Projection
    """The map from latents to the plane, of d = 1 or 2 axes."""
    ticks: list[Float[np.ndarray, " g"]]
    """The coordinates of an even grid along each axis; all axes have one length."""


def latent_axes(
    model: TrainedModel, z: Float[np.ndarray, "n m"], key: AnyKey | None = None, run: SupportsIndex = 0, level: int = 0
) -> LatentAxes:
    """Return the plane of some latents of a level, and the part of it that they and draws from the prior cover.

    Raises:
        ValueError: there is no such run, or the key is not a key.
    """
    projection = principal_projection(z)
    drawn = projection.project(prior_sample(model.recipe.model, model.run_params(run), key_or_zero(key), 2000, level))
    low, high = np.quantile(np.concatenate([projection.project(z), drawn]), [0.001, 0.999], axis=0)
    half = 0.65 * max(float(np.max(high - low)), 1e-6)  # the same length for all axes, with a margin
    return LatentAxes(projection, [np.linspace(middle - half, middle + half, 160) for middle in (low + high) / 2])


def prior_view(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None = None, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> tuple[PriorView, bool]:
    """Return a level's prior and aggregate posterior on the latter's plane; and True if the density is exact.

    Raises:
        ValueError: as `latents_of_test_set`.
    """
    number = model.check_level(level)
    z = latents_of_test_set(model, dataset, key, run, number)
    axes = latent_axes(model, z, key, run, number)
    return view_on(axes, model, z, dataset.test_labels, key, run, number)


def view_on(
    axes: LatentAxes,
    model: TrainedModel,
    z: Float[np.ndarray, "n m"],
    labels: Integer[np.ndarray, " n"],
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    level: int = 0,
) -> tuple[PriorView, bool]:
    """Return a level's prior and some latents, with their classes, on given axes; and True if the density is exact.

    Raises:
        ValueError: there is no such run, or the key is not a key.
    """
    vae, params, (projection, ticks) = model.recipe.model, model.run_params(run), axes
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*ticks)], axis=1)
    density, exact = projected_prior_density(vae, params, key_or_zero(key), projection, grid.astype(z.dtype), level)
    mixture = prior_mixture(vae, params, level)
    one = isinstance(top_prior(vae), GaussianPrior) or mixture is None
    marks = None if one or mixture is None else projection.project(mixture.loc)
    view = PriorView(
        density.reshape([len(t) for t in ticks[::-1]]),
        ticks,
        projection.project(z),
        labels,
        marks,
        "pseudo-input" if isinstance(top_prior(vae), VampPrior) else "component",
        projection.labels,
    )
    return view, exact


def reconstructed(
    model: TrainedModel,
    dataset: Dataset,
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    num_images: SupportsIndex = 20,
) -> tuple[Float[np.ndarray, "n h w c"], Float[np.ndarray, "n h w c"]]:
    """Return the first test images of every class in turn, and for each the mean of p(x|z) at one draw z ~ q(z|x).

    The images, as x, are among the first 1,000, and at most `num_images`.

    Raises:
        ValueError: num_images is below 1, there are no test images, they have another shape than the model's data, the
            key is not a key, or there is no such run.
        JvaeError: the data are not images.
    """
    key, labels, count = key_or_zero(key), dataset.test_labels[:1000], at_least_one("num_images", num_images)
    rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    images = dataset.test_images[np.lexsort((labels, rank))[:count]]
    z = encode(model, images, key, run).z
    size = encoding_batch(model.recipe, model.run_params(run), images, 0)
    x = latents.encoded_data(key, images, model.recipe.transform, size)
    return as_images(x), as_images(decode(model, z, run))
