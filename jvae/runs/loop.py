"""What becomes of a training: after every epoch the model, its history and whether it goes on; and the way back."""

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
from jvae.runs.early_stopping import EarlyStopping, init_early_stopping, select, stop
from jvae.runs.mesh import agree, fetch
from jvae.runs.progress import LoopState
from jvae.training import EpochMetrics, StepMetrics, TrainState, init_step_metrics, summarise

TERMS = {"reconstruction": "the reconstruction log p(x|z)", "kl": "the KL", "bound": "the bound"}


class ConfigRuns(NamedTuple):
    """A configuration among those that are trained together."""

    config: Config
    lanes: slice
    """Which lanes are its runs."""
    history: list[dict[str, Any]]


def config_runs_of(configs: Sequence[Config], history: Sequence[dict[str, Any]] = ()) -> list[ConfigRuns]:
    """The configurations with their lanes, one after the other."""
    return [
        ConfigRuns(config, slice(i * config.runs, (i + 1) * config.runs), [*history])
        for i, config in enumerate(configs)
    ]


def epoch_loop(
    jobs: Sequence[ConfigRuns],
    dataset: Dataset,
    validation_images: UInt8[np.ndarray, "v h w c"] | None,
    advances: Iterable[LoopState],
    selection: EarlyStopping,
    interrupted: Callable[[], bool],
) -> Iterator[list[ModelFile | NonFiniteError]]:
    """The epoch_loop of `train_together`: one host sync a chunk, and another where the epochs are judged."""
    config = jobs[0].config
    failed: dict[int, NonFiniteError] = {}
    started = time.perf_counter()
    for progress in advances:
        taken, results = jax.device_get(fetch(progress.taken)), None
        finished = progress.done == taken.sizes.shape[1]
        if finished:
            states = fetch(progress.states)
            results = jax.device_get(results_of(states, taken))
        running = selection.running
        for i, job in enumerate(jobs):
            mine = taken_by(job, taken)
            finite = np.ones(job.config.runs, bool) if results is None else results.params_finite[job.lanes]
            try:
                check_finite(job.config, mine, finite, progress.epoch, running[job.lanes])
            except NonFiniteError as error:
                failed[i] = error
                selection = stop(selection, job.lanes)
        if results is not None:
            values = {name: value.astype(np.float64) for name, value in results.mean._asdict().items()}
            if validation_images is None:
                selection = selection._replace(state=states)
            else:
                bounds = validation_bounds(config, states, dataset.train_images.shape[1:], validation_images)
                selection = select(selection, states, bounds, progress.epoch, config.keep == "best", config.patience)
                values |= {"validation": bounds, "kept": selection.epoch}
            seconds = (time.perf_counter() - started) / len(jobs)
            started = time.perf_counter()
            for i, job in enumerate(jobs):
                if i not in failed and running[job.lanes].any():
                    record = {name: of_running(value[job.lanes], running[job.lanes]) for name, value in values.items()}
                    job.history.append({"epoch": progress.epoch, **record, "seconds": seconds})
        ending = bool(agree(int(interrupted()))) or not selection.running.any()
        if finished or ending:
            here = progress._replace(states=states if finished else fetch(progress.states), taken=taken)
            yield [failed.get(i) or model_of(job, selection, here, dataset) for i, job in enumerate(jobs)]
        if ending:
            return


@jax.jit
def results_of(states: TrainState, taken: StepMetrics) -> EpochMetrics:
    """Every lane's result of an epoch."""
    return jax.vmap(summarise)(states, taken)


def taken_by(job: ConfigRuns, taken: StepMetrics) -> StepMetrics:
    """The record of a job's lanes."""
    return jax.tree.map(lambda leaf: leaf[job.lanes], taken)


def model_of(job: ConfigRuns, selection: EarlyStopping, progress: LoopState, dataset: Dataset) -> ModelFile:
    """The model file of a job, given where all lanes stand; a single run's state has no axis of runs."""

    def of_job(tree: PyTree) -> PyTree:
        whole = job.lanes == slice(0, len(selection.running))
        return tree if whole else jax.tree.map(lambda leaf: leaf[job.lanes], tree)

    judged = job.config.validation != "none"
    begun = progress.done < progress.taken.sizes.shape[1]
    kept = of_job(selection.state if judged else progress.states)
    unfinished = None
    if judged or begun:
        taken = of_job(progress.taken) if begun else None
        unfinished = ResumePoint(of_job(progress.states) if judged else None, taken, progress.done if begun else 0)
    state = jax.tree.map(lambda leaf: leaf[0], kept) if job.config.runs == 1 else kept
    shape = dataset.train_images.shape[1:]
    return ModelFile(job.config, state, job.history.copy(), shape, dataset.fingerprint, current_versions(), unfinished)


def states_of(model: ModelFile) -> TrainState:
    """The state that a model file keeps, with an axis of runs."""
    return jax.tree.map(lambda leaf: leaf[None], model.state) if model.config.runs == 1 else model.state


def loop_state_of(model: ModelFile, num_steps: int) -> LoopState:
    """Where the training of a model stood when it was saved.

    Raises:
        ModelFileError: its epochs have another number of steps.
    """
    states, unfinished = states_of(model), model.unfinished
    if unfinished is not None and unfinished.states is not None:
        states = unfinished.states
    if unfinished is None or unfinished.taken is None:
        return LoopState(states, len(model.history), num_steps, init_step_metrics(states, num_steps))
    if unfinished.taken.sizes.shape[1] != num_steps:
        steps = unfinished.taken.sizes.shape[1]
        raise ModelFileError(f"the model was stopped within an epoch of {steps} steps, not {num_steps}")
    return LoopState(states, len(model.history) + 1, unfinished.done, unfinished.taken)


def early_stopping_of(model: ModelFile) -> EarlyStopping:
    """What the runs of a model had kept when it was saved, judged anew by the bounds of its history."""
    config, states = model.config, states_of(model)
    selection = init_early_stopping(jax.tree.map(jnp.copy, states), config.runs)
    for record in model.history:
        if "validation" in record:
            bounds = np.array(np.atleast_1d(record["validation"]), np.float64)  # null, of a run that has stopped: nan
            selection = select(selection, states, bounds, record["epoch"], config.keep == "best", config.patience)
    return selection._replace(state=states)


def of_running(values: np.ndarray, running: np.ndarray) -> Any:
    """A record's JSON value: the number of a single run, or a list with null for every run that has stopped."""
    each = [value if runs else None for value, runs in zip(values.tolist(), running, strict=True)]
    return each[0] if len(each) == 1 else each


def validation_bounds(
    config: Config, states: TrainState, image_shape: tuple[int, ...], images: UInt8[np.ndarray, "v h w c"]
) -> Float[np.ndarray, " r"]:
    """Every lane's bound of the validation images, in nats per image: the ELBO of one draw each, or the trained IWAE.

    The noise is the same at every epoch and for every lane.
    """
    log_densities, transform = build_model(config, image_shape).apply, build_transform(config)

    def bound(params: PyTree) -> float:
        key = jax.random.key(0)
        if config.bound == "iwae":
            return evaluate_iwae(log_densities, params, key, images, transform, config.num_samples).iwae.value
        return evaluate(log_densities, params, key, images, transform, num_samples=1).elbo.value

    return np.array([bound(jax.tree.map(lambda leaf: leaf[i], states.params)) for i in range(len(states.step))])  # noqa: B023


def check_finite(
    config: Config, taken: StepMetrics, params_finite: np.ndarray, epoch: int, running: np.ndarray
) -> None:
    """Raise a NonFiniteError that names term, run, epoch and step, unless all of every run that goes on was finite."""
    for run in np.flatnonzero(running):
        steps = {name: ~np.isfinite(getattr(taken.metrics, name)[run]) for name in TERMS}
        broken = [
            (int(np.argmax(bad)), term)
            for (name, bad), term in zip(steps.items(), TERMS.values(), strict=True)
            if bad.any()
        ]
        if not broken and not params_finite[run]:
            broken = [(taken.sizes.shape[1] - 1, "a parameter")]
        if broken:
            step, what = min(broken, key=lambda found: found[0])
            which = f" of the run with seed {config.seed + run}" if config.runs > 1 else ""
            raise NonFiniteError(
                f"{what}{which} is not finite at epoch {epoch}, step {step + 1} of {taken.sizes.shape[1]}; "
                f"a lower learning rate than {config.learning_rate:g} may help"
            )
