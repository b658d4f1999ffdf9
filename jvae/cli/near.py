"""Suggestions for unknown words on a command line."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import click

from jvae.cli.path_types import OutputFile, OutputFolder
from jvae.runs.fields import split_values

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
    "weights": "model",
    "z-dim": "latent-dim",
}
"""Names that other programs use for an option."""
OUTPUT_NAMES = ("o", "out", "output", "save")
"""Names that other programs use for the option that says what to write."""
MEANT_VALUES = {
    "bce": "bernoulli",
    "conv": "cnn",
    "convolutional": "cnn",
    "cuda": "gpu",
    "dense": "mlp",
    "gmm": "mog",
    "mixture": "mog",
    "mps": "auto",
    "mse": "gaussian",
    "nf": "flow",
    "normal": "gaussian",
    "realnvp": "flow",
}
"""Names that other programs use for a value."""
OWN = ("prior", "decoder", "network")
"""Options for which a recipe file may have a part of one's own."""
OWN_ADVICE = "For one of your own, see --recipe."


def one_of(words: Iterable[str]) -> str:
    """Return words joined by "or"."""
    return " or ".join(words)


def meant_options(command: click.Command, word: str) -> str:
    """Return a sentence that suggests options for an unknown one; empty if none is similar."""
    if isinstance(command, click.Group):
        known = [name for name, other in command.commands.items() if word in long_options(other)]
        if known:
            return f" It is an option of {one_of(known[:3])}: put it after that word."
    written = outputs_of(command) if word.lstrip("-") in OUTPUT_NAMES else []
    near = written or near_options(word, long_options(command))
    return f" Did you mean {one_of(near)}?" if near else ""


def long_options(command: click.Command) -> list[str]:
    """Return a command's options that begin with two dashes, hidden ones last."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    options.sort(key=lambda option: option.hidden)
    return [word for option in options for word in (*option.opts, *option.secondary_opts) if word.startswith("--")]


def outputs_of(command: click.Command) -> list[str]:
    """Return a command's options that name what it writes."""
    options = (parameter for parameter in command.params if isinstance(parameter, click.Option))
    return [option.opts[0] for option in options if isinstance(option.type, (OutputFile, OutputFolder))]


def near_options(word: str, options: Collection[str]) -> list[str]:
    """Return at most three options that are similar to a word, by meaning, initials, beginning or letters."""
    name = word.lstrip("-").replace("_", "-").lower()
    names = {option.removeprefix("--"): option for option in options}
    if not name:
        return []
    by_meaning = [MEANT[name]] if MEANT.get(name) in names else []
    by_initials = [other for other in names if "-" in other and name == "".join(part[0] for part in other.split("-"))]
    by_parts = [other for other in names if len(name) > 2 and (other.startswith(name) or is_part(name, other))]
    by_letters = get_close_matches(name, names, cutoff=0.7)
    by_beginning = [other for other in names if other.startswith(name) and not other.startswith("no-")]
    found = by_meaning or by_initials or [name] * (name in names) or by_letters or by_parts or by_beginning
    return [names[other] for other in found[:3]]


def is_part(name: str, other: str) -> bool:
    """Return True if one name's parts between dashes are among the other's, as in `epochs` and `num-epochs`."""
    mine, theirs = set(name.split("-")), set(other.split("-"))
    return mine <= theirs or theirs <= mine


def near_values(word: str, choices: Collection[str]) -> list[str]:
    """Return at most two choices that are similar to a word, by meaning or letters; `cuda:0` is taken as `cuda`."""
    word = word.lower().partition(":")[0]
    meant = MEANT_VALUES.get(word, word)
    return [meant] if meant in choices else get_close_matches(word, choices, 2, 0.6)


def meant_grid(texts: Iterable[str], choices: Mapping[str, Collection[str]]) -> str:
    """Return a sentence that suggests a word for an unknown one in a sweep's grid; empty if none is similar.

    Args:
        texts: the grid, `NAME=VALUE,VALUE,...`.
        choices: the words that each option may be, by its name; none for numbers and free texts.
    """
    for text in texts:
        name, values = split_values(text)
        option = name.replace("_", "-")
        if option in choices:
            known = choices[option]
            unknown = [value for value in values if known and value not in known]
            near = [word for value in unknown for word in near_values(value, known)]
        else:
            near = [word.removeprefix("--") for word in near_options(option, [f"--{other}" for other in choices])]
        if near:
            return f" Did you mean {one_of(near)}?"
    return ""


class Choice(click.Choice):
    """A choice that suggests a similar word for an unknown one."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the chosen word."""
        try:
            return super().convert(value, param, context)
        except click.BadParameter as error:
            near = near_values(str(value), self.choices)
            takes_recipe = context is not None and "--recipe" in long_options(context.command)
            own = takes_recipe and param is not None and param.name in OWN
            if not near and not own:
                raise
            self.fail(f"{error.message} {f'Did you mean {one_of(near)}?' if near else OWN_ADVICE}", param, context)


def meant_command(group: click.Group, context: click.Context, word: str) -> str:
    """Return the error message for a word that is not a command."""
    commands = group.list_commands(context)
    close = partial(get_close_matches, word.lower().replace("_", "-"), commands, 2)
    if near := close(0.6) or (close(0.5) if len(word) == 2 else []):
        return f"No such command {word!r}. Did you mean {one_of(near)}?"
    takers = [name for name in commands if takes_model(group.commands[name])]
    if takers and (Path(word).suffix or "/" in word):
        path = f"{context.command_path} {takers[0]} --model {word}"
        return f"{word}: is a file, where a command is expected; for instance {path}"
    return f"No such command {word!r}: must be one of {', '.join(commands)}"


def takes_model(command: click.Command) -> bool:
    """Return True if a command reads a model file."""
    return "--model" in long_options(command) and command.name != "train"
