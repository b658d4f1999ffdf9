"""The importance-weighted bound of a whole data set, with any number of draws per datum in constant memory."""

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
"""The number of draws that share a key, and the number of blocks that the error is estimated from."""
REPLICATES = 2
"""The number of replicates if the model's input is noisy; each has its own noise and draws."""
MOST_DRAWS = 10**9
SECONDS_AT_A_TIME = 1.0
"""Roughly how long the importance weights are summed between two reports of progress."""


ROUNDS_OF_SUMS = 1000
"""The groups of draws after which float32 sums begin anew, so that no draw is too small beside the sum to count."""


class Sums(NamedTuple):
    """The log sums of every datum's importance weights, relative to a weight of about their size.

    The first row sums all weights, the second their squares, and each other row a block of draws: those with the same
    place in their groups.
    """

    reference: Float[Array, "b *r"]
    """The log of the sum of the first group's weights, in nats, which all are divided by."""
    earlier: Float[Array, "s b *r"]
    """The sums up to the last multiple of `ROUNDS_OF_SUMS` groups; s is 2 and the size of a group."""
    recent: Float[Array, "s b *r"]
    """The sums since the last multiple of `ROUNDS_OF_SUMS` groups."""

    def total(self) -> Float[np.ndarray, "s b *r"]:
        """Return the log sums of the weights themselves, in float64."""
        reference, earlier, recent = (np.asarray(part, np.float64) for part in self)
        powers = np.ones((len(recent), *[1] * reference.ndim))
        powers[1] = 2  # the squares
        return np.logaddexp(earlier, recent) + powers * reference


def no_sums(group: int, *shape: int) -> Sums:
    """Return the sums before the first draw, for data and runs of a shape, and groups of draws of a size."""
    empty = jnp.full((2 + group, *shape), -jnp.inf)
    return Sums(jnp.zeros(shape), empty, empty)


class Weighed(NamedTuple):
    """The results of K importance-weighted draws for each of b data; variance and rise are NaN for a single draw."""

    bound: Float[np.ndarray, "b *r"]
    """The log of the mean of the K weights, in nats."""
    variance: Float[np.ndarray, "b *r"]
    """The variance of `bound` over other draws, in nats^2."""
    rise: Float[np.ndarray, "b *r"]
    """`bound` minus the mean bound of two halves of the draws, in nats."""
    effective_sample_size: Float[np.ndarray, "b *r"]
    """(sum_k w_k)^2 / sum_k w_k^2, from 1 to K."""


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
    """Estimate the importance-weighted bound of each run over n data, with K = num_samples draws each, in nats.

    The sums of the weights are accumulated as logarithms over groups of draws, so that memory does not grow with K. If
    the model's input is noisy, the bound is the mean of two replicates with different noise and K draws each.

    Args:
        model: a module, compared by value, of one run or of several together.
        params: the model's parameters.
        key: decides the draws and the dequantisation noise, which are the same for every run.
        data: of any rank.
        transform: `(key, data) -> x`.
        num_samples: K, from 1 to 10^9.
        batch_size: the number of data at a time; the draws depend on it.
        draws_at_a_time: the number of draws of each datum that are decoded together.
        progress: called about every second with the number of data done; a batch in progress counts in part.

    Raises:
        ValueError: num_samples is below 1 or above 10^9, or there are no data.

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
        sums, start = no_sums(group, len(batch), *runs), 0
        while start < groups:
            stop, began = min(groups, start + length), time.perf_counter()
            sums = jax.block_until_ready(add(key, batch, first, sums, (start, stop), num_samples))
            length = max(1, round((stop - start) * SECONDS_AT_A_TIME / (time.perf_counter() - began)))
            start = stop
            progress(min(first + len(batch) * (number + start / groups) / replicates, len(data)))
        return weigh(sums.total(), num_samples)

    def program(key: Key[Array, ""], batch: UInt8[Array, "b ..."], first: int) -> Weighed:
        keys = [key] if replicates == 1 else jax.random.split(key, replicates)
        each = [replicate(one, batch, first, number) for number, one in enumerate(keys)]
        return jax.tree.map(lambda *values: np.stack(values, axis=-1), *each)

    found = over_batches(program, data, partial(numbered, key), batch_size)
    return [summed_up(each, num_samples) for each in run_by_run(found, replicates)]


def summed_up(found: Weighed, num_samples: int) -> ImportanceEvaluation:
    """Return one run's evaluation over all data, from every datum's replicates [n, replicates]."""
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
    sums: Sums,
    rounds: tuple[Int[Array, ""] | int, Int[Array, ""] | int],
    num_samples: Int[Array, ""] | int,
    transform: Transform,
    group: int,
    at_a_time: int,
) -> Sums:
    """Add more groups of draws to the log sums of importance weights of every datum of a batch, and return them.

    Args:
        model: a static argument, compared by value.
        params: the model's parameters.
        key: the batch's key.
        data: the batch.
        first: the index of its first datum.
        sums: the sums so far.
        rounds: start and stop of the groups of draws to add.
        num_samples: K; the draws of the last group beyond it do not count.
        transform: `(key, data) -> x`.
        group: the number of draws that share a key.
        at_a_time: the number of them that are computed together.
    """
    transform_key, draw_key = jax.random.split(key)
    x = observe(transform, transform_key, data, first)

    def add(i: Int[Array, ""], sums: Sums) -> Sums:
        d = draw(lambda k, x: model.apply(params, k, x), jax.random.fold_in(draw_key, i), x, group, at_a_time)
        w = log_weights(d)
        counts = (i * group + jnp.arange(group) < num_samples).reshape(-1, *[1] * (w.ndim - 1))
        w = jnp.where(counts, w, -jnp.inf)
        first = jax.nn.logsumexp(w, axis=0).astype(jnp.float32)
        reference = jnp.where((i == 0) & jnp.isfinite(first), first, sums.reference)
        w = (w - reference).astype(jnp.float32)
        new = jnp.stack([jax.nn.logsumexp(w, axis=0), jax.nn.logsumexp(2 * w, axis=0)])
        recent = jnp.logaddexp(sums.recent, jnp.concatenate([new, w]))
        whole = (i + 1) % ROUNDS_OF_SUMS == 0
        earlier = jnp.where(whole, jnp.logaddexp(sums.earlier, recent), sums.earlier)
        return Sums(reference, earlier, jnp.where(whole, -jnp.inf, recent))

    return jax.lax.fori_loop(*rounds, add, sums)


def weigh(sums: Float[np.ndarray, "s b *r"], num_samples: int) -> Weighed:
    """Return the results for every datum from the `importance_sums` of K = num_samples draws.

    The variance is the jackknife's over blocks of draws. In expectation it is not too small, whatever the weights'
    distribution (Efron & Stein 1981); if one weight dominates, its square root is 10 % to 33 % too large.
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
