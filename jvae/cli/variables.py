"""Environment variables that set a command's options: their names, and their bad values."""

import os
from collections.abc import Iterator
from difflib import get_close_matches

import click

from jvae.cli.config_file import CONFIG_FILE

OTHERS = ("JVAE_CACHE_DIR", "JVAE_TUTORIAL_DATASET")
"""The variables that are not an option's."""
NEAR = 0.85
"""The similarity of two names, from 0 to 1, above which one is taken for a misspelling of the other."""


def name_variables(context: click.Context) -> None:
    """Let a variable set every option: `JVAE_TRAIN_MODEL` sets `--model` of `jvae train`."""
    for option in options_of(context.command) if context.auto_envvar_prefix else ():
        option.envvar = f"{context.auto_envvar_prefix}_{option_name(option)}"


def options_of(command: click.Command) -> Iterator[click.Option]:
    """Yield the options of a command that variables can set."""
    return (option for option in command.params if isinstance(option, click.Option) and option.allow_from_autoenv)


def option_name(option: click.Option) -> str:
    """Return an option's name as it is in variables."""
    return option.opts[0].removeprefix("--").replace("-", "_").upper()


def said_in(context: click.Context | None, name: str | None) -> str:
    """Return `FILE.toml: ` or `VARIABLE: ` if the value of a command's parameter comes from there, else ""."""
    if context is None or name is None:
        return ""
    source = context.get_parameter_source(name)
    if source is click.core.ParameterSource.DEFAULT_MAP:
        return f"{context.meta[CONFIG_FILE]}: "
    if source is click.core.ParameterSource.ENVIRONMENT:
        names = [str(option.envvar) for option in options_of(context.command) if option.name == name and option.envvar]
        return f"{next((name for name in names if name in os.environ), names[0])}: " if names else ""
    return ""


def check_variables(context: click.Context) -> None:
    """Refuse a variable that seems to be meant for this command, but is not an option's.

    Raises:
        click.UsageError: there is one; the message names it and what it was probably meant for.
    """
    prefix = context.auto_envvar_prefix
    if not prefix:
        return
    options = {f"{prefix}_{option_name(option)}" for option in options_of(context.command)}
    others = set(variables_of(context.find_root().command, prefix.partition("_")[0]))
    for variable in sorted(os.environ.keys() - options - others):
        if not variable.startswith("JVAE_"):
            continue
        whole = f"{prefix}_{variable.removeprefix('JVAE_')}"
        near = [whole] if whole in options else get_close_matches(variable, options | set(OTHERS), 1, NEAR)
        if near or variable.startswith(f"{prefix}_"):
            meant = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{variable}: there is no such variable{meant}", context)


def variables_of(command: click.Command, prefix: str) -> Iterator[str]:
    """Yield the variables that a command and its subcommands read."""
    yield from OTHERS
    for option in options_of(command):
        yield f"{prefix}_{option_name(option)}"
        yield f"{prefix}_{str(option.name).upper()}"  # click's naming
    for name, within in command.commands.items() if isinstance(command, click.Group) else ():
        yield from variables_of(within, f"{prefix}_{name.replace('-', '_').upper()}")
