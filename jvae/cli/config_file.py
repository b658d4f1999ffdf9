"""Config files: `--config FILE.toml`, which sets any options of a command."""

from pathlib import Path
from typing import Any

import click

from jvae.cli.near import meant_options
from jvae.cli.path_types import InputFile
from jvae.errors import JvaeError, first_line

CONFIG_FILE = "jvae.cli.config_file"


def config_option() -> click.Option:
    """Return `--config`. Values in its file count as given, but the command line and the environment override them."""
    return click.Option(
        ["--config"],
        type=InputFile(),
        is_eager=True,
        expose_value=False,
        callback=use_config_file,
        metavar="FILE.toml",
        help="file of options of this command: NAME = VALUE, a line each",
    )


def use_config_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Use a file's values as the command's defaults."""
    if path is None:
        return
    context.meta[CONFIG_FILE] = path
    try:
        context.default_map = option_values(read_toml(path), context.command)
    except click.UsageError as error:
        raise click.UsageError(f"{path}: {error.format_message()}", context) from error
    except ValueError as error:  # a number with more digits than Python converts
        raise JvaeError(f"{path}: {first_line(error)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        JvaeError: the file cannot be read, or is not TOML.
    """
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise JvaeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise JvaeError(f"{path}: is not TOML: {first_line(error)}") from error


def option_values(values: dict[str, Any], command: click.Command) -> dict[str, Any]:
    """Return the values of a command's parameters by name; the keys are option names, with - or _.

    Raises:
        click.UsageError: a key is not an option of the command or is given twice, or its value has another type.
    """
    options = {
        option.opts[0].removeprefix("--").replace("-", "_"): option
        for option in command.params
        if isinstance(option, click.Option) and not option.is_eager
    }
    found: dict[str, Any] = {}
    for key, value in values.items():
        option = options.get(key.replace("-", "_"))
        if option is None or option.name is None:
            for other, one in options.items():
                if f"--{key.replace('_', '-')}" in one.secondary_opts:
                    raise click.UsageError(f"{key!r:.50} is for the command line: use {other} = false")
            near = meant_options(command, f"--{key}")
            raise click.UsageError(f"{key!r:.50} is not an option of this command.{near}".removesuffix("."))
        if option.name in found:
            raise click.UsageError(f"{key!r:.50} is given twice, with - and with _")
        found[option.name] = option_value(option, value)
    return found


def option_value(option: click.Option, value: Any) -> Any:
    """Return a value as on the command line: a bool or a text, or a list of them for an option that may repeat.

    Raises:
        click.BadParameter: it has another type, or is more than one line of text.
    """
    if option.multiple:
        return [one_value(option, part) for part in (value if isinstance(value, list) else [value])]
    return one_value(option, value)


def one_value(option: click.Option, value: Any) -> bool | str:
    """Return a bool for an option that is a flag, and a text for any other.

    Raises:
        click.BadParameter: it has another type, or is more than one line of text.
    """
    on_or_off = isinstance(option.type, click.types.BoolParamType)
    if isinstance(value, bool) and on_or_off:
        return value
    wrong = click.BadParameter(f"{value!r:.50} is not a valid {option.type.name}.", param=option)
    if on_or_off or isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise wrong
    text = str(value)
    if not text.isprintable():
        raise wrong
    return text
