"""Bounds of a whole data set: per-datum values first, their mean and its errors after."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, UInt8

from jvae.bounds import draw, elbo_terms
from jvae.training import LogDensitiesFn, Transform

DRAWS_AT_A_TIME = 10


class Estimate(NamedTuple):
    """A mean over images, in nats per image."""

    value: float
    standard_error: float
    """Of the mean over images: what another test set of the same size would change."""
    monte_carlo_error: float
    """Of the draws: what another key would change. NaN for a single draw."""


class Evaluation(NamedTuple):
    """The ELBO of a data set, and its two parts: elbo = reconstruction - kl."""

    elbo: Estimate
    reconstruction: Estimate
    kl: Estimate
    num_images: int
    num_samples: int


class PerImage(NamedTuple):
    """The mean over the K draws, and the draws' variance (n-1), for every image."""

    mean: Float[Array, " b"]
    variance: Float[Array, " b"]


def evaluate(
    log_densities: LogDensitiesFn,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[np.ndarray, "n h w c"],
    transform: Transform,
    num_samples: int = 10,
    batch_size: int = 500,
) -> Evaluation:
    """The ELBO over all n images with K = num_samples draws each; every image counts once.

    Args:
        log_densities: `(params, key, x) -> LogDensities`, such as a model's `apply`.
        params: the model's parameters.
        key: decides the draws.
        images: the data set; computed on in padded batches of constant size, so that memory stays bounded.
        transform: `(key, images) -> x`.
        num_samples: K, at least 1.
        batch_size: images at a time.
    """
    batch_size = min(batch_size, len(images))
    rows = []
    for i, start in enumerate(range(0, len(images), batch_size)):
        batch = images[start : start + batch_size]
        padding = [(0, batch_size - len(batch)), *[(0, 0)] * 3]
        padded = jnp.asarray(np.pad(batch, padding))
        result = per_image(log_densities, params, jax.random.fold_in(key, i), padded, transform, num_samples)
        rows.append(jax.device_get(result))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts).astype(np.float64)[: len(images)], *rows)
    elbo, reconstruction, kl = (estimate(part, num_samples) for part in joined)
    return Evaluation(elbo, reconstruction, kl, len(images), num_samples)


@partial(jax.jit, static_argnames=("log_densities", "transform", "num_samples"))
def per_image(
    log_densities: LogDensitiesFn,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[Array, "b h w c"],
    transform: Transform,
    num_samples: int,
) -> tuple[PerImage, PerImage, PerImage]:
    """The ELBO, the reconstruction and the KL of every image of a batch."""
    transform_key, draw_key = jax.random.split(key)
    x = transform(transform_key, images)
    d = draw(lambda k, x: log_densities(params, k, x), draw_key, x, num_samples, DRAWS_AT_A_TIME)
    each = [PerImage(jnp.mean(v, axis=0), jnp.var(v, axis=0, ddof=1)) for v in (elbo_terms(d), d.log_px_z, d.kl)]
    return each[0], each[1], each[2]


def estimate(each: PerImage, num_samples: int) -> Estimate:
    """The mean over images with its two errors."""
    n = len(each.mean)
    standard_error = float(np.std(each.mean, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    monte_carlo_error = float(np.sqrt(np.sum(each.variance) / num_samples) / n)
    return Estimate(float(np.mean(each.mean)), standard_error, monte_carlo_error)
