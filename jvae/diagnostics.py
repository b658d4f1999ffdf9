"""What a trained model does with its latent space and its output scale, measured over a data set."""

from functools import partial
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, UInt8

from jvae.decoders import LOG_SCALE_FLOOR, GaussianDecoder, bounded_scale
from jvae.priors import GaussianPrior, responsibilities
from jvae.training import Transform
from jvae.vae import VAE

ACTIVE = 0.01


class Diagnostics(NamedTuple):
    """Each is None where the model has no such thing."""

    active_units: int
    """Latent dimensions whose posterior mean has a variance above 0.01 over the data (Burda et al. 2016, section 5)."""
    kl_per_dimension: list[float] | None
    """Nats per image; they sum to the KL. Only a prior of independent dimensions, the Gaussian one, has them."""
    effective_components: float | None
    """exp of the entropy of the mixture components' mean responsibilities for the aggregate posterior: 1 to K."""
    pixels_at_floor: int | None
    """Pixels whose learned scale lies within a factor of 2 of its floor, exp(-6)."""


def diagnose(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[np.ndarray, "n h w c"],
    transform: Transform,
    batch_size: int = 1000,
) -> Diagnostics:
    """The diagnostics over all n images, with one draw z ~ q(z|x) each."""
    starts = range(0, len(images), batch_size)
    keys = jax.random.split(key, len(starts))
    parts = [
        latent_statistics(model, params, k, jnp.asarray(images[i : i + batch_size]), transform)
        for k, i in zip(keys, starts, strict=True)
    ]
    loc, kl, memberships = (np.concatenate([np.asarray(p[j], np.float64) for p in parts]) for j in range(3))
    shares = memberships.mean(axis=0)
    return Diagnostics(
        active_units=int(np.sum(loc.var(axis=0, ddof=1) > ACTIVE)),
        kl_per_dimension=kl.mean(axis=0).tolist() if isinstance(model.prior, GaussianPrior) else None,
        effective_components=perplexity(shares) if len(shares) > 1 else None,
        pixels_at_floor=count_at_floor(model, params),
    )


@partial(jax.jit, static_argnames=("model", "transform"))
def latent_statistics(
    model: VAE, params: PyTree, key: Key[Array, ""], images: UInt8[Array, "b h w c"], transform: Transform
) -> tuple[Float[Array, "b m"], Float[Array, "b m"], Float[Array, "b k"]]:
    """For each image q's mean, its KL from N(0, I) per dimension, and the components' responsibilities for a draw.

    A prior that is no mixture counts as one component.
    """
    transform_key, z_key = jax.random.split(key)

    def statistics(vae: VAE) -> tuple[Array, Array, Array]:
        q, p = vae.posterior(transform(transform_key, images)), vae.latent_prior()
        kl = distrax.Normal(q.mean(), q.stddev()).kl_divergence(distrax.Normal(0.0, 1.0))
        z = q.sample(seed=z_key)
        mixture = isinstance(p, distrax.MixtureSameFamily)
        return q.mean(), kl, responsibilities(p, z) if mixture else jnp.ones((len(z), 1))

    return model.apply(params, method=statistics)


def perplexity(p: Float[np.ndarray, " k"]) -> float:
    """exp(-sum p log p): the number of equally likely outcomes with the entropy of p."""
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def count_at_floor(model: VAE, params: PyTree) -> int | None:
    """How many pixels' learned scales stand at their floor; None where no scale is learned."""
    if not isinstance(model.decoder, GaussianDecoder) or model.decoder.variance == "fixed":
        return None
    scale = bounded_scale(jnp.asarray(params["params"]["decoder"]["log_scale"]))
    return int(np.sum(np.asarray(scale) < 2 * np.exp(LOG_SCALE_FLOOR)))
