"""Training as pure functions: a step, a chunk of an epoch that loops over it, and the loop over epochs.

A run is a function of its key alone: the step's noise comes from `fold_in(key, step)` and the epoch's shuffle from
`fold_in(key, epoch)`, so that `TrainState` holds no key and a resumed run goes on exactly where it stopped.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from jvae.bounds import LogDensities, draw, mean_over_draws

Transform = Callable[[Key[Array, ""], UInt8[Array, "b h w c"]], Float[Array, "b h w c"]]
LogDensitiesFn = Callable[[PyTree, Key[Array, ""], Float[Array, "b ..."]], LogDensities]
ScheduledBound = Callable[[LogDensities, Int[Array, ""]], Float[Array, " b"]]


class TrainState(NamedTuple):
    """All that changes in training."""

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]


class Batch(NamedTuple):
    """A batch of constant size: the last one of an epoch is padded with images of weight 0."""

    images: UInt8[Array, "b h w c"]
    weights: Float[Array, " b"]


class Metrics(NamedTuple):
    """Means over the images of a step or of an epoch, in nats per image."""

    bound: Float[Array, "..."]
    """What was maximised."""
    reconstruction: Float[Array, "..."]
    """log p(x|z)."""
    kl: Float[Array, "..."]
    """KL(q(z|x) || p(z))."""


class StepMetrics(NamedTuple):
    """The record of an epoch's steps; zeros where one is not taken yet."""

    metrics: Metrics
    """Of every step."""
    sizes: Float[Array, "*r steps"]
    """How many images each had."""


class EpochMetrics(NamedTuple):
    """What an epoch came to."""

    mean: Metrics
    """Over the epoch's images."""
    params_finite: Bool[Array, "*r"]
    """Whether the parameters that it left are finite numbers."""


TrainStep = Callable[[TrainState, Key[Array, ""], Batch], tuple[TrainState, Metrics]]
Chunk = Callable[
    [TrainState, PyTree, PyTree, StepMetrics, Int[Array, ""] | int, Int[Array, ""] | int],
    tuple[TrainState, StepMetrics],
]
Epoch = Callable[[TrainState, PyTree, UInt8[Array, "n h w c"]], tuple[TrainState, EpochMetrics]]


def init_state(
    model: nn.Module, optimizer: optax.GradientTransformation, key: Key[Array, ""], image_shape: tuple[int, ...]
) -> TrainState:
    """Return fresh parameters, drawn with the key, and optimizer state, at step 0."""

    @jax.jit
    def init(key: Key[Array, ""]) -> TrainState:
        init_key, draw_key = jax.random.split(key)
        params = model.init(init_key, draw_key, jnp.zeros((1, *image_shape)))
        return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    return init(key)


def make_train_step(
    log_densities: LogDensitiesFn,
    bound: ScheduledBound,
    optimizer: optax.GradientTransformation,
    transform: Transform,
    num_samples: int = 1,
) -> TrainStep:
    """Return a pure function `(state, run_key, batch) -> (state, metrics)`: one step up the mean bound of the batch.

    Args:
        log_densities: `(params, key, x) -> LogDensities`, such as a model's `apply`.
        bound: `(LogDensities[k, b], step)` -> the bound per datum, in nats, at the state's step; maximised.
        optimizer: an optax optimizer, which minimises the loss, -mean(bound).
        transform: `(key, images) -> x`.
        num_samples: K, the draws a datum.
    """

    def loss(
        params: PyTree, step: Int[Array, ""], key: Key[Array, ""], batch: Batch
    ) -> tuple[Float[Array, ""], Metrics]:
        transform_key, draw_key = jax.random.split(key)
        with jax.named_scope("data"):
            x = transform(transform_key, batch.images)
        d = draw(lambda k, x: log_densities(params, k, x), draw_key, x, num_samples)
        each = mean_over_draws(d)
        metrics = Metrics(bound(d, step), each.log_px_z, each.kl)
        mean = jax.tree.map(lambda v: jnp.vdot(batch.weights, v) / jnp.sum(batch.weights), metrics)
        return -mean.bound, mean

    def train_step(state: TrainState, key: Key[Array, ""], batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(key, state.step)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, state.step, step_key, batch)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1), metrics

    return train_step


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches that hold every image once, the last one perhaps smaller.

    Raises:
        ValueError: batch_size exceeds num_images.
    """
    if batch_size > num_images:
        raise ValueError(f"batch_size is {batch_size}: must be at most the number of training images, {num_images}")
    return -(-num_images // batch_size)


def shuffled_batches(
    key: Key[Array, ""], num_images: int, batch_size: int
) -> tuple[Int[Array, "steps b"], Float[Array, "steps b"]]:
    """Return a random order of the images as rows of indices, and weights: 1, and 0 for the last row's padding."""
    steps = steps_per_epoch(num_images, batch_size)
    order = jax.random.permutation(key, num_images)
    indices = jnp.pad(order, (0, steps * batch_size - num_images))
    weights = (jnp.arange(steps * batch_size) < num_images).astype(jnp.float32)
    return indices.reshape(steps, batch_size), weights.reshape(steps, batch_size)


def epoch_rows(
    key: Key[Array, ""], step: Int[Array, ""], num_images: int, batch_size: int
) -> tuple[Int[Array, "steps b"], Float[Array, "steps b"]]:
    """Return the shuffled batches of the epoch that begins at a step of the run with this key."""
    shuffle_key, _ = jax.random.split(key)
    number = step // steps_per_epoch(num_images, batch_size)
    return shuffled_batches(jax.random.fold_in(shuffle_key, number), num_images, batch_size)


def init_step_metrics(states: TrainState, num_steps: int) -> StepMetrics:
    """Return zeros, for an epoch of which no step is taken yet; with the state's axis of runs, if it has one."""
    zeros = jnp.zeros((*states.step.shape, num_steps))
    return StepMetrics(Metrics(zeros, zeros, zeros), zeros)


def take_steps(
    train_step: TrainStep,
    state: TrainState,
    key: Key[Array, ""],
    step_metrics: StepMetrics,
    start: Int[Array, ""] | int,
    stop: Int[Array, ""] | int,
    batch_of: Callable[[Int[Array, ""]], Batch],
) -> tuple[TrainState, StepMetrics]:
    """Take an epoch's steps start, ..., stop - 1, on the batches that `batch_of` gives for their numbers."""
    _, step_key = jax.random.split(key)

    def body(i: Int[Array, ""], carry: tuple[TrainState, StepMetrics]) -> tuple[TrainState, StepMetrics]:
        state, step_metrics = carry
        batch = batch_of(i)
        state, metrics = train_step(state, step_key, batch)
        return state, jax.tree.map(
            lambda all_, one: all_.at[i].set(one), step_metrics, StepMetrics(metrics, jnp.sum(batch.weights))
        )

    return jax.lax.fori_loop(start, stop, body, (state, step_metrics))


@jax.jit
def summarise(state: TrainState, step_metrics: StepMetrics) -> EpochMetrics:
    """Return the metrics of an epoch: of all its steps, and of the state that they left."""
    mean = jax.tree.map(lambda v: jnp.vdot(step_metrics.sizes, v) / jnp.sum(step_metrics.sizes), step_metrics.metrics)
    return EpochMetrics(mean, jnp.all(jnp.array([jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(state.params)])))


def make_chunk(train_step: TrainStep, num_images: int, batch_size: int) -> Chunk:
    """Return a pure `(state, run_key, images, step_metrics, start, stop) -> (state, step_metrics)`: a chunk of steps.

    It takes the steps start, ..., stop - 1 of the epoch over shuffled batches in which the state stands. Every image
    counts once an epoch, as with a PyTorch DataLoader that keeps its last, smaller batch. However an epoch is cut into
    chunks, its bits are the same.
    """

    def chunk(
        state: TrainState,
        key: Key[Array, ""],
        images: UInt8[Array, "n h w c"],
        step_metrics: StepMetrics,
        start: Int[Array, ""] | int,
        stop: Int[Array, ""] | int,
    ) -> tuple[TrainState, StepMetrics]:
        indices, weights = epoch_rows(key, state.step, num_images, batch_size)

        def batch_of(i: Int[Array, ""]) -> Batch:
            with jax.named_scope("data"):
                return Batch(images[indices[i]], weights[i])

        return take_steps(train_step, state, key, step_metrics, start, stop, batch_of)

    return chunk


def make_epoch(train_step: TrainStep, num_images: int, batch_size: int) -> Epoch:
    """Return a pure function `(state, run_key, images) -> (state, epoch_metrics)`: an epoch in one chunk."""
    steps, chunk = steps_per_epoch(num_images, batch_size), make_chunk(train_step, num_images, batch_size)

    def epoch(
        state: TrainState, key: Key[Array, ""], images: UInt8[Array, "n h w c"]
    ) -> tuple[TrainState, EpochMetrics]:
        state, step_metrics = chunk(state, key, images, init_step_metrics(state, steps), 0, steps)
        return state, summarise(state, step_metrics)

    return epoch


def fit(
    epoch: Epoch, state: TrainState, key: Key[Array, ""], images: UInt8[Array, "n h w c"], epochs: int
) -> Iterator[tuple[TrainState, EpochMetrics]]:
    """Run the epochs, compiled once, and yield `(state, result)` after each.

    The state that was yielded is donated to the next epoch: read or save it before asking for the next.
    """
    compiled = jax.jit(epoch, donate_argnums=0)
    for _ in range(epochs):
        state, result = compiled(state, key, images)
        yield state, result
