"""The command that measures a part, made from the part's definition."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from experiments.reporting.findings import check_folder, obtain, open_folder
from experiments.reporting.lab import Lab
from experiments.reporting.page import check_markdown, without_pictures
from experiments.reporting.part import Demonstration, Part
from experiments.reporting.report import write_page
from experiments.reporting.settings import Settings, shared_options
from jvae.cli.commands import Command
from jvae.cli.drawing import drawing
from jvae.cli.options import flag


def make_command(part: Part) -> click.Command:
    """Return the command of a part: its name, the options that parts share, as far as it uses them, and its own."""
    uses = set(part.uses).union(*(other.uses for other in part.instead))

    def command(settings: Settings, output: Path | None, **choices: Any) -> None:
        if part.demonstration and choices.pop("page"):
            return write_demonstration(part.demonstration, output)
        flagged = [other for other in part.instead if choices.pop(other.name)]
        chosen = flagged[0] if flagged else part
        known = inspect.signature(chosen.measure).parameters
        for name in [name for name, value in choices.items() if name not in known]:
            if choices.pop(name):
                raise click.UsageError(f"{flag(name)} cannot be used with {flag(chosen.name)}")
        unused = uses - {*chosen.uses, "device", "quick"}
        refuse_typed(flag(chosen.name), lambda name: name in unused)
        run_part(chosen, settings, output, choices)

    for other in part.instead:
        command = click.option(flag(other.name), is_flag=True, help=f"measure the part `{other.name}` instead")(command)
    for option in reversed(part.options):
        command = option(command)
    if part.demonstration:
        text = f"only write {part.demonstration.name}, a page to try it on, to the output folder or the current one"
        command = click.option("--page", is_flag=True, help=text)(command)
    text = (part.help or "").replace("\n\n", "\n\n\b\n")  # click then keeps a paragraph's line breaks
    about: dict[str, Any] = {"help": text, "short_help": part.title, "examples": examples_of(part.name)}
    return click.command(part.name, cls=Command, **about)(shared_options(command, uses=uses))


def examples_of(name: str) -> tuple[str, str]:
    """Return the two examples in a part's help: its short form, and its results kept."""
    begin = f"python -m experiments {name}"
    return f"{begin} --quick --output quick", f"{begin} --output report"


def refuse_typed(beside: str, refused: Callable[[str], bool]) -> None:
    """Refuse options, by their names, that are typed beside another; those in a file of options do no harm."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if refused(name) and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} cannot be used with {beside}")


def write_demonstration(page: Demonstration, output: Path | None) -> None:
    """Write a part's interactive page and measure nothing; an option that says what to measure is refused."""
    from jvae.files import make_folder, write_text

    refuse_typed("--page", lambda name: name not in ("page", "output"))
    text = page.make()
    path = make_folder(output or Path()) / page.name
    write_text(path, text)
    click.echo(f"wrote {path}: {len(text.encode()) / 1e3:.0f} kB")


def run_part(part: Part, settings: Settings, output: Path | None, choices: dict[str, Any]) -> None:
    """Print a part's tables and answers; with an output folder, also write its pictures and its page."""
    from jvae.cli.console import use_device
    from jvae.errors import JvaeError

    if obstacle := part.obstacle(settings):
        raise JvaeError(obstacle)
    if output is not None:
        check_markdown()
        check_folder(output, [part])
    use_device(settings.device)
    with drawing(), open_folder(output) as folder:
        found = obtain(part, Lab(settings, folder, lambda line: click.echo(line, err=True)), choices)
        story = part.tell(found.values)
        click.echo(without_pictures(f"{part.question}\n\n{story.short}\n\n{story.text}"))
        if output is not None:
            write_page(part, found, output)
    if not story.sound:
        raise JvaeError(f"{part.name}: not everything that must hold did; see above")
