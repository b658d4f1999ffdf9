"""Ensemble: the independent runs that one program computes, and the numbers in which they may differ.

The runs are of one configuration, or of several that are the same but for `PER_RUN_FIELDS`. The values of these enter
the program as arrays, so that a change of them compiles nothing anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jvae.runs.config import Config, build_bound, build_model, build_optimizer, build_transform
from jvae.runs.mesh import RUNS, split_over_data
from jvae.training import (
    Batch,
    Chunk,
    StepMetrics,
    TrainState,
    TrainStep,
    Transform,
    init_state,
    make_chunk,
    make_train_step,
    steps_per_epoch,
    take_steps,
)

PER_RUN_FIELDS = ("seed", "learning_rate", "beta")


class RunNumbers(NamedTuple):
    """The numbers of a run, all it has of its own; with a leading axis of runs where there are several."""

    init_key: Key[Array, "*r"]
    """Decides the initialisation."""
    key: Key[Array, "*r"]
    """Decides the shuffles and the noise."""
    learning_rate: Float[Array, "*r"]
    beta: Float[Array, "*r"]


def share_a_program(one: Config, other: Config) -> bool:
    """Return True if two configurations differ in nothing but `PER_RUN_FIELDS`."""
    return replace(other, **{name: getattr(one, name) for name in PER_RUN_FIELDS}) == one


def numbers_of(configs: Sequence[Config]) -> RunNumbers:
    """Return the numbers of all runs, one configuration after the other.

    Run i of a configuration has the seed config.seed + i.
    """
    runs = [(config, config.seed + i) for config in configs for i in range(config.runs)]
    seeds = jnp.array([seed for _, seed in runs], jnp.uint32)
    init_keys, keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds).T
    rates = jnp.array([config.learning_rate for config, _ in runs], jnp.float32)
    return RunNumbers(init_keys, keys, rates, jnp.array([config.beta for config, _ in runs], jnp.float32))


def runs_at_a_time(runs: int, backend: str) -> int:
    """Return how many runs a device computes together: one on a CPU, whose cores one run's products fill, else all.

    One after the other, each run is also computed bit by bit as it would be alone.
    """
    return 1 if backend == "cpu" else runs


def init_states(
    config: Config, numbers: RunNumbers, images: UInt8[np.ndarray, "n h w c"], kept: Int[np.ndarray, " k"]
) -> TrainState:
    """Return the untrained state of every run; `kept` says which of the images are trained on.

    Raises:
        ValueError: the network cannot take the images, or there are fewer of them than pseudo-inputs.
    """
    model = build_model(config, images.shape[1:])
    optimizer = build_optimizer(config, steps_per_epoch(len(kept), config.batch_size))
    init = partial(init_state, model, optimizer, image_shape=images.shape[1:])
    states = jax.jit(partial(jax.lax.map, lambda key: init(key=key)))(numbers.init_key)
    if config.pseudo_inputs == "data":
        transform = build_transform(config)
        starts = [chosen_images(key, transform, images, kept, config.num_components) for key in numbers.key]
        states = with_pseudo_inputs(states, jnp.stack(starts))
    return states


def chosen_images(
    key: Key[Array, ""],
    transform: Transform,
    images: UInt8[np.ndarray, "n h w c"],
    kept: Int[np.ndarray, " m"],
    count: int,
) -> Float[Array, "k h w c"]:
    """Return different training images, drawn with a run's key, as a VampPrior's first pseudo-inputs.

    Raises:
        ValueError: there are fewer images than pseudo-inputs.
    """
    if count > len(kept):
        raise ValueError(f"num_components is {count}: must be at most the number of training images, {len(kept)}")
    choice_key, transform_key = jax.random.split(key)
    chosen = np.asarray(jax.random.choice(choice_key, len(kept), (count,), replace=False))
    return transform(transform_key, jnp.asarray(images[kept[chosen]]))


def with_pseudo_inputs(states: TrainState, pseudo_inputs: Float[Array, "r k h w c"]) -> TrainState:
    """Return the states with other pseudo-inputs."""
    weights = states.params["params"]
    prior = {**weights["prior"], "pseudo_inputs": pseudo_inputs}
    return states._replace(params={"params": {**weights, "prior": prior}})


def make_step_of(
    config: Config, image_shape: tuple[int, ...], steps: int, mesh: Mesh | None
) -> Callable[[RunNumbers], TrainStep]:
    """Return a function from a run's numbers to its train step; `steps` is the number of steps an epoch."""
    log_densities, transform = build_model(config, image_shape).apply, build_transform(config)

    def step_of(numbers: RunNumbers) -> TrainStep:
        bound, optimizer = (
            build_bound(config, steps, numbers.beta),
            build_optimizer(config, steps, numbers.learning_rate),
        )
        step = make_train_step(log_densities, bound, optimizer, transform, config.num_samples)
        if mesh is None:
            return step
        return lambda state, key, batch: step(state, key, split_over_data(batch))

    return step_of


def make_chunk_of_runs(
    config: Config, image_shape: tuple[int, ...], num_images: int, at_a_time: int, mesh: Mesh | None
) -> Chunk:
    """Return a chunk of steps of every run in one program, `(states, numbers, images, step_metrics, start, stop)`.

    Every run sees the same images in an order of its own.
    """
    step_of = make_step_of(config, image_shape, steps_per_epoch(num_images, config.batch_size), mesh)

    def chunk_of_runs(
        states: TrainState,
        numbers: RunNumbers,
        images: UInt8[Array, "n h w c"],
        step_metrics: StepMetrics,
        start: Int[Array, ""],
        stop: Int[Array, ""],
    ) -> tuple[TrainState, StepMetrics]:
        def take(run: tuple[TrainState, RunNumbers, StepMetrics]) -> tuple[TrainState, StepMetrics]:
            state, own, metrics = run
            chunk = make_chunk(step_of(own), num_images, config.batch_size)
            return chunk(state, own.key, images, metrics, start, stop)

        return map_runs(take, (states, numbers, step_metrics), at_a_time)

    runs, whole = PartitionSpec(RUNS), PartitionSpec()
    return spread(chunk_of_runs, mesh, (runs, runs, whole, runs, whole, whole))


def make_chunk_of_batches(
    config: Config, image_shape: tuple[int, ...], num_images: int, at_a_time: int, mesh: Mesh | None
) -> Callable[[TrainState, RunNumbers, Batch, StepMetrics, int, int, int], tuple[TrainState, StepMetrics]]:
    """Return the same on batches `[r, steps, b, ...]` of every run's own, whose first belongs to step `first`."""
    step_of = make_step_of(config, image_shape, steps_per_epoch(num_images, config.batch_size), mesh)

    def chunk_of_batches(
        states: TrainState,
        numbers: RunNumbers,
        batches: Batch,
        step_metrics: StepMetrics,
        first: Int[Array, ""],
        start: Int[Array, ""],
        stop: Int[Array, ""],
    ) -> tuple[TrainState, StepMetrics]:
        def take(run: tuple[TrainState, RunNumbers, Batch, StepMetrics]) -> tuple[TrainState, StepMetrics]:
            state, own, batches, metrics = run
            batch_of = lambda i: jax.tree.map(lambda leaf: leaf[i - first], batches)  # noqa: E731
            return take_steps(step_of(own), state, own.key, metrics, start, stop, batch_of)

        return map_runs(take, (states, numbers, batches, step_metrics), at_a_time)

    runs, whole = PartitionSpec(RUNS), PartitionSpec()
    return spread(chunk_of_batches, mesh, (runs, runs, runs, runs, whole, whole, whole))


def map_runs(function: Callable, runs: PyTree, at_a_time: int) -> PyTree:
    """Map a function of one run's tree over the leading axis of many, `at_a_time` together and these groups in turn."""
    return jax.lax.map(function, runs, batch_size=None if at_a_time == 1 else at_a_time)


def spread(program: Callable, mesh: Mesh | None, arguments: tuple[PartitionSpec, ...]) -> Callable:
    """Spread a program over the devices of the mesh's `runs`, each computing its own; XLA sees to `data`."""
    if mesh is None:
        return program
    return jax.shard_map(
        program, mesh=mesh, in_specs=arguments, out_specs=PartitionSpec(RUNS), axis_names={RUNS}, check_vma=False
    )
