"""Bounds of a whole data set: a value per datum first, then their mean and its errors."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from jvae.bounds import LogDensities, draw, elbo_terms, log_weights
from jvae.transforms import Transform, is_noisy, observe
from jvae.vae import VAE

DRAWS_AT_A_TIME = 10
GROUP_OF_DRAWS = 100
"""How many draws of the importance-weighted bound share a key, and how many blocks of draws its error is told from."""
REPLICATES = 2
"""Of the importance-weighted bound where what the model sees is noisy: each has its own noise and draws."""
MOST_DRAWS = 10**9
SECONDS_AT_A_TIME = 1.0
"""How long the importance weights are summed, about, between two reports of progress."""


class Estimate(NamedTuple):
    """A mean over images, in nats per image."""

    value: float
    standard_error: float
    """Of the mean over images, draws and noise included: what another test set of the same size would change."""
    monte_carlo_error: float
    """Of the draws and of dequantisation's noise: what another key would change. NaN for a single draw."""


class ImportanceEvaluation(NamedTuple):
    """The importance-weighted bound of a data set, and how many of its K draws count."""

    iwae: Estimate
    """Its Monte Carlo error is the jackknife's over blocks of draws, also honest where few draws count; where what the
    model sees is noisy, that of two replicates."""
    median_effective_sample_size: float
    least_effective_sample_size: float
    num_images: int
    num_samples: int
    rise: float
    """By how much the bound of K draws exceeds that of K/2, in nats: log p(x) is about as far again above it, or
    farther where few draws count. NaN for a single draw."""


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


class Weighed(NamedTuple):
    """What the importance weights of K draws say of each of b data; variance and rise are NaN for a single draw."""

    bound: Float[np.ndarray, " b"]
    variance: Float[np.ndarray, " b"]
    rise: Float[np.ndarray, " b"]
    effective_sample_size: Float[np.ndarray, " b"]


def over_batches(
    program: Callable[[Key[Array, ""], Shaped[Array, "b ..."], int], PyTree],
    data: Shaped[np.ndarray, "n ..."],
    keys: Callable[[int], Key[Array, " batches"]],
    batch_size: int,
    progress: Callable[[float], None] = lambda count: None,
) -> PyTree[np.ndarray]:
    """Apply a compiled program of a batch to all n data, and join what it gives for each datum, as NumPy arrays.

    Batches have one size, so that the program is compiled once: the last one is padded, and its padding cut off again.

    Args:
        program: `(key, batch[b, ...], first) -> arrays [b, ...]`; `first` is the number of the batch's first datum.
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
        rows.append(jax.device_get(program(key, jnp.asarray(padded), start)))
        progress(start + len(batch))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(data)], *rows)


@partial(jax.jit, static_argnums=1)
def numbered(key: Key[Array, ""], count: int) -> Key[Array, " batches"]:
    """Return the keys of so many batches that a bound is evaluated with: `fold_in(key, i)` for batch i."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))


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

    Dequantisation's noise is new for every draw; stochastic binarisation is drawn once, for it is part of the data.
    Compiled once for a model, a transform and a shape.

    Args:
        model: a module, compared by value.
        params: the model's parameters.
        key: decides the draws, and dequantisation's noise.
        data: of any rank.
        transform: `(key, data) -> x`.
        num_samples: K, at least 1.
        batch_size: data at a time; it decides which draws are made.
        draws_at_a_time: how many are computed together.
    """
    sizes = {"num_samples": num_samples, "draws_at_a_time": draws_at_a_time}
    program = partial(per_datum, model, params, transform=transform, **sizes)
    found = over_batches(program, data, partial(numbered, key), batch_size)
    joined = jax.tree.map(lambda values: values.astype(np.float64), found)
    elbo, reconstruction, kl = (estimate(part, num_samples) for part in joined)
    return Evaluation(elbo, reconstruction, kl, len(data), num_samples)


@partial(jax.jit, static_argnames=("model", "transform", "num_samples", "draws_at_a_time"))
def per_datum(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    first: Int[Array, ""] | int,
    transform: Transform,
    num_samples: int,
    draws_at_a_time: int,
) -> tuple[PerDatum, PerDatum, PerDatum]:
    """Return the ELBO, the reconstruction and the KL of every datum of a batch, whose numbers begin at `first`."""

    def log_densities(keys: tuple[Key[Array, ""], Key[Array, ""]], data: UInt8[Array, "b ..."]) -> LogDensities:
        return model.apply(params, keys[1], observe(transform, keys[0], data, first))

    d = draw(log_densities, tuple(jax.random.split(key)), data, num_samples, draws_at_a_time)
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

    The weights' sums are kept as running logarithms over groups of draws, so that memory does not grow with K. Where
    there is noise in what the model sees, the bound is the mean of two with other noise, of K draws each.

    Args:
        model: a module, compared by value.
        params: the model's parameters.
        key: decides the draws, and dequantisation's noise.
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
    group, replicates = min(GROUP_OF_DRAWS, num_samples), REPLICATES if is_noisy(transform, data.shape[1:]) else 1
    groups, length = -(-num_samples // group), 1
    add = partial(importance_sums, model, params, transform=transform, group=group, at_a_time=draws_at_a_time)

    def replicate(key: Key[Array, ""], batch: UInt8[Array, "b ..."], first: int, number: int) -> Weighed:
        nonlocal length
        sums, start = jnp.full((2 + group, len(batch)), -jnp.inf), 0
        while start < groups:
            stop, began = min(groups, start + length), time.perf_counter()
            sums = jax.block_until_ready(add(key, batch, first, sums, (start, stop), num_samples))
            length = max(1, round((stop - start) * SECONDS_AT_A_TIME / (time.perf_counter() - began)))
            start = stop
            progress(min(first + len(batch) * (number + start / groups) / replicates, len(data)))
        return weigh(np.asarray(sums, np.float64), num_samples)

    def program(key: Key[Array, ""], batch: UInt8[Array, "b ..."], first: int) -> Weighed:
        keys = [key] if replicates == 1 else jax.random.split(key, replicates)
        each = [replicate(one, batch, first, number) for number, one in enumerate(keys)]
        return jax.tree.map(lambda *values: np.stack(values, axis=1), *each)

    found = over_batches(program, data, partial(numbered, key), batch_size)  # of shape [n, replicates]
    variance = found.variance[:, 0] if replicates == 1 else np.var(found.bound, axis=1, ddof=1)
    return ImportanceEvaluation(
        estimate(PerDatum(found.bound.mean(axis=1), variance), replicates),
        float(np.median(found.effective_sample_size)),
        float(np.min(found.effective_sample_size)),
        len(data),
        num_samples,
        float(np.mean(found.rise)),
    )


@partial(jax.jit, static_argnames=("model", "transform", "group", "at_a_time"))
def importance_sums(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    first: Int[Array, ""] | int,
    sums: Float[Array, "s b"],
    rounds: tuple[Int[Array, ""] | int, Int[Array, ""] | int],
    num_samples: Int[Array, ""] | int,
    transform: Transform,
    group: int,
    at_a_time: int,
) -> Float[Array, "s b"]:
    """Return log sums of the importance weights of every datum of a batch, after more rounds of draws.

    The first row is that of all weights, the second of their squares, and each other that of a block of draws: those
    that stand at one place in their groups.

    Args:
        model: compared by value, as all that is static.
        params: the model's parameters.
        key: of the batch.
        data: the batch.
        first: the number of its first datum.
        sums: what they were before.
        rounds: the first group of draws to add, and the first that is not.
        num_samples: K; the draws of the last group beyond it do not count.
        transform: `(key, data) -> x`.
        group: draws that share a key.
        at_a_time: how many of them are computed together.
    """
    transform_key, draw_key = jax.random.split(key)
    x = observe(transform, transform_key, data, first)

    def add(i: Int[Array, ""], sums: Float[Array, "s b"]) -> Float[Array, "s b"]:
        d = draw(lambda k, x: model.apply(params, k, x), jax.random.fold_in(draw_key, i), x, group, at_a_time)
        counts = i * group + jnp.arange(group) < num_samples
        w = jnp.where(counts[:, None], log_weights(d), -jnp.inf)
        new = jnp.stack([jax.nn.logsumexp(w, axis=0), jax.nn.logsumexp(2 * w, axis=0)])
        return jnp.logaddexp(sums, jnp.concatenate([new, w]))

    return jax.lax.fori_loop(*rounds, add, sums)


def weigh(sums: Float[np.ndarray, "s b"], num_samples: int) -> Weighed:
    """Return what the `importance_sums` of K = num_samples draws say of every datum.

    The variance is the jackknife's over blocks of draws. It is not too small in expectation, whatever the weights'
    distribution (Efron & Stein 1981); where one weight outweighs all others, its root is a tenth to a third too large.
    """
    (total, squares), blocks = sums[:2], sums[2:]
    bound, effective = total - np.log(num_samples), np.exp(2 * total - squares)
    if num_samples == 1:
        return Weighed(bound, bound * np.nan, bound * np.nan, effective)
    sizes = (num_samples // len(blocks) + (np.arange(len(blocks)) < num_samples % len(blocks)))[:, None]
    w = np.maximum(np.exp(blocks - blocks.max(axis=0)), np.finfo(np.float64).tiny)
    others, top = w.sum(axis=0) - w, w == 1  # a difference loses all digits where one block outweighs the others
    others = np.where(top, np.sum(w, axis=0, where=~top) + (np.sum(top, axis=0) - 1), others)
    without = np.log(others / (num_samples - sizes))
    variance = np.sum((1 - sizes / num_samples) * np.square(without - without.mean(axis=0)), axis=0)
    halves = [np.log(w[i::2].sum(axis=0) / sizes[i::2].sum()) for i in (0, 1)]
    return Weighed(bound, variance, np.log(w.sum(axis=0) / num_samples) - np.mean(halves, axis=0), effective)


def estimate(each: PerDatum, num_samples: int) -> Estimate:
    """Return the mean over images with its two errors."""
    n = len(each.mean)
    standard_error = float(np.std(each.mean, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    monte_carlo_error = float(np.sqrt(np.sum(each.variance) / num_samples) / n)
    return Estimate(float(np.mean(each.mean)), standard_error, monte_carlo_error)
