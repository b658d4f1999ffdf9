"""Diagnostics of a trained model over a data set: active units, KLs, mixture components and output scales."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from jvae.decoders import LOG_SCALE_FLOOR, GaussianDecoder, bounded_scale
from jvae.distributions import closed_form_kl, dimensions_of
from jvae.evaluation import over_batches
from jvae.priors import responsibilities
from jvae.transforms import Transform, observe
from jvae.vae import VAE, Level

ACTIVE = 0.01
DRAWS = 10
"""Draws per datum to estimate E[z|x] where it depends on a draw from a level below, or on dequantisation noise."""


class LevelDiagnostics(NamedTuple):
    """The diagnostics of one level of latents; None where one does not apply."""

    num_units: int
    """Latent dimensions."""
    active_units: int | None
    """The number of units whose E[z|x] has a variance above 0.01 over the data x (Burda et al. 2016, section 5); none
    for a single datum. E also averages over the draws of a level below and over dequantisation noise, whose variance
    does not count."""
    kl: float
    """The KL in nats per image: at the top level in closed form where there is one, else the mean of log q - log p at
    this level's draw, as a lower level's prior depends on the levels above. Near 0, the level has collapsed."""
    kl_in_closed_form: bool
    """True if `kl` is in closed form, False if it is a mean over draws."""
    kl_per_dimension: list[float] | None
    """The terms of `kl`, if the dimensions of posterior and prior are independent and, at the top level, there is a
    closed form."""
    num_components: int | None
    """K of a mixture prior."""
    effective_components: float | None
    """The exponential of the entropy of the components' mean responsibilities for the aggregate posterior: 1 to K."""


class Diagnostics(NamedTuple):
    """The diagnostics of a model."""

    levels: list[LevelDiagnostics]
    """The levels, starting with the lowest, from which images are decoded."""
    pixels_at_floor: int | None
    """The number of learned scales, one or one for every number of a datum, that lie within a factor of 2 of their
    floor, exp(-6); None if no scale is learned."""


class LevelStatistics(NamedTuple):
    """The statistics of one level, for each of b images."""

    loc: Float[Array, "b m"]
    """E[z|x]: the mean of the posterior's means over draws of everything that it depends on."""
    loc_variance: Float[Array, "b m"]
    """The variance of `loc` due to those draws, which they add to its variance over the data."""
    kl: Float[Array, " b"]
    """The level's KL, in nats."""
    closed: Bool[Array, " b"]
    """True if the KL is in closed form, for every image alike."""
    kl_per_dimension: Float[Array, "b m"] | None
    """The KL of every dimension, in nats; None where the KL does not split into them."""
    responsibilities: Float[Array, "b k"] | None
    """The posterior share of each component of a mixture prior; None for another prior."""


def diagnose(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    batch_size: int = 1000,
) -> Diagnostics:
    """Return the diagnostics over all n data, with one draw z ~ q(z|x) each, for any prior and posterior.

    Raises:
        ValueError: there are no data.
    """
    program = partial(statistics, model, params, transform=transform)
    found = over_batches(program, data, partial(jax.random.split, key), batch_size)
    levels = jax.tree.map(lambda values: values.astype(np.float64), found)
    return Diagnostics([summary(level) for level in levels], count_at_floor(model, params))


@partial(jax.jit, static_argnames=("model", "transform"))
def statistics(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    first: Int[Array, ""] | int,
    transform: Transform,
) -> list[LevelStatistics]:
    """Return every level's statistics of a batch; `first` is the index of its first datum."""

    def infer(keys: tuple[Key[Array, ""], Key[Array, ""]], of_levels: Callable) -> list:
        x = observe(transform, keys[0], data, first)
        return model.apply(params, method=lambda vae: of_levels(vae.infer(keys[1], x)))

    keys = tuple(jax.random.split(jax.random.fold_in(key, 0), (2, DRAWS)))
    locs = jax.vmap(partial(infer, of_levels=lambda levels: [level.posterior.mean() for level in levels]))(keys)
    top = model.num_levels - 1
    return infer(
        tuple(jax.random.split(key)),
        lambda levels: [level_statistics(level, locs[i], i == top) for i, level in enumerate(levels)],
    )


def level_statistics(level: Level, locs: Float[Array, "k b m"], top: bool) -> LevelStatistics:
    """Return one level's statistics from a draw and the posterior's means of k draws."""
    q, p, z = level
    mixture = isinstance(p, distrax.MixtureSameFamily)
    kl, kl_per_dimension = None, kl_by_dimension(level, top)
    if kl_per_dimension is not None:
        kl = kl_per_dimension.sum(axis=1)
    elif top:
        kl = closed_form_kl(q, p)
    return LevelStatistics(
        loc=locs.mean(axis=0),
        loc_variance=locs.var(axis=0, ddof=1) / len(locs),
        kl=q.log_prob(z) - p.log_prob(z) if kl is None else kl,
        closed=jnp.full(len(z), top and kl is not None),
        kl_per_dimension=kl_per_dimension,
        responsibilities=responsibilities(p, z) if mixture else None,
    )


def kl_by_dimension(level: Level, top: bool) -> Float[Array, "b m"] | None:
    """Return every latent dimension's term of the KL; None if the dimensions are not independent.

    At the top level it is in closed form, or None if there is none. A lower level's prior depends on a draw from the
    level above, which depends on z: there it is log q - log p at z, whose expectation is not the mean of KL(q || p).
    """
    q, p = dimensions_of(level.posterior), dimensions_of(level.prior)
    if q is None or p is None:
        return None
    return closed_form_kl(q, p) if top else q.log_prob(level.z) - p.log_prob(level.z)


def summary(level: LevelStatistics) -> LevelDiagnostics:
    """Summarise a level's statistics over all images."""
    kl_per_dimension, n = level.kl_per_dimension, len(level.loc)
    activity = level.loc.var(axis=0, ddof=1) - level.loc_variance.mean(axis=0) if n > 1 else None
    memberships = None if level.responsibilities is None else np.mean(level.responsibilities, axis=0)
    return LevelDiagnostics(
        num_units=level.loc.shape[1],
        active_units=None if activity is None else int(np.sum(activity > ACTIVE)),
        kl=float(level.kl.mean()),
        kl_in_closed_form=bool(level.closed.all()),
        kl_per_dimension=None if kl_per_dimension is None else kl_per_dimension.mean(axis=0).tolist(),
        num_components=None if memberships is None else len(memberships),
        effective_components=None if memberships is None else perplexity(memberships),
    )


def perplexity(p: Float[np.ndarray, " k"]) -> float:
    """Return exp(-sum p log p): the number of equally likely outcomes with the entropy of p."""
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def count_at_floor(model: VAE, params: PyTree) -> int | None:
    """Return the number of learned scales, of all pixels or of each, at their floor; None if no scale is learned."""
    if not isinstance(model.decoder, GaussianDecoder) or model.decoder.variance == "fixed":
        return None
    scale = bounded_scale(jnp.asarray(params["params"]["decoder"]["log_scale"]))
    return int(np.sum(np.asarray(scale) < 2 * np.exp(LOG_SCALE_FLOOR)))
