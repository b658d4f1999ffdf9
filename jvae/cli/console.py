"""What the commands share: opening what they read, checking what they write, and saying what they do."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.environment import import_jax
from jvae.cli.options import COMPILE_CACHE, DATA_FIELDS, flag, usage_error
from jvae.cli.paths import TAKES_STDOUT
from jvae.cli.variables import said_in
from jvae.runs.fields import text_of

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
    """Print a result for a person: on stdout, or on stderr where an output of the command has stdout for itself."""
    click.echo(text, err=click.get_current_context().meta.get(TAKES_STDOUT, False))


def use_device(name: str, hosts: tuple | None = None, compile_cache: bool = True) -> "jax.Device":
    """Choose the backend, and meet the other hosts if there are any, before anything is computed."""
    import_jax()
    from jvae.cli.compile_cache import use_compile_cache
    from jvae.runs.mesh import Hosts, select_device

    if compile_cache and click.get_current_context().meta.get(COMPILE_CACHE, True):
        use_compile_cache()
    return select_device(name, None if hosts is None else Hosts(*hosts))


def use_mesh(asked: tuple[int, int] | None, num_runs: int, batch_size: int) -> "Mesh | None":
    """Return the mesh over all devices, of the sizes asked for or else the best; None where there is one device."""
    import jax

    from jvae.runs.mesh import MeshShape, choose_mesh

    try:
        return choose_mesh(None if asked is None else MeshShape(*asked), num_runs, batch_size, jax.devices())
    except ValueError as error:
        raise usage_error(error) from error


def describe_placement(num_runs: int, mesh: "Mesh | None", backend: "jax.Device", at_a_time: "Together") -> str:
    """Return in words where the runs are computed, and how many of them, and of their draws, together."""
    import jax

    here = f"{backend.platform} ({backend.device_kind})"
    many = "" if num_runs == 1 else f": {num_runs} runs in one program, {at_a_time.runs} at a time"
    if at_a_time.draws is not None:
        many += f"{',' if many else ':'} {at_a_time.draws} of each image's draws at a time, as the memory allows"
    if mesh is None:
        return here + many
    hosts = f" of {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    axes = ", ".join(f"{size} for {name}" for name, size in mesh.shape.items())
    return f"{mesh.size} devices{hosts}, {axes}: {here}{many}{' on each' if many else ''}"


def log(line: str) -> None:
    """Say what is going on, on stderr: stdout is for results. Where nobody listens, the work goes on."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


def open_model(
    path: Path, repeated: dict[str, Any], own: "OwnRecipe | None" = None, to_resume: bool = False
) -> "TrainedModel":
    """Load a model file, or only its parameters unless it is to be gone on with, and refuse what contradicts it.

    A recipe file with another text than the one that trained it is refused for going on, and else warned of.
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
        if name in DATA_FIELDS:  # the same data may lie elsewhere now: their fingerprint tells
            continue
        known = value if model.config is None else getattr(model.config, name)
        if value != known:
            where = said_in(click.get_current_context(silent=True), name)
            trained = f"{path} was trained with {flag(name)} {text_of(known)}"
            raise click.UsageError(f"{where}{flag(name)} is {text_of(value)}, but {trained}")
    if own is not None and model.recipe_file is not None and own.file.text != model.recipe_file.text:
        ours, theirs = own.file.sha256[:12], model.recipe_file.sha256[:12]
        other = f"{own.file.name} is not the text that {path} was trained by: sha256 {ours}, not {theirs}"
        if to_resume:
            raise click.UsageError(f"{other}; a training goes on by the same")
        log(f"warning: {other}")
    return model


def check_run(model: "TrainedModel", *runs: int) -> None:
    """Refuse a run, by its number from 0, that a model does not have."""
    for run in runs:
        if run >= model.num_runs:
            raise click.UsageError(f"--run is {run}: must be from 0 to {model.num_runs - 1}, of the model's runs")


def check_level(model: "TrainedModel", *levels: int) -> None:
    """Refuse a level of latents, by its number from 1, that a model does not have."""
    depth = model.recipe.model.num_levels
    for level in levels:
        if not 1 <= level <= depth:
            raise click.UsageError(f"--level is {level}: must be from 1 to {depth}, of the model's levels")


def open_recipe(path: Path | None) -> "OwnRecipe | None":
    """Run a recipe file, if there is one; to be done once the device is chosen."""
    if path is None:
        return None
    from jvae.runs.recipe_file import load_recipe_file

    return load_recipe_file(path)


def check_all_read(own: "OwnRecipe | None", config: "Config", dataset: "Dataset", given: Iterable[str]) -> None:
    """Refuse given options that define a model and that a recipe file does not read."""
    if own is None:
        return
    from jvae.runs import recipe_file
    from jvae.runs.config import plan_of
    from jvae.runs.training import count_steps

    try:
        steps = count_steps(plan_of(config), dataset)
        recipe_file.check_all_read(own, config, dataset.train_images.shape[1:], steps, given)
    except ValueError as error:
        raise usage_error(error) from error


def say_nothing(line: str) -> None:
    """Ignore a line, as all processes but the first do."""


def log_of_first_process() -> Callable[[str], None]:
    """Return `log` in the process that speaks for all; to be asked for once the device is chosen."""
    from jvae.runs.mesh import is_first_process

    return log if is_first_process() else say_nothing


def config_of_dataset(name: str, **how: Any) -> "Config":
    """Return a configuration with a data set, or refuse a name that is none's."""
    from jvae.runs.config import Config

    try:
        return Config(dataset=name, **how)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def open_dataset(config: "Config", data_dir: Path | None, log: Callable[[str], None] = log) -> "Dataset":
    """Load the data of a configuration, and report where they came from."""
    from jvae.data.datasets import load_dataset

    how = {name: getattr(config, name) for name in (*DATA_FIELDS[1:], "binarise")}
    try:
        return load_dataset(config.dataset, data_dir, log=log, **how)
    except ValueError as error:
        raise usage_error(error) from error


def open_data_of(model: "TrainedModel", repeated: dict[str, Any], data_dir: Path | None) -> "Dataset":
    """Load the data that a model was trained on, from where its file says, or where the options say anew.

    Raises:
        DataError: they are other data.
    """
    from jvae.runs.config import Config
    from jvae.runs.training import check_fingerprint

    given = {name: repeated[name] for name in DATA_FIELDS if repeated.get(name) is not None}
    try:
        if model.config is not None and "dataset" not in given:
            config = replace(model.config, **given)
        else:
            binarise = "threshold" if model.config is None else model.config.binarise
            config = Config(**{"dataset": model.data_name, "binarise": binarise, **given})
    except ValueError as error:
        if model.config is None and "dataset" not in given:
            raise click.UsageError(f"the model was trained from Python on {model.data_name}: add --dataset") from error
        raise usage_error(error) from error
    dataset = open_dataset(config, data_dir)
    check_fingerprint(model, dataset)
    return dataset


def write_figure(figure: "Figure | bytes", path: Path) -> None:
    """Save a picture, or the bytes of one, whole or not at all, and say so."""
    from io import BytesIO

    from jvae.files import write_file

    if not isinstance(figure, bytes):
        buffer = BytesIO()
        figure.savefig(buffer, format=path.suffix.lower().removeprefix("."))
        figure = buffer.getvalue()
    write_file(path, figure)
    click.echo(f"wrote {path}")


def write_arrays(arrays: dict[str, Any], path: Path) -> None:
    """Save arrays in an .npz under their names, or the only one in an .npy, without pickle, and say so."""
    import numpy as np

    from jvae.files import open_result

    with open_result(path) as file:
        if path.suffix.lower() == ".npy":
            (only,) = arrays.values()
            np.save(file, only, allow_pickle=False)
        else:
            np.savez(file, **arrays)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    click.echo(f"wrote {path}: {shapes}")
