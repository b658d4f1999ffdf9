"""What a trained model does with its latent space and its output scale, measured over a data set."""

from functools import partial
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, UInt8

from jvae.decoders import LOG_SCALE_FLOOR, GaussianDecoder, bounded_scale
from jvae.evaluation import over_batches
from jvae.priors import responsibilities
from jvae.transforms import Transform
from jvae.vae import VAE, Level

ACTIVE = 0.01


class LevelDiagnostics(NamedTuple):
    """Of one level of latents; None where the level has no such thing."""

    num_units: int
    """Latent dimensions."""
    active_units: int | None
    """Those whose posterior mean has a variance above 0.01 over the data (Burda et al. 2016, section 5); one datum has
    none."""
    kl: float
    """Nats per image: the mean of log q - log p of this level's draw. Near 0, the level has collapsed."""
    kl_per_dimension: list[float] | None
    """Nats per image, closed form. Only where posterior and prior have independent dimensions."""
    num_components: int | None
    """K of a mixture."""
    effective_components: float | None
    """exp of the entropy of the mixture components' mean responsibilities for the aggregate posterior: 1 to K."""


class Diagnostics(NamedTuple):
    """Of a model."""

    levels: list[LevelDiagnostics]
    """The lowest, from which images are decoded, first."""
    pixels_at_floor: int | None
    """Pixels whose learned scale lies within a factor of 2 of its floor, exp(-6); None where none is learned."""


class LevelStatistics(NamedTuple):
    """Of one level, for each of b images."""

    loc: Float[Array, "b m"]
    """Of the posterior."""
    kl: Float[Array, " b"]
    kl_per_dimension: Float[Array, "b m"] | None
    responsibilities: Float[Array, "b k"] | None


def diagnose(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    batch_size: int = 1000,
) -> Diagnostics:
    """Return the diagnostics over all n data, with one draw z ~ q(z|x) each; for any prior and posterior."""
    program = partial(statistics, model, params, transform=transform)
    found = over_batches(program, data, partial(jax.random.split, key), batch_size)
    levels = jax.tree.map(lambda values: values.astype(np.float64), found)
    return Diagnostics([summary(level) for level in levels], count_at_floor(model, params))


@partial(jax.jit, static_argnames=("model", "transform"))
def statistics(
    model: VAE, params: PyTree, key: Key[Array, ""], data: UInt8[Array, "b ..."], transform: Transform
) -> list[LevelStatistics]:
    """Return every level's statistics of a batch."""
    transform_key, z_key = jax.random.split(key)
    x = transform(transform_key, data)
    return model.apply(params, method=lambda vae: [level_statistics(level) for level in vae.infer(z_key, x)])


def level_statistics(level: Level) -> LevelStatistics:
    """Return one level's statistics."""
    q, p, z = level
    mixture = isinstance(p, distrax.MixtureSameFamily)
    return LevelStatistics(
        loc=q.mean(),
        kl=q.log_prob(z) - p.log_prob(z),
        kl_per_dimension=kl_by_dimension(q, p),
        responsibilities=responsibilities(p, z) if mixture else None,
    )


def kl_by_dimension(q: distrax.DistributionLike, p: distrax.DistributionLike) -> Float[Array, "b m"] | None:
    """Return KL(q || p) of every latent dimension, where dimensions are independent and there is a closed form."""
    if not isinstance(q, distrax.Independent) or not isinstance(p, distrax.Independent):
        return None
    try:
        return q.distribution.kl_divergence(p.distribution)
    except NotImplementedError:
        return None


def summary(level: LevelStatistics) -> LevelDiagnostics:
    """Return a level's statistics over all images, summed up."""
    kl_per_dimension = level.kl_per_dimension
    memberships = None if level.responsibilities is None else np.mean(level.responsibilities, axis=0)
    return LevelDiagnostics(
        num_units=level.loc.shape[1],
        active_units=int(np.sum(level.loc.var(axis=0, ddof=1) > ACTIVE)) if len(level.loc) > 1 else None,
        kl=float(level.kl.mean()),
        kl_per_dimension=None if kl_per_dimension is None else kl_per_dimension.mean(axis=0).tolist(),
        num_components=None if memberships is None else len(memberships),
        effective_components=None if memberships is None else perplexity(memberships),
    )


def perplexity(p: Float[np.ndarray, " k"]) -> float:
    """Return exp(-sum p log p): the number of equally likely outcomes with the entropy of p."""
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def count_at_floor(model: VAE, params: PyTree) -> int | None:
    """Return how many pixels' learned scales stand at their floor; None where no scale is learned."""
    if not isinstance(model.decoder, GaussianDecoder) or model.decoder.variance == "fixed":
        return None
    scale = bounded_scale(jnp.asarray(params["params"]["decoder"]["log_scale"]))
    return int(np.sum(np.asarray(scale) < 2 * np.exp(LOG_SCALE_FLOOR)))
