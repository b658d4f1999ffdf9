"""Bounds of a whole data set: per-datum values first, their mean and its errors after."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jvae.bounds import draw, elbo_terms, log_weights
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


class ImportanceEvaluation(NamedTuple):
    """The importance-weighted bound of a data set, and how many of its K draws count."""

    iwae: Estimate
    """Its Monte Carlo error is the delta method's, sqrt(1/ESS - 1/K) an image: too small where the ESS is near 1."""
    median_effective_sample_size: float
    least_effective_sample_size: float
    num_images: int
    num_samples: int


class Spread(NamedTuple):
    """Of a value over independent runs, in its own unit."""

    mean: float
    standard_deviation: float
    """N - 1; NaN for one run."""
    standard_error: float
    """Of the mean."""


def spread(values: list[float]) -> Spread:
    """Return mean, standard deviation and standard error over runs."""
    n = len(values)
    deviation = float(np.std(values, ddof=1)) if n > 1 else float("nan")
    return Spread(float(np.mean(values)), deviation, deviation / n**0.5)


class PerImage(NamedTuple):
    """The mean over the K draws, and the draws' variance (n-1), for every image."""

    mean: Float[Array | np.ndarray, " b"]
    variance: Float[Array | np.ndarray, " b"]


def evaluate(
    log_densities: LogDensitiesFn,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[np.ndarray, "n h w c"],
    transform: Transform,
    num_samples: int = 10,
    batch_size: int = 500,
) -> Evaluation:
    """Estimate the ELBO over all n images with K = num_samples draws each; every image counts once.

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
    """Return the ELBO, the reconstruction and the KL of every image of a batch."""
    transform_key, draw_key = jax.random.split(key)
    x = transform(transform_key, images)
    d = draw(lambda k, x: log_densities(params, k, x), draw_key, x, num_samples, DRAWS_AT_A_TIME)
    each = [PerImage(jnp.mean(v, axis=0), jnp.var(v, axis=0, ddof=1)) for v in (elbo_terms(d), d.log_px_z, d.kl)]
    return each[0], each[1], each[2]


def evaluate_iwae(
    log_densities: LogDensitiesFn,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[np.ndarray, "n h w c"],
    transform: Transform,
    num_samples: int,
    batch_size: int = 100,
    draws_at_a_time: int = 100,
    progress: Callable[[int], None] = lambda count: None,
) -> ImportanceEvaluation:
    """Estimate the importance-weighted bound with K = num_samples draws for each of n images, in nats per image.

    The weights' sums are kept as running logarithms over groups of draws, so that memory does not grow with K.

    Args:
        log_densities: `(params, key, x) -> LogDensities`, such as a model's `apply`.
        params: the model's parameters.
        key: decides the draws.
        images: the data set.
        transform: `(key, images) -> x`.
        num_samples: K, at least 1.
        batch_size: images at a time.
        draws_at_a_time: draws at a time: batch_size * draws_at_a_time latents are decoded together.
        progress: called with the number of images that are done, after each batch.

    Raises:
        ValueError: num_samples is below 1.

    Source:
        Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders, eq. 8; ESS: Kong 1992.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}: must be at least 1")
    batch_size, draws_at_a_time = min(batch_size, len(images)), min(draws_at_a_time, num_samples)
    rows = []
    for i, start in enumerate(range(0, len(images), batch_size)):
        batch = images[start : start + batch_size]
        padded = jnp.asarray(np.pad(batch, [(0, batch_size - len(batch)), *[(0, 0)] * 3]))
        rows.append(
            jax.device_get(
                importance_sums(
                    log_densities, params, jax.random.fold_in(key, i), padded, transform, num_samples, draws_at_a_time
                )
            )
        )
        progress(start + len(batch))
    log_sum, log_sum_of_squares = np.concatenate(rows, axis=1).astype(np.float64)[:, : len(images)]
    effective = np.exp(2 * log_sum - log_sum_of_squares)
    variance = 1 / effective - 1 / num_samples if num_samples > 1 else np.full(len(images), np.nan)
    return ImportanceEvaluation(
        estimate(PerImage(log_sum - np.log(num_samples), variance), 1),
        float(np.median(effective)),
        float(np.min(effective)),
        len(images),
        num_samples,
    )


@partial(jax.jit, static_argnames=("log_densities", "transform", "num_samples", "draws_at_a_time"))
def importance_sums(
    log_densities: LogDensitiesFn,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[Array, "b h w c"],
    transform: Transform,
    num_samples: int,
    draws_at_a_time: int,
) -> Float[Array, "2 b"]:
    """Return log sums of the K importance weights, and of their squares, for every image of a batch."""
    transform_key, draw_key = jax.random.split(key)
    x = transform(transform_key, images)
    rounds = -(-num_samples // draws_at_a_time)

    def add(sums: Float[Array, "2 b"], i: Int[Array, ""]) -> tuple[Float[Array, "2 b"], None]:
        d = draw(lambda k, x: log_densities(params, k, x), jax.random.fold_in(draw_key, i), x, draws_at_a_time)
        counts = (
            i * draws_at_a_time + jnp.arange(draws_at_a_time) < num_samples
        )  # the last group may be longer than what is left
        w = jnp.where(counts[:, None], log_weights(d), -jnp.inf)
        new = jnp.stack([jax.nn.logsumexp(w, axis=0), jax.nn.logsumexp(2 * w, axis=0)])
        return jnp.logaddexp(sums, new), None

    start = jnp.full((2, len(images)), -jnp.inf)
    return jax.lax.scan(add, start, jnp.arange(rounds))[0]


def estimate(each: PerImage, num_samples: int) -> Estimate:
    """Return the mean over images with its two errors."""
    n = len(each.mean)
    standard_error = float(np.std(each.mean, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    monte_carlo_error = float(np.sqrt(np.sum(each.variance) / num_samples) / n)
    return Estimate(float(np.mean(each.mean)), standard_error, monte_carlo_error)
