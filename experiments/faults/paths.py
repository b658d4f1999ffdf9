"""Faults of paths: an output that is also an input or another output, for every pair of every command's paths."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from click.testing import CliRunner

from experiments.faults.command_lines import commands_of
from jvae.cli.path_types import DataSource, InputFile, InputFolder, OutputFile, OutputFolder

TYPES = (DataSource, InputFile, InputFolder, OutputFile, OutputFolder)
SPELLINGS = ("itself", "relative", "symlink", "hard link")
REQUIRED = {"sweep": ["--grid", "latent-dim=2"]}
STOOD = "# what stood here before, valid TOML too"


class Pair(NamedTuple):
    """Two paths of a command, the second of which it writes, and how that one is spelled."""

    group: click.Group
    words: tuple[str, ...]
    command: click.Command
    one: click.Parameter
    output: click.Parameter
    spelling: str

    def __str__(self) -> str:
        return f"{' '.join(self.words)}, {self.one.name} and {self.output.name}, {self.spelling}"


def is_output(parameter: click.Parameter) -> bool:
    """Return True if a parameter is a path that is written."""
    return isinstance(parameter.type, (OutputFile, OutputFolder))


def pairs_of(group: click.Group, words: tuple[str, ...], command: click.Command) -> list[Pair]:
    """Return the pairs of a command's paths in which the second is written."""
    paths = sorted((p for p in command.params if isinstance(p.type, TYPES)), key=is_output)
    pairs = [pair for pair in itertools.combinations(paths, 2) if is_output(pair[1])]
    return [Pair(group, words, command, *pair, SPELLINGS[i % len(SPELLINGS)]) for i, pair in enumerate(pairs)]


def run_pair(pair: Pair, place: Path) -> str:
    """Run a command with one file for two of its paths; return '' if it is refused as it must be, else what is wrong.

    Args:
        pair: the two paths.
        place: an empty folder, the working directory.
    """
    endings = getattr(pair.output.type, "endings", None) or getattr(pair.one.type, "endings", None) or [".npz"]
    folder = place / "folder"
    path = folder / f"t10k-labels-ubyte{endings[0]}"  # a name that is looked for in a data folder
    folder.mkdir()
    for file in (path, place / "model.npz"):
        file.write_text(STOOD)
    spelled = {"itself": str(path), "relative": f"folder/../folder/{path.name}"}.get(pair.spelling, f"link{endings[0]}")
    if pair.spelling.endswith("link"):
        (os.symlink if pair.spelling == "symlink" else os.link)(path, place / spelled)
    folders = isinstance(pair.one.type, InputFolder) and isinstance(pair.output.type, OutputFolder)
    words = [*pair.words, *REQUIRED.get(pair.words[-1], [])]
    for parameter in pair.command.params:
        if parameter.name == "overwrite":
            words.append("--overwrite")
        elif parameter is pair.one or parameter is pair.output:
            value = ("folder/../folder" if folders else spelled) if parameter is pair.output else str(path)
            value = str(folder) if isinstance(parameter.type, InputFolder) else value
            value = f"npz:{path}" if isinstance(parameter.type, DataSource) else value
            words += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
        elif isinstance(parameter, click.Argument) and parameter.required:
            words.append("model.npz")
    before = sorted(place.rglob("*"))
    result = CliRunner().invoke(pair.group, words)
    changed = sorted(place.rglob("*")) != before or path.read_text() != STOOD
    if result.exit_code == 2 and len(result.stderr.splitlines()) == 1 and not changed:
        return ""
    return f"{pair}: exit code {result.exit_code}{', files changed' * changed}, {result.stderr[-200:]!r}"


def overlapping_paths(folder: Path, share: float) -> Iterator[str]:
    """Give every command one file for every pair of its paths, spelled in one of four ways."""
    from jvae.cli.main import main

    pairs = [pair for found in commands_of(main) for pair in pairs_of(main, *found)]
    before = Path.cwd()
    try:
        for pair in pairs if share == 1 else pairs[:: round(1 / share)]:
            place = folder / "place"
            place.mkdir()
            os.chdir(place)
            yield run_pair(pair, place)
            os.chdir(before)
            shutil.rmtree(place)
    finally:
        os.chdir(before)
