"""TrainedModel: a recipe with what its training made of it; and the one self-describing file that holds it.

The file is an archive of the `LoopState` as it is, and of a description: the configuration, if there is one, the
history, the data's fingerprint and the versions. Readers of a model take the parameters and check nothing else.
"""

import io
import os
import platform
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jvae.errors import ModelFileError, RecipeNeededError
from jvae.files import write_atomically
from jvae.recipe import Recipe
from jvae.runs.archive import named_arrays, open_archive, open_model_file, pack, restore
from jvae.runs.config import Config, build_recipe
from jvae.runs.description import FORMAT, FORMAT_VERSION, Description, SnapshotTimes, read_description
from jvae.runs.memory import check_fits
from jvae.runs.numerics import Settings, other_training
from jvae.runs.plan import Plan, whole_number
from jvae.runs.recipe_file import MakeRecipe, RecipeFile
from jvae.runs.snapshots import Snapshot, Snapshots, half_shapes
from jvae.runs.state import LoopState, init_loop_state, make_counters
from jvae.training import TrainState, init_state

PACKAGES = ("jvae", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")


class TrainedModel(NamedTuple):
    """All that is known of a trained model."""

    recipe: Recipe
    plan: Plan
    params: PyTree
    """What the runs have learned; a leading axis of runs on every array."""
    state: LoopState | None
    """For a training to go on; None where only the parameters were read."""
    history: list[dict[str, Any]]
    """One record an epoch: bound, reconstruction and kl in nats per datum (lists, of several runs), and seconds."""
    data_name: str
    data_shape: tuple[int, ...]
    """Of one datum."""
    fingerprint: str
    """Of the data set it was trained on."""
    versions: dict[str, str]
    config: Config | None = None
    """Where the recipe was made from one."""
    recipe_file: RecipeFile | None = None
    """Where it was made by one."""
    no_state: str = ""
    """Why there is no state, where the file has one that does not fit the recipe, or these settings of JAX."""
    settings: Settings = {}  # noqa: RUF012  never changed
    """Those of JAX that decide what a training comes to, as of its last epoch; empty where the file does not say."""
    snapshots: Snapshots | None = None
    """Small copies of the parameters over the training, where they were asked for."""

    @property
    def num_runs(self) -> int:
        """How many independent runs there are."""
        return len(self.plan.seeds)

    def run_params(self, run: SupportsIndex = 0) -> PyTree[Array]:
        """Return the parameters of run i.

        Raises:
            ValueError: there is no such run.
        """
        number = whole_number("run", run)
        if not 0 <= number < self.num_runs:
            raise ValueError(
                f"run is {number}: must be from 0 to {self.num_runs - 1}, for the model has {self.num_runs}"
            )
        return jax.tree.map(lambda leaf: leaf[number], self.params)

    def check_level(self, level: SupportsIndex) -> int:
        """Return the number of a level of latents, from 0.

        Raises:
            ValueError: there is no such level.
        """
        number, levels = whole_number("level", level), self.recipe.model.num_levels
        if not 0 <= number < levels:
            raise ValueError(f"level is {number}: must be from 0 to {levels - 1}, for the model has {levels}")
        return number


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def save(path: str | PathLike[str], model: TrainedModel) -> None:
    """Write the file so that a reader, or a crash, ever meets the old file or the new one whole.

    Raises:
        ModelFileError: the file cannot be written; what stood at the path is left as it was.
        ValueError: only the model's parameters were read.
    """
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
    }
    arrays = named_arrays(model.state)
    if model.snapshots is not None:
        asked, taken = model.snapshots
        times = SnapshotTimes(asked, tuple(one.step for one in taken), tuple(one.epochs for one in taken))
        description["snapshots"] = times._asdict()
        arrays |= named_arrays({"snapshots": [one.params for one in taken]})
    data = pack(arrays, description)
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def load(
    path: str | PathLike[str],
    recipe: Recipe | MakeRecipe | None = None,
    params_only: bool = False,
    options: dict[str, Any] | None = None,
) -> TrainedModel:
    """Read and check a model file. Nothing in it is run or imported.

    Args:
        path: the file.
        recipe: what was trained, where it was no configuration's: a recipe, or a recipe file's function that makes it.
            With another optimizer than it was trained by, a model is whole but for its state, and cannot be resumed.
        params_only: read and check the parameters only, as files of format version 1 always are.
        options: the fields of the Config that the function is given where the file holds none.

    Raises:
        RecipeNeededError: in one line, that there must be a recipe, or none.
        ModelFileError: in one line, the file's name and what is wrong with it.
    """
    with open_model_file(path) as file:
        check_fits(2 * os.fstat(file.fileno()).st_size, f"{path}")  # its arrays, and JAX's copies
        return read_model(file, recipe, params_only, options or {})


def read_model(
    file: io.BufferedIOBase,
    recipe: Recipe | MakeRecipe | None = None,
    params_only: bool = False,
    options: dict[str, Any] = {},  # noqa: B006  never changed
) -> TrainedModel:
    """Read the model in an open file.

    Raises:
        ValueError: it is no model file, is damaged, or does not fit its recipe.
        RecipeNeededError: there must be a recipe, or none.
    """
    with open_archive(file) as archive:
        about = read_description(archive)
        first, shape = about.format_version == 1, about.data_shape
        make = choose_recipe(recipe, about.config, about.recipe_file, options)
        made = make(shape, about.steps_per_epoch)
        state, snapshots = None, None
        why = "it holds parameters only, as files of jvae 0.1.0 do" if first else "no state was read"
        if other := other_training(about.settings):
            why = f"it is another training with these settings of JAX: {other}"
        elif not first and not params_only:
            try:
                state, snapshots = read_state(archive, made, about)
                why = ""
            except ValueError as error:
                if recipe is None:
                    raise
                why = f"its state {error}"
        if state is None:
            params, snapshots = read_params(archive, made, about), read_snapshots(archive, made, about)
        else:
            params = state.params
    data = (about.data_name, shape, about.fingerprint)
    record = (about.versions, about.config, about.recipe_file)
    return TrainedModel(made, about.plan, params, state, about.history, *data, *record, why, about.settings, snapshots)


def choose_recipe(
    recipe: Recipe | MakeRecipe | None, config: Config | None, recipe_file: RecipeFile | None, options: dict[str, Any]
) -> Callable[[tuple[int, ...], int], Recipe]:
    """Return a function from data shape and steps per epoch to what a model file's description and a caller say.

    Raises:
        RecipeNeededError: they do not go together.
    """
    if config is not None and recipe_file is None:
        if recipe is not None:
            raise RecipeNeededError("was trained by options alone: it takes no recipe")
        return partial(build_recipe, config)
    if recipe is None:
        by = "a recipe of one's own" if recipe_file is None else f"the recipe file {recipe_file.name}"
        raise RecipeNeededError(f"was trained by {by}: that recipe must be given again")
    if isinstance(recipe, Recipe):
        return lambda shape, steps: recipe
    return partial(recipe, config or Config(**options))


def record_of(recipe_file: RecipeFile | None) -> dict[str, str] | None:
    """Return a recipe file's record as JSON values."""
    return None if recipe_file is None else {**recipe_file._asdict(), "sha256": recipe_file.sha256}


def run_shapes(recipe: Recipe, data_shape: tuple[int, ...], runs: int) -> TrainState:
    """Return the shapes and dtypes of the states of a recipe's runs, with nothing computed."""
    one = jax.eval_shape(lambda: init_state(recipe, jax.random.key(0), data_shape))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((runs, *leaf.shape), leaf.dtype), one)


def read_params(archive: zipfile.ZipFile, recipe: Recipe, about: Description) -> PyTree[Array]:
    """Read the parameters that the runs keep, and check nothing else."""
    shapes = run_shapes(recipe, about.data_shape, len(about.plan.seeds)).params
    if about.format_version > 1:
        tree = {"kept": shapes} if about.kept else {"runs": {"params": shapes}}
        found = jax.tree.leaves(restore(tree, archive, only=False))
        return jax.tree.unflatten(jax.tree.structure(shapes), map(jnp.asarray, found))
    single = len(about.plan.seeds) == 1  # its arrays had no axis of runs
    stored = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[single:], leaf.dtype), shapes)
    found = restore({"params": stored}, archive, only=False)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[None] if single else leaf), found)


def read_state(archive: zipfile.ZipFile, recipe: Recipe, about: Description) -> tuple[LoopState, Snapshots | None]:
    """Read the whole state of a training and its snapshots, and check every array.

    Raises:
        ValueError: an array does not fit the recipe, or a counter makes no sense.
    """
    runs = len(about.plan.seeds)
    states = run_shapes(recipe, about.data_shape, runs)
    make = partial(init_loop_state, num_steps=about.steps_per_epoch, validated=about.kept)
    devices = jax.eval_shape(lambda states: make(states)[:3], states)
    shapes = LoopState(*(*devices, *make_counters(runs)))
    found = restore({**shapes._asdict(), "snapshots": snapshot_shapes(states.params, about)}, archive)
    snapshots = snapshots_of(found.pop("snapshots"), about)
    state = LoopState(**found)
    if state.epoch < 1 or not 0 <= state.done <= state.num_steps or len(about.history) > state.epoch:
        raise ValueError(f"its counters make no sense: epoch {state.epoch}, step {state.done} of {state.num_steps}")
    on_devices = [jax.tree.map(jnp.asarray, part) for part in state[:3]]
    return LoopState(*(*on_devices, *state[3:])), snapshots


def read_snapshots(archive: zipfile.ZipFile, recipe: Recipe, about: Description) -> Snapshots | None:
    """Read the snapshots, if there are any, and check nothing else."""
    shapes = run_shapes(recipe, about.data_shape, len(about.plan.seeds)).params
    found = restore({"snapshots": snapshot_shapes(shapes, about)}, archive, only=False)
    return snapshots_of(found["snapshots"], about)


def snapshot_shapes(params: PyTree, about: Description) -> list[PyTree]:
    """Return the shapes and dtypes of every snapshot, from those of the parameters."""
    return [] if about.snapshots is None else [half_shapes(params)] * len(about.snapshots.steps)


def snapshots_of(params: list[PyTree], about: Description) -> Snapshots | None:
    """Return the snapshots whose parameters were read."""
    if about.snapshots is None:
        return None
    asked, steps, epochs = about.snapshots
    return Snapshots(asked, tuple(map(Snapshot, steps, epochs, params)))
