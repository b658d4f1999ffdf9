"""Shared parts of the commands: opening their inputs, checking their outputs, and logging."""

import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.environment import import_jax
from jvae.cli.options import COMPILE_CACHE, flag, usage_error
from jvae.cli.paths import TAKES_STDOUT
from jvae.cli.streams import discard
from jvae.cli.variables import said_in
from jvae.errors import JvaeError
from jvae.runs.fields import DATA_FIELDS, numbers_in, text_of

if TYPE_CHECKING:
    import jax
    from jax.sharding import Mesh
    from matplotlib.figure import Figure

    from jvae.data.dataset import Dataset
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.config import Config
    from jvae.runs.ensemble import Together
    from jvae.runs.recipe_file import OwnRecipe

PICTURE_FORMATS = (".png", ".pdf", ".svg")
ARRAY_FORMATS = (".npz", ".npy")


def tell(text: str) -> None:
    """Print a readable result: on stdout, or on stderr if stdout is one of the command's outputs."""
    click.echo(text, err=click.get_current_context().meta.get(TAKES_STDOUT, False))


def use_device(name: str, hosts: tuple | None = None, compile_cache: bool = True) -> "jax.Device":
    """Select the backend, and connect to the other hosts if there are any, before any computation."""
    import_jax()
    from jvae.cli.compile_cache import use_compile_cache
    from jvae.runs.mesh import Hosts, select_device

    if compile_cache and click.get_current_context().meta.get(COMPILE_CACHE, True):
        use_compile_cache()
    return select_device(name, None if hosts is None else Hosts(*hosts))


def mesh_for(asked: tuple[int, int] | None, num_runs: int, batch_size: int) -> "Mesh | None":
    """Return the mesh over all devices, of the requested sizes or by default the best; None for a single device.

    Raises:
        ValueError: runs or batches cannot be split so, or there are too few devices.
    """
    import jax

    from jvae.runs.mesh import MeshShape, choose_mesh

    return choose_mesh(None if asked is None else MeshShape(*asked), num_runs, batch_size, jax.devices())


def use_mesh(asked: tuple[int, int] | None, num_runs: int, batch_size: int) -> "Mesh | None":
    """Return `mesh_for` of a command's option; a size that does not fit is a wrong command line."""
    try:
        return mesh_for(asked, num_runs, batch_size)
    except ValueError as error:
        raise usage_error(error) from error


def describe_placement(num_runs: int, mesh: "Mesh | None", backend: "jax.Device", at_a_time: "Together") -> str:
    """Return in words the devices of the runs, and how many runs and draws are computed at a time."""
    import jax

    here = f"{backend.platform} ({backend.device_kind})"
    turns = "one after another" if at_a_time.runs == 1 else f"{at_a_time.runs} at a time"
    many = "" if num_runs == 1 else f": {num_runs} runs in one program, {turns}"
    if at_a_time.draws is not None:
        many += f"{',' if many else ':'} {at_a_time.draws} of each image's draws at a time, as the memory allows"
    if mesh is None:
        return here + many
    hosts = f" of {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    axes = ", ".join(f"{size} for {name}" for name, size in mesh.shape.items())
    return f"{mesh.size} devices{hosts}, {axes}: {here}{many}{' on each' if many else ''}"


def log(line: str) -> None:
    """Print a progress message on stderr, since stdout is for results; a closed or full stderr is no error."""
    try:
        click.echo(line, err=True)
    except OSError:
        discard(sys.stderr)


def open_model(
    path: Path, repeated: dict[str, Any], own: "OwnRecipe | None" = None, to_resume: bool = False
) -> "TrainedModel":
    """Load a model file, or only its parameters unless it is to be resumed, and refuse options that contradict it.

    A recipe file whose text differs from the one that trained the model is refused for resuming, and else gives a
    warning.
    """
    from jvae.errors import RecipeNeededError
    from jvae.runs.checkpoint import load

    given = {name: value for name, value in repeated.items() if value is not None}
    try:
        model = load(path, None if own is None else own.make, not to_resume, given)
    except RecipeNeededError as error:
        raise click.UsageError(
            f"{error}{', with --recipe FILE.py' if own is None else '; leave --recipe out'}"
        ) from error
    for name, value in given.items():
        if name in DATA_FIELDS:  # the same data may have moved: their fingerprint decides
            continue
        known = value if model.config is None else getattr(model.config, name)
        if value != known:
            where = said_in(click.get_current_context(silent=True), name)
            trained = f"{path} was trained with {flag(name)} {text_of(known)}"
            raise click.UsageError(f"{where}{flag(name)} is {text_of(value)}, but {trained}")
    if own is not None and model.recipe_file is not None and own.file.text != model.recipe_file.text:
        ours, theirs = own.file.sha256[:12], model.recipe_file.sha256[:12]
        other = f"{own.file.name} is not the text that {path} was trained with: sha256 {ours}, not {theirs}"
        if to_resume:
            raise click.UsageError(f"{other}; resuming needs the same text")
        log(f"warning: {other}")
    return model


def check_run(model: "TrainedModel", *runs: int) -> None:
    """Refuse a run, numbered from 0, that a model does not have."""
    for run in runs:
        check_number("run", run, range(model.num_runs))


def check_level(model: "TrainedModel", *levels: int) -> None:
    """Refuse a level of latents, numbered from 1, that a model does not have."""
    depth = model.recipe.model.num_levels
    for level in levels:
        check_number("level", level, range(1, depth + 1))


def check_number(name: str, number: int, there: range) -> None:
    """Refuse a number of an option that is not one of the model's."""
    if number not in there:
        has = f"the model has {len(there)} {name}{'s' * (len(there) > 1)}"
        raise click.UsageError(f"--{name} is {number}: must be {numbers_in(there)}, for {has}")


def open_recipe(path: Path | None) -> "OwnRecipe | None":
    """Execute a recipe file, if there is one; call it after the device is selected."""
    if path is None:
        return None
    from jvae.runs.recipe_file import load_recipe_file

    return load_recipe_file(path)


def check_all_read(
    own: "OwnRecipe | None", configs: Iterable["Config"], dataset: "Dataset", given: Iterable[str]
) -> None:
    """Refuse given options that define the model but that a recipe file reads with none of the configurations.

    Raises:
        JvaeError: the file fails with every configuration.
    """
    if own is None:
        return
    from jvae.runs.plan import plan_of
    from jvae.runs.recipe_file import check_read, fields_read
    from jvae.runs.training import count_steps

    configs, shape, read, failed = list(configs), dataset.train_images.shape[1:], set(), []
    try:
        for config in configs:
            try:
                read |= fields_read(own, config, shape, count_steps(plan_of(config), dataset))
            except JvaeError as error:
                failed.append(error)
        if len(failed) == len(configs):
            raise failed[0]
        check_read(own, configs[0], read, given)
    except ValueError as error:
        raise usage_error(error) from error


def say_nothing(line: str) -> None:
    """Ignore a line, as all processes but the first do."""


def log_of_first_process() -> Callable[[str], None]:
    """Return `log` in the first process, and `say_nothing` in the others; call it after the device is selected."""
    from jvae.runs.mesh import is_first_process

    return log if is_first_process() else say_nothing


def config_of_dataset(name: str, **how: Any) -> "Config":
    """Return a configuration with a data set, or refuse an unknown name."""
    from jvae.runs.config import Config

    try:
        return Config(dataset=name, **how)
    except ValueError as error:
        raise usage_error(error) from error


def open_dataset(config: "Config", data_dir: Path | None, log: Callable[[str], None] = log) -> "Dataset":
    """Load the data of a configuration, and report where they came from."""
    from jvae.data.datasets import load_dataset

    how = {name: getattr(config, name) for name in (*DATA_FIELDS[1:], "binarise")}
    try:
        return load_dataset(config.dataset, data_dir, log=log, **how)
    except ValueError as error:
        raise usage_error(error) from error


def open_data_of(model: "TrainedModel", repeated: dict[str, Any], data_dir: Path | None) -> "Dataset":
    """Load the data that a model was trained on, from the place in its file or in the options.

    Raises:
        DataError: they are not the data that the model was trained on.
    """
    from jvae.runs.config import Config
    from jvae.runs.training import check_fingerprint

    given = {name: repeated[name] for name in (*DATA_FIELDS, "binarise") if repeated.get(name) is not None}
    try:
        config = Config(**{"dataset": model.data_name, **given}) if model.config is None else moved(model.config, given)
    except ValueError as error:
        if model.config is None and "dataset" not in given:
            raise click.UsageError(f"the model was trained from Python on {model.data_name}: add --dataset") from error
        raise usage_error(error) from error
    dataset = open_dataset(config, data_dir)
    check_fingerprint(model, dataset)
    return dataset


def moved(config: "Config", given: dict[str, Any]) -> "Config":
    """Return a configuration with the data fields given again; each other one that does not fit them is as by default.

    Raises:
        ValueError: the given fields do not fit together.
    """
    usual = {name: getattr(type(config), name) for name in DATA_FIELDS[1:]}
    kept = {name: getattr(config, name) for name in usual if name not in given}
    found = replace(config, **usual | given)
    for name, value in kept.items():
        with contextlib.suppress(ValueError):
            found = replace(found, **{name: value})
    return found


def write_figure(figure: "Figure | bytes", path: Path) -> None:
    """Save a picture, or its bytes, whole or not at all, and report it."""
    from io import BytesIO

    from jvae.files import write_file

    if not isinstance(figure, bytes):
        buffer = BytesIO()
        figure.savefig(buffer, format=path.suffix.lower().removeprefix("."))
        figure = buffer.getvalue()
    write_file(path, figure)
    tell(f"wrote {path}")


def write_arrays(arrays: dict[str, Any], path: Path) -> None:
    """Save arrays to an .npz by their names, or the only one to an .npy, without pickle, and report it."""
    import numpy as np

    from jvae.files import open_result

    with open_result(path) as file:
        if path.suffix.lower() == ".npy":
            (only,) = arrays.values()
            np.save(file, only, allow_pickle=False)
        else:
            np.savez(file, **arrays)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    tell(f"wrote {path}: {shapes}")
