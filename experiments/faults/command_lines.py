"""Faults of command lines: random lines made from the commands' own parameters, run up to where work begins."""

import contextlib
import os
import random
import zipfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import click
import numpy as np
from click.testing import CliRunner

from experiments.faults.model_files import small_model

COUNT = 1000
"""How many lines the whole campaign tries."""
ODD: tuple[str, ...] = (
    "",
    " ",
    "-",
    "--",
    "=",
    "é",
    "\u202e",
    "😀",
    "a b",
    "a\nb",
    "\x1b[31m",
    "\udcff",
    "../..",
    "~nobody/x",
    "x" * 300,
)
NUMBERS: tuple[str, ...] = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "1e3",
    "0.5",
    "1_000",
    "٣",
    "+2",
    "inf",
    "-inf",
    "nan",
    "1e400",
    "5e-324",
)
NUMBERS += ("0x10", "4097", "65537", str(2**31), str(2**32), str(2**63), "9" * 400, "9" * 5000)
LISTS = ("8", "8,8", "8x8", "8,,8", ",", "0", "8,-1", "8," * 200, "all", "0,0", "1,2", "0,1")
SOURCES: tuple[str, ...] = (
    "digits",
    "mnist",
    "cifar",
    "npz:",
    "npz:none",
    "npz:model.npz",
    "npy:text.txt",
    "folder:.",
    "idx:.",
    "tfds:x/y",
)
GRIDS = ("seed=0,1", "latent-dim=2,3", "prior=mog", "hidden=8x8", "epochs", "=", "a=b", "seed=", "seed=x", "runs=2")
MESHES = ("runs=1", "data=1", "runs=9,data=9", "runs=0", "x", "runs=1,runs=1", "data=64")
PATHS: tuple[str, ...] = (
    "model.npz",
    "text.txt",
    "folder",
    "none.npz",
    "new.npz",
    "new.png",
    "new.svg",
    "new.json",
    "new.csv",
    "new.npy",
)
PATHS += (
    "new.html",
    "new.jsonl",
    "new.pt",
    "good.toml",
    "bad.toml",
    "recipe.py",
    "bad.py",
    "no/such/place.npz",
    ".",
    "/",
)
USUAL = {
    "batch_sizes": ("64", "64,128"),
    "channels": ("2", "2,3"),
    "config": ("good.toml",),
    "data_dir": ("folder",),
    "dataset": ("digits", "npz:images.npz"),
    "files": ("model.npz",),
    "grids": ("seed=0,1", "latent-dim=2,3", "hidden=8x8,4"),
    "hidden": ("8", "8,8", "8x4"),
    "json_path": ("new.json",),
    "level": ("1", "2", "all"),
    "log_path": ("new.csv", "new.jsonl"),
    "model_path": ("model.npz",),
    "names": ("digits",),
    "output": ("new.png", "new.npz", "new.csv", "new.html"),
    "recipe_path": ("recipe.py",),
    "resize": ("16x16",),
    "run": ("0", "1", "all"),
    "run_counts": ("1", "1,2"),
    "source": ("digits", "npz:images.npz"),
    "target": ("new.pt",),
}
"""Values that are often right, by parameter name."""
PROGRAMS = (("jvae.cli.main", "main"), ("experiments.__main__", "experiments"))
"""Module and name: importing the second here would be circular, since it contains this campaign."""
WORK = {
    "jvae.runs.api": ("train_config_epochs", "evaluate", "diagnose", "encode", "sample"),
    "jvae.runs.sweep": ("run_sweep",),
    "jvae.tools.benchmark": ("measure",),
    "jvae.tools.state_dict": ("load_state_dict", "save_state_dict"),
    "jvae.view.explorer": ("explorer_page",),
    "experiments.reporting.command": ("run_part",),
    "experiments.everything": ("measure_all",),
}
"""The functions that do a command's work."""
START = {"jvae.runs.mesh": ("select_device",), "jvae.cli.main": ("open_dataset",)}
"""The functions that come before anything slow."""


def commands_of(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command within a group, and every group, with the words that name it."""
    yield words, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, (*words, name))
        else:
            yield (*words, name), command


def random_line(command: click.Command, draws: random.Random) -> list[str]:
    """Return random arguments and options for a command, most of them plausible."""
    words: list[str] = []
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    for option in draws.sample(options, min(len(options), draws.choice((0, 1, 1, 2, 2, 3, 5)))):
        words += random_option(option, draws)
    takes_data = any("--dataset" in option.opts for option in options)
    if takes_data and not any(word.startswith("--dataset") for word in words) and draws.random() < 0.9:
        words += ["--dataset", "digits"]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            words += [random_value(parameter, draws) for _ in range(draws.choice((0, 1, 1, 1, 2)))]
    spoil = draws.random()
    if words and spoil < 0.05:
        words.insert(draws.randrange(len(words)), draws.choice(words))
    elif words and spoil < 0.1:
        words.pop(draws.randrange(len(words)))
    elif spoil < 0.15:
        words.insert(draws.randrange(len(words) + 1), draws.choice((*ODD, *PATHS, "--lr", "-x", "--epoch", "--model=")))
    return words


def random_option(option: click.Option, draws: random.Random) -> list[str]:
    """Return an option with a random value, as words of a command line."""
    name = draws.choice([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return [name]
    value = random_value(option, draws)
    return [f"{name}={value}"] if draws.random() < 0.2 else [name, value]


def random_value(parameter: click.Parameter, draws: random.Random) -> str:
    """Return a value for a parameter: usually of its type, sometimes of another."""
    kind, usual = parameter.type, USUAL.get(str(parameter.name))
    if draws.random() < 0.05:
        return draws.choice((*ODD, *NUMBERS, *LISTS))
    if usual is not None and draws.random() < 0.8:
        return draws.choice(usual)
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)) and draws.random() < 0.6:
        return draws.choice(("1", "2", "3"))
    if isinstance(kind, click.Choice):
        return draws.choice([*map(str, kind.choices)])
    if isinstance(kind, click.Path):
        return draws.choice(PATHS)
    if isinstance(kind, click.types.IntRange):
        ends = [end + step for end in (kind.min, kind.max) if end is not None for step in (-1, 0, 1)]
        return draws.choice([*map(str, ends), *NUMBERS])
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        return draws.choice(NUMBERS)
    by_name = {"dataset": SOURCES, "source": SOURCES, "names": SOURCES, "grids": GRIDS, "mesh": MESHES}
    return draws.choice(by_name.get(str(parameter.name), (*LISTS, "float32", "localhost:1", "16x16")))


@contextlib.contextmanager
def without_work(folder: Path, work: dict[str, tuple[str, ...]]) -> Iterator[None]:
    """Replace the commands' work by an exit with 0; run them in a folder of prepared files, without a network."""
    from jvae.errors import DataError
    from jvae.view import pictures

    def reached(*arguments: Any, **options: Any) -> NoReturn:
        raise click.exceptions.Exit(0)

    absent = mock.Mock(side_effect=DataError("no connection"))
    drawn = [(pictures.__name__, name) for name, value in vars(pictures).items() if callable(value) and name.islower()]
    places = [*drawn, *((module, name) for module, names in work.items() for name in names)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(mock.patch.dict(os.environ, {"JVAE_CACHE_DIR": str(folder / "cache")}))
        for name in ("fetch_tfds", "fetch_npm"):
            stack.enter_context(mock.patch(f"jvae.data.datasets.{name}", absent))
        for module, name in places:
            stack.enter_context(mock.patch(f"{module}.{name}", reached))
        yield


def make_files(folder: Path, with_model: bool) -> None:
    """Write the files that `PATHS` names; without `with_model`, model.npz only looks like a model file."""
    if with_model:
        small_model(folder).rename(folder / "model.npz")
    else:
        with zipfile.ZipFile(folder / "model.npz", "w") as archive:
            archive.writestr("model.json", "{}")
    (folder / "folder").mkdir()
    np.savez(folder / "images.npz", np.zeros((40, 8, 8), np.uint8))
    (folder / "text.txt").write_text("text")
    (folder / "good.toml").write_text("# nothing\n")
    (folder / "bad.toml").write_text("device = [\n")
    (folder / "bad.py").write_text("def recipe(config, data_shape, steps):\n    return 1 / 0\n")
    (folder / "recipe.py").write_text("import jvae\n\nrecipe = jvae.build_recipe\n")


def verdict(program: click.Group, words: Sequence[str]) -> str:
    """Return '' if a command line ends with 0, or with 1 or 2 and one line of error; else what happened."""
    result = CliRunner().invoke(program, list(words), prog_name="jvae")
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    asked = not words or words[-1] in program.commands
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"raises {result.exception!r:.300}"
    if result.exit_code not in (0, 1, 2) or "Traceback" in result.stderr:
        return f"exit code {result.exit_code}, {result.stderr[-300:]!r}"
    right = len(errors) == (result.exit_code != 0) or (asked and not errors) or "info" in words
    return "" if right else f"exit code {result.exit_code} with {len(errors)} errors: {result.stderr[-300:]!r}"


def random_command_lines(folder: Path, share: float) -> Iterator[str]:
    """Run random command lines up to where their work begins; in the short form, up to the first slow step."""
    programs = [getattr(import_module(module), name) for module, name in PROGRAMS]
    draws = random.Random(0)
    places = [(program, *place) for program in programs for place in commands_of(program)]
    make_files(folder, with_model=share == 1)
    before = [path.name for path in folder.iterdir()]
    with without_work(folder, WORK if share == 1 else WORK | START):
        for i in range(round(COUNT * share)):
            program, names, command = places[i % len(places)] if i < len(places) else draws.choice(places)
            words = [*names, *random_line(command, draws)]
            text = verdict(program, words)
            left = [path.name for path in folder.iterdir() if path.is_file() and path.name not in before]
            yield (text and f"{words!r:.300}: {text}") or (left and f"{words!r:.300}: left {left}") or ""
            before += left
