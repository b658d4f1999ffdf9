"""A run: Config and data in, a model file after every epoch out. What the commands and the experiments share."""

import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jvae.checkpoint import ModelFile, current_versions
from jvae.config import Config, build_bound, build_model, build_optimizer, build_transform
from jvae.datasets import Dataset
from jvae.diagnostics import Diagnostics, diagnose
from jvae.errors import DataError, NonFiniteError
from jvae.evaluation import Evaluation, ImportanceEvaluation, evaluate, evaluate_iwae
from jvae.training import Epoch, TrainState, Transform, fit, init_state, make_epoch, make_train_step


def train(config: Config, dataset: Dataset) -> Iterator[ModelFile]:
    """Train, and yield the model as it stands after every epoch.

    A yielded state's arrays are donated to the next epoch: read or save them before asking for the next.

    Raises:
        ValueError: at once, if the configuration does not fit the data.
        NonFiniteError: while training, at the first epoch with a value that is not finite.
    """
    images = dataset.train_images
    image_shape = images.shape[1:]
    model, optimizer = build_model(config, image_shape), build_optimizer(config)
    step = make_train_step(model.apply, build_bound(config), optimizer, build_transform(config), config.num_samples)
    epoch = make_epoch(step, len(images), config.batch_size)
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    state = init_state(model, optimizer, init_key, image_shape)
    if config.pseudo_inputs == "data":
        state = start_at_images(state, build_transform(config), run_key, images, config.num_components)
    return epochs_of(config, dataset, epoch, state, run_key)


def start_at_images(
    state: TrainState, transform: Transform, key: jax.Array, images: np.ndarray, count: int
) -> TrainState:
    """The state with a VampPrior's pseudo-inputs at training images, drawn with the key."""
    if count > len(images):
        raise ValueError(f"num_components is {count}: must be at most the number of training images, {len(images)}")
    choice_key, transform_key = jax.random.split(key)
    chosen = jax.random.choice(choice_key, len(images), (count,), replace=False)
    start = transform(transform_key, jnp.asarray(images[np.asarray(chosen)]))
    weights = state.params["params"]
    prior = {**weights["prior"], "pseudo_inputs": start}
    return state._replace(params={"params": {**weights, "prior": prior}})


def epochs_of(config: Config, dataset: Dataset, epoch: Epoch, state: TrainState, key: jax.Array) -> Iterator[ModelFile]:
    """The epochs of `train`, with their history: one host sync each."""
    images = jnp.asarray(dataset.train_images)
    history: list[dict[str, float]] = []
    started = time.perf_counter()
    for trained, result in fit(epoch, state, key, images, config.epochs):
        mean, finite = jax.device_get(result)
        number = len(history) + 1
        if not finite.all():
            raise NonFiniteError(
                f"the bound or the parameters are not finite at epoch {number}, step {int(np.argmin(finite)) + 1} "
                f"of {len(finite)} (bound of the epoch: {float(mean.bound)}); a lower learning rate than "
                f"{config.learning_rate:g} may help"
            )
        now = time.perf_counter()
        record = {"epoch": number, **{k: float(v) for k, v in mean._asdict().items()}, "seconds": now - started}
        history.append(record)
        started = now
        yield ModelFile(
            config, trained, history.copy(), dataset.train_images.shape[1:], dataset.fingerprint, current_versions()
        )


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
