"""A run: Config and data in, a model file after every epoch out. What the commands and the experiments share."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, UInt8

from jvae.checkpoint import ModelFile, current_versions
from jvae.config import Config, build_bound, build_model, build_optimizer, build_transform
from jvae.datasets import Dataset
from jvae.diagnostics import Diagnostics, diagnose
from jvae.errors import DataError, JvaeError, NonFiniteError
from jvae.evaluation import Evaluation, ImportanceEvaluation, evaluate, evaluate_iwae
from jvae.selection import first_selection, select
from jvae.training import (
    Epoch,
    TrainState,
    Transform,
    fit,
    init_state,
    make_epoch,
    make_epoch_of_runs,
    make_train_step,
    steps_per_epoch,
)


def train(config: Config, dataset: Dataset) -> Iterator[ModelFile]:
    """Train all runs of a configuration, and yield the model as it stands after every epoch.

    Run i is the single run with the seed config.seed + i: the same initialisation, shuffles and noise.
    A yielded state's arrays are donated to the next epoch: read or save them before asking for the next.

    Raises:
        ValueError: at once, if the configuration does not fit the data.
        NonFiniteError: while training, at the first epoch with a value that is not finite.
    """
    images, _ = split_images(config, dataset)
    image_shape = images.shape[1:]
    steps = steps_per_epoch(len(images), config.batch_size)
    model, optimizer = build_model(config, image_shape), build_optimizer(config, steps)
    bound = build_bound(config, steps)
    step = make_train_step(model.apply, bound, optimizer, build_transform(config), config.num_samples)
    epoch = make_epoch(step, len(images), config.batch_size)
    seeds = jnp.arange(config.seed, config.seed + config.runs, dtype=jnp.uint32)
    init_keys, run_keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds).T
    if config.runs == 1:
        state, keys = init_state(model, optimizer, init_keys[0], image_shape), run_keys[0]
    else:
        state = jax.jit(partial(jax.lax.map, lambda key: init_state(model, optimizer, key, image_shape)))(init_keys)
        keys, epoch = run_keys, make_epoch_of_runs(epoch, runs_at_a_time(config.runs, jax.default_backend()))
    if config.pseudo_inputs == "data":
        starts = [chosen_images(key, build_transform(config), images, config.num_components) for key in run_keys]
        state = with_pseudo_inputs(state, starts[0] if config.runs == 1 else jnp.stack(starts))
    return epochs_of(config, dataset, epoch, state, keys)


def runs_at_a_time(runs: int, backend: str) -> int:
    """How many runs to compute together: one on a CPU, whose cores a single run's products fill, else all.

    One after the other, each run is also computed bit by bit as it would be alone.
    """
    return 1 if backend == "cpu" else runs


def chosen_images(key: jax.Array, transform: Transform, images: np.ndarray, count: int) -> jax.Array:
    """Different training images, drawn with a run's key, as a VampPrior's first pseudo-inputs.

    Raises:
        ValueError: there are fewer images than pseudo-inputs.
    """
    if count > len(images):
        raise ValueError(f"num_components is {count}: must be at most the number of training images, {len(images)}")
    choice_key, transform_key = jax.random.split(key)
    chosen = jax.random.choice(choice_key, len(images), (count,), replace=False)
    return transform(transform_key, jnp.asarray(images[np.asarray(chosen)]))


def with_pseudo_inputs(state: TrainState, pseudo_inputs: jax.Array) -> TrainState:
    """The state with other pseudo-inputs."""
    weights = state.params["params"]
    prior = {**weights["prior"], "pseudo_inputs": pseudo_inputs}
    return state._replace(params={"params": {**weights, "prior": prior}})


def split_images(
    config: Config, dataset: Dataset
) -> tuple[UInt8[np.ndarray, "n h w c"], UInt8[np.ndarray, "v h w c"] | None]:
    """The images that are trained on, and those that judge the epochs, if any.

    Held-out images are chosen at random, the same for every seed and run.

    Raises:
        ValueError: the share that is held out is no image, or all.
    """
    images = dataset.train_images
    if config.validation == "none":
        return images, None
    if config.validation == "test":
        return images, dataset.test_images
    count = round(config.held_out * len(images))
    if not 0 < count < len(images):
        raise ValueError(f"held_out is {config.held_out:g}: of {len(images)} training images that is {count}")
    order = np.random.default_rng(0).permutation(len(images))
    return images[np.sort(order[count:])], images[np.sort(order[:count])]


def epochs_of(config: Config, dataset: Dataset, epoch: Epoch, state: TrainState, key: jax.Array) -> Iterator[ModelFile]:
    """The epochs of `train`, with their history: one host sync each, and another where the epochs are judged."""
    images, validation_images = split_images(config, dataset)
    selection = first_selection(jax.tree.map(jnp.copy, state), config.runs)
    history: list[dict[str, Any]] = []
    started = time.perf_counter()
    for trained, result in fit(epoch, state, key, jnp.asarray(images), config.epochs):
        mean, finite = jax.device_get(result)
        number = len(history) + 1
        running = selection.running
        check_finite(config, mean.bound, finite, number, running)
        values = {name: np.atleast_1d(value).astype(np.float64) for name, value in mean._asdict().items()}
        kept = trained
        if validation_images is not None:
            bounds = validation_bounds(config, trained, dataset.train_images.shape[1:], validation_images)
            selection = select(selection, trained, bounds, number, config.keep == "best", config.patience)
            kept = selection.state
            values |= {"validation": bounds, "kept": selection.epoch}
        now = time.perf_counter()
        record = {name: of_running(value, running) for name, value in values.items()}
        history.append({"epoch": number, **record, "seconds": now - started})
        started = now
        yield ModelFile(
            config, kept, history.copy(), dataset.train_images.shape[1:], dataset.fingerprint, current_versions()
        )
        if not selection.running.any():
            return


def kept_epochs(model: ModelFile) -> list[int]:
    """The epoch, from 1, whose state the model file holds, run by run."""
    last = [select_run(model, i).history[-1] for i in range(model.config.runs)]
    return [record.get("kept", record["epoch"]) for record in last]


def of_running(values: np.ndarray, running: np.ndarray) -> Any:
    """A record's JSON value: the number of a single run, or a list with null for every run that has stopped."""
    each = [value if runs else None for value, runs in zip(values.tolist(), running, strict=True)]
    return each[0] if len(each) == 1 else each


def validation_bounds(
    config: Config, state: TrainState, image_shape: tuple[int, ...], images: UInt8[np.ndarray, "v h w c"]
) -> Float[np.ndarray, " r"]:
    """Every run's bound of the validation images, in nats per image: the ELBO of one draw each, or the trained IWAE.

    The noise is the same at every epoch and for every run.
    """
    log_densities, transform = build_model(config, image_shape).apply, build_transform(config)

    def bound(params: PyTree) -> float:
        key = jax.random.key(0)
        if config.bound == "iwae":
            return evaluate_iwae(log_densities, params, key, images, transform, config.num_samples).iwae.value
        return evaluate(log_densities, params, key, images, transform, num_samples=1).elbo.value

    if config.runs == 1:
        return np.array([bound(state.params)])
    return np.array([bound(jax.tree.map(lambda leaf: leaf[i], state.params)) for i in range(config.runs)])  # noqa: B023


def check_finite(config: Config, bound: np.ndarray, finite: np.ndarray, epoch: int, running: np.ndarray) -> None:
    """Raise a NonFiniteError that names run, epoch and step, unless every step of every run that goes on was finite."""
    for run, (value, steps) in enumerate(zip(np.atleast_1d(bound), np.atleast_2d(finite), strict=True)):
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
