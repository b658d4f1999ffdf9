"""Pictures of a trained model: model file, data and seed -> matplotlib Figure, by way of `plots` and `image_grids`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure

from jvae.data.datasets import Dataset
from jvae.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder, bounded_scale
from jvae.errors import JvaeError
from jvae.latents import (
    aggregate_posterior,
    latent_grid,
    principal_projection,
    prior_mixture,
    prior_sample,
    projected_prior_density,
)
from jvae.nn.networks import MLP, ConvEncoderNet
from jvae.priors import FlowPrior, GaussianPrior, MoGPrior, VampPrior
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.sweep import Result
from jvae.vae import VAE, latent_dims
from jvae.view import image_grids, plots

MANIFOLD_SIDE = 20
NAMES = {
    GaussianPrior: "gaussian",
    MoGPrior: "mog",
    VampPrior: "vamp",
    FlowPrior: "flow",
    BernoulliDecoder: "bernoulli",
    GaussianDecoder: "gaussian",
    ContinuousBernoulliDecoder: "continuous-bernoulli",
    MLP: "mlp",
    ConvEncoderNet: "cnn",
}
"""What the command line calls the modules."""


def title(model: TrainedModel) -> str:
    """Return in a line what the model is."""
    vae = model.recipe.model
    decoder, net = vae.decoder, getattr(vae.encoder, "net", vae.encoder)
    learned = f" ({decoder.variance} variance)" if isinstance(decoder, GaussianDecoder) else ""
    dims = " + ".join(map(str, latent_dims(vae, model.run_params(), model.data_shape)))
    names = [NAMES.get(type(module), type(module).__name__) for module in (top_prior(vae), decoder, net)]
    return f"{model.data_name}, {names[0]} prior, {names[1]} output{learned}, {names[2]}, M = {dims}"


def top_prior(vae: VAE) -> nn.Module:
    """Return the module of the highest level's prior."""
    return top_prior(vae.prior) if isinstance(vae.prior, VAE) else vae.prior


def as_images(x: Float[Array | np.ndarray, "n ..."]) -> Float[np.ndarray, "n h w c"]:
    """Return data as images.

    Raises:
        JvaeError: they are none.
    """
    if x.ndim not in (3, 4):
        raise JvaeError(f"data have the shape {list(x.shape[1:])}: pictures of them need [h, w] or [h, w, c]")
    return np.asarray(x if x.ndim == 4 else x[..., None])


def samples(model: TrainedModel, seed: int, num_images: int, mean: bool) -> Figure:
    """Plot images drawn from the model, or the means of the output distribution at draws from the prior."""
    vae = model.recipe.model
    draw = jax.jit(lambda params, key: vae.apply(params, key, num_images, mean, method="sample"))
    x = draw(model.run_params(), jax.random.key(seed))
    kind = "means of p(x|z), z ~ p(z)" if mean else "samples"
    return image_grids.plot_images(as_images(x), title=f"{kind}: {title(model)}")


def samples_beside_means(model: TrainedModel, seed: int, num_images: int) -> Figure:
    """Plot samples x ~ p(x|z), and in the same places the means of p(x|z) at the same draws z ~ p(z)."""
    vae = model.recipe.model

    @jax.jit
    def draw(params: PyTree, key: Key[Array, ""]) -> tuple[Array, Array]:
        x, mean = (vae.apply(params, key, num_images, mean, method="sample") for mean in (False, True))
        return x, mean

    left, right = map(as_images, draw(model.run_params(), jax.random.key(seed)))
    return image_grids.plot_side_by_side(left, right, ("samples of p(x|z)", "means of p(x|z)"), title(model))


def latents_of_test_set(model: TrainedModel, dataset: Dataset, seed: int, level: int = 1) -> Float[np.ndarray, "n m"]:
    """Draw one z ~ q(z|x) of a level for every test image."""
    vae, transform = model.recipe.model, model.recipe.transform
    return aggregate_posterior(
        vae, model.run_params(), jax.random.key(seed), dataset.test_images, transform, level=level - 1
    )


def check_level(model: TrainedModel, level: int) -> str:
    """Name a level, as a title's ending: nothing where there is only one.

    Raises:
        JvaeError: the model has no such level.
    """
    levels = model.recipe.model.num_levels
    if level > levels:
        raise JvaeError(f"level is {level}: the model has {levels} level{'s' * (levels > 1)}")
    return f" of $z_{level}$" if levels > 1 else ""


def posterior(model: TrainedModel, dataset: Dataset, seed: int, level: int = 1) -> Figure:
    """Plot samples of the test set's aggregate posterior, coloured by class."""
    which = check_level(model, level)
    z = latents_of_test_set(model, dataset, seed, level)
    projection = principal_projection(z)
    heading = f"aggregate posterior{which}\n{title(model)}"
    return plots.plot_posterior(projection.project(z), dataset.test_labels, projection.labels, heading)


def manifold(model: TrainedModel, dataset: Dataset, seed: int) -> Figure:
    """Plot the decoder's means over the part of the latent space, or its principal plane, that the test set takes."""
    z = latents_of_test_set(model, dataset, seed)
    projection = principal_projection(z)
    points, ticks = latent_grid(projection.project(z), MANIFOLD_SIDE)
    vae = model.recipe.model
    decode = jax.jit(lambda params, z: vae.apply(params, z, method="decode").mean())
    means = decode(model.run_params(), jnp.asarray(projection.lift(points)))
    heading = f"decoder means: {title(model)}"
    return image_grids.plot_manifold(as_images(means), ticks, projection.labels, heading)


def reconstructions(model: TrainedModel, dataset: Dataset, seed: int, num_images: int = 20) -> Figure:
    """Plot the first test images of every class in turn, each above the mean of p(x|z) at one draw z ~ q(z|x)."""
    vae, transform = model.recipe.model, model.recipe.transform

    @jax.jit
    def reconstruct(params: PyTree, key: Key[Array, ""], images: Array) -> tuple[Array, Array]:
        transform_key, z_key = jax.random.split(key)
        x = transform(transform_key, images)
        z = vae.apply(params, x, method="posterior").sample(seed=z_key)
        return x, vae.apply(params, z, method="decode").mean()

    labels = dataset.test_labels
    rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels[:1000])])
    chosen = np.lexsort((labels[:1000], rank))[:num_images]
    x, means = reconstruct(model.run_params(), jax.random.key(seed), jnp.asarray(dataset.test_images[chosen]))
    return image_grids.plot_reconstructions(as_images(x), as_images(means), f"reconstructions: {title(model)}")


def prior(model: TrainedModel, dataset: Dataset, seed: int, level: int = 1) -> Figure:
    """Plot the prior's density, projected as the aggregate posterior over it is, with its components marked."""
    which = check_level(model, level)
    view, exact = prior_view(model, dataset, seed, level)
    how = "density" if exact else "density estimate"
    return plots.plot_prior(view, f"prior ({how}) and aggregate posterior{which}\n{title(model)}")


def priors(models: dict[str, TrainedModel], dataset: Dataset, seed: int) -> Figure:
    """Plot several models' priors over their aggregate posteriors, side by side, by name."""
    views = {name: prior_view(model, dataset, seed)[0] for name, model in models.items()}
    return plots.plot_priors(views, "priors (contours hold 20 to 99 % of the mass) over aggregate posteriors")


def prior_view(model: TrainedModel, dataset: Dataset, seed: int, level: int = 1) -> tuple[plots.PriorView, bool]:
    """Return a level's prior and aggregate posterior, both on the latter's plane; and True if the density is exact."""
    vae = model.recipe.model
    params = model.run_params()
    z = latents_of_test_set(model, dataset, seed, level)
    projection = principal_projection(z)
    coordinates = projection.project(z)
    key = jax.random.key(seed)
    drawn = projection.project(prior_sample(vae, params, key, 2000, level - 1))
    low, high = np.quantile(np.concatenate([coordinates, drawn]), [0.001, 0.999], axis=0)
    margin = 0.08 * (high - low)
    ticks = [np.linspace(a, b, 160) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*ticks)], axis=1)
    density, exact = projected_prior_density(vae, params, key, projection, grid.astype(z.dtype), level - 1)
    mixture = prior_mixture(vae, params, level - 1)
    one = isinstance(top_prior(vae), GaussianPrior) or mixture is None
    marks = None if one or mixture is None else projection.project(mixture.loc)
    view = plots.PriorView(
        density.reshape([len(t) for t in ticks[::-1]]),
        ticks,
        coordinates,
        dataset.test_labels,
        marks,
        "pseudo-input" if isinstance(top_prior(vae), VampPrior) else "component",
        projection.labels,
    )
    return view, exact


def pseudo_inputs(model: TrainedModel) -> Figure:
    """Plot a VampPrior's pseudo-inputs; with two levels, where they are latents z1, the means of p(x|z1) there.

    Raises:
        JvaeError: the model has another prior.
    """
    vae = model.recipe.model
    if not isinstance(top_prior(vae), VampPrior):
        name = NAMES.get(type(top_prior(vae)), type(top_prior(vae)).__name__)
        raise JvaeError(f"the model has a {name} prior: only a vamp prior has pseudo-inputs")
    if vae.num_levels == 1:
        read = jax.jit(lambda params: vae.apply(params, method=lambda vae: vae.prior.pseudo_inputs()))
    else:
        read = jax.jit(
            lambda params: vae.apply(params, method=lambda v: v.decode(v.prior.prior.pseudo_inputs()).mean())
        )
    kind = "pseudo-inputs" if vae.num_levels == 1 else "decoded pseudo-inputs"
    return image_grids.plot_images(as_images(read(model.run_params())), title=f"{kind}: {title(model)}")


def scale(model: TrainedModel) -> Figure:
    """Plot the learned standard deviation of every pixel.

    Raises:
        JvaeError: the model learns no standard deviation a pixel.
    """
    decoder = model.recipe.model.decoder
    if not isinstance(decoder, GaussianDecoder) or decoder.variance != "pixel":
        raise JvaeError(
            "the model learns no standard deviation a pixel: train with --decoder gaussian --variance pixel"
        )
    free = model.run_params()["params"]["decoder"]["log_scale"]
    return plots.plot_scale(np.asarray(bounded_scale(jnp.asarray(free))), f"learned scale\n{title(model)}")


def interpolation(model: TrainedModel, dataset: Dataset, seed: int, rows: int = 8, columns: int = 11) -> Figure:
    """Plot decoder means along straight lines between the posterior means of test images of different classes."""
    vae, transform = model.recipe.model, model.recipe.transform
    labels, rng = dataset.test_labels, np.random.default_rng(seed)
    first = rng.choice(len(labels), rows)
    second = np.array([rng.choice(np.flatnonzero(labels != labels[i])) for i in first])

    @jax.jit
    def decode_lines(params: PyTree, images: Array) -> Array:
        z = vae.apply(params, transform(jax.random.key(seed), images), method="posterior").mean()
        t = jnp.linspace(0, 1, columns)[None, :, None]
        line = (1 - t) * z[:rows, None] + t * z[rows:, None]
        return vae.apply(params, line.reshape(rows * columns, -1), method="decode").mean()

    means = decode_lines(model.run_params(), jnp.asarray(dataset.test_images[np.concatenate([first, second])]))
    images = as_images(means)
    return image_grids.plot_rows(
        images.reshape(rows, columns, *images.shape[1:]),
        [f"{labels[i]} to {labels[j]}" for i, j in zip(first, second, strict=True)],
        "decoder means from one image's latent mean to another's",
        f"interpolation: {title(model)}",
    )


def traversals(model: TrainedModel, dataset: Dataset, seed: int, rows: int = 10, columns: int = 11) -> Figure:
    """Plot decoder means as one latent dimension at a time runs over the aggregate posterior's central 98 %.

    The other dimensions stay at one test image's posterior mean; the dimensions are those with the most variance.
    """
    vae, transform = model.recipe.model, model.recipe.transform
    z = latents_of_test_set(model, dataset, seed)
    chosen = np.random.default_rng(seed).integers(len(z))

    @jax.jit
    def posterior_mean(params: PyTree, images: Array) -> Array:
        return vae.apply(params, transform(jax.random.key(seed), images), method="posterior").mean()

    means = np.concatenate(
        [posterior_mean(model.run_params(), jnp.asarray(part)) for part in np.array_split(dataset.test_images, 8)]
    )
    dimensions = np.argsort(-means.var(axis=0))[:rows]
    low, high = np.quantile(z, [0.01, 0.99], axis=0)
    points = np.repeat(means[chosen][None, None], len(dimensions), 0).repeat(columns, 1)
    for row, d in enumerate(dimensions):
        points[row, :, d] = np.linspace(low[d], high[d], columns)
    decode = jax.jit(lambda params, z: vae.apply(params, z, method="decode").mean())
    images = as_images(decode(model.run_params(), jnp.asarray(points.reshape(-1, z.shape[1]))))
    return image_grids.plot_rows(
        images.reshape(len(dimensions), columns, *images.shape[1:]),
        [f"$z_{{{d + 1}}}$" for d in dimensions],
        "decoder means as one dimension crosses the aggregate posterior's central 98 %",
        f"traversals from a test image of class {dataset.test_labels[chosen]}: {title(model)}",
    )


def sweep(results: Sequence[Result]) -> Figure:
    """Plot the test-set ELBOs of a sweep's cells that have not failed."""
    panels: dict[str, dict[str, list[float]]] = {}
    for result in results:
        if result.runs:
            name = result.cell.name.replace("=", " ").replace(",", ", ")
            panels.setdefault(result.unit, {})[name] = [run["elbo"] for run in result.runs]
    return plots.plot_sweep(panels)


def history(model: TrainedModel) -> Figure:
    """Plot the bound and its parts over the epochs of training.

    Raises:
        JvaeError: there was none, as with imported weights.
    """
    if not model.history:
        raise JvaeError("the model has no history: no epoch of it was trained here")
    return plots.plot_history(model.history, f"training: {title(model)}")
