"""Ensemble: independent runs that one program computes, and the numbers in which they may differ.

The runs share one recipe. If it is built from configurations that differ only in `PER_RUN_FIELDS`, the values of these
fields enter the program as arrays, so that changing them compiles nothing again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int, Key, PyTree, UInt8

from jvae.recipe import Recipe
from jvae.runs.config import Config, build_recipe
from jvae.runs.memory import falling, halving
from jvae.runs.mesh import RUNS, split_over_data
from jvae.runs.numbers import RunNumbers
from jvae.runs.recipe_file import OwnRecipe
from jvae.training import Batch, StepMetrics, TrainState, TrainStep, init_state, make_train_step, shuffled, take_steps


class Together(NamedTuple):
    """How much of a training a device computes at a time; results depend on it only by rounding."""

    runs: int
    """The runs at a time."""
    draws: int | None = None
    """The draws of each datum at a time; None for all."""


PER_RUN_FIELDS = ("seed", "learning_rate", "beta")
"""The fields of Config in which the runs of one program may differ."""
MOST_FOR_START = 10_000
"""The most training data that a recipe's start is called with."""
ACCELERATOR_BLOCK = 32
"""The steps that an accelerator takes in one loop of static length."""


RecipeOf = Callable[[RunNumbers | None], Recipe]
"""A run's numbers, which may be traced, or None for the defaults -> its recipe."""
BatchOf = Callable[[Int[Array, ""], RunNumbers, PyTree, PyTree], Callable[[Int[Array, ""]], Batch]]
"""`(step, numbers, shared, own) -> (a step's index in its epoch -> its batch)`; `own` is one run's, `shared` is not."""
Chunk = Callable[..., tuple[TrainState, StepMetrics]]
"""`(states, numbers, shared, own, step_metrics, start, stop) -> (states, step_metrics)`, for all runs."""


def share_a_program(one: Config, other: Config) -> bool:
    """Return True if two configurations differ only in `PER_RUN_FIELDS`."""
    return replace(other, **{name: getattr(one, name) for name in PER_RUN_FIELDS}) == one


def make_recipe_of(
    config: Config, data_shape: tuple[int, ...], steps_per_epoch: int, own: OwnRecipe | None = None
) -> RecipeOf:
    """Return a function from a run's numbers to its recipe; a recipe file's ignores the numbers, and is made once.

    Raises:
        JvaeError: the recipe file fails, or returns no recipe.
    """
    if own is None:
        return partial(build_recipe, config, data_shape, steps_per_epoch)
    recipe = own.make(config, data_shape, steps_per_epoch)
    return lambda numbers: recipe


def make_numbers(seeds: Sequence[int], learning_rates: Sequence[float], betas: Sequence[float]) -> RunNumbers:
    """Return the numbers of runs with these seeds; a run's are the same alone and among others."""
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(jnp.array(seeds, jnp.uint32))
    init_keys, own_keys = keys.T
    return RunNumbers(init_keys, own_keys, jnp.array(learning_rates, jnp.float32), jnp.array(betas, jnp.float32))


def together(runs: int, num_samples: int, backend: str) -> list[Together]:
    """Return the options for how much of a training to compute at a time, the largest first.

    First fewer and fewer runs, then, with one run, fewer draws of each datum. On a CPU it is always one run: its
    products fill the cores, and each run then has the same bits as alone.
    """
    most = [1] if backend == "cpu" else halving(runs)
    return [*map(Together, most), *(Together(1, draws) for draws in falling(num_samples)[1:])]


def block_of(backend: str) -> int:
    """Return how many steps one loop of static length takes: one on a CPU, which gains nothing from more."""
    return 1 if backend == "cpu" else ACCELERATOR_BLOCK


def init_states(
    recipe: Recipe, numbers: RunNumbers, data: UInt8[np.ndarray, "n ..."], kept: Int[np.ndarray, " k"]
) -> TrainState:
    """Return the initial state of every run; `kept` are the indices of the data to train on.

    Raises:
        ValueError: the networks, or the recipe's start, cannot take the data.
    """
    init = partial(init_state, recipe, data_shape=data.shape[1:])
    states = jax.jit(partial(jax.lax.map, lambda key: init(key=key)))(numbers.init_key)
    if recipe.start is None:
        return states
    each = [
        started(recipe, jax.tree.map(lambda leaf: leaf[i], states), key, data, kept)  # noqa: B023
        for i, key in enumerate(numbers.key)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def started(
    recipe: Recipe,
    state: TrainState,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    kept: Int[np.ndarray, " k"],
) -> TrainState:
    """Return a run's state after the recipe's start, called with random training data of this run."""
    choice_key, transform_key = jax.random.split(key)
    count = min(len(kept), MOST_FOR_START)
    chosen = np.asarray(jax.random.choice(choice_key, len(kept), (count,), replace=False))
    x = recipe.transform(transform_key, jnp.asarray(data[kept[chosen]]))
    assert recipe.start is not None
    params = recipe.start(state.params, key, x)
    return state._replace(params=params, opt_state=recipe.optimizer.init(params))


def make_step_of(
    recipe_of: RecipeOf, mesh: Mesh | None, draws_at_a_time: int | None = None
) -> Callable[[RunNumbers], TrainStep]:
    """Return a function from a run's numbers to its train step."""

    def step_of(numbers: RunNumbers) -> TrainStep:
        step = make_train_step(recipe_of(numbers), draws_at_a_time)
        if mesh is None:
            return step
        return lambda state, key, batch: step(state, key, split_over_data(batch))

    return step_of


def make_chunk(recipe_of: RecipeOf, batch_of: BatchOf, at_a_time: Together, mesh: Mesh | None, block: int = 1) -> Chunk:
    """Return a function that takes a chunk of steps of every run in one program, with batches from `batch_of`.

    The bits of an epoch do not depend on how it is cut into chunks, or a chunk into blocks.
    """
    step_of = make_step_of(recipe_of, mesh, at_a_time.draws)

    def chunk(
        states: TrainState,
        numbers: RunNumbers,
        shared: PyTree,
        own: PyTree,
        step_metrics: StepMetrics,
        start: Int[Array, ""],
        stop: Int[Array, ""],
    ) -> tuple[TrainState, StepMetrics]:
        def take(run: tuple[TrainState, RunNumbers, PyTree, StepMetrics]) -> tuple[TrainState, StepMetrics]:
            state, mine, owned, metrics = run
            batches = batch_of(state.step - start, mine, shared, owned)
            return take_steps(step_of(mine), state, mine.key, metrics, start, stop, batches, block)

        batch_size = None if at_a_time.runs == 1 else at_a_time.runs
        return jax.lax.map(take, (states, numbers, own, step_metrics), batch_size=batch_size)

    if mesh is None:
        return chunk
    runs, whole = PartitionSpec(RUNS), PartitionSpec()
    arguments = (runs, runs, whole, runs, runs, whole, whole)  # the `data` axis is left to the compiler
    return jax.shard_map(chunk, mesh=mesh, in_specs=arguments, out_specs=runs, axis_names={RUNS}, check_vma=False)


def resident_batches(batch_size: int) -> BatchOf:
    """Return the batches of runs that share all data in the devices' memory, each in its own random order."""
    return lambda step, numbers, data, own: shuffled(numbers.key, step, data, batch_size)


def streamed_batches() -> BatchOf:
    """Return the batches of runs that hold those of some steps, `[r, steps, b, ...]`, beginning at step `shared`."""
    return lambda step, numbers, first, batches: lambda i: jax.tree.map(lambda leaf: leaf[i - first], batches)
