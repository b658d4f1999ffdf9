"""TrainedModel: a recipe and the result of its training, and the self-describing file that holds them.

The file is an archive of the `LoopState` and of a description: the configuration, if there is one, the
history, the data's fingerprint and the versions. To evaluate a model, only its parameters are read and checked.
"""

import io
import os
import platform
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from os import PathLike
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, PyTree

from jvae.errors import ModelFileError, RecipeNeededError, shown, whole_number
from jvae.files import write_atomically
from jvae.recipe import Recipe
from jvae.runs.archive import named_arrays, open_archive, open_model_file, pack, restore
from jvae.runs.config import Config, RecipeConfig, build_recipe, config_fields
from jvae.runs.description import FORMAT, FORMAT_VERSION, Description, SnapshotTimes, read_description
from jvae.runs.fields import numbers_in
from jvae.runs.given import as_path, own_types
from jvae.runs.memory import check_fits
from jvae.runs.numerics import Settings, other_training
from jvae.runs.plan import Plan
from jvae.runs.recipe_file import MakeRecipe, RecipeFile
from jvae.runs.snapshots import Snapshot, Snapshots, half_shapes
from jvae.runs.state import LoopState, init_loop_state, make_counters
from jvae.training import TrainState, init_state

PACKAGES = ("jvae", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")


class TrainedModel(NamedTuple):
    """A trained model: its recipe, parameters, training state and history."""

    recipe: Recipe
    """What was trained."""
    plan: Plan
    """How long, on which batches and from which seeds it was trained, and how its epochs were judged."""
    params: PyTree
    """The learned parameters that the runs keep, with a leading axis of runs on every array."""
    state: LoopState | None
    """The training state to resume from; None where only the parameters were read."""
    history: list[dict[str, Any]]
    """One record per epoch: epoch, from 1; bound, reconstruction and kl in nats per datum; and seconds.

    With validation, also its bound, in nats per datum, and kept, the epoch whose parameters are kept. For several runs
    all but epoch and seconds are lists, with None for a run that had stopped before."""
    data_name: str
    """The name of the data set, for titles."""
    data_shape: tuple[int, ...]
    """The shape of one datum, such as (h, w, c)."""
    fingerprint: str
    """The fingerprint of the data set that it was trained on."""
    versions: dict[str, str]
    """Python's version and the packages' that it was trained with, by name."""
    config: Config | None = None
    """The configuration that the recipe was built from, if any."""
    recipe_file: RecipeFile | None = None
    """The recipe file that made the recipe, if any."""
    no_state: str = ""
    """The reason why `state` is None, if the file's state does not fit the recipe or the current JAX settings."""
    settings: Settings = {}  # noqa: RUF012  never mutated
    """The JAX settings that the result depends on, as of the last epoch; empty where the file does not say."""
    snapshots: Snapshots | None = None
    """Small copies of the parameters over the training, if requested."""

    @property
    def num_runs(self) -> int:
        """The number of independent runs."""
        return len(self.plan.seeds)

    def run_params(self, run: SupportsIndex = 0) -> PyTree[Array]:
        """Return the parameters of run i.

        Raises:
            ValueError: there is no such run.
        """
        number, there = whole_number("run", run), range(self.num_runs)
        if number not in there:
            raise ValueError(f"run is {number}: must be {numbers_in(there)}, for the model has {self.num_runs}")
        return jax.tree.map(lambda leaf: leaf[number], self.params)

    def check_level(self, level: SupportsIndex) -> int:
        """Return a level of latents, from 0, as an int.

        Raises:
            ValueError: there is no such level.
        """
        number, there = whole_number("level", level), range(self.recipe.model.num_levels)
        if number not in there:
            raise ValueError(f"level is {number}: must be {numbers_in(there)}, for the model has {len(there)}")
        return number


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@own_types
def save(path: str | PathLike[str], model: TrainedModel) -> None:
    """Write a model file, so that a reader, even after a crash, finds the old file or the whole new one.

    Raises:
        ModelFileError: the file cannot be written; an existing file is unchanged.
        ValueError: the model has no state, because only its parameters were read.
    """
    place = as_path("path", path)
    if model.state is None:
        raise ValueError("model holds no state: only its parameters were read")
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": None if model.config is None else model.config.to_dict(),
        "plan": model.plan._asdict() if model.config is None else None,
        "history": model.history,
        "data_name": model.data_name,
        "data_shape": list(model.data_shape),
        "fingerprint": model.fingerprint,
        "versions": model.versions,
        "steps_per_epoch": model.state.num_steps,
        "kept": model.state.kept is not None,
        "recipe_file": record_of(model.recipe_file),
        "settings": model.settings,
        "unit": model.recipe.unit,
    }
    arrays = named_arrays(model.state)
    if model.snapshots is not None:
        asked, taken = model.snapshots
        times = SnapshotTimes(asked, tuple(one.step for one in taken), tuple(one.epochs for one in taken))
        description["snapshots"] = times._asdict()
        arrays |= named_arrays({"snapshots": [one.params for one in taken]})
    data = pack(arrays, description)
    try:
        write_atomically(place, data)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def load(
    path: str | PathLike[str],
    recipe: Recipe | MakeRecipe | None = None,
    params_only: bool = False,
    options: dict[str, Any] | None = None,
) -> TrainedModel:
    """Read and check a model file. Nothing in it is executed or imported.

    Args:
        path: the file.
        recipe: what was trained, if not a configuration: a recipe, or a recipe file's function that makes one. With an
            optimizer other than the one it was trained with, the model has no state and cannot be resumed.
        params_only: read and check the parameters only, as is always done for files of format version 1.
        options: the Config fields that the function gets if the file holds no configuration.

    Raises:
        ValueError: an argument is none of these, or the function returns no recipe.
        RecipeNeededError: a recipe is missing, or not allowed; the message is one line.
        ModelFileError: the file cannot be read, is damaged or does not fit; the message is one line.
        NotEnoughMemoryError: its arrays do not fit in memory.
    """
    if not (recipe is None or isinstance(recipe, Recipe) or (callable(recipe) and not isinstance(recipe, nn.Module))):
        raise ValueError(f"recipe is {shown(recipe)}: must be a Recipe, or a function that makes one")
    if unknown := (options or {}).keys() - {field.name for field in config_fields()}:
        raise ValueError(f"options has {min(unknown)!r}: must be fields of Config")
    with open_model_file(as_path("path", path)) as file:
        check_fits(2 * os.fstat(file.fileno()).st_size, f"{path}")  # the file's arrays, and JAX's copies of them
        return read_model(file, recipe, params_only, options or {})


def read_model(
    file: io.BufferedIOBase,
    recipe: Recipe | MakeRecipe | None = None,
    params_only: bool = False,
    options: dict[str, Any] = {},  # noqa: B006  never mutated
) -> TrainedModel:
    """Read the model in an open file.

    Raises:
        ValueError: it is not a model file, is damaged, or does not fit its recipe.
        RecipeNeededError: a recipe is missing, or not allowed.
    """
    with open_archive(file) as archive:
        about = read_description(archive)
        first, shape = about.format_version == 1, about.data_shape
        make = choose_recipe(recipe, about.config, about.recipe_file, options)
        made = make(shape, about.steps_per_epoch)
        shapes = run_shapes(made, shape, len(about.plan.seeds))
        state, snapshots = None, None
        why = "it holds only parameters, as files of jvae 0.1.0 do" if first else "no state was read"
        if other := other_training(about.settings):
            why = f"the settings of JAX have changed: {other}"
        elif not first and not params_only:
            try:
                state, snapshots = read_state(archive, shapes, about)
                why = ""
            except ValueError as error:
                if recipe is None:
                    raise
                why = f"its state {error}"
        if state is None:
            params = read_params(archive, shapes.params, about)
            snapshots = read_snapshots(archive, shapes.params, about)
        else:
            params = state.params
    data = (about.data_name, shape, about.fingerprint)
    record = (about.versions, about.config, about.recipe_file)
    return TrainedModel(made, about.plan, params, state, about.history, *data, *record, why, about.settings, snapshots)


def choose_recipe(
    recipe: Recipe | MakeRecipe | None, config: Config | None, recipe_file: RecipeFile | None, options: dict[str, Any]
) -> Callable[[tuple[int, ...], int], Recipe]:
    """Return a function (data_shape, steps_per_epoch) -> recipe, from a file's description and the caller's `recipe`.

    Raises:
        RecipeNeededError: the file needs a recipe and none is given, or the other way round.
    """
    if config is not None and recipe_file is None:
        if recipe is not None:
            raise RecipeNeededError("was trained from options alone: it takes no recipe")
        return partial(build_recipe, config)
    if recipe is None:
        by = "a custom recipe" if recipe_file is None else f"the recipe file {recipe_file.name}"
        raise RecipeNeededError(f"was trained with {by}: that recipe must be given again")
    if isinstance(recipe, Recipe):
        return lambda shape, steps: recipe
    make = partial(recipe, config or RecipeConfig(**options))

    def made(shape: tuple[int, ...], steps: int) -> Recipe:
        found = make(shape, steps)
        if not isinstance(found, Recipe):
            raise ValueError(f"recipe returned {shown(found)}: must return a Recipe")
        return found

    return made


def record_of(recipe_file: RecipeFile | None) -> dict[str, str] | None:
    """Return a recipe file's record as a JSON value."""
    return None if recipe_file is None else {**recipe_file._asdict(), "sha256": recipe_file.sha256}


def run_shapes(recipe: Recipe, data_shape: tuple[int, ...], runs: int) -> TrainState:
    """Return the shapes and dtypes of the states of a recipe's runs, without computing them."""
    one = jax.eval_shape(lambda: init_state(recipe, jax.random.key(0), data_shape))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((runs, *leaf.shape), leaf.dtype), one)


def read_params(archive: zipfile.ZipFile, shapes: PyTree, about: Description) -> PyTree[Array]:
    """Read and check only the parameters that the runs keep, given their shapes and dtypes.

    Raises:
        ValueError: an array is missing, damaged, or does not fit the recipe.
    """
    if about.format_version > 1:
        tree = {"kept": shapes} if about.kept else {"runs": {"params": shapes}}
        found = jax.tree.leaves(restore(tree, archive, only=False))
        return jax.tree.unflatten(jax.tree.structure(shapes), map(jnp.asarray, found))
    single = len(about.plan.seeds) == 1  # arrays of format version 1 had no axis of runs then
    stored = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[single:], leaf.dtype), shapes)
    found = restore({"params": stored}, archive, only=False)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[None] if single else leaf), found)


def read_state(archive: zipfile.ZipFile, states: TrainState, about: Description) -> tuple[LoopState, Snapshots | None]:
    """Read the whole state of a training and its snapshots, and check every array, given the `run_shapes`.

    Raises:
        ValueError: an array does not fit the recipe, or a counter is out of range.
    """
    make = partial(init_loop_state, num_steps=about.steps_per_epoch, validated=about.kept)
    devices = jax.eval_shape(lambda states: make(states)[:3], states)
    shapes = LoopState(*(*devices, *make_counters(len(about.plan.seeds))))
    found = restore({**shapes._asdict(), "snapshots": snapshot_shapes(states.params, about)}, archive)
    snapshots = snapshots_of(found.pop("snapshots"), about)
    state = LoopState(**found)
    if state.epoch < 1 or not 0 <= state.done <= state.num_steps or len(about.history) > state.epoch:
        raise ValueError(f"its counters make no sense: epoch {state.epoch}, step {state.done} of {state.num_steps}")
    on_devices = [jax.tree.map(jnp.asarray, part) for part in state[:3]]
    return LoopState(*(*on_devices, *state[3:])), snapshots


def read_snapshots(archive: zipfile.ZipFile, shapes: PyTree, about: Description) -> Snapshots | None:
    """Read and check only the snapshots, given the parameters' shapes and dtypes; None if there are none.

    Raises:
        ValueError: an array is missing, damaged, or does not fit the recipe.
    """
    found = restore({"snapshots": snapshot_shapes(shapes, about)}, archive, only=False)
    return snapshots_of(found["snapshots"], about)


def snapshot_shapes(params: PyTree, about: Description) -> list[PyTree]:
    """Return the shapes and dtypes of every snapshot, given those of the parameters."""
    return [] if about.snapshots is None else [half_shapes(params)] * len(about.snapshots.steps)


def snapshots_of(params: list[PyTree], about: Description) -> Snapshots | None:
    """Return the snapshots with these parameters and the description's times; None if it has none."""
    if about.snapshots is None:
        return None
    asked, steps, epochs = about.snapshots
    return Snapshots(asked, tuple(map(Snapshot, steps, epochs, params)))
