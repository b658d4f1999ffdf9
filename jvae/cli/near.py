"""What a word of a command line that is none was probably meant for."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

MEANT = {
    "checkpoint": "model",
    "components": "num-components",
    "continue": "resume",
    "cpu": "device",
    "cuda": "device",
    "force": "overwrite",
    "gpu": "device",
    "layers": "hidden",
    "likelihood": "decoder",
    "out": "output",
    "save": "model",
    "weights": "model",
    "z-dim": "latent-dim",
}
"""Other programs' words for an option."""


def one_of(words: Iterable[str]) -> str:
    """Return words as a choice between them."""
    return " or ".join(words)


def meant_options(command: click.Command, word: str) -> str:
    """Return a sentence about what an unknown option of a command was probably meant for; empty where none is near."""
    if isinstance(command, click.Group):
        known = [name for name, other in command.commands.items() if word in long_options(other)]
        if known:
            return f" It is an option of {one_of(known[:3])}, and stands behind that word."
    near = near_options(word, long_options(command))
    return f" Did you mean {one_of(near)}?" if near else ""


def long_options(command: click.Command) -> list[str]:
    """Return the options of a command that begin with two dashes; the hidden ones are last."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    options.sort(key=lambda option: option.hidden)
    return [word for option in options for word in (*option.opts, *option.secondary_opts) if word.startswith("--")]


def near_options(word: str, options: Collection[str]) -> list[str]:
    """Return at most three options that a word is near to: by meaning, its initials, its beginning, or its letters."""
    name = word.lstrip("-").replace("_", "-").lower()
    names = {option.removeprefix("--"): option for option in options}
    if not name:
        return []
    by_meaning = [MEANT[name]] if MEANT.get(name) in names else []
    by_initials = [other for other in names if "-" in other and name == "".join(part[0] for part in other.split("-"))]
    by_parts = [other for other in names if len(name) > 2 and (other.startswith(name) or is_part(name, other))]
    by_letters = get_close_matches(name, names, cutoff=0.7)
    found = by_meaning or by_initials or [name] * (name in names) or by_letters or by_parts
    return [names[other] for other in found[:3]]


def is_part(name: str, other: str) -> bool:
    """Return True if one name's parts, between dashes, are among the other's, as `num-epochs` has `epochs`."""
    mine, theirs = set(name.split("-")), set(other.split("-"))
    return mine <= theirs or theirs <= mine


def near_file(path: Path) -> str:
    """Return a question after a file beside one that is not there, whose name is near; empty where none is."""
    try:
        beside = sorted(other.name for other in path.parent.iterdir())
    except (OSError, ValueError):
        return ""
    near = get_close_matches(path.name, beside, 1, 0.8)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


class Choice(click.Choice):
    """A choice that says of a word that is none of it which one is near."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the word that was chosen."""
        try:
            return super().convert(value, param, context)
        except click.BadParameter as error:
            near = get_close_matches(str(value).lower(), list(self.choices), 2, 0.6)
            if not near:
                raise
            self.fail(f"{error.message} Did you mean {one_of(near)}?", param, context)


def meant_command(group: click.Group, context: click.Context, word: str) -> str:
    """Return what to say of a word that stands where a command is meant and names none."""
    commands = group.list_commands(context)
    if near := get_close_matches(word.lower().replace("_", "-"), commands, n=2):
        return f"No such command {word!r}. Did you mean {one_of(near)}?"
    takers = [name for name in commands if takes_model(group.commands[name])]
    if takers and (Path(word).suffix or "/" in word):
        path = f"{context.command_path} {takers[0]} --model {word}"
        return f"{word}: a file stands where a command is meant; for instance {path}"
    return f"No such command {word!r}: must be one of {', '.join(commands)}"


def takes_model(command: click.Command) -> bool:
    """Return True if a command reads a model file."""
    return "--model" in long_options(command) and command.name != "train"
