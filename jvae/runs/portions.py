"""Portions: how many data and draws a program over a data set takes at a time, depending on the memory.

The first choice is a constant. Fewer draws at a time change a result by rounding only. Fewer data, which are chosen
only if one draw of each does not fit, get other draws of the same distribution.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from jvae import diagnostics, evaluation, latents
from jvae.bounds import iwae
from jvae.evaluation import Runs
from jvae.recipe import Recipe
from jvae.runs import importance
from jvae.runs.memory import check_fits, choose, falling, halving
from jvae.vae import VAE

MOST_DATA = 1000
"""The most data at a time for a program that passes over the data once."""


class Portion(NamedTuple):
    """How much a bound is evaluated on at a time; only memory, and for fewer data the draws, depend on it."""

    batch_size: int
    """The data at a time."""
    draws_at_a_time: int
    """The draws of a datum at a time."""
    runs: int = 1
    """The runs at a time, computed together."""

    def model(self, model: VAE) -> VAE | Runs:
        """Return this portion's runs as one model; a single run is the model itself, with the same bits as alone."""
        return model if self.runs == 1 else Runs(model)

    def params(self, params: PyTree, first: int = 0) -> PyTree:
        """Return the parameters of this portion's runs, from run `first` on."""
        rows = first if self.runs == 1 else slice(first, first + self.runs)
        return jax.tree.map(lambda leaf: leaf[rows], params)

    def groups(self, model: VAE, params: PyTree, num_runs: int) -> Iterator[tuple[VAE | Runs, PyTree, range]]:
        """Yield all runs in groups: as one model, with their parameters and indices."""
        for first in range(0, num_runs, self.runs):
            yield self.model(model), self.params(params, first), range(first, min(num_runs, first + self.runs))

    @property
    def sizes(self) -> tuple[int, int]:
        """The batch size and the draws at a time of a program over one group."""
        return self.batch_size, self.draws_at_a_time


def portions(batch_size: int, num_data: int, draws: int, runs: int) -> list[Portion]:
    """Return the possible portions, the largest first: fewer runs, then fewer draws, and with one draw fewer data.

    On a CPU it is always one run: its matrix products fill the cores.
    """
    most, together = min(batch_size, num_data), 1 if jax.default_backend() == "cpu" else runs
    return [
        *(Portion(most, draws, many) for many in halving(together)[:-1]),
        *(Portion(most, few) for few in falling(draws)),
        *(Portion(few, 1) for few in falling(most)[1:]),
    ]


def batch_of(data: Shaped[np.ndarray, "n ..."], count: int) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of a batch of `count` data."""
    return jax.ShapeDtypeStruct((count, *data.shape[1:]), data.dtype)


def elbo_portion(
    recipe: Recipe,
    params: PyTree,
    data: Shaped[np.ndarray, "n ..."],
    num_samples: int,
    num_runs: int = 1,
    agree: Callable[[int], int] = int,
) -> Portion:
    """Return the portion for `jvae.evaluation.evaluate`; `params` are those of all runs, or their shapes.

    A CPU computes two draws at a time: ten take 40 MiB more of the exercise's model, and are no faster.

    Raises:
        NotEnoughMemoryError: one draw of one datum does not fit.
    """

    def trace(at: Portion) -> jax.stages.Traced:
        sizes = {"num_samples": num_samples, "draws_at_a_time": at.draws_at_a_time}
        batch = batch_of(data, at.batch_size)
        given = (at.model(recipe.model), jax.eval_shape(at.params, params), jax.random.key(0), batch, 0)
        return evaluation.per_datum.trace(*given, transform=recipe.transform, **sizes)

    draws = min(2 if jax.default_backend() == "cpu" else evaluation.DRAWS_AT_A_TIME, num_samples)
    return choose(portions(500, len(data), draws, num_runs), trace, "the evaluation", agree=agree)


def iwae_portion(
    recipe: Recipe,
    params: PyTree,
    data: Shaped[np.ndarray, "n ..."],
    num_samples: int,
    num_runs: int = 1,
    agree: Callable[[int], int] = int,
) -> Portion:
    """Return the portion for `importance.evaluate_iwae`; `params` are those of all runs, or their shapes.

    Raises:
        NotEnoughMemoryError: one draw of one datum does not fit.
    """
    group = min(importance.GROUP_OF_DRAWS, num_samples)

    def trace(at: Portion) -> jax.stages.Traced:
        batch, model = batch_of(data, at.batch_size), at.model(recipe.model)
        shape = (at.batch_size, at.runs)[: 1 + isinstance(model, Runs)]
        sizes = {"group": group, "at_a_time": at.draws_at_a_time}
        sums = jax.eval_shape(partial(importance.no_sums, group, *shape))
        some = jax.eval_shape(at.params, params)
        given = (model, some, jax.random.key(0), batch, 0, sums, (0, 1), num_samples)
        return importance.importance_sums.trace(*given, transform=recipe.transform, **sizes)

    what = "the importance-weighted bound"
    return choose(portions(100, len(data), group, num_runs), trace, what, agree=agree)


def validation_portion(
    recipe: Recipe, params: PyTree, data: Shaped[np.ndarray, "n ..."], num_runs: int, agree: Callable[[int], int]
) -> Portion:
    """Return the portion for the bound that judges an epoch, the same on every host.

    Raises:
        NotEnoughMemoryError: one draw of one datum does not fit.
    """
    if recipe.bound is iwae:
        return iwae_portion(recipe, params, data, recipe.num_samples, num_runs, agree)
    return elbo_portion(recipe, params, data, 1, num_runs, agree)


def data_at_a_time(
    data: Shaped[np.ndarray, "n ..."], trace: Callable[[jax.ShapeDtypeStruct], jax.stages.Traced], what: str
) -> int:
    """Return how many data a program takes at a time, at most 1,000, from its traces for batches of several sizes.

    Raises:
        NotEnoughMemoryError: one datum does not fit; so do the four functions below.
    """
    return choose(falling(max(1, min(MOST_DATA, len(data)))), lambda count: trace(batch_of(data, count)), what)


def encoding_batch(recipe: Recipe, params: PyTree, data: Shaped[np.ndarray, "n ..."], level: int) -> int:
    """Return how many data are encoded at a time."""
    rest = {"transform": recipe.transform, "level": level}
    return data_at_a_time(
        data,
        lambda batch: latents.encode_batch.trace(recipe.model, params, jax.random.key(0), batch, 0, **rest),
        "the encoding",
    )


def decoding_batch(model: VAE, params: PyTree, z: Shaped[np.ndarray, "n m"], datum_bytes: int) -> int:
    """Return how many latents are decoded at a time; all results, of `datum_bytes` each, must fit too."""
    check_fits(len(z) * datum_bytes, f"the decoding of {len(z):,} latents")
    trace = lambda batch: latents.decode_batch.trace(model, params, batch)  # noqa: E731
    return data_at_a_time(z, trace, "the decoding")


def diagnosis_batch(recipe: Recipe, params: PyTree, data: Shaped[np.ndarray, "n ..."]) -> int:
    """Return how many data are diagnosed at a time."""

    def trace(batch: jax.ShapeDtypeStruct) -> jax.stages.Traced:
        key, rest = jax.random.key(0), {"transform": recipe.transform}
        return diagnostics.statistics.trace(recipe.model, params, key, batch, 0, **rest)

    return data_at_a_time(data, trace, "the diagnosis")


def sampling_batch(model: VAE, params: PyTree, n: int, mean: bool, datum_bytes: int) -> int:
    """Return how many of n data are drawn at a time; all results, of `datum_bytes` each, must fit too."""
    check_fits(n * datum_bytes, f"the drawing of {n:,} data")
    trace = lambda count: latents.sample_batch.trace(model, params, jax.random.key(0), count, mean)  # noqa: E731
    return choose(falling(n), trace, "the drawing")
