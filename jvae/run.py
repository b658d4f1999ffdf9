"""A run: Config and data in, a model file after every epoch out. What the commands and the experiments share."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, PyTree, UInt8

from jvae.checkpoint import ModelFile, current_versions
from jvae.config import Config, build_model, build_transform
from jvae.datasets import Dataset
from jvae.diagnostics import Diagnostics, diagnose
from jvae.errors import DataError, JvaeError, NonFiniteError
from jvae.evaluation import Evaluation, ImportanceEvaluation, evaluate, evaluate_iwae
from jvae.lanes import (
    LANE_FIELDS,
    init_states,
    lanes_at_a_time,
    lanes_of,
    make_epoch_of_lanes,
    make_steps_of_lanes,
    share_a_program,
)
from jvae.parallel import RUNS, fetch, place
from jvae.selection import first_selection, select, stop
from jvae.streaming import fit_streamed, fits_in_memory
from jvae.training import EpochResult, TrainState, fit


def train(
    config: Config, dataset: Dataset, mesh: Mesh | None = None, stream: bool | None = None
) -> Iterator[ModelFile]:
    """Train all runs of a configuration, and yield the model as it stands after every epoch.

    Run i is the single run with the seed config.seed + i: the same initialisation, shuffles and noise.
    A yielded state's arrays are donated to the next epoch: read or save them before asking for the next.

    Args:
        config: what to train.
        dataset: on what.
        mesh: the devices to spread runs and batches over; one device for None.
        stream: read the training images while they are used, instead of holding them in the device's memory; for None
            only if they would not fit.

    Raises:
        ValueError: at once, if the configuration does not fit the data.
        NonFiniteError: while training, at the first epoch with a value that is not finite.
    """
    return (finite(outcome) for (outcome,) in train_together([config], dataset, mesh, stream))


def finite(outcome: ModelFile | NonFiniteError) -> ModelFile:
    """The model of an outcome that is one; else raises the error that it is."""
    if isinstance(outcome, NonFiniteError):
        raise outcome
    return outcome


def train_together(
    configs: Sequence[Config], dataset: Dataset, mesh: Mesh | None = None, stream: bool | None = None
) -> Iterator[list[ModelFile | NonFiniteError]]:
    """Train the runs of several configurations in one program, and yield what became of each after every epoch.

    The configurations differ in nothing but `lanes.LANE_FIELDS`. One that meets a value that is not finite ends alone,
    and its last outcome is the error. Mesh and stream are as in `train`.

    Raises:
        ValueError: at once, if the configurations do not go together or do not fit the data.
    """
    config = configs[0]
    if not all(share_a_program(config, other) for other in configs):
        raise ValueError(f"the configurations differ in more than {', '.join(LANE_FIELDS)}")
    images = dataset.train_images
    kept, _ = split_rows(config, len(images))
    count = len(images) if kept is None else len(kept)
    lanes = lanes_of(configs)
    states = init_states(config, lanes, images, kept)
    untrained = jax.tree.map(jnp.copy, states)  # for the states themselves are donated
    at_a_time = lanes_at_a_time(len(lanes.key), jax.default_backend())
    if not fits_in_memory(images.nbytes) if stream is None else stream:
        take_steps = make_steps_of_lanes(config, images.shape[1:], count, at_a_time, mesh)
        trained = fit_streamed(take_steps, states, lanes, images, kept, config.epochs, config.batch_size, mesh)
    else:
        epoch = make_epoch_of_lanes(config, images.shape[1:], count, at_a_time, mesh)
        resident = place(images if kept is None else images[kept], mesh)
        trained = fit(epoch, place(states, mesh, RUNS), place(lanes, mesh, RUNS), resident, config.epochs)
    return outcomes(configs, dataset, trained, untrained)


def split_rows(config: Config, num_images: int) -> tuple[Int[np.ndarray, " n"] | None, Int[np.ndarray, " v"] | None]:
    """The training images that are trained on, None for all, and those that are held out to judge the epochs.

    Held-out images are chosen at random, the same for every seed and run.

    Raises:
        ValueError: the share that is held out is no image, or all.
    """
    if config.validation != "held-out":
        return None, None
    count = round(config.held_out * num_images)
    if not 0 < count < num_images:
        raise ValueError(f"held_out is {config.held_out:g}: of {num_images} training images that is {count}")
    order = np.random.default_rng(0).permutation(num_images)
    return np.sort(order[count:]), np.sort(order[:count])


def images_for_validation(config: Config, dataset: Dataset) -> UInt8[np.ndarray, "v h w c"] | None:
    """The images that judge the epochs, if any."""
    if config.validation == "test":
        return dataset.test_images
    _, held_out = split_rows(config, len(dataset.train_images))
    return None if held_out is None else dataset.train_images[held_out]


class Job(NamedTuple):
    """A configuration among those that are trained together."""

    config: Config
    lanes: slice
    """Which lanes are its runs."""
    history: list[dict[str, Any]]


def outcomes(
    configs: Sequence[Config],
    dataset: Dataset,
    epochs: Iterable[tuple[TrainState, EpochResult]],
    untrained: TrainState,
) -> Iterator[list[ModelFile | NonFiniteError]]:
    """The outcomes of `train_together`: one host sync an epoch, and another where the epochs are judged."""
    config, image_shape = configs[0], dataset.train_images.shape[1:]
    validation_images = images_for_validation(config, dataset)
    selection = first_selection(untrained, config.runs * len(configs))
    jobs = [Job(c, slice(i * c.runs, (i + 1) * c.runs), []) for i, c in enumerate(configs)]
    failed: dict[int, NonFiniteError] = {}
    started = time.perf_counter()
    for number, (trained, result) in enumerate(epochs, start=1):
        trained, (mean, finite) = fetch(trained), jax.device_get(fetch(result))
        running = selection.running
        values = {name: value.astype(np.float64) for name, value in mean._asdict().items()}
        kept = trained
        if validation_images is not None:
            bounds = validation_bounds(config, trained, image_shape, validation_images)
            selection = select(selection, trained, bounds, number, config.keep == "best", config.patience)
            kept = selection.state
            values |= {"validation": bounds, "kept": selection.epoch}
        seconds = (time.perf_counter() - started) / len(configs)
        started = time.perf_counter()
        for i, job in enumerate(jobs):
            if i in failed or not running[job.lanes].any():
                continue
            try:
                check_finite(job.config, mean.bound[job.lanes], finite[job.lanes], number, running[job.lanes])
            except NonFiniteError as error:
                failed[i] = error
                selection = stop(selection, job.lanes)
            record = {name: of_running(value[job.lanes], running[job.lanes]) for name, value in values.items()}
            job.history.append({"epoch": number, **record, "seconds": seconds})
        yield [failed.get(i) or model_of(job, kept, dataset) for i, job in enumerate(jobs)]
        if not selection.running.any():
            return


def model_of(job: Job, states: TrainState, dataset: Dataset) -> ModelFile:
    """The model file of a job, given the states of all lanes; a single run's state has no axis of runs."""
    lanes = job.lanes.start if job.config.runs == 1 else job.lanes
    alone = job.lanes == slice(0, len(states.step)) and job.config.runs > 1
    state = states if alone else jax.tree.map(lambda leaf: leaf[lanes], states)
    shape = dataset.train_images.shape[1:]
    return ModelFile(job.config, state, job.history.copy(), shape, dataset.fingerprint, current_versions())


def kept_epochs(model: ModelFile) -> list[int]:
    """The epoch, from 1, whose state the model file holds, run by run."""
    last = [select_run(model, i).history[-1] for i in range(model.config.runs)]
    return [record.get("kept", record["epoch"]) for record in last]


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


def check_finite(config: Config, bound: np.ndarray, finite: np.ndarray, epoch: int, running: np.ndarray) -> None:
    """Raise a NonFiniteError that names run, epoch and step, unless every step of every run that goes on was finite."""
    for run, (value, steps) in enumerate(zip(bound, finite, strict=True)):
        if running[run] and not steps.all():
            which = f" of the run with seed {config.seed + run}" if config.runs > 1 else ""
            raise NonFiniteError(
                f"the bound or the parameters{which} are not finite at epoch {epoch}, step {int(np.argmin(steps)) + 1} "
                f"of {len(steps)} (bound of the epoch: {float(value)}); a lower learning rate than "
                f"{config.learning_rate:g} may help"
            )


def select_run(model: ModelFile, run: int) -> ModelFile:
    """One run of a model file, as if trained alone with the seed config.seed + run; its seconds are a share of all.

    Raises:
        JvaeError: there is no such run.
    """
    config = model.config
    if not 0 <= run < config.runs:
        raise JvaeError(f"run is {run}: the model file holds the runs 0 to {config.runs - 1}")
    if config.runs == 1:
        return model
    history = [
        {name: value[run] if isinstance(value, list) else value for name, value in record.items()}
        | {"seconds": record["seconds"] / config.runs}
        for record in model.history
        if record["bound"][run] is not None
    ]
    state = jax.tree.map(lambda leaf: leaf[run], model.state)
    return model._replace(config=replace(config, seed=config.seed + run, runs=1), state=state, history=history)


def evaluate_model(model: ModelFile, dataset: Dataset, num_samples: int = 10, seed: int = 0) -> Evaluation:
    """The test-set ELBO of a trained model, in nats per image.

    Raises:
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, dataset)
    return evaluate(
        build_model(model.config, model.image_shape).apply,
        model.state.params,
        jax.random.key(seed),
        dataset.test_images,
        build_transform(model.config),
        num_samples,
    )


def evaluate_model_iwae(
    model: ModelFile,
    dataset: Dataset,
    num_samples: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda n: None,
) -> ImportanceEvaluation:
    """The test set's importance-weighted bound of a trained model, in nats per image; `progress` as `evaluate_iwae`'s.

    Raises:
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, dataset)
    return evaluate_iwae(
        build_model(model.config, model.image_shape).apply,
        model.state.params,
        jax.random.key(seed),
        dataset.test_images,
        build_transform(model.config),
        num_samples,
        progress=progress,
    )


def diagnose_model(model: ModelFile, dataset: Dataset, seed: int = 0) -> Diagnostics:
    """What a trained model does with its latent space, over the test set."""
    check_fingerprint(model, dataset)
    vae, transform = build_model(model.config, model.image_shape), build_transform(model.config)
    return diagnose(vae, model.state.params, jax.random.key(seed), dataset.test_images, transform)


def check_fingerprint(model: ModelFile, dataset: Dataset) -> None:
    """Raise a DataError unless the data set is the one that the model was trained on."""
    if model.fingerprint != dataset.fingerprint:
        raise DataError(
            f"{dataset.name} is not the data set that the model was trained on: "
            f"fingerprint {dataset.fingerprint[:12]}, not {model.fingerprint[:12]}"
        )
