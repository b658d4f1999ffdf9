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
from jvae.runs.loop import (
    CHUNKING,
    Chunking,
    LoopState,
    TakeChunk,
    config_runs_of,
    early_stopping_of,
    loop_state_of,
    run_epochs,
    take_chunks,
)
from jvae.runs.mesh import RUNS, place
from jvae.runs.streaming import fits_in_memory, streamed
from jvae.training import Chunk, init_step_metrics, steps_per_epoch


def train(
    config: Config,
    dataset: Dataset,
    mesh: Mesh | None = None,
    stream: bool | None = None,
    resume: ModelFile | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    chunking: Chunking = CHUNKING,
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
        interrupted: asked after every chunk of steps: once it is true, what was trained is yielded, and training ends.
        chunking: how long the chunks are, some seconds by default; the bits of a training do not depend on it.

    Raises:
        ValueError: at once, if the configuration does not fit the data.
        DataError: at once, if the model to go on from was trained on other data.
        NonFiniteError: while training, at the first epoch with a value that is not finite.
    """
    if resume is not None:
        check_fingerprint(resume, dataset)
    models = train_together([config], dataset, mesh, stream, resume, interrupted, chunking)
    return (finite(model) for (model,) in models)


def finite(model: ModelFile | NonFiniteError) -> ModelFile:
    """Return the model, or raise the error that stands in its place."""
    if isinstance(model, NonFiniteError):
        raise model
    return model


def train_together(
    configs: Sequence[Config],
    dataset: Dataset,
    mesh: Mesh | None = None,
    stream: bool | None = None,
    resume: ModelFile | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    chunking: Chunking = CHUNKING,
) -> Iterator[list[ModelFile | NonFiniteError]]:
    """Train the runs of several configurations in one program, and yield the model of each after every epoch.

    The configurations differ in nothing but `PER_RUN_FIELDS`. One that meets a value that is not finite ends
    alone: the error stands in its model's place. The other arguments are those of `train`; a model to go on from is of
    the only configuration.

    Raises:
        ValueError: at once, if the configurations do not go together or do not fit the data.
    """
    config, images = configs[0], dataset.train_images
    if not all(share_a_program(config, other) for other in configs):
        raise ValueError(f"the configurations differ in more than {', '.join(PER_RUN_FIELDS)}")
    kept, _ = split_rows(config, len(images))
    num_steps = steps_per_epoch(len(kept), config.batch_size)
    numbers = numbers_of(configs)
    num_runs = len(numbers.learning_rate)
    if resume is None:
        states = init_states(config, numbers, images, kept)
        loop = LoopState(states, 1, 0, init_step_metrics(states, num_steps))
        groups = config_runs_of(configs)
        stopping = init_early_stopping(jax.tree.map(jnp.copy, states), num_runs)
    else:
        loop, stopping = loop_state_of(resume, num_steps), early_stopping_of(resume)
        groups = config_runs_of(configs, resume.history)
    at_a_time = runs_at_a_time(num_runs, jax.default_backend())
    shape = images.shape[1:]
    if not fits_in_memory(images.nbytes) if stream is None else stream:
        of_batches = make_chunk_of_batches(config, shape, len(kept), at_a_time, mesh)
        take = streamed(of_batches, numbers, images, kept, config.batch_size, mesh)
    else:
        chunk = make_chunk_of_runs(config, shape, len(kept), at_a_time, mesh)
        whole = images if len(kept) == len(images) else images[kept]
        take = resident(chunk, place(numbers, mesh, RUNS), place(whole, mesh))
    placed = loop._replace(states=place(loop.states, mesh, RUNS), step_metrics=place(loop.step_metrics, mesh, RUNS))
    chunks = take_chunks(take, placed, config.epochs, chunking)
    return run_epochs(groups, dataset, images_for_validation(config, dataset), chunks, stopping, interrupted)


def resident(chunk: Chunk, numbers: RunNumbers, images: UInt8[Array, "n h w c"]) -> TakeChunk:
    """Return what `take_chunks` takes steps with, all images being in the devices' memory."""
    compiled = jax.jit(chunk, donate_argnums=0)
    return lambda states, step_metrics, start, stop: compiled(states, numbers, images, step_metrics, start, stop)


def split_rows(config: Config, num_images: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " v"] | None]:
    """Return which training images are trained on, and which are held out to judge the epochs, if any.

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
    """Return the images that judge the epochs, if any."""
    if config.validation == "test":
        return dataset.test_images
    _, held_out = split_rows(config, len(dataset.train_images))
    return None if held_out is None else dataset.train_images[held_out]


def kept_epochs(model: ModelFile) -> list[int]:
    """Return the epoch, from 1, whose state the model file holds, run by run."""
    last = [select_run(model, i).history[-1] for i in range(model.config.runs)]
    return [record.get("kept", record["epoch"]) for record in last]


def select_run(model: ModelFile, run: int) -> ModelFile:
    """Return run i of a model file, as if trained alone with the seed config.seed + i; its seconds are a share of all.

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
    """Estimate the test-set ELBO of a trained model, in nats per image.

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
    """Estimate the test set's importance-weighted bound, in nats per image; `progress` as `evaluate_iwae`'s.

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
    """Return what a trained model does with its latent space, over the test set."""
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
