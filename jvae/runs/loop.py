"""The epoch loop: take the steps in chunks, then summarise, check, validate, stop early and checkpoint; and resume."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, UInt8

from jvae.data.datasets import Dataset
from jvae.errors import ModelFileError, NonFiniteError
from jvae.evaluation import evaluate, evaluate_iwae
from jvae.runs.checkpoint import ModelFile, ResumePoint, current_versions
from jvae.runs.config import Config, build_model, build_transform
from jvae.runs.early_stopping import EarlyStopping, init_early_stopping, stop_runs, update_early_stopping
from jvae.runs.mesh import agree, fetch
from jvae.training import EpochMetrics, StepMetrics, TrainState, init_step_metrics, summarise

TERMS = {"reconstruction": "the reconstruction log p(x|z)", "kl": "the KL", "bound": "the bound"}


class LoopState(NamedTuple):
    """Where the runs of a training stand; every array has a leading axis of runs."""

    states: TrainState
    epoch: int
    """Which epoch, from 1."""
    done: int
    """How many of its steps are taken."""
    step_metrics: StepMetrics
    """Of those steps."""

    @property
    def num_steps(self) -> int:
        """The steps of an epoch."""
        return self.step_metrics.sizes.shape[-1]


class Chunking(NamedTuple):
    """How an epoch is cut into chunks of steps. Nothing that a training computes depends on it."""

    first_steps: int = 20
    """The length of the first chunk, whose time is measured."""
    seconds: float = 5.0
    """How long a later chunk takes, about."""


CHUNKING = Chunking()

TakeChunk = Callable[[TrainState, StepMetrics, int, int], tuple[TrainState, StepMetrics]]


def take_chunks(take: TakeChunk, loop: LoopState, epochs: int, chunking: Chunking) -> Iterator[LoopState]:
    """Go on to the end of the last epoch, and yield the state of the loop after every chunk of steps.

    What was yielded is donated to the next chunk: read or save it before asking for the next.

    Args:
        take: `(states, step_metrics, start, stop) -> (states, step_metrics)`: an epoch's steps start, ..., stop - 1.
        loop: where to begin.
        epochs: the number of the last one.
        chunking: how long the chunks are.
    """
    states, epoch, done, metrics = loop
    num_steps, length = loop.num_steps, chunking.first_steps
    while epoch < epochs or done < num_steps:
        if done == num_steps:
            epoch, done, metrics = epoch + 1, 0, jax.tree.map(jnp.zeros_like, metrics)
        stop = min(num_steps, done + length)
        began = time.perf_counter()
        states, metrics = jax.block_until_ready(take(states, metrics, done, stop))
        length = agree(max(1, round((stop - done) * chunking.seconds / (time.perf_counter() - began))))
        done = stop
        yield LoopState(states, epoch, done, metrics)


class ConfigRuns(NamedTuple):
    """The runs of one configuration among those that are trained together."""

    config: Config
    rows: slice
    """Their place along the axis of runs."""
    history: list[dict[str, Any]]


def config_runs_of(configs: Sequence[Config], history: Sequence[dict[str, Any]] = ()) -> list[ConfigRuns]:
    """Return the configurations with the rows of their runs, one after the other."""
    return [
        ConfigRuns(config, slice(i * config.runs, (i + 1) * config.runs), [*history])
        for i, config in enumerate(configs)
    ]


def run_epochs(
    groups: Sequence[ConfigRuns],
    dataset: Dataset,
    validation_images: UInt8[np.ndarray, "v h w c"] | None,
    chunks: Iterable[LoopState],
    stopping: EarlyStopping,
    interrupted: Callable[[], bool],
) -> Iterator[list[ModelFile | NonFiniteError]]:
    """Run the epoch loop: yield every configuration's checkpoint, or its error, after every epoch.

    There is one host sync a chunk, and another where an epoch is validated.
    """
    config = groups[0].config
    failed: dict[int, NonFiniteError] = {}
    started = time.perf_counter()
    for loop in chunks:
        metrics, epoch_metrics = jax.device_get(fetch(loop.step_metrics)), None
        finished = loop.done == loop.num_steps
        if finished:
            states = fetch(loop.states)
            epoch_metrics = jax.device_get(summarise_runs(states, metrics))
        running = stopping.running
        for i, group in enumerate(groups):
            mine = jax.tree.map(lambda leaf: leaf[group.rows], metrics)  # noqa: B023
            finite = np.ones(group.config.runs, bool)
            if epoch_metrics is not None:
                finite = epoch_metrics.params_finite[group.rows]
            try:
                check_finite(group.config, mine, finite, loop.epoch, running[group.rows])
            except NonFiniteError as error:
                failed[i] = error
                stopping = stop_runs(stopping, group.rows)
        if epoch_metrics is not None:
            values = {name: value.astype(np.float64) for name, value in epoch_metrics.mean._asdict().items()}
            if validation_images is None:
                stopping = stopping._replace(state=states)
            else:
                bounds = validate(config, states, dataset.train_images.shape[1:], validation_images)
                keep_best = config.keep == "best"
                stopping = update_early_stopping(stopping, states, bounds, loop.epoch, keep_best, config.patience)
                values |= {"validation": bounds, "kept": stopping.epoch}
            seconds = (time.perf_counter() - started) / len(groups)
            started = time.perf_counter()
            for i, group in enumerate(groups):
                rows = group.rows
                if i not in failed and running[rows].any():
                    record = {name: of_running(value[rows], running[rows]) for name, value in values.items()}
                    group.history.append({"epoch": loop.epoch, **record, "seconds": seconds})
        ending = bool(agree(int(interrupted()))) or not stopping.running.any()
        if finished or ending:
            here = loop._replace(states=states if finished else fetch(loop.states), step_metrics=metrics)
            yield [failed.get(i) or checkpoint(group, stopping, here, dataset) for i, group in enumerate(groups)]
        if ending:
            return


@jax.jit
def summarise_runs(states: TrainState, step_metrics: StepMetrics) -> EpochMetrics:
    """Return the epoch's metrics of every run."""
    return jax.vmap(summarise)(states, step_metrics)


def checkpoint(group: ConfigRuns, stopping: EarlyStopping, loop: LoopState, dataset: Dataset) -> ModelFile:
    """Return the model file of one configuration; a single run's state has no axis of runs."""

    def of_group(tree: PyTree) -> PyTree:
        whole = group.rows == slice(0, len(stopping.running))
        return tree if whole else jax.tree.map(lambda leaf: leaf[group.rows], tree)

    validated = group.config.validation != "none"
    begun = loop.done < loop.num_steps
    kept = of_group(stopping.state if validated else loop.states)
    resume_point = None
    if validated or begun:
        metrics = of_group(loop.step_metrics) if begun else None
        states = of_group(loop.states) if validated else None
        resume_point = ResumePoint(states, metrics, loop.done if begun else 0)
    state = jax.tree.map(lambda leaf: leaf[0], kept) if group.config.runs == 1 else kept
    shape = dataset.train_images.shape[1:]
    history, versions = group.history.copy(), current_versions()
    return ModelFile(group.config, state, history, shape, dataset.fingerprint, versions, resume_point)


def states_of(model: ModelFile) -> TrainState:
    """Return the state that a model file keeps, with an axis of runs."""
    return jax.tree.map(lambda leaf: leaf[None], model.state) if model.config.runs == 1 else model.state


def loop_state_of(model: ModelFile, num_steps: int) -> LoopState:
    """Return where the training of a model stood when it was saved.

    Raises:
        ModelFileError: its epochs have another number of steps.
    """
    states, point = states_of(model), model.resume_point
    if point is not None and point.states is not None:
        states = point.states
    if point is None or point.step_metrics is None:
        return LoopState(states, len(model.history), num_steps, init_step_metrics(states, num_steps))
    if point.step_metrics.sizes.shape[1] != num_steps:
        steps = point.step_metrics.sizes.shape[1]
        raise ModelFileError(f"the model was stopped within an epoch of {steps} steps, not {num_steps}")
    return LoopState(states, len(model.history) + 1, point.done, point.step_metrics)


def early_stopping_of(model: ModelFile) -> EarlyStopping:
    """Return what the runs of a model had kept when it was saved, judged anew by the bounds of its history."""
    config, states = model.config, states_of(model)
    stopping = init_early_stopping(jax.tree.map(jnp.copy, states), config.runs)
    for record in model.history:
        if "validation" in record:
            bounds = np.array(np.atleast_1d(record["validation"]), np.float64)  # null, of a run that has stopped: nan
            stopping = update_early_stopping(
                stopping, states, bounds, record["epoch"], config.keep == "best", config.patience
            )
    return stopping._replace(state=states)


def of_running(values: np.ndarray, running: np.ndarray) -> Any:
    """Return a record's JSON value: the number of a single run, or a list with null for every run that has stopped."""
    each = [value if runs else None for value, runs in zip(values.tolist(), running, strict=True)]
    return each[0] if len(each) == 1 else each


def validate(
    config: Config, states: TrainState, image_shape: tuple[int, ...], images: UInt8[np.ndarray, "v h w c"]
) -> Float[np.ndarray, " r"]:
    """Return every run's bound of the validation images, in nats per image: the one-draw ELBO, or the trained IWAE.

    The noise is the same at every epoch and for every run.
    """
    log_densities, transform = build_model(config, image_shape).apply, build_transform(config)

    def bound(params: PyTree) -> float:
        key = jax.random.key(0)
        if config.bound == "iwae":
            return evaluate_iwae(log_densities, params, key, images, transform, config.num_samples).iwae.value
        return evaluate(log_densities, params, key, images, transform, num_samples=1).elbo.value

    return np.array([bound(jax.tree.map(lambda leaf: leaf[i], states.params)) for i in range(len(states.step))])  # noqa: B023


def check_finite(
    config: Config, step_metrics: StepMetrics, params_finite: np.ndarray, epoch: int, running: np.ndarray
) -> None:
    """Raise a NonFiniteError that names term, run, epoch and step, unless all of every run that goes on was finite."""
    for run in np.flatnonzero(running):
        steps = {name: ~np.isfinite(getattr(step_metrics.metrics, name)[run]) for name in TERMS}
        broken = [
            (int(np.argmax(bad)), term)
            for (name, bad), term in zip(steps.items(), TERMS.values(), strict=True)
            if bad.any()
        ]
        if not broken and not params_finite[run]:
            broken = [(step_metrics.sizes.shape[1] - 1, "a parameter")]
        if broken:
            step, what = min(broken, key=lambda found: found[0])
            which = f" of the run with seed {config.seed + run}" if config.runs > 1 else ""
            raise NonFiniteError(
                f"{what}{which} is not finite at epoch {epoch}, step {step + 1} of {step_metrics.sizes.shape[1]}; "
                f"a lower learning rate than {config.learning_rate:g} may help"
            )
