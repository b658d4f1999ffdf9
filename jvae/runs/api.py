"""What is done with recipes and trained models from Python; the names that `jvae` exports.

A model holds one run or several. `evaluate` and `diagnose` give one result a run, in a list; `encode`, `decode` and
`sample` take one run's number, from 0.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import SupportsIndex

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jvae import diagnostics, evaluation, latents
from jvae.data.dataset import ArrayLike, Dataset
from jvae.diagnostics import Diagnostics
from jvae.evaluation import Evaluation
from jvae.latents import Encoding
from jvae.recipe import Recipe
from jvae.runs import importance
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.config import Config
from jvae.runs.given import AnyKey, as_key, at_least_one, key_or_zero, numbers, pixels
from jvae.runs.plan import Keep, Validation, make_plan, whole_number
from jvae.runs.portions import (
    decoding_batch,
    diagnosis_batch,
    elbo_portion,
    encoding_batch,
    iwae_portion,
    sampling_batch,
)
from jvae.runs.recipe_file import OwnRecipe
from jvae.runs.snapshots import rows_of
from jvae.runs.state import runs_of
from jvae.runs.training import DEFAULT, Conditions, check_fingerprint, finite, train_configs, train_plan
from jvae.vae import latent_dims


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
    """Train a recipe to its end, and return the model.

    Run i depends on its seed alone, whatever other runs there are.

    Args:
        recipe: what to train.
        data: on what.
        epochs: passes over the training data, those of `resume` included.
        batch_size: data per step.
        seeds: one a run; each decides its run's initialisation, shuffles and noise.
        validation: whose bound judges every epoch: nobody's, a part of the training data, or the test set.
        held_out: the share of the training data that is held out, with validation "held-out".
        keep: the epoch whose parameters are kept: the last, or the one with the best validation bound of those after
            the warm-up of the KL, whose epochs climb another bound (the last, where there is none).
        patience: epochs without a better validation bound, after that warm-up, that end a run; 0 for never.
        resume: a model of this recipe and these seeds to go on from.
        how: on which devices, and when to stop.

    Raises:
        ValueError: recipe, options and data do not fit each other.
        DataError: the model to go on from was trained on other data.
        ModelFileError: that model holds only parameters.
        NonFiniteError: a value of the training is not finite.
    """
    plan = make_plan(epochs, batch_size, seeds, validation, held_out, keep, patience)
    return last(train_plan(recipe, plan, data, resume, how), resume)


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
    """Train a recipe, and yield the model as it stands after every epoch; arguments and errors are those of `train`.

    What does not fit is refused at once. A yielded model's arrays are donated to the next epoch: read or save them
    before asking for the next. Its `history` ends with the epoch's bound, reconstruction and KL, in nats per datum.
    """
    plan = make_plan(epochs, batch_size, seeds, validation, held_out, keep, patience)
    return train_plan(recipe, plan, data, resume, how)


def train_config(
    config: Config, data: Dataset, *, resume: TrainedModel | None = None, how: Conditions = DEFAULT
) -> TrainedModel:
    """Train what a configuration says to its end, and return the model: run i has the seed config.seed + i.

    Raises:
        ValueError, DataError, ModelFileError, NonFiniteError: as `train`.
    """
    return last(train_config_epochs(config, data, resume=resume, how=how), resume)


def train_config_epochs(
    config: Config,
    data: Dataset,
    *,
    resume: TrainedModel | None = None,
    how: Conditions = DEFAULT,
    own: OwnRecipe | None = None,
) -> Iterator[TrainedModel]:
    """Train what a configuration says, and yield the model after every epoch, as `train_epochs` does.

    With a recipe file, `own`, it is that file which says what a configuration means.
    """
    return (finite(model) for (model,) in train_configs([config], data, resume, how, own))


def last(models: Iterator[TrainedModel], before: TrainedModel | None) -> TrainedModel:
    """Return the last of the models; where there is none, for the training was finished, the one before them."""
    model = before
    for model in models:  # noqa: B007
        pass
    assert model is not None  # an unfinished training yields at least once
    return model


def evaluate(
    model: TrainedModel,
    data: Dataset,
    num_samples: SupportsIndex = 10,
    iwae: SupportsIndex | None = None,
    key: AnyKey | None = None,
    progress: Callable[[float], None] = lambda count: None,
) -> list[Evaluation]:
    """Estimate the test-set ELBO and its two parts, of every run, in nats per datum, each with two errors.

    The standard error is that of the mean over the test set: what another of its size would change. The Monte Carlo
    error is what another key would change: that of the draws, and of dequantisation's noise where there is any.
    Stochastically binarised data are drawn once, whatever the key.

    Args:
        model: trained on these data.
        data: whose test set it is.
        num_samples: draws z ~ q(z|x) per datum for the ELBO, at least 1.
        iwae: draws per datum for the importance-weighted bound, the result's `importance`; None for no such bound.
        key: decides draws and noise, the same for every run; by default `jax.random.key(0)`.
        progress: called about every second with the number of data, of all runs, whose importance-weighted bound is
            known; those of a batch count by their draws.

    Raises:
        ValueError: a number of draws is below 1.
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, data)
    draws, weighed = at_least_one("num_samples", num_samples), 0 if iwae is None else at_least_one("iwae", iwae)
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


def diagnose(model: TrainedModel, data: Dataset, key: AnyKey | None = None) -> list[Diagnostics]:
    """Return what every run does with its latent space, over the test set: active units, KLs in nats, components.

    A unit is active where the variance of E[z|x] over the data exceeds 0.01 (Burda et al. 2016).

    Raises:
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, data)
    recipe, images, key = model.recipe, test_images(data), key_or_zero(key)
    size = diagnosis_batch(recipe, model.run_params(), images)
    each = map(model.run_params, range(model.num_runs))
    return [diagnostics.diagnose(recipe.model, params, key, images, recipe.transform, size) for params in each]


def encode(
    model: TrainedModel, images: ArrayLike, key: AnyKey, run: SupportsIndex = 0, level: SupportsIndex = 0
) -> Encoding:
    """Return q(z|x) of n data: its loc and scale [n, m], and a draw z[n, m] from it.

    Args:
        model: whose encoder it is.
        images: uint8[n, ...], data such as the model was trained on, NumPy's, JAX's, or lists of whole numbers.
        key: decides the draws, and dequantisation's noise; stochastic binarisation is drawn once, by a datum's number.
        run: which of several.
        level: of latents, 0 the one nearest x. A higher one is encoded from a draw of the one below.

    Raises:
        ValueError: the data are of another shape or type, the key is none, or there is no such run or level.
    """
    params, data, number = model.run_params(run), pixels("images", images), model.check_level(level)
    if data.shape[1:] != model.data_shape or not len(data):
        wanted = ", ".join(map(str, ("n", *model.data_shape)))
        raise ValueError(f"images have the shape {list(data.shape)}: must be [{wanted}] with n > 0")
    recipe, key = model.recipe, as_key(key)
    size = encoding_batch(recipe, params, data, number)
    return latents.encode(recipe.model, params, key, data, recipe.transform, number, size)


def decode(model: TrainedModel, z: ArrayLike, run: SupportsIndex = 0) -> Float[np.ndarray, "n ..."]:
    """Return E[x|z] at n latents of the level nearest x, in the unit of x: a probability, or in [0, 1].

    Args:
        model: whose decoder it is.
        z: the latents [n, m], NumPy's, JAX's, or lists of numbers.
        run: which of several.

    Raises:
        ValueError: the latents are of another shape, or not all finite numbers, or there is no such run.
    """
    params, points, vae = model.run_params(run), numbers("z", z), model.recipe.model
    dim = latent_dims(vae, params, model.data_shape)[0]
    if points.ndim != 2 or points.shape[1] != dim or not len(points):
        raise ValueError(f"z has the shape {list(points.shape)}: must be [n, {dim}] with n > 0")
    return latents.decode(vae, params, points, decoding_batch(vae, params, points, datum_bytes(model)))


def sample(
    model: TrainedModel, key: AnyKey, n: SupportsIndex, run: SupportsIndex = 0, mean: bool = False
) -> Float[np.ndarray, "n ..."]:
    """Draw n data from the model: z ~ p(z), then x ~ p(x|z), in the unit of x.

    Where memory does not take all n at a time, the later ones are drawn with keys of their own.

    Args:
        model: what to draw from.
        key: decides the draws.
        n: how many.
        run: which of several.
        mean: return E[x|z] in x's place, at the same z.

    Raises:
        ValueError: n is below 1, the key is none, or there is no such run.
    """
    vae, params, key, count = model.recipe.model, model.run_params(run), as_key(key), at_least_one("n", n)
    size = sampling_batch(vae, params, count, bool(mean), datum_bytes(model))
    return latents.sample(vae, params, key, count, bool(mean), size)


def datum_bytes(model: TrainedModel) -> int:
    """Return how many bytes a datum takes that the model gives, a float32 a number."""
    return 4 * math.prod(model.data_shape)


def test_images(data: Dataset) -> UInt8[np.ndarray, "m ..."]:
    """Return the test set.

    Raises:
        ValueError: it is empty.
    """
    if not len(data.test_images):
        raise ValueError(f"data: {data.name} has no test images: there must be at least one")
    return data.test_images


def kept_epochs(model: TrainedModel) -> list[int]:
    """Return the epoch, from 1, whose parameters the model holds, run by run."""
    last = [select_run(model, i).history[-1] for i in range(model.num_runs)]
    return [record.get("kept", record["epoch"]) for record in last]


def select_run(model: TrainedModel, run: SupportsIndex) -> TrainedModel:
    """Return run i of a model, as if trained alone with its seed; its seconds are a share of all.

    Raises:
        ValueError: there is no such run.
    """
    model.run_params(run)
    run = whole_number("run", run)
    if model.num_runs == 1:
        return model
    rows, seed = slice(run, run + 1), model.plan.seeds[run]
    history = [
        {name: value[run] if isinstance(value, list) else value for name, value in record.items()}
        | {"seconds": record["seconds"] / model.num_runs}
        for record in model.history
        if record["bound"][run] is not None
    ]
    end = math.inf if len(history) == len(model.history) or not history else history[-1]["epoch"]
    return model._replace(
        plan=model.plan._replace(seeds=(seed,)),
        params=jax.tree.map(lambda leaf: leaf[rows], model.params),
        state=None if model.state is None else runs_of(model.state, rows),
        history=history,
        config=None if model.config is None else replace(model.config, seed=seed, runs=1),
        snapshots=None if model.snapshots is None else rows_of(model.snapshots, rows, end),
    )
