"""Training as pure functions: a step, a chunk of steps, an epoch, and the loop over epochs.

A run is a function of its key alone: a step's noise comes from `fold_in(key, step)` and an epoch's shuffle from
`fold_in(key, epoch)`, so that `TrainState` holds no key and a resumed run continues exactly where it stopped.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from jvae.bounds import LogDensities, draw, mean_over_draws
from jvae.gradients import from_vae
from jvae.recipe import Recipe, check_recipe


class TrainState(NamedTuple):
    """Everything that changes in training."""

    params: PyTree
    """The parameters of the model."""
    opt_state: PyTree
    """The state of the optimizer."""
    step: Int[Array, ""]
    """The number of steps taken."""


class Batch(NamedTuple):
    """A batch of constant size: the last one of an epoch is padded with data of weight 0."""

    data: UInt8[Array, "b ..."]
    """The data as stored, before the transform."""
    weights: Float[Array, " b"]
    """1 for a datum, 0 for padding."""


class Metrics(NamedTuple):
    """Means over the images of a step or of an epoch, in nats per image."""

    bound: Float[Array, "..."]
    """The bound that is maximised."""
    reconstruction: Float[Array, "..."]
    """log p(x|z)."""
    kl: Float[Array, "..."]
    """KL(q(z|x) || p(z))."""


class StepMetrics(NamedTuple):
    """The metrics of an epoch's steps; zeros for steps that are not taken yet."""

    metrics: Metrics
    """The metrics of every step."""
    sizes: Float[Array, "*r steps"]
    """The number of images in every step."""


class EpochMetrics(NamedTuple):
    """The metrics of an epoch."""

    mean: Metrics
    """The mean over the epoch's images."""
    params_finite: Bool[Array, "*r"]
    """True if all parameters are finite at the end of the epoch."""


TrainStep = Callable[[TrainState, Key[Array, ""], Batch], tuple[TrainState, Metrics]]
Epoch = Callable[[TrainState, PyTree, UInt8[Array, "n ..."]], tuple[TrainState, EpochMetrics]]


def init_state(recipe: Recipe, key: Key[Array, ""], data_shape: tuple[int, ...]) -> TrainState:
    """Return fresh parameters, drawn with the key, and optimizer state, at step 0.

    Raises:
        ValueError: the model has variables other than parameters, such as the running means of a BatchNorm.
    """

    @jax.jit
    def init(key: Key[Array, ""]) -> TrainState:
        init_key, draw_key = jax.random.split(key)
        params = recipe.model.init(init_key, draw_key, jnp.zeros((1, *data_shape)))
        if others := params.keys() - {"params"}:
            raise ValueError(f"the model has {', '.join(sorted(others))}: must have params alone, which are trained")
        return TrainState(params, recipe.optimizer.init(params), jnp.zeros((), jnp.int32))

    return init(key)


def make_train_step(recipe: Recipe, draws_at_a_time: int | None = None) -> TrainStep:
    """Return a pure function `(state, run_key, batch) -> (state, metrics)`: one step up the mean bound of the batch.

    Args:
        recipe: what is trained.
        draws_at_a_time: the most draws of a datum to compute together, and again for the gradient, so that
            memory stays bounded; None for all. A recipe with an `estimator` computes all of them together.

    Raises:
        ValueError: the recipe's parts do not fit each other.
    """
    check_recipe(recipe)
    model, optimizer, num_samples = recipe.model, recipe.optimizer, int(recipe.num_samples)

    def at(params: PyTree) -> Callable[[Key[Array, ""], Float[Array, "b ..."]], LogDensities]:
        each = lambda k, x: model.apply(params, k, x)  # noqa: E731
        return each if draws_at_a_time is None else jax.checkpoint(each)

    def loss(
        params: PyTree, step: Int[Array, ""], key: Key[Array, ""], x: Float[Array, "b ..."], weights: Float[Array, " b"]
    ) -> tuple[Float[Array, ""], Metrics]:
        d = draw(at(params), key, x, num_samples, draws_at_a_time)
        each = mean_over_draws(d)
        weighted = d if recipe.kl_weight is None else d._replace(kl=recipe.kl_weight(step) * d.kl)
        metrics = Metrics(recipe.bound(weighted), each.log_px_z, each.kl)
        mean = jax.tree.map(lambda v: jnp.vdot(weights, v) / jnp.sum(weights), metrics)
        return -mean.bound, mean

    def estimate(
        params: PyTree, step: Int[Array, ""], key: Key[Array, ""], x: Float[Array, "b ..."], weights: Float[Array, " b"]
    ) -> tuple[PyTree, Metrics]:
        if recipe.estimator is None:
            return jax.grad(loss, has_aux=True)(params, step, key, x, weights)
        bound, ascent = recipe.estimator(from_vae(model), params, key, x, num_samples, weights)
        _, metrics = loss(params, step, key, x, weights)
        return jax.tree.map(jnp.negative, ascent), metrics._replace(bound=bound)

    def train_step(state: TrainState, key: Key[Array, ""], batch: Batch) -> tuple[TrainState, Metrics]:
        transform_key, draw_key = jax.random.split(jax.random.fold_in(key, state.step))
        with jax.named_scope("data"):
            x = recipe.transform(transform_key, batch.data)
        grads, metrics = estimate(state.params, state.step, draw_key, x, batch.weights)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1), metrics

    return train_step


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches that hold every image once; the last one may be smaller.

    Raises:
        ValueError: batch_size exceeds num_images.
    """
    if batch_size > num_images:
        raise ValueError(f"batch_size is {batch_size}: must be at most the number of training images, {num_images}")
    return -(-num_images // batch_size)


def shuffled_batches(
    key: Key[Array, ""], num_images: int, batch_size: int
) -> tuple[Int[Array, "steps b"], Float[Array, "steps b"]]:
    """Return a random order of the images as rows of indices, and their weights: 1, or 0 for the last row's padding."""
    steps = steps_per_epoch(num_images, batch_size)
    order = jax.random.permutation(key, num_images)
    indices = jnp.pad(order, (0, steps * batch_size - num_images))
    weights = (jnp.arange(steps * batch_size) < num_images).astype(jnp.float32)
    return indices.reshape(steps, batch_size), weights.reshape(steps, batch_size)


def epoch_rows(
    key: Key[Array, ""], step: Int[Array, ""], num_images: int, batch_size: int
) -> tuple[Int[Array, "steps b"], Float[Array, "steps b"]]:
    """Return the shuffled batches of the epoch that begins at `step`, in the run with this key."""
    shuffle_key, _ = jax.random.split(key)
    number = step // steps_per_epoch(num_images, batch_size)
    return shuffled_batches(jax.random.fold_in(shuffle_key, number), num_images, batch_size)


def init_step_metrics(states: TrainState, num_steps: int) -> StepMetrics:
    """Return the step metrics before an epoch's first step: zeros, with the states' axis of runs if they have one."""
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
    block: int = 1,
) -> tuple[TrainState, StepMetrics]:
    """Take an epoch's steps start, ..., stop - 1; step i uses the batch `batch_of(i)`.

    With a `block` above 1, blocks of that many steps run in loops of static length, and only the remainder in a loop of
    dynamic length: a GPU copies the condition of a dynamic loop back to the host at every step.
    """
    _, step_key = jax.random.split(key)

    def body(i: Int[Array, ""], carry: tuple[TrainState, StepMetrics]) -> tuple[TrainState, StepMetrics]:
        state, step_metrics = carry
        batch = batch_of(i)
        state, metrics = train_step(state, step_key, batch)
        return state, jax.tree.map(
            lambda all_, one: all_.at[i].set(one), step_metrics, StepMetrics(metrics, jnp.sum(batch.weights))
        )

    carry = (state, step_metrics)
    if block > 1:
        blocks = (stop - start) // block
        carry = jax.lax.fori_loop(0, blocks, lambda j, c: take_block(body, start + j * block, block, c), carry)
        start = start + blocks * block
    return jax.lax.fori_loop(start, stop, body, carry)


def take_block(
    body: Callable[[Int[Array, ""], PyTree], PyTree], first: Int[Array, ""] | int, block: int, carry: PyTree
) -> PyTree:
    """Apply a loop's body to first, ..., first + block - 1, as a scan of static length."""
    return jax.lax.scan(lambda c, i: (body(first + i, c), None), carry, jnp.arange(block, dtype=jnp.int32))[0]


@jax.jit
def summarise(state: TrainState, step_metrics: StepMetrics) -> EpochMetrics:
    """Return an epoch's metrics, from those of its steps and the state after the last."""
    mean = jax.tree.map(lambda v: jnp.vdot(step_metrics.sizes, v) / jnp.sum(step_metrics.sizes), step_metrics.metrics)
    return EpochMetrics(mean, jnp.all(jnp.array([jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(state.params)])))


def shuffled(
    key: Key[Array, ""], step: Int[Array, ""], data: UInt8[Array, "n ..."], batch_size: int
) -> Callable[[Int[Array, ""]], Batch]:
    """Return a function from a step's index in its epoch to its batch, for the epoch that begins at `step`.

    Every datum counts once per epoch, as with a PyTorch DataLoader that keeps its last, smaller batch.
    """
    indices, weights = epoch_rows(key, step, len(data), batch_size)

    def batch_of(i: Int[Array, ""]) -> Batch:
        with jax.named_scope("data"):
            return Batch(data[indices[i]], weights[i])

    return batch_of


def make_epoch(train_step: TrainStep, batch_size: int) -> Epoch:
    """Return a pure function `(state, run_key, data) -> (state, epoch_metrics)` that takes an epoch in one chunk."""

    def epoch(state: TrainState, key: Key[Array, ""], data: UInt8[Array, "n ..."]) -> tuple[TrainState, EpochMetrics]:
        steps = steps_per_epoch(len(data), batch_size)
        batch_of = shuffled(key, state.step, data, batch_size)
        state, step_metrics = take_steps(train_step, state, key, init_step_metrics(state, steps), 0, steps, batch_of)
        return state, summarise(state, step_metrics)

    return epoch


def fit(
    epoch: Epoch, state: TrainState, key: Key[Array, ""], data: UInt8[Array, "n ..."], epochs: int
) -> Iterator[tuple[TrainState, EpochMetrics]]:
    """Run epochs, compiled once, and yield `(state, epoch_metrics)` after each.

    A yielded state is donated to the next epoch: read or save it before asking for the next.
    """
    compiled = jax.jit(epoch, donate_argnums=0)
    for _ in range(epochs):
        state, epoch_metrics = compiled(state, key, data)
        yield state, epoch_metrics
