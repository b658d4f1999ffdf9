"""The command line's options, built from `Config`."""

import re
from collections.abc import Callable, Collection
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from jvae.cli.near import Choice
from jvae.cli.path_types import DataSource, InputFolder, InputModel, InputRecipe, OutputFile
from jvae.cli.variables import said_in
from jvae.runs.config import Config, RecipeConfig, config_fields
from jvae.runs.fields import DATA_FIELDS, ConfigField, check_together, text_of

COMPILE_CACHE = "jvae.cli.compile_cache"
DATA_OPTIONS = (*DATA_FIELDS, "data_dir")
"""The names of the options that say where a model's data are."""
SOURCES = [getattr(click.core.ParameterSource, name) for name in ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")]
"""Where options are given, the first of which counts: on the command line, by a variable, in a file."""


def flag(name: str) -> str:
    """Return a Config field's name as an option."""
    return "--" + name.replace("_", "-")


def usage_error(error: ValueError) -> click.UsageError:
    """Return an error that begins with a name, such as a Config field's, as a usage error that begins with the option.

    A name that is no option of the command stays; one that the rule names is given as an option too.
    """
    context = click.get_current_context(silent=True)
    names = "|".join(field.name for field in config_fields())
    text = re.sub(rf"(?<=applies only with )({names})(?= )", lambda found: flag(found[0]), str(error))
    name, _, rest = text.partition(" ")
    for option in () if context is None else context.command.params:
        if flag(name) in option.opts:
            return click.UsageError(f"{said_in(context, option.name)}{flag(name)} {rest}")
    return click.UsageError(text)


def option_of(field: ConfigField, **attributes: Any) -> Callable:
    """Return the click option of a Config field."""
    only = [f"{flag(rule.name)} {' or '.join(map(str, rule.values))}" for rule in field.needs]
    attributes["help"] = field.help + (f" (with {' and '.join(only)})" if only else "")
    if field.type is bool:
        return click.option(f"{flag(field.name)}/--no-{flag(field.name)[2:]}", field.name, **attributes)
    kind: Any = Choice(field.choices) if field.choices else field.type
    if field.name == "dataset":
        kind = DataSource()
    if field.type is tuple:
        kind = NumbersType(field)
        attributes["default"] = None if attributes["default"] is None else text_of(attributes["default"])
    return click.option(flag(field.name), field.name, type=kind, **attributes)


class NumbersType(click.ParamType):
    """The whole numbers of a Config field, separated by commas."""

    name = "N,N,..."

    def __init__(self, field: ConfigField) -> None:
        self.field = field

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        try:
            return value if isinstance(value, tuple) else self.field.parse(value)
        except ValueError as error:
            raise usage_error(error) from error


def numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Return whole numbers above 0 from a text with commas; an empty tuple for None."""
    if value is None:
        return ()
    parts = value.split(",")
    if not all(part.strip().isdecimal() and len(part) < 20 and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value}: must be whole numbers above 0, separated by commas")
    return tuple(map(int, parts))


numbers_option = partial(click.option, metavar="N,N,...", callback=numbers)


def config_options(command: Callable, without: Collection[str] = (), only: Collection[str] = ()) -> Callable:
    """Add Config fields as options with their defaults: all, all but `without`, or those in `only`."""
    for field in reversed(config_fields()):
        if field.name not in without and (not only or field.name in only):
            command = option_of(field, default=field.default)(command)
    return command if only else hidden_dim_option(command)


def hidden_dim_option(command: Callable) -> Callable:
    """Add `--hidden-dim N` of 0.1.0, which sets the command's `hidden` as `--hidden N,N` does."""

    @wraps(command)
    def with_hidden(*arguments: Any, hidden_dim: int | None, **values: Any) -> Any:
        context = click.get_current_context()
        if hidden_dim is not None:
            ours, theirs, both = rank(context, "hidden_dim"), rank(context, "hidden"), (hidden_dim,) * 2
            if ours == theirs and values["hidden"] != both:
                raise click.UsageError(f"--hidden-dim is {hidden_dim}, but --hidden is {text_of(values['hidden'])}")
            if ours < theirs:
                context.set_parameter_source("hidden", SOURCES[ours])
                values["hidden"] = both
        return command(*arguments, **values)

    return click.option("--hidden-dim", type=int, hidden=True)(with_hidden)


def rank(context: click.Context, name: str) -> int:
    """Return the place in `SOURCES` that an option's value is from; their number if it was not given."""
    source = context.get_parameter_source(name)
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


def is_given(context: click.Context, name: str) -> bool:
    """Return True if an option was given on the command line, by its environment variable or in a config file."""
    return context.get_parameter_source(name) in SOURCES


def given_fields(context: click.Context) -> set[str]:
    """Return the names of the Config fields that were given to a command."""
    return {field.name for field in config_fields() if is_given(context, field.name)}


def config_kind(recipe_path: Path | None) -> type[Config]:
    """Return the kind of configuration that a command makes of its options, with a recipe file or without."""
    return Config if recipe_path is None else RecipeConfig


def config_given(context: click.Context, values: dict[str, Any], recipe_path: Path | None) -> Config:
    """Return the configuration of a command's options; refuse a given option that does not apply with the others."""
    try:
        config = config_kind(recipe_path)(**values)
        check_together(config.ruled_fields(), config, given_fields(context))
    except ValueError as error:
        raise usage_error(error) from error
    return config


def repeated_options(command: Callable) -> Callable:
    """Add Config's fields as options, hidden but for the data's, which are accepted if they repeat a model's values.

    The seed and the number of draws are left out: commands that read a model have their own.
    """
    for field in reversed(config_fields()):
        if field.name not in ("seed", "num_samples"):
            command = option_of(field, default=None, hidden=field.name not in DATA_FIELDS)(command)
    return hidden_dim_option(command)


def recipe_option(command: Callable) -> Callable:
    """Add `--recipe`, the command's `recipe_path`; an error in that file, at any time, is reported in one line."""

    @wraps(command)
    def with_recipe(*arguments: Any, recipe_path: Path | None, **others: Any) -> Any:
        if recipe_path is None:
            return command(*arguments, recipe_path=None, **others)
        from jvae.runs.recipe_file import errors_of

        with errors_of(recipe_path, passing=(click.ClickException, click.exceptions.Exit, click.Abort)):
            return command(*arguments, recipe_path=recipe_path, **others)

    return click.option(
        "--recipe",
        "recipe_path",
        type=InputRecipe(),
        metavar="FILE.py",
        help="Python file that defines what is trained: recipe(config, data_shape, steps_per_epoch)",
    )(with_recipe)


def data_options(command: Callable) -> Callable:
    """Add `--data-dir`, the folder to read data from."""
    return click.option(
        "--data-dir",
        type=InputFolder(),
        help="directory with the data set's IDX files (gzipped or not) or, for tfds:NAME, tensorflow-datasets' own",
    )(command)


def model_options(command: Callable) -> Callable:
    """Add the model file, the place of its data, the device, and the seed of draws from the model."""
    for decorate in (
        data_options,
        recipe_option,
        repeated_options,
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="seed of the random draws"),
        device_option,
        click.option(
            "--model",
            "model_path",
            type=InputModel(),
            default="model.npz",
            help="model file written by `jvae train`",
        ),
    ):
        command = decorate(command)
    return command


class MeshType(click.ParamType):
    """`runs=R,data=D`: the devices along each axis; an axis that is not named has 1."""

    name = "runs=R,data=D"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        """Return the sizes R and D."""
        sizes: dict[str, int] = {}
        for part in str(value).split(","):
            axis, _, size = part.partition("=")
            if axis not in ("runs", "data") or axis in sizes or not re.fullmatch(r"0*[1-9]\d{0,18}", size, re.ASCII):
                self.fail(f"{value}: must be runs=R,data=D with whole numbers above 0", param, context)
            sizes[axis] = int(size)
        return sizes.get("runs", 1), sizes.get("data", 1)


mesh_option = click.option(
    "--mesh", type=MeshType(), help="devices along each axis; by default as many as divide the runs evenly"
)


def mesh_options(command: Callable) -> Callable:
    """Add the devices and hosts that a training is split over: the command's `mesh` and `hosts`."""

    @wraps(command)
    def spread_command(
        distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None, **others: Any
    ) -> Any:
        hosts = (coordinator, num_processes, process_id)
        named = [value is not None for value in hosts]
        if any(named) and not distributed:
            raise click.UsageError("--coordinator, --num-processes and --process-id apply only with --distributed")
        if any(named) and not all(named):
            raise click.UsageError(
                "--distributed takes all of --coordinator, --num-processes and --process-id, or none"
            )
        if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
            raise click.UsageError(f"--coordinator is {coordinator}: must be HOST:PORT")
        return command(hosts=hosts if distributed else None, **others)

    decorated: Callable = spread_command
    for decorate in (
        click.option("--process-id", type=click.IntRange(0), help="index of this process (with --distributed)"),
        click.option("--num-processes", type=click.IntRange(1), help="number of processes (with --distributed)"),
        click.option("--coordinator", metavar="HOST:PORT", help="address of process 0 (with --distributed)"),
        click.option("--distributed", is_flag=True, help="train together with the processes of other hosts"),
        mesh_option,
    ):
        decorated = decorate(decorated)
    return decorated


def device_option(command: Callable) -> Callable:
    """Add `--device`, the command's `device`, and the option to keep compiled programs, which `use_device` reads."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        context.meta[COMPILE_CACHE] = value

    for decorate in (
        click.option(
            "--compile-cache/--no-compile-cache",
            default=True,
            expose_value=False,
            callback=remember,
            help="keep compiled programs, so that they start at once the next time",
        ),
        click.option(
            "--device",
            type=Choice(("auto", "cpu", "gpu", "tpu")),
            default="auto",
            help="where to compute; auto takes the best available",
        ),
    ):
        command = decorate(command)
    return command


num_samples_option = click.option(
    "--num-samples", type=click.IntRange(1, 10**6), default=10, help="draws z ~ q(z|x) per image in the evaluation"
)
stream_option = click.option(
    "--stream/--no-stream", default=None, help="read the images while they are used; by default if they do not fit"
)
run_option = click.option("--run", type=click.IntRange(0), default=0, help="index of the run; 0 is the first")
json_option = click.option(
    "--json", "json_path", type=OutputFile(stdout=True), help="write the result to this file as JSON; - is stdout"
)
