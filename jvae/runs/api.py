"""A run: Config and data in, a model file after every epoch out. What the commands and the experiments share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, UInt8

from jvae.data.datasets import Dataset
from jvae.diagnostics import Diagnostics, diagnose
from jvae.errors import DataError, JvaeError, NonFiniteError
from jvae.evaluation import Evaluation, ImportanceEvaluation, evaluate, evaluate_iwae
from jvae.runs.checkpoint import ModelFile
from jvae.runs.config import Config, build_model, build_transform
from jvae.runs.early_stopping import init_early_stopping
from jvae.runs.ensemble import (
    PER_RUN_FIELDS,
    RunNumbers,
    init_states,
    make_chunk_of_batches,
    make_chunk_of_runs,
    numbers_of,
    runs_at_a_time,
    share_a_program,
)
from jvae.runs.loop import config_runs_of, early_stopping_of, epoch_loop, loop_state_of
from jvae.runs.mesh import RUNS, place
from jvae.runs.progress import LoopState, TakeChunk, advance
from jvae.runs.streaming import fits_in_memory, streamed
from jvae.training import Chunk, init_step_metrics, steps_per_epoch


def train(
    config: Config,
    dataset: Dataset,
    mesh: Mesh | None = None,
    stream: bool | None = None,
    resume: ModelFile | None = None,
    interrupted: Callable[[], bool] = lambda: False,
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
        resume: a model of this configuration, but perhaps of fewer epochs, to go on from.
        interrupted: asked every few seconds: once it is true, what has been trained is yielded, and the training ends.

    Raises:
        ValueError: at once, if the configuration does not fit the data.
        DataError: at once, if the model to go on from was trained on other data.
        NonFiniteError: while training, at the first epoch with a value that is not finite.
    """
    if resume is not None:
        check_fingerprint(resume, dataset)
    return (finite(outcome) for (outcome,) in train_together([config], dataset, mesh, stream, resume, interrupted))


def finite(outcome: ModelFile | NonFiniteError) -> ModelFile:
    """The model of an outcome that is one; else raises the error that it is."""
    if isinstance(outcome, NonFiniteError):
        raise outcome
    return outcome


def train_together(
    configs: Sequence[Config],
    dataset: Dataset,
    mesh: Mesh | None = None,
    stream: bool | None = None,
    resume: ModelFile | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[list[ModelFile | NonFiniteError]]:
    """Train the runs of several configurations in one program, and yield what became of each after every epoch.

    The configurations differ in nothing but `PER_RUN_FIELDS`. One that meets a value that is not finite ends alone,
    and its last outcome is the error. The other arguments are those of `train`; a model to go on from is of the only
    configuration.

    Raises:
        ValueError: at once, if the configurations do not go together or do not fit the data.
    """
    config, images = configs[0], dataset.train_images
    if not all(share_a_program(config, other) for other in configs):
        raise ValueError(f"the configurations differ in more than {', '.join(PER_RUN_FIELDS)}")
    kept, _ = split_rows(config, len(images))
    num_steps = steps_per_epoch(len(kept), config.batch_size)
    lanes = numbers_of(configs)
    if resume is None:
        states = init_states(config, lanes, images, kept)
        progress = LoopState(states, 1, 0, init_step_metrics(states, num_steps))
        jobs = config_runs_of(configs)
        selection = init_early_stopping(jax.tree.map(jnp.copy, states), len(lanes.learning_rate))
    else:
        progress, jobs, selection = (
            loop_state_of(resume, num_steps),
            config_runs_of(configs, resume.history),
            early_stopping_of(resume),
        )
    at_a_time = runs_at_a_time(len(lanes.learning_rate), jax.default_backend())
    shape = images.shape[1:]
    if not fits_in_memory(images.nbytes) if stream is None else stream:
        of_batches = make_chunk_of_batches(config, shape, len(kept), at_a_time, mesh)
        take = streamed(of_batches, lanes, images, kept, config.batch_size, mesh)
    else:
        chunk = make_chunk_of_runs(config, shape, len(kept), at_a_time, mesh)
        take = resident(
            chunk, place(lanes, mesh, RUNS), place(images if len(kept) == len(images) else images[kept], mesh)
        )

    placed = progress._replace(states=place(progress.states, mesh, RUNS), taken=place(progress.taken, mesh, RUNS))
    advances = advance(take, placed, config.epochs)
    return epoch_loop(jobs, dataset, images_for_validation(config, dataset), advances, selection, interrupted)


def resident(chunk: Chunk, lanes: RunNumbers, images: UInt8[Array, "n h w c"]) -> TakeChunk:
    """What `advance` takes steps with, all images being in the devices' memory."""
    compiled = jax.jit(chunk, donate_argnums=0)
    return lambda states, taken, start, stop: compiled(states, lanes, images, taken, start, stop)


def split_rows(config: Config, num_images: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " v"] | None]:
    """Which of the training images are trained on, and which are held out to judge the epochs, if any.

    Held-out images are chosen at random, the same for every seed and run.

    Raises:
        ValueError: the share that is held out is no image, or all.
    """
    if config.validation != "held-out":
        return np.arange(num_images), None
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


def kept_epochs(model: ModelFile) -> list[int]:
    """The epoch, from 1, whose state the model file holds, run by run."""
    last = [select_run(model, i).history[-1] for i in range(model.config.runs)]
    return [record.get("kept", record["epoch"]) for record in last]


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
