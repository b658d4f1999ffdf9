"""Checks of a command line's paths before the command begins.

The checks follow from the types of a command's options, so that every `PathCommand` has them.
"""

import errno
import itertools
import json
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from jvae.cli.config_file import CONFIG_FILE
from jvae.cli.path_types import (
    DataSource,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    OutputModel,
    kind_of,
    place_of,
)
from jvae.errors import JvaeError
from jvae.files import STDOUT, check_writable, is_stdout, is_stream, longest_name, same_file, status_of

TAKES_STDOUT = "jvae.cli.takes_stdout"
"""Key of a context's meta: True if an output is stdout, so that nothing else may be printed there."""
SNIFFED_BYTES = 4096
READ_BY_NAME = ("-ubyte", "tfrecord", "array_record", "dataset_info.json", "features.json")
"""Parts of the names of all files that `idx:DIR` and `--data-dir` read."""


class Given(NamedTuple):
    """A path on a command line, or one derived from it."""

    option: str
    path: Path
    type: click.ParamType
    holds: str = ""
    """The kind of a folder that is read: `folder` (of pictures) or `idx`."""


class PathCommand(click.Command):
    """A command that begins only if its paths are valid."""

    def invoke(self, context: click.Context) -> Any:
        """Check the paths, and run the command."""
        check_paths(context)
        return super().invoke(context)


def check_paths(context: click.Context) -> None:
    """Check all paths of a command line.

    Raises:
        click.UsageError: an output is an input or another output, has a wrong name, or would replace a protected file.
        JvaeError: an output cannot be written.
    """
    outputs = [found for found in given_paths(context) if isinstance(found.type, (OutputFile, OutputFolder))]
    inputs = list(inputs_of(context)) if outputs else []
    for one, other in itertools.combinations(outputs, 2):
        refuse(one, other, same_file(one.path, other.path))
    for one, other in itertools.product(inputs, outputs):
        refuse(one, other, reads(one, other))
    for output in outputs:
        check_output(output, context.params)
    context.meta[TAKES_STDOUT] = any(is_stdout(output.path) for output in outputs)


def check_products(context: click.Context, paths: Iterable[Path]) -> None:
    """Refuse inputs that are, or lie in, files and folders that a command creates in its output folder.

    Raises:
        click.UsageError: there is such an input.
    """
    for product, one in itertools.product(paths, inputs_of(context)):
        inside = Path(os.path.realpath(one.path)).is_relative_to(os.path.realpath(product))
        refuse(one, Given("--output", product, OutputFile()), inside or reads(one, Given("", product, OutputFile())))


def refuse(one: Given, other: Given, same: bool) -> None:
    """Raise a UsageError about two paths if they are the same."""
    if same:
        raise click.UsageError(f"{other.path}: {one.option} and {other.option} must be different files")


def given_paths(context: click.Context) -> Iterator[Given]:
    """Yield every path of a command line, and the place of every data source."""
    for parameter in context.command.params:
        config = context.meta.get(CONFIG_FILE) if parameter.name == "config" else None
        value = context.params.get(parameter.name or "", config)
        name = parameter.opts[0] if isinstance(parameter, click.Option) else (parameter.name or "").upper()
        for one in value if isinstance(value, (tuple, list)) else [value]:
            if one is None:
                continue
            if isinstance(parameter.type, DataSource):
                place = place_of(one)
                if place is not None:
                    yield Given(name, place, parameter.type, kind_of(one))
            elif isinstance(parameter.type, click.Path):
                yield Given(name, one, parameter.type, "idx" if isinstance(parameter.type, InputFolder) else "")


def inputs_of(context: click.Context) -> Iterator[Given]:
    """Yield the inputs of a command line, and the data that its model was trained on."""
    for found in given_paths(context):
        if isinstance(found.type, (InputFile, InputFolder, DataSource)):
            yield found
        if found.option == "--model":
            source = data_of_model(found.path)
            place = place_of(source)
            if place is not None:
                yield Given("the data of --model", place, DataSource(), kind_of(source))


def data_of_model(path: Path) -> str:
    """Return the data source that a model file names; "" if there is none, or the file is damaged."""
    if not os.path.isfile(path):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("model.json"))["config"]["dataset"])
    except Exception:  # the error is reported when the model is read
        return ""


def reads(one: Given, output: Given) -> bool:
    """Return True if an input is the output, or a folder from which the output would be read."""
    if same_file(one.path, output.path):
        return True
    if output.path == STDOUT or not os.path.isdir(one.path):
        return False
    place, there = Path(os.path.realpath(output.path)), status_of(output.path)
    if place.is_relative_to(os.path.realpath(one.path)) and (
        is_data(place, one.holds) or (one.holds == "folder" and isinstance(output.type, OutputFolder))
    ):
        return True
    if there is None or stat.S_ISDIR(there.st_mode):
        return False
    files = (Path(root, name) for root, _, names in os.walk(one.path) for name in names)
    return any(is_data(path, one.holds) and same_file(path, output.path) for path in files)


def is_data(path: Path, holds: str) -> bool:
    """Return True if a file in a data folder has the name of a data file."""
    if holds != "folder":
        return any(word in path.name for word in READ_BY_NAME)
    from jvae.data.folder import picture_endings

    return path.suffix.lower() in picture_endings()


def check_output(output: Given, values: dict[str, Any]) -> None:
    """Refuse an output that cannot be written, or that would replace a protected file.

    Raises:
        click.UsageError: the name is wrong, or the existing file is protected.
        JvaeError: nothing can be written there.
    """
    path, type_ = output.path, output.type
    if isinstance(type_, OutputFile):
        if path == STDOUT and type_.stdout:
            return
        check_kind(path, type_, values)
    place = Path(os.path.realpath(path if isinstance(type_, OutputFile) else path / "jvae"))
    folder, new = place.parent, [place.name]
    while isinstance(type_, OutputFolder) and status_of(folder) is None:
        folder, new = folder.parent, [folder.name, *new]
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError
        sizes, room = [len(os.fsencode(name)) for name in new], longest_name(folder)
        if max(sizes) > room:
            raise click.UsageError(f"{path}: has a name of {max(sizes)} bytes: must be at most {room}")
        check_writable(path if isinstance(type_, OutputFile) else folder / new[0])
    except (FileNotFoundError, NotADirectoryError) as error:
        there = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
        if not os.path.isdir(there):
            raise click.UsageError(f"{path}: {there} is a file, where a directory is expected") from error
        raise click.UsageError(f"{path}: the directory {folder} does not exist: make it with mkdir -p") from error
    except OSError as error:
        kind = click.UsageError if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else JvaeError
        raise kind(f"{path}: cannot be written: {error.strerror or error}") from error


def check_kind(path: Path, type_: OutputFile, values: dict[str, Any]) -> None:
    """Raise a UsageError unless a path has an allowed suffix, and an existing file may be replaced."""
    text, there = type_.is_text(path), status_of(path)
    if path == STDOUT:
        raise click.UsageError(f"{path}: stdout takes JSON, CSV and JSON lines: name a file")
    if type_.endings and path.suffix.lower() not in type_.endings:
        raise click.UsageError(f"{path}: the ending must be one of {', '.join(type_.endings)}")
    if there is None:
        return
    if stat.S_ISDIR(there.st_mode):
        raise click.UsageError(f"{path}: is a directory, where a file is expected: name a file in it")
    if is_stream(path):
        if not text:
            raise click.UsageError(f"{path}: is a pipe, a device or this command's own output: name a file")
        return
    if not isinstance(type_, OutputModel) and is_model_file(path):
        raise click.UsageError(f"{path}: is a model file, which is not overwritten")
    if text and not holds_text(path):
        raise click.UsageError(f"{path}: does not hold text, so it is not overwritten")
    if type_.kept:
        check_kept(path, values)


def check_kept(path: Path, values: dict[str, Any]) -> None:
    """Raise a UsageError if a file exists, unless a command's values have `overwrite` or `resume`.

    Call it again once a file is owned: it may have been written since the command's paths were checked.
    """
    if status_of(path) is not None and not (values.get("overwrite") or values.get("resume")):
        how = "--resume continues it, " if "resume" in values else ""
        raise click.UsageError(f"{path}: already exists; {how}--overwrite replaces it")


def is_model_file(path: Path) -> bool:
    """Return True if a file seems to hold a model, damaged or not."""
    try:
        with path.open("rb") as file:
            head = file.read(SNIFFED_BYTES)
        if head.startswith(b"PK") and b"model.json" in head:  # also if the zip's directory, at the end, is lost
            return True
        with zipfile.ZipFile(path) as archive:
            return "model.json" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def holds_text(path: Path) -> bool:
    """Return True if a file begins like text, without a zero byte, or cannot be read, which its writer will report."""
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(SNIFFED_BYTES)
    except OSError:
        return True
