"""The Python API for recipes and trained models; `jvae` exports these names.

A model holds one run or several. `evaluate` and `diagnose` return a list of one result per run; `encode`, `decode` and
`sample` take the index of a run, from 0. These and the training raise a NotEnoughMemoryError if even the smallest part
of the work needs more memory than is available.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float, UInt8

from jvae import diagnostics, evaluation, latents
from jvae.data.dataset import ArrayLike, Dataset
from jvae.diagnostics import Diagnostics
from jvae.errors import at_least_one
from jvae.evaluation import Evaluation
from jvae.latents import Encoding
from jvae.recipe import Recipe
from jvae.runs import importance
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.conditions import DEFAULT, Conditions
from jvae.runs.config import Config
from jvae.runs.given import AnyKey, as_key, key_or_zero, numbers, own_types, pixels
from jvae.runs.plan import Keep, Validation, make_plan
from jvae.runs.portions import (
    decoding_batch,
    diagnosis_batch,
    elbo_portion,
    encoding_batch,
    iwae_portion,
    sampling_batch,
)
from jvae.runs.recipe_file import OwnRecipe
from jvae.runs.training import check_fingerprint, finite, train_configs, train_plan
from jvae.vae import latent_dims


@own_types
def train(
    recipe: Recipe,
    data: Dataset,
    *,
    epochs: SupportsIndex,
    batch_size: SupportsIndex,
    seeds: Iterable[SupportsIndex] = (0,),
    validation: Validation = "none",
    held_out: float = 0.1,
    keep: Keep = "last",
    patience: SupportsIndex = 0,
    resume: TrainedModel | None = None,
    how: Conditions = DEFAULT,
) -> TrainedModel:
    """Train a recipe for all its epochs, and return the model.

    Run i depends on its own seed alone, not on the other runs.

    Args:
        recipe: what to train.
        data: the data set.
        epochs: passes over the training data, including those of `resume`.
        batch_size: data per step.
        seeds: one per run; each decides its run's initialisation, shuffles and noise.
        validation: the data whose bound judges every epoch: none, a part of the training data, or the test set.
        held_out: the share of the training data that validation "held-out" holds out.
        keep: the epoch whose parameters are kept: the last, or the one with the best validation bound. Epochs of the
            KL's warm-up maximise another bound and are never the best; if there are no others, the last is kept.
        patience: stop a run after this many epochs, since that warm-up, without a better validation bound; 0 for never.
        resume: a model of this recipe and these seeds, to continue from.
        how: the conditions of the training, such as its devices and when to stop.

    Raises:
        ValueError: recipe, options and data do not fit each other.
        DataError: the model to resume was trained on other data.
        ModelFileError: the model to resume holds only parameters.
        NonFiniteError: training met a value that is not finite.
    """
    plan = make_plan(epochs, batch_size, seeds, validation, held_out, keep, patience)
    return last(train_plan(recipe, plan, data, resume, how), resume)


@own_types
def train_epochs(
    recipe: Recipe,
    data: Dataset,
    *,
    epochs: SupportsIndex,
    batch_size: SupportsIndex,
    seeds: Iterable[SupportsIndex] = (0,),
    validation: Validation = "none",
    held_out: float = 0.1,
    keep: Keep = "last",
    patience: SupportsIndex = 0,
    resume: TrainedModel | None = None,
    how: Conditions = DEFAULT,
) -> Iterator[TrainedModel]:
    """Train a recipe, and yield the model after every epoch; arguments and errors are those of `train`.

    Wrong arguments raise at once, not at the first epoch. A yielded model's arrays are donated to the next epoch: read
    or save them before asking for the next model. Its `history` ends with the epoch's bound, reconstruction and KL, in
    nats per datum.
    """
    plan = make_plan(epochs, batch_size, seeds, validation, held_out, keep, patience)
    return train_plan(recipe, plan, data, resume, how)


@own_types
def train_config(
    config: Config, data: Dataset, *, resume: TrainedModel | None = None, how: Conditions = DEFAULT
) -> TrainedModel:
    """Train a configuration for all its epochs, and return the model; run i has the seed config.seed + i.

    Raises:
        ValueError: as `train`, or binarisation is stochastic and the test set was not drawn, as `load_dataset` can.
        DataError, ModelFileError, NonFiniteError: as `train`.
    """
    return last(train_config_epochs(config, data, resume=resume, how=how), resume)


@own_types
def train_config_epochs(
    config: Config,
    data: Dataset,
    *,
    resume: TrainedModel | None = None,
    how: Conditions = DEFAULT,
    own: OwnRecipe | None = None,
) -> Iterator[TrainedModel]:
    """Train a configuration, and yield the model after every epoch, as `train_epochs` does.

    With a recipe file, `own`, that file turns the configuration into a recipe.

    Raises:
        ValueError, DataError, ModelFileError: at once, as `train`.
        JvaeError: at once, if the recipe file fails.
        NonFiniteError: at an epoch, if it met a value that is not finite.
    """
    return (finite(model) for (model,) in train_configs([config], data, resume, how, own))


def last(models: Iterator[TrainedModel], before: TrainedModel | None) -> TrainedModel:
    """Return the last of the models, or `before` if there are none because the training had finished."""
    model = before
    for model in models:  # noqa: B007
        pass
    assert model is not None  # an unfinished training yields at least once
    return model


@own_types
def evaluate(
    model: TrainedModel,
    data: Dataset,
    num_samples: SupportsIndex = 10,
    iwae: SupportsIndex | None = None,
    key: AnyKey | None = None,
    progress: Callable[[float], None] = lambda count: None,
) -> list[Evaluation]:
    """Estimate every run's test-set ELBO and its two parts, in nats per datum, each with two errors.

    The standard error is that of the mean over the test set: how much another test set of this size would change it.
    The Monte Carlo error is how much another key would change it, by the draws and the dequantisation noise.
    Stochastically binarised data are drawn once, and do not depend on the key.

    Args:
        model: a model trained on these data.
        data: the data set, whose test set is evaluated.
        num_samples: draws z ~ q(z|x) per datum for the ELBO, at least 1.
        iwae: draws per datum for the importance-weighted bound, the result's `importance`, from 1 to 10^9; None to
            leave it out.
        key: decides the draws and the noise, the same for every run; by default `jax.random.key(0)`.
        progress: called about every second with the number of data, over all runs, whose importance-weighted bound is
            known; a batch in progress counts in proportion to its draws.

    Raises:
        ValueError: a number of draws is out of range, the key is not a key, or the test set is empty.
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, data)
    draws, weighed = at_least_one("num_samples", num_samples), 0 if iwae is None else at_least_one("iwae", iwae)
    if weighed > importance.MOST_DRAWS:
        raise ValueError(f"iwae is {weighed}: must be from 1 to 10^9")
    recipe, images, key = model.recipe, test_images(data), key_or_zero(key)
    all_runs, rest = (recipe.model, model.params, model.num_runs), (key, images, recipe.transform)
    portion, found = elbo_portion(recipe, model.params, images, draws, model.num_runs), []
    for vae, params, _ in portion.groups(*all_runs):
        found += evaluation.evaluate(vae, params, *rest, draws, *portion.sizes)
    if not weighed:
        return found
    portion, weighted = iwae_portion(recipe, model.params, images, weighed, model.num_runs), []
    for vae, params, runs in portion.groups(*all_runs):
        done = lambda count: progress(runs[0] * len(images) + len(runs) * count)  # noqa: B023, E731  called at once
        weighted += importance.evaluate_iwae(vae, params, *rest, weighed, *portion.sizes, done)
    return [each._replace(importance=one) for each, one in zip(found, weighted, strict=True)]


@own_types
def diagnose(model: TrainedModel, data: Dataset, key: AnyKey | None = None) -> list[Diagnostics]:
    """Return every run's diagnostics over the test set: active units, KLs in nats, mixture components, output scales.

    A unit is active where the variance of E[z|x] over the data exceeds 0.01 (Burda et al. 2016).

    Raises:
        ValueError: the test set is empty, or the key is not a key.
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, data)
    recipe, images, key = model.recipe, test_images(data), key_or_zero(key)
    size = diagnosis_batch(recipe, model.run_params(), images)
    each = map(model.run_params, range(model.num_runs))
    return [diagnostics.diagnose(recipe.model, params, key, images, recipe.transform, size) for params in each]


@own_types
def encode(
    model: TrainedModel, images: ArrayLike, key: AnyKey, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> Encoding:
    """Return q(z|x) of n data: loc[n, m], scale[n, m] and a draw z[n, m].

    Args:
        model: the model whose encoder is used.
        images: uint8[n, ...], data of the shape that the model was trained on: an array, or lists of whole numbers.
        key: decides the draws and the dequantisation noise. Stochastic binarisation depends on a datum's index only.
        run: which of several.
        level: the level of latents; 0 is nearest x. A higher level is encoded from a draw of the one below.

    Raises:
        ValueError: the data have another shape or type, the key is not a key, or there is no such run or level.
    """
    params, data, number = model.run_params(run), pixels("images", images), model.check_level(level)
    if data.shape[1:] != model.data_shape or not len(data):
        wanted = ", ".join(map(str, ("n", *model.data_shape)))
        raise ValueError(f"images have the shape {list(data.shape)}: must be [{wanted}] with n > 0")
    recipe, key = model.recipe, as_key(key)
    size = encoding_batch(recipe, params, data, number)
    return latents.encode(recipe.model, params, key, data, recipe.transform, number, size)


@own_types
def decode(model: TrainedModel, z: ArrayLike, run: SupportsIndex = 0) -> Float[np.ndarray, "n ..."]:
    """Return E[x|z] at n latents of the level nearest x, in the unit of x: probabilities, or values in [0, 1].

    Args:
        model: the model whose decoder is used.
        z: the latents [n, m]: an array, or lists of numbers.
        run: which of several.

    Raises:
        ValueError: the latents have another shape or are not all finite numbers, or there is no such run.
    """
    params, points, vae = model.run_params(run), numbers("z", z), model.recipe.model
    dim = latent_dims(vae, params, model.data_shape)[0]
    if points.ndim != 2 or points.shape[1] != dim or not len(points):
        raise ValueError(f"z has the shape {list(points.shape)}: must be [n, {dim}] with n > 0")
    return latents.decode(vae, params, points, decoding_batch(vae, params, points, datum_bytes(model)))


@own_types
def sample(
    model: TrainedModel, key: AnyKey, n: SupportsIndex, run: SupportsIndex = 0, mean: bool = False
) -> Float[np.ndarray, "n ..."]:
    """Draw n data from the model: z ~ p(z), then x ~ p(x|z), in the unit of x.

    If they do not all fit in memory at a time, they are drawn in batches, and later batches have keys of their own.

    Args:
        model: the model to draw from.
        key: decides the draws.
        n: the number of data, at least 1.
        run: which of several.
        mean: return E[x|z] instead of x, at the same z.

    Raises:
        ValueError: n is below 1, the key is not a key, or there is no such run.
    """
    vae, params, key, count = model.recipe.model, model.run_params(run), as_key(key), at_least_one("n", n)
    size = sampling_batch(vae, params, count, bool(mean), datum_bytes(model))
    return latents.sample(vae, params, key, count, bool(mean), size)


def datum_bytes(model: TrainedModel) -> int:
    """Return the bytes of a datum that the model generates, as float32."""
    return 4 * math.prod(model.data_shape)


def test_images(data: Dataset) -> UInt8[np.ndarray, "m ..."]:
    """Return the test set.

    Raises:
        ValueError: it is empty.
    """
    if not len(data.test_images):
        raise ValueError(f"data: {data.name} has no test images: there must be at least one")
    return data.test_images
