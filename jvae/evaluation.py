"""Bounds of a whole data set: a value per datum first, then their mean and its errors."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from jvae.bounds import draw, elbo_terms, log_weights
from jvae.transforms import Transform
from jvae.vae import VAE

DRAWS_AT_A_TIME = 10
GROUP_OF_DRAWS = 100
"""How many draws of the importance-weighted bound share a key."""
MOST_DRAWS = 10**9
SECONDS_AT_A_TIME = 1.0
"""How long the importance weights are summed, about, between two reports of progress."""


class Estimate(NamedTuple):
    """A mean over images, in nats per image."""

    value: float
    standard_error: float
    """Of the mean over images: what another test set of the same size would change."""
    monte_carlo_error: float
    """Of the draws: what another key would change. NaN for a single draw."""


class ImportanceEvaluation(NamedTuple):
    """The importance-weighted bound of a data set, and how many of its K draws count."""

    iwae: Estimate
    """Its Monte Carlo error is the delta method's, sqrt(1/ESS - 1/K) an image: too small where the ESS is near 1."""
    median_effective_sample_size: float
    least_effective_sample_size: float
    num_images: int
    num_samples: int


class Evaluation(NamedTuple):
    """The ELBO of a data set, and its two parts: elbo = reconstruction - kl."""

    elbo: Estimate
    reconstruction: Estimate
    kl: Estimate
    num_images: int
    num_samples: int
    importance: ImportanceEvaluation | None = None
    """The importance-weighted bound of the same data, where it was asked for."""


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


class PerDatum(NamedTuple):
    """The mean over the K draws, and the draws' variance (n-1), for every datum."""

    mean: Float[Array | np.ndarray, " b"]
    variance: Float[Array | np.ndarray, " b"]


def over_batches(
    program: Callable[[Key[Array, ""], Shaped[Array, "b ..."]], PyTree],
    data: Shaped[np.ndarray, "n ..."],
    keys: Callable[[int], Key[Array, " batches"]],
    batch_size: int,
    progress: Callable[[float], None] = lambda count: None,
) -> PyTree[np.ndarray]:
    """Apply a compiled program of a batch to all n data, and join what it gives for each datum, as NumPy arrays.

    Batches have one size, so that the program is compiled once: the last one is padded, and its padding cut off again.

    Args:
        program: `(key, batch[b, ...]) -> arrays [b, ...]`.
        data: of any rank, in the host's memory or mapped from a file.
        keys: the number of batches -> their keys.
        batch_size: b, at most.
        progress: called with the number of data that are done, after each batch.

    Raises:
        ValueError: there are no data.
    """
    if not len(data):
        raise ValueError("data are none: there must be at least one")
    batch_size = min(batch_size, len(data))
    starts = range(0, len(data), batch_size)
    rows = []
    for key, start in zip(keys(len(starts)), starts, strict=True):
        batch = data[start : start + batch_size]
        padded = np.pad(batch, [(0, batch_size - len(batch)), *[(0, 0)] * (batch.ndim - 1)])
        rows.append(jax.device_get(program(key, jnp.asarray(padded))))
        progress(start + len(batch))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(data)], *rows)


def numbered(key: Key[Array, ""]) -> Callable[[int], Key[Array, " batches"]]:
    """Return the keys of batches that a bound is evaluated with: `fold_in(key, i)` for batch i."""
    return lambda count: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))


def evaluate(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    num_samples: int = 10,
    batch_size: int = 500,
    draws_at_a_time: int = DRAWS_AT_A_TIME,
) -> Evaluation:
    """Estimate the ELBO over all n data with K = num_samples draws each; every datum counts once.

    Compiled once for a model, a transform and a shape, whatever the parameters.

    Args:
        model: a module, compared by value.
        params: the model's parameters.
        key: decides the draws.
        data: of any rank.
        transform: `(key, data) -> x`.
        num_samples: K, at least 1.
        batch_size: data at a time; it decides which draws are made.
        draws_at_a_time: how many are computed together.
    """
    sizes = {"num_samples": num_samples, "draws_at_a_time": draws_at_a_time}
    program = partial(per_datum, model, params, transform=transform, **sizes)
    found = over_batches(program, data, numbered(key), batch_size)
    joined = jax.tree.map(lambda values: values.astype(np.float64), found)
    elbo, reconstruction, kl = (estimate(part, num_samples) for part in joined)
    return Evaluation(elbo, reconstruction, kl, len(data), num_samples)


@partial(jax.jit, static_argnames=("model", "transform", "num_samples", "draws_at_a_time"))
def per_datum(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    transform: Transform,
    num_samples: int,
    draws_at_a_time: int,
) -> tuple[PerDatum, PerDatum, PerDatum]:
    """Return the ELBO, the reconstruction and the KL of every datum of a batch."""
    transform_key, draw_key = jax.random.split(key)
    x = transform(transform_key, data)
    d = draw(lambda k, x: model.apply(params, k, x), draw_key, x, num_samples, draws_at_a_time)
    each = [PerDatum(jnp.mean(v, axis=0), jnp.var(v, axis=0, ddof=1)) for v in (elbo_terms(d), d.log_px_z, d.kl)]
    return each[0], each[1], each[2]


def evaluate_iwae(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    num_samples: int,
    batch_size: int = 100,
    draws_at_a_time: int = GROUP_OF_DRAWS,
    progress: Callable[[float], None] = lambda count: None,
) -> ImportanceEvaluation:
    """Estimate the importance-weighted bound with K = num_samples draws for each of n data, in nats per datum.

    The weights' sums are kept as running logarithms over groups of draws, so that memory does not grow with K.

    Args:
        model: a module, compared by value.
        params: the model's parameters.
        key: decides the draws.
        data: of any rank.
        transform: `(key, data) -> x`.
        num_samples: K, from 1 to 10^9.
        batch_size: data at a time; it decides which draws are made.
        draws_at_a_time: batch_size times as many latents are decoded together.
        progress: called about every second with the number of data that are done, those of a batch as by its draws.

    Raises:
        ValueError: num_samples is below 1 or above 10^9.

    Source:
        Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders, eq. 8; ESS: Kong 1992.
    """
    if not 1 <= num_samples <= MOST_DRAWS:
        raise ValueError(f"num_samples is {num_samples}: must be at least 1, and at most 10^9")
    group = min(GROUP_OF_DRAWS, num_samples)
    groups, length, done = -(-num_samples // group), 1, 0.0
    add = partial(importance_sums, model, params, transform=transform, group=group, at_a_time=draws_at_a_time)

    def program(batch_key: Key[Array, ""], batch: UInt8[Array, "b ..."]) -> Float[Array, "b 2"]:
        nonlocal length
        sums, start = jnp.full((2, len(batch)), -jnp.inf), 0
        while start < groups:
            stop, began = min(groups, start + length), time.perf_counter()
            sums = jax.block_until_ready(
                add(batch_key, batch, sums=sums, rounds=(start, stop), num_samples=num_samples)
            )
            length = max(1, round((stop - start) * SECONDS_AT_A_TIME / (time.perf_counter() - began)))
            start = stop
            progress(min(done + len(batch) * start / groups, len(data)))
        return sums.T

    def finish(count: float) -> None:
        nonlocal done
        done = count

    sums = over_batches(program, data, numbered(key), batch_size, finish).astype(np.float64)
    log_sum, log_sum_of_squares = sums.T
    effective = np.exp(2 * log_sum - log_sum_of_squares)
    variance = 1 / effective - 1 / num_samples if num_samples > 1 else np.full(len(data), np.nan)
    return ImportanceEvaluation(
        estimate(PerDatum(log_sum - np.log(num_samples), variance), 1),
        float(np.median(effective)),
        float(np.min(effective)),
        len(data),
        num_samples,
    )


@partial(jax.jit, static_argnames=("model", "transform", "group", "at_a_time"))
def importance_sums(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    transform: Transform,
    sums: Float[Array, "2 b"],
    rounds: tuple[Int[Array, ""] | int, Int[Array, ""] | int],
    num_samples: Int[Array, ""] | int,
    group: int,
    at_a_time: int,
) -> Float[Array, "2 b"]:
    """Return log sums of the importance weights, and of their squares, for every datum of a batch, after more rounds.

    Args:
        model: compared by value, as all that is static.
        params: the model's parameters.
        key: of the batch.
        data: the batch.
        transform: `(key, data) -> x`.
        sums: what they were before.
        rounds: the first group of draws to add, and the first that is not.
        num_samples: K; the draws of the last group beyond it do not count.
        group: draws that share a key.
        at_a_time: how many of them are computed together.
    """
    transform_key, draw_key = jax.random.split(key)
    x = transform(transform_key, data)

    def add(i: Int[Array, ""], sums: Float[Array, "2 b"]) -> Float[Array, "2 b"]:
        d = draw(lambda k, x: model.apply(params, k, x), jax.random.fold_in(draw_key, i), x, group, at_a_time)
        counts = i * group + jnp.arange(group) < num_samples
        w = jnp.where(counts[:, None], log_weights(d), -jnp.inf)
        new = jnp.stack([jax.nn.logsumexp(w, axis=0), jax.nn.logsumexp(2 * w, axis=0)])
        return jnp.logaddexp(sums, new)

    return jax.lax.fori_loop(*rounds, add, sums)


def estimate(each: PerDatum, num_samples: int) -> Estimate:
    """Return the mean over images with its two errors."""
    n = len(each.mean)
    standard_error = float(np.std(each.mean, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    monte_carlo_error = float(np.sqrt(np.sum(each.variance) / num_samples) / n)
    return Estimate(float(np.mean(each.mean)), standard_error, monte_carlo_error)
