"""Pictures of a trained model: model file, data and seed -> matplotlib Figure, by way of `plots` and `image_grids`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure

from jvae.data.datasets import Dataset
from jvae.decoders import bounded_scale
from jvae.errors import JvaeError
from jvae.latents import (
    aggregate_posterior,
    latent_grid,
    principal_projection,
    prior_mixture,
    prior_sample,
    projected_prior_density,
)
from jvae.runs.checkpoint import ModelFile
from jvae.runs.config import Config, build_model, build_transform
from jvae.runs.sweep import Result
from jvae.view import image_grids, plots

MANIFOLD_SIDE = 20


def title(config: Config) -> str:
    """Return in a line what the model is."""
    learned = f" ({config.variance} variance)" if config.decoder == "gaussian" else ""
    output = f"{config.decoder} output{learned}"
    above = f" + {config.upper_dim}" if config.levels == 2 else ""
    return f"{config.dataset}, {config.prior} prior, {output}, {config.network}, M = {config.latent_dim}{above}"


def samples(model: ModelFile, seed: int, num_images: int, mean: bool) -> Figure:
    """Plot images drawn from the model, or the means of the output distribution at draws from the prior."""
    vae = build_model(model.config, model.image_shape)
    draw = jax.jit(lambda params, key: vae.apply(params, key, num_images, mean, method="sample"))
    x = draw(model.state.params, jax.random.key(seed))
    kind = "means of p(x|z), z ~ p(z)" if mean else "samples"
    return image_grids.plot_images(np.asarray(x), title=f"{kind}: {title(model.config)}")


def samples_beside_means(model: ModelFile, seed: int, num_images: int) -> Figure:
    """Plot samples x ~ p(x|z), and in the same places the means of p(x|z) at the same draws z ~ p(z)."""
    vae = build_model(model.config, model.image_shape)

    @jax.jit
    def draw(params: PyTree, key: Key[Array, ""]) -> tuple[Array, Array]:
        x, mean = (vae.apply(params, key, num_images, mean, method="sample") for mean in (False, True))
        return x, mean

    left, right = map(np.asarray, draw(model.state.params, jax.random.key(seed)))
    return image_grids.plot_side_by_side(left, right, ("samples of p(x|z)", "means of p(x|z)"), title(model.config))


def latents_of_test_set(model: ModelFile, dataset: Dataset, seed: int, level: int = 1) -> Float[np.ndarray, "n m"]:
    """Draw one z ~ q(z|x) of a level for every test image."""
    vae, transform = build_model(model.config, model.image_shape), build_transform(model.config)
    return aggregate_posterior(
        vae, model.state.params, jax.random.key(seed), dataset.test_images, transform, level=level - 1
    )


def check_level(config: Config, level: int) -> str:
    """Name a level, as a title's ending: nothing where there is only one.

    Raises:
        JvaeError: the model has no such level.
    """
    if level > config.levels:
        raise JvaeError(f"level is {level}: the model has {config.levels} level{'s' * (config.levels > 1)}")
    return f" of $z_{level}$" if config.levels > 1 else ""


def posterior(model: ModelFile, dataset: Dataset, seed: int, level: int = 1) -> Figure:
    """Plot samples of the test set's aggregate posterior, coloured by class."""
    which = check_level(model.config, level)
    z = latents_of_test_set(model, dataset, seed, level)
    projection = principal_projection(z)
    heading = f"aggregate posterior{which}\n{title(model.config)}"
    return plots.plot_posterior(projection.project(z), dataset.test_labels, projection.labels, heading)


def manifold(model: ModelFile, dataset: Dataset, seed: int) -> Figure:
    """Plot the decoder's means over the part of the latent space, or its principal plane, that the test set takes."""
    z = latents_of_test_set(model, dataset, seed)
    projection = principal_projection(z)
    points, ticks = latent_grid(projection.project(z), MANIFOLD_SIDE)
    vae = build_model(model.config, model.image_shape)
    decode = jax.jit(lambda params, z: vae.apply(params, z, method="decode").mean())
    means = decode(model.state.params, jnp.asarray(projection.lift(points)))
    heading = f"decoder means: {title(model.config)}"
    return image_grids.plot_manifold(np.asarray(means), ticks, projection.labels, heading)


def reconstructions(model: ModelFile, dataset: Dataset, seed: int, num_images: int = 20) -> Figure:
    """Plot the first test images of every class in turn, each above the mean of p(x|z) at one draw z ~ q(z|x)."""
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
    return image_grids.plot_reconstructions(np.asarray(x), np.asarray(means), f"reconstructions: {title(model.config)}")


def prior(model: ModelFile, dataset: Dataset, seed: int, level: int = 1) -> Figure:
    """Plot the prior's density, projected as the aggregate posterior over it is, with its components marked."""
    which = check_level(model.config, level)
    view, exact = prior_view(model, dataset, seed, level)
    how = "density" if exact else "density estimate"
    return plots.plot_prior(view, f"prior ({how}) and aggregate posterior{which}\n{title(model.config)}")


def priors(models: dict[str, ModelFile], dataset: Dataset, seed: int) -> Figure:
    """Plot several models' priors over their aggregate posteriors, side by side, by name."""
    views = {name: prior_view(model, dataset, seed)[0] for name, model in models.items()}
    return plots.plot_priors(views, "priors (contours hold 20 to 99 % of the mass) over aggregate posteriors")


def prior_view(model: ModelFile, dataset: Dataset, seed: int, level: int = 1) -> tuple[plots.PriorView, bool]:
    """Return a level's prior and aggregate posterior, both on the latter's plane; and True if the density is exact."""
    vae = build_model(model.config, model.image_shape)
    params = model.state.params
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
    mixture = prior_mixture(vae, params, level - 1) if model.config.prior in ("mog", "vamp") else None
    marks = None if mixture is None else projection.project(mixture.loc)
    view = plots.PriorView(
        density.reshape([len(t) for t in ticks[::-1]]),
        ticks,
        coordinates,
        dataset.test_labels,
        marks,
        {"mog": "component", "vamp": "pseudo-input"}.get(model.config.prior, ""),
        projection.labels,
    )
    return view, exact


def pseudo_inputs(model: ModelFile) -> Figure:
    """Plot a VampPrior's pseudo-inputs; with two levels, where they are latents z1, the means of p(x|z1) there.

    Raises:
        JvaeError: the model has another prior.
    """
    if model.config.prior != "vamp":
        raise JvaeError(f"the model has a {model.config.prior} prior: only a vamp prior has pseudo-inputs")
    vae = build_model(model.config, model.image_shape)
    if model.config.levels == 1:
        read = jax.jit(lambda params: vae.apply(params, method=lambda vae: vae.prior.pseudo_inputs()))
    else:
        read = jax.jit(
            lambda params: vae.apply(params, method=lambda v: v.decode(v.prior.prior.pseudo_inputs()).mean())
        )
    kind = "pseudo-inputs" if model.config.levels == 1 else "decoded pseudo-inputs"
    return image_grids.plot_images(np.asarray(read(model.state.params)), title=f"{kind}: {title(model.config)}")


def scale(model: ModelFile) -> Figure:
    """Plot the learned standard deviation of every pixel.

    Raises:
        JvaeError: the model learns no standard deviation a pixel.
    """
    if model.config.variance != "pixel":
        raise JvaeError(
            "the model learns no standard deviation a pixel: train with --decoder gaussian --variance pixel"
        )
    free = model.state.params["params"]["decoder"]["log_scale"]
    return plots.plot_scale(np.asarray(bounded_scale(jnp.asarray(free))), f"learned scale\n{title(model.config)}")


def interpolation(model: ModelFile, dataset: Dataset, seed: int, rows: int = 8, columns: int = 11) -> Figure:
    """Plot decoder means along straight lines between the posterior means of test images of different classes."""
    vae, transform = build_model(model.config, model.image_shape), build_transform(model.config)
    labels, rng = dataset.test_labels, np.random.default_rng(seed)
    first = rng.choice(len(labels), rows)
    second = np.array([rng.choice(np.flatnonzero(labels != labels[i])) for i in first])

    @jax.jit
    def decode_lines(params: PyTree, images: Array) -> Array:
        z = vae.apply(params, transform(jax.random.key(seed), images), method="posterior").mean()
        t = jnp.linspace(0, 1, columns)[None, :, None]
        line = (1 - t) * z[:rows, None] + t * z[rows:, None]
        return vae.apply(params, line.reshape(rows * columns, -1), method="decode").mean()

    means = decode_lines(model.state.params, jnp.asarray(dataset.test_images[np.concatenate([first, second])]))
    return image_grids.plot_rows(
        np.asarray(means).reshape(rows, columns, *model.image_shape),
        [f"{labels[i]} to {labels[j]}" for i, j in zip(first, second, strict=True)],
        "decoder means from one image's latent mean to another's",
        f"interpolation: {title(model.config)}",
    )


def traversals(model: ModelFile, dataset: Dataset, seed: int, rows: int = 10, columns: int = 11) -> Figure:
    """Plot decoder means as one latent dimension at a time runs over the aggregate posterior's central 98 %.

    The other dimensions stay at one test image's posterior mean; the dimensions are those with the most variance.
    """
    vae, transform = build_model(model.config, model.image_shape), build_transform(model.config)
    z = latents_of_test_set(model, dataset, seed)
    chosen = np.random.default_rng(seed).integers(len(z))

    @jax.jit
    def posterior_mean(params: PyTree, images: Array) -> Array:
        return vae.apply(params, transform(jax.random.key(seed), images), method="posterior").mean()

    means = np.concatenate(
        [posterior_mean(model.state.params, jnp.asarray(part)) for part in np.array_split(dataset.test_images, 8)]
    )
    dimensions = np.argsort(-means.var(axis=0))[:rows]
    low, high = np.quantile(z, [0.01, 0.99], axis=0)
    points = np.repeat(means[chosen][None, None], len(dimensions), 0).repeat(columns, 1)
    for row, d in enumerate(dimensions):
        points[row, :, d] = np.linspace(low[d], high[d], columns)
    decode = jax.jit(lambda params, z: vae.apply(params, z, method="decode").mean())
    images = decode(model.state.params, jnp.asarray(points.reshape(-1, z.shape[1])))
    return image_grids.plot_rows(
        np.asarray(images).reshape(len(dimensions), columns, *model.image_shape),
        [f"$z_{{{d + 1}}}$" for d in dimensions],
        "decoder means as one dimension crosses the aggregate posterior's central 98 %",
        f"traversals from a test image of class {dataset.test_labels[chosen]}: {title(model.config)}",
    )


def sweep(results: Sequence[Result]) -> Figure:
    """Plot the test-set ELBOs of a sweep's cells that have not failed."""
    panels: dict[str, dict[str, list[float]]] = {}
    for result in results:
        if result.runs:
            name = result.cell.name.replace("=", " ").replace(",", ", ")
            panels.setdefault(result.unit, {})[name] = [run["elbo"] for run in result.runs]
    return plots.plot_sweep(panels)


def history(model: ModelFile) -> Figure:
    """Plot the bound and its parts over the epochs of training.

    Raises:
        JvaeError: there was none, as with imported weights.
    """
    if not model.history:
        raise JvaeError("the model has no history: no epoch of it was trained here")
    return plots.plot_history(model.history, f"training: {title(model.config)}")
