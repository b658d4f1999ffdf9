"""Portions: how much of a data set, and how many draws, a program over it takes at a time, as the memory allows.

The first choice is a constant. Fewer draws at a time change a result by rounding only; fewer data, to which it comes
only where one draw of each does not fit, are met by other draws of the same distribution.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, Shaped

from jvae import diagnostics, evaluation, latents
from jvae.bounds import iwae
from jvae.recipe import Recipe
from jvae.runs.memory import check_fits, choose, falling
from jvae.vae import VAE

MOST_DATA = 1000
"""At a time, where one pass over the data is all."""


class Portion(NamedTuple):
    """What a bound is evaluated on at a time; nothing but memory, and where data are cut the draws, depends on it."""

    batch_size: int
    draws_at_a_time: int


def portions(batch_size: int, num_data: int, draws: int) -> list[Portion]:
    """Return what might be taken at a time, the most first: fewer draws, and with one draw each fewer data."""
    most = min(batch_size, num_data)
    return [*(Portion(most, few) for few in falling(draws)), *(Portion(few, 1) for few in falling(most)[1:])]


def batch_of(data: Shaped[np.ndarray, "n ..."], count: int) -> jax.ShapeDtypeStruct:
    """Return the shape and the type of a batch of so many of the data."""
    return jax.ShapeDtypeStruct((count, *data.shape[1:]), data.dtype)


def elbo_portion(
    recipe: Recipe,
    params: PyTree,
    data: Shaped[np.ndarray, "n ..."],
    num_samples: int,
    agree: Callable[[int], int] = int,
) -> Portion:
    """Return what `jvae.evaluation.evaluate` takes at a time; `params` are those of one run, or their shapes.

    Raises:
        NotEnoughMemoryError: one draw of one datum does not fit.
    """

    def trace(at: Portion) -> jax.stages.Traced:
        sizes = {"num_samples": num_samples, "draws_at_a_time": at.draws_at_a_time}
        batch = batch_of(data, at.batch_size)
        return evaluation.per_datum.trace(
            recipe.model, params, jax.random.key(0), batch, 0, transform=recipe.transform, **sizes
        )

    sizes = portions(500, len(data), min(evaluation.DRAWS_AT_A_TIME, num_samples))
    sizes[0] = sizes[0]._replace(draws_at_a_time=evaluation.DRAWS_AT_A_TIME)
    return choose(sizes, trace, "the evaluation", agree=agree)


def iwae_portion(
    recipe: Recipe,
    params: PyTree,
    data: Shaped[np.ndarray, "n ..."],
    num_samples: int,
    agree: Callable[[int], int] = int,
) -> Portion:
    """Return what `jvae.evaluation.evaluate_iwae` takes at a time; `params` are those of one run, or their shapes.

    Raises:
        NotEnoughMemoryError: one draw of one datum does not fit.
    """
    group = min(evaluation.GROUP_OF_DRAWS, num_samples)

    def trace(at: Portion) -> jax.stages.Traced:
        batch, sums = batch_of(data, at.batch_size), jax.ShapeDtypeStruct((2 + group, at.batch_size), jnp.float32)
        sizes = {"group": group, "at_a_time": at.draws_at_a_time}
        given = (recipe.model, params, jax.random.key(0), batch, 0, sums, (0, 1), num_samples)
        return evaluation.importance_sums.trace(*given, transform=recipe.transform, **sizes)

    what = "the importance-weighted bound"
    return choose(portions(100, len(data), group), trace, what, agree=agree)


def validation_portion(
    recipe: Recipe, params: PyTree, data: Shaped[np.ndarray, "n ..."], agree: Callable[[int], int]
) -> Portion:
    """Return what the bound that judges an epoch takes at a time, the same on every host."""
    if recipe.bound is iwae:
        return iwae_portion(recipe, params, data, recipe.num_samples, agree)
    return elbo_portion(recipe, params, data, 1, agree)


def data_at_a_time(
    data: Shaped[np.ndarray, "n ..."], trace: Callable[[jax.ShapeDtypeStruct], jax.stages.Traced], what: str
) -> int:
    """Return how many data a program takes at a time, 1,000 at most; it is traced for a batch of some size."""
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
    """Return how many latents are decoded at a time; all that they decode to, so many bytes each, must fit too."""
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
    """Return how many of n data are drawn at a time, all if they fit; all results, so many bytes each, must fit too."""
    check_fits(n * datum_bytes, f"the drawing of {n:,} data")
    trace = lambda count: latents.sample_batch.trace(model, params, jax.random.key(0), count, mean)  # noqa: E731
    return choose(falling(n), trace, "the drawing")
