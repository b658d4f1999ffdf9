"""Bounds of a whole data set: first a value per datum, then their mean and its errors."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from jvae.bounds import LogDensities, draw, elbo_terms
from jvae.transforms import Transform, observe
from jvae.vae import VAE

DRAWS_AT_A_TIME = 10
"""The number of draws of a datum that are computed together."""


class Estimate(NamedTuple):
    """A mean over images, in nats per image."""

    value: float
    """The mean."""
    standard_error: float
    """Of the mean over images, draws and noise included: how much another test set of this size would change it. NaN
    for a single image."""
    monte_carlo_error: float
    """Of the draws and the dequantisation noise: how much another key would change it. NaN for a single draw."""


class ImportanceEvaluation(NamedTuple):
    """The importance-weighted bound of a data set, and the effective sample size of its K draws."""

    iwae: Estimate
    """The bound. Its Monte Carlo error is the jackknife's over blocks of draws, which holds even if few draws carry the
    weight; where the model's input is noisy, it is that of two replicates."""
    median_effective_sample_size: float
    """The median over images of (sum_k w_k)^2 / sum_k w_k^2, from 1 to K, for the importance weights w_k."""
    least_effective_sample_size: float
    """The least over images."""
    num_images: int
    """The number of images in the data set."""
    num_samples: int
    """K, the draws z ~ q(z|x) per image."""
    rise: float
    """How far the bound of K draws lies above that of K/2, in nats. log p(x) lies about as far above again, or
    farther if few draws carry the weight. NaN for a single draw."""


class Evaluation(NamedTuple):
    """The ELBO of a data set, and its two parts, in nats per image: elbo = reconstruction - kl."""

    elbo: Estimate
    """The ELBO; larger is better."""
    reconstruction: Estimate
    """E[log p(x|z)] over z ~ q(z|x), summed over the pixels."""
    kl: Estimate
    """KL(q(z|x) || p(z)), as in `LogDensities`: the closed form where there is one."""
    num_images: int
    """The number of images in the data set."""
    num_samples: int
    """K, the draws z ~ q(z|x) per image."""
    importance: ImportanceEvaluation | None = None
    """The importance-weighted bound of the same data, if requested."""


class Spread(NamedTuple):
    """The spread of a value over independent runs, in the value's unit."""

    mean: float
    """The mean over the runs."""
    standard_deviation: float
    """The sample standard deviation (N - 1); NaN for one run."""
    standard_error: float
    """The standard error of the mean; NaN for one run."""


def spread(values: list[float]) -> Spread:
    """Return the mean, standard deviation and standard error over runs, given one value per run of at least one run."""
    n = len(values)
    deviation = float(np.std(values, ddof=1)) if n > 1 else float("nan")
    return Spread(float(np.mean(values)), deviation, deviation / n**0.5)


class Runs(NamedTuple):
    """Several runs of a model as one model, computed together: its log-densities have the shape [b, r]."""

    model: VAE
    """The module that all runs share."""

    def apply(self, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."]) -> LogDensities:
        """Return the log-densities of r runs with one key; the parameters have a leading axis of runs."""
        return jax.vmap(self.model.apply, in_axes=(0, None, None), out_axes=-1)(params, key, x)


class PerDatum(NamedTuple):
    """The mean over the K draws and their variance (K - 1) for every datum, and for each of several runs."""

    mean: Float[Array | np.ndarray, "b *r"]
    """The mean, in nats."""
    variance: Float[Array | np.ndarray, "b *r"]
    """The variance of one draw, in nats^2; NaN for K = 1."""


def over_batches(
    program: Callable[[Key[Array, ""], Shaped[Array, "b ..."], int], PyTree],
    data: Shaped[np.ndarray, "n ..."],
    keys: Callable[[int], Key[Array, " batches"]],
    batch_size: int,
    progress: Callable[[float], None] = lambda count: None,
) -> PyTree[np.ndarray]:
    """Apply a compiled program to n data in batches, and concatenate its results as NumPy arrays.

    All batches have one size, so that the program is compiled once; the last one is padded, and its padding cut off.

    Args:
        program: `(key, batch[b, ...], first) -> arrays [b, ...]`; `first` is the index of the batch's first datum.
        data: of any rank, in the host's memory or mapped from a file.
        keys: a function from the number of batches to their keys.
        batch_size: b, at most.
        progress: called after each batch with the number of data done.

    Raises:
        ValueError: there are no data.
    """
    if not len(data):
        raise ValueError("data is empty: there must be at least one datum")
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
    """Return the keys that `count` batches of a bound are evaluated with: `fold_in(key, i)` for batch i."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))


def evaluate(
    model: VAE | Runs,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    num_samples: int = 10,
    batch_size: int = 500,
    draws_at_a_time: int = DRAWS_AT_A_TIME,
) -> list[Evaluation]:
    """Estimate the ELBO of each run over all n data with K = num_samples draws per datum, in nats per datum.

    The dequantisation noise is new for every draw; stochastic binarisation is part of the data and drawn once. The
    program is compiled once per model, transform and shape.

    Args:
        model: a module, compared by value, of one run or of several together.
        params: the model's parameters.
        key: decides the draws and the dequantisation noise, which are the same for every run.
        data: of any rank.
        transform: `(key, data) -> x`.
        num_samples: K, at least 1.
        batch_size: the number of data at a time; the draws depend on it.
        draws_at_a_time: the number of draws that are computed together.

    Raises:
        ValueError: num_samples is below 1, or there are no data.
    """
    sizes = {"num_samples": num_samples, "draws_at_a_time": draws_at_a_time}
    program = partial(per_datum, model, params, transform=transform, **sizes)
    found = over_batches(program, data, partial(numbered, key), batch_size)
    evaluations = []
    for terms in run_by_run(jax.tree.map(lambda values: values.astype(np.float64), found)):
        if num_samples == 1:
            terms = [term._replace(variance=np.full_like(term.variance, np.nan)) for term in terms]
        elbo, reconstruction, kl = (estimate(term, num_samples) for term in terms)
        evaluations.append(Evaluation(elbo, reconstruction, kl, len(data), num_samples))
    return evaluations


def run_by_run(found: PyTree[Shaped[np.ndarray, "n ..."]], *rest: int) -> Iterator[PyTree[Shaped[np.ndarray, "n ..."]]]:
    """Yield every run's part of results of shape [n, r, *rest], as [n, *rest]; those of one run may lack the axis r."""
    leaves, structure = jax.tree.flatten(found)
    for each in zip(*(np.moveaxis(leaf.reshape(len(leaf), -1, *rest), 1, 0) for leaf in leaves), strict=True):
        yield jax.tree.unflatten(structure, each)


@partial(jax.jit, static_argnames=("model", "transform", "num_samples", "draws_at_a_time"))
def per_datum(
    model: VAE | Runs,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    first: Int[Array, ""] | int,
    transform: Transform,
    num_samples: int,
    draws_at_a_time: int,
) -> tuple[PerDatum, PerDatum, PerDatum]:
    """Return the ELBO, the reconstruction and the KL of every datum of a batch; `first` is the first datum's index."""

    def log_densities(keys: tuple[Key[Array, ""], Key[Array, ""]], data: UInt8[Array, "b ..."]) -> LogDensities:
        return model.apply(params, keys[1], observe(transform, keys[0], data, first))

    d = draw(log_densities, tuple(jax.random.split(key)), data, num_samples, draws_at_a_time)
    freedom = min(1, num_samples - 1)  # the variance of one draw is unknown: 0 in the program, where NaN is an alarm
    terms = (elbo_terms(d), d.log_px_z, d.kl)
    each = [PerDatum(jnp.mean(v, axis=0), jnp.var(v - v[0], axis=0, ddof=freedom)) for v in terms]
    return each[0], each[1], each[2]


def estimate(each: PerDatum, num_samples: int) -> Estimate:
    """Return the mean over images, with its standard error and its Monte Carlo error."""
    n = len(each.mean)
    standard_error = float(np.std(each.mean, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    monte_carlo_error = float(np.sqrt(np.sum(each.variance) / num_samples) / n)
    return Estimate(float(np.mean(each.mean)), standard_error, monte_carlo_error)
