"""The types of a command line's paths: what is read or written, and how."""

import os
from pathlib import Path
from typing import Any

import click

from jvae.cli.near import near_file
from jvae.data.known import OWN_KINDS
from jvae.files import STDOUT

TEXT_ENDINGS = (".json", ".csv", ".jsonl", ".html", ".htm")


class InputFile(click.Path):
    """A file that a command reads."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """Return the path; for a missing file, suggest a similar one or how to make it."""
        try:
            return Path(super().convert(value, param, context))  # type: ignore[arg-type]
        except click.BadParameter:
            path = Path(os.fsdecode(value))
            if os.path.exists(path):
                raise
            self.fail(f"{path}: there is no such file{near_file(path) or self.made(path)}", param, context)

    def made(self, path: Path) -> str:
        """Return how to make the file, as the end of a sentence; empty for a user's own file."""
        return ""


class InputModel(InputFile):
    """A model file that a command reads."""

    def made(self, path: Path) -> str:
        """Return the command that trains a model."""
        return f"; `jvae train --model {path}` writes it"


class InputFolder(click.Path):
    """A folder that a command reads."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, file_okay=False)


class DataSource(click.ParamType):
    """A data set's name, or a user's own source, as an absolute path."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Return the source with an absolute path, so that it can be found from another working directory."""
        place = place_of(str(value))
        return str(value) if place is None else f"{kind_of(value)}:{place.absolute()}"


class OutputFile(click.Path):
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
        path = Path(super().convert(value, param, context))  # type: ignore[arg-type]
        return path.absolute() if path == STDOUT and os.fspath(value) != "-" else path

    def is_text(self, path: Path) -> bool:
        """Return True if text is written to a path."""
        return not self.kept and (not self.endings or path == STDOUT or path.suffix.lower() in TEXT_ENDINGS)


class OutputModel(OutputFile):
    """A model file that a command writes."""

    def __init__(self) -> None:
        super().__init__(kept=True)


class OutputFolder(click.Path):
    """A folder that a command writes to, and creates if it is missing."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)


def kind_of(source: str) -> str:
    """Return the kind of a data source, such as npz, or a data set's name."""
    return source.partition(":")[0]


def place_of(source: str) -> Path | None:
    """Return the file or folder of a user's own data source; None for another source."""
    place = source.partition(":")[2]
    return Path(os.path.expanduser(place)) if kind_of(source) in OWN_KINDS and place else None
