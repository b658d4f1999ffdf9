"""The importance-weighted bound of a whole data set, by any number of draws a datum in a fixed amount of memory."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jvae.bounds import draw, log_weights
from jvae.evaluation import ImportanceEvaluation, PerDatum, Runs, estimate, numbered, over_batches, run_by_run
from jvae.transforms import Transform, is_noisy, observe
from jvae.vae import VAE

GROUP_OF_DRAWS = 100
"""How many draws share a key, and how many blocks of draws the error is told from."""
REPLICATES = 2
"""Where what the model sees is noisy: each has its own noise and draws."""
MOST_DRAWS = 10**9
SECONDS_AT_A_TIME = 1.0
"""How long the importance weights are summed, about, between two reports of progress."""


class Weighed(NamedTuple):
    """What the importance weights of K draws say of each of b data; variance and rise are NaN for a single draw."""

    bound: Float[np.ndarray, "b *r"]
    variance: Float[np.ndarray, "b *r"]
    rise: Float[np.ndarray, "b *r"]
    effective_sample_size: Float[np.ndarray, "b *r"]


def evaluate_iwae(
    model: VAE | Runs,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    num_samples: int,
    batch_size: int = 100,
    draws_at_a_time: int = GROUP_OF_DRAWS,
    progress: Callable[[float], None] = lambda count: None,
) -> list[ImportanceEvaluation]:
    """Estimate the importance-weighted bound of each run with K = num_samples draws for each of n data, in nats.

    The weights' sums are kept as running logarithms over groups of draws, so that memory does not grow with K. Where
    there is noise in what the model sees, the bound is the mean of two with other noise, of K draws each.

    Args:
        model: a module, compared by value: one run, or several together.
        params: the model's parameters.
        key: decides the draws, and dequantisation's noise, the same for every run.
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
    runs = jax.tree.leaves(params)[0].shape[:1] if isinstance(model, Runs) else ()

    def replicate(key: Key[Array, ""], batch: UInt8[Array, "b ..."], first: int, number: int) -> Weighed:
        nonlocal length
        sums, start = jnp.full((2 + group, len(batch), *runs), -jnp.inf), 0
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
        return jax.tree.map(lambda *values: np.stack(values, axis=-1), *each)

    found = over_batches(program, data, partial(numbered, key), batch_size)
    return [summed_up(each, num_samples) for each in run_by_run(found, replicates)]


def summed_up(found: Weighed, num_samples: int) -> ImportanceEvaluation:
    """Return what the importance weights of one run say of all data, from every datum's replicates [n, replicates]."""
    n, replicates = found.bound.shape
    variance = found.variance[:, 0] if replicates == 1 else np.var(found.bound, axis=1, ddof=1)
    return ImportanceEvaluation(
        estimate(PerDatum(found.bound.mean(axis=1), variance), replicates),
        float(np.median(found.effective_sample_size)),
        float(np.min(found.effective_sample_size)),
        n,
        num_samples,
        float(np.mean(found.rise)),
    )


@partial(jax.jit, static_argnames=("model", "transform", "group", "at_a_time"))
def importance_sums(
    model: VAE | Runs,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    first: Int[Array, ""] | int,
    sums: Float[Array, "s b *r"],
    rounds: tuple[Int[Array, ""] | int, Int[Array, ""] | int],
    num_samples: Int[Array, ""] | int,
    transform: Transform,
    group: int,
    at_a_time: int,
) -> Float[Array, "s b *r"]:
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

    def add(i: Int[Array, ""], sums: Float[Array, "s b *r"]) -> Float[Array, "s b *r"]:
        d = draw(lambda k, x: model.apply(params, k, x), jax.random.fold_in(draw_key, i), x, group, at_a_time)
        w = log_weights(d)
        counts = (i * group + jnp.arange(group) < num_samples).reshape(-1, *[1] * (w.ndim - 1))
        w = jnp.where(counts, w, -jnp.inf)
        new = jnp.stack([jax.nn.logsumexp(w, axis=0), jax.nn.logsumexp(2 * w, axis=0)])
        return jnp.logaddexp(sums, jnp.concatenate([new, w]))

    return jax.lax.fori_loop(*rounds, add, sums)


def weigh(sums: Float[np.ndarray, "s b *r"], num_samples: int) -> Weighed:
    """Return what the `importance_sums` of K = num_samples draws say of every datum.

    The variance is the jackknife's over blocks of draws. It is not too small in expectation, whatever the weights'
    distribution (Efron & Stein 1981); where one weight outweighs all others, its root is a tenth to a third too large.
    """
    (total, squares), blocks = sums[:2], sums[2:]
    bound, effective = total - np.log(num_samples), np.exp(2 * total - squares)
    if num_samples == 1:
        return Weighed(bound, bound * np.nan, bound * np.nan, effective)
    sizes = num_samples // len(blocks) + (np.arange(len(blocks)) < num_samples % len(blocks))
    sizes = sizes.reshape(-1, *[1] * (blocks.ndim - 1))
    w = np.maximum(np.exp(blocks - blocks.max(axis=0)), np.finfo(np.float64).tiny)
    others, top = w.sum(axis=0) - w, w == 1  # a difference loses all digits where one block outweighs the others
    others = np.where(top, np.sum(w, axis=0, where=~top) + (np.sum(top, axis=0) - 1), others)
    without = np.log(others / (num_samples - sizes))
    variance = np.sum((1 - sizes / num_samples) * np.square(without - without.mean(axis=0)), axis=0)
    halves = [np.log(w[i::2].sum(axis=0) / sizes[i::2].sum()) for i in (0, 1)]
    return Weighed(bound, variance, np.log(w.sum(axis=0) / num_samples) - np.mean(halves, axis=0), effective)
