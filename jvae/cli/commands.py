"""Commands and groups of them: parsing a command line, and reporting its errors in one line on stderr."""

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from jvae.cli.config_file import config_option
from jvae.cli.help import write_examples, write_first, write_options
from jvae.cli.interruption import Ended, listening
from jvae.cli.near import meant_command, meant_options, one_of
from jvae.cli.paths import PathCommand
from jvae.cli.streams import discard, discard_stdout, open_streams, printable
from jvae.cli.variables import check_variables, name_variables, said_in
from jvae.errors import JvaeError, first_line, is_out_of_memory

FILES_OPTIONS = {".toml": "--config", ".py": "--recipe"}
"""The option that a stray file with a suffix was probably meant for; for other suffixes it is the model."""
HELP = ["-h", "--help"]


class Command(PathCommand):
    """A command with `--config`, which tells in one line the option that a stray file belongs to.

    Args:
        examples: command lines that its help shows.
        unread: the names of options that it does not read: accepted, so that a command line can be repeated, but not
            shown by its help.
    """

    def __init__(
        self, *arguments: Any, examples: Sequence[str] = (), unread: Collection[str] = (), **attributes: Any
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = examples
        self.params.append(config_option())
        for option in self.params:
            if isinstance(option, click.Option) and option.name in unread:
                option.hidden = True

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the options, in groups."""
        write_examples(self.examples, formatter)
        write_options(self, context, formatter)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse a command line; an error in a config file or an environment variable names it."""
        name_variables(context)
        self.explain_file(context, read_words(self, context, args))
        check_variables(context)
        try:
            with blaming_the_source(context):
                return super().parse_args(context, args)
        except click.MissingParameter as error:
            instance = f" For instance: {self.examples[0]}" if self.examples else ""
            raise click.UsageError(error.format_message() + instance, context) from error

    def explain_file(self, context: click.Context, words: Sequence[str]) -> None:
        """Raise a UsageError if the first remaining word is probably a file for an option."""
        option = FILES_OPTIONS.get(Path(words[0]).suffix.lower(), "--model") if words else ""
        if any(option in parameter.opts for parameter in self.params):
            raise click.UsageError(f"{words[0]}: a file needs its option; use {option} {words[0]}", context)


class Commands(click.Group):
    """A group that reports errors in one line on stderr: exit code 2 for a wrong command line, 1 for other errors.

    Args:
        examples: command lines that its help shows.
        first: shown instead of `examples`: the most common command lines, each with a description.
    """

    command_class = Command

    def __init__(
        self, *arguments: Any, examples: Sequence[str] = (), first: Mapping[str, str] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.examples, self.first = examples, first or {}

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, the commands and the options, in groups."""
        if self.first:
            write_first(self.first, formatter)
        else:
            write_examples(self.examples, formatter)
        self.format_commands(context, formatter)
        write_options(self, context, formatter)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line and exit."""
        open_streams()
        let_others_warn()
        try:
            with listening():
                code = super().main(*args, **{**options, "standalone_mode": False})
                if sys.stdout is not None:
                    sys.stdout.flush()
        except Ended as end:
            code = fail(end.line, end.code)
        except JvaeError as error:
            code = fail(str(error), 1)
        except FloatingPointError as error:  # raised by JAX_DEBUG_NANS and JAX_DEBUG_INFS
            code = fail(first_line(error), 1)
        except click.ClickException as error:
            code = fail(error.format_message(), error.exit_code)
        except (MemoryError, RuntimeError) as error:
            if not (is_out_of_memory(error) or is_of_a_device(error)):
                raise
            code = fail(f"{'the memory ran out: ' if is_out_of_memory(error) else ''}{first_line(error)}", 1)
        except BrokenPipeError:  # the reader of the output has closed it
            code = discard_stdout(1)
        except OSError as error:
            code = discard_stdout(fail(f"{error.filename or 'the output'}: {error.strerror or error}", 1))
        except (click.Abort, KeyboardInterrupt):
            code = fail("interrupted", 130)
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse a command line up to the command's name; without arguments, print the help and exit with 2."""
        if not args and self.no_args_is_help and not context.resilient_parsing:
            click.echo(context.get_help(), err=True)
            context.exit(2)
        name_variables(context)
        read_words(self, context, args)
        with blaming_the_source(context):
            return super().parse_args(context, args)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command with this name; for an unknown name, raise an error with the closest one."""
        name = args[0]
        if self.get_command(context, name) is None and not context.resilient_parsing:
            raise click.UsageError(meant_command(self, context, name), context)
        return super().resolve_command(context, args)


@contextlib.contextmanager
def blaming_the_source(context: click.Context) -> Iterator[None]:
    """Add the config file or environment variable of a bad value to its error; an argument's value names itself."""
    try:
        yield
    except click.BadParameter as error:
        if isinstance(error.param, click.Argument) and not isinstance(error, click.MissingParameter):
            raise click.UsageError(error.message, context) from error
        where = said_in(context, getattr(error.param, "name", None))
        raise click.UsageError(where + error.format_message(), context) if where else error  # noqa: B904


def is_of_a_device(error: BaseException) -> bool:
    """Return True if an error is one that JAX raises when a device or its compiler fails."""
    return "jax" in sys.modules and isinstance(error, sys.modules["jax"].errors.JaxRuntimeError)


def let_others_warn() -> None:
    """Limit a user's request to turn warnings into errors to jvae's own modules: other packages cause warnings too."""
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.filterwarnings("default", module=r"(?!jvae\b|experiments\b)")


def fail(message: str, code: int) -> int:
    """Print an error message in one line, and return the exit code."""
    try:
        click.echo(f"jvae: error: {printable(message)}", err=True)
    except OSError:  # stderr is closed or full
        discard(sys.stderr)
    return code


def read_words(command: click.Command, context: click.Context, args: Sequence[str]) -> list[str]:
    """Return the words that belong to no option or argument; refuse unknown options, and options given twice.

    If one of the words asks for help, nothing is refused.
    """
    if context.resilient_parsing or any(word in context.help_option_names for word in args):
        return []
    try:
        _, words, order = command.make_parser(context).parse_args(list(args))
    except click.NoSuchOption as error:
        word = next((word for word in args if word.startswith(error.option_name)), error.option_name)
        word = word.partition("=")[0]
        raise click.UsageError(f"No such option {word!r}.{meant_options(command, word)}", context) from error
    for parameter, count in Counter(order).items():
        if count > 1 and isinstance(parameter, click.Option) and not (parameter.multiple or parameter.count):
            raise click.UsageError(f"{one_of([*parameter.opts, *parameter.secondary_opts])} is given twice", context)
    return words
