"""The types of a command line's paths: what is read or written, and how."""

import os
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from jvae.data.known import OWN_KINDS
from jvae.files import STDOUT

TEXT_ENDINGS = (".json", ".csv", ".jsonl", ".html", ".htm")


class SomePath(click.Path):
    """A path of a command line, which must not be empty: pathlib would take it for the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """Return the path."""
        if not os.fspath(value):
            self.fail("the path is empty", param, context)
        return Path(super().convert(value, param, context))  # type: ignore[arg-type]


class Place(SomePath):
    """A file or a folder that a command is given; an error says what is there, or what may be meant."""

    kind = "file"
    """What is expected: a `file` or a `directory`."""
    advice = ""
    """What to name in place of the other kind, as the end of a sentence."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """Return the path; for the other kind, say which is expected; for a missing one, suggest what may be meant."""
        try:
            return super().convert(value, param, context)
        except click.BadParameter:
            path = Path(os.fsdecode(value))
            if not os.fspath(value):
                raise
            if not os.path.exists(path):
                self.fail(f"{path}: there is no such {self.kind}{near_file(path) or self.made(path)}", param, context)
            found = "directory" if os.path.isdir(path) else "file"
            if found != self.kind:
                self.fail(f"{path}: is a {found}, where a {self.kind} is expected{self.advice}", param, context)
            raise

    def made(self, path: Path) -> str:
        """Return how to make what is missing, as the end of a sentence; empty for a user's own."""
        return ""


class InputFile(Place):
    """A file that a command reads."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False)


class InputModel(InputFile):
    """A model file that a command reads."""

    def made(self, path: Path) -> str:
        """Return the command that trains a model."""
        return f"; `jvae train --model {shlex.quote(str(path))}` writes it"


class InputRecipe(InputFile):
    """A Python file that a command executes; its name says that it is one."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """Return the path; refuse a file that is not Python by its name."""
        path = super().convert(value, param, context)
        if path.suffix.lower() != ".py":
            self.fail(f"{path}: must be a Python file, with a name that ends in .py", param, context)
        return path


class Folder(Place):
    """A folder, which must exist if a command reads it."""

    kind = "directory"

    def __init__(self, exists: bool) -> None:
        super().__init__(path_type=Path, exists=exists, file_okay=False)


class InputFolder(Folder):
    """A folder that a command reads."""

    def __init__(self) -> None:
        super().__init__(exists=True)


class DataSource(click.ParamType):
    """A data set's name, or a user's own source, as an absolute path."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Return the source with an absolute path, so that it can be found from another working directory."""
        place = place_of(str(value))
        return str(value) if place is None else f"{kind_of(value)}:{place.absolute()}"


class OutputFile(SomePath):
    """A file that a command writes.

    Args:
        endings: the allowed suffixes; if there are none, any suffix is allowed and the file is text.
        stdout: True if `-` means stdout.
        kept: True if an existing file is replaced only with the command's `--overwrite`.
    """

    def __init__(self, *endings: str, stdout: bool = False, kept: bool = False) -> None:
        super().__init__(path_type=Path)
        self.endings, self.stdout, self.kept = endings, stdout, kept

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """Return the path; `-` is stdout, and `./-` a file with that name."""
        path = super().convert(value, param, context)
        return path.absolute() if path == STDOUT and os.fspath(value) != "-" else path

    def is_text(self, path: Path) -> bool:
        """Return True if text is written to a path."""
        return not self.kept and (not self.endings or path == STDOUT or path.suffix.lower() in TEXT_ENDINGS)


class OutputModel(OutputFile):
    """A model file that a command writes."""

    def __init__(self) -> None:
        super().__init__(kept=True)


class OutputFolder(Folder):
    """A folder that a command writes to, and creates if it is missing."""

    advice = "; a new name makes one"

    def __init__(self) -> None:
        super().__init__(exists=False)


def near_file(path: Path) -> str:
    """Return a question that suggests a neighbour with a similar name for a missing path; empty if there is none."""
    try:
        beside = sorted(other.name for other in path.parent.iterdir())
    except (OSError, ValueError):
        return ""
    near = get_close_matches(path.name, beside, 1, 0.8)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


def kind_of(source: str) -> str:
    """Return the kind of a data source, such as npz, or a data set's name."""
    return source.partition(":")[0]


def place_of(source: str) -> Path | None:
    """Return the file or folder of a user's own data source; None for another source."""
    place = source.partition(":")[2]
    return Path(os.path.expanduser(place)) if kind_of(source) in OWN_KINDS and place else None
