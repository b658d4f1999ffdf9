"""All parts in one command, and one report of them.

Question: everything that the exercise sheet asks, and the mini-project.
Command:  python -m experiments all --output report; with --quick a short form of everything.
Expected: report.md and report.html in the output folder, and mini-project.md and .html.
Minutes:  20 with --quick, 180 without, on two cores; the literature's rows take hours, in their own command.
"""

import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import click

from experiments.parts import NAMES
from experiments.reporting.command import examples_of, refuse_typed
from experiments.reporting.findings import (
    Findings,
    check_folder,
    load_finished,
    load_told,
    obtain,
    open_folder,
    settings_of,
)
from experiments.reporting.lab import Lab
from experiments.reporting.page import check_markdown
from experiments.reporting.part import Part
from experiments.reporting.report import report_text, settings_told, story_of, write_both, write_page
from experiments.reporting.settings import Settings, shared_options
from jvae.cli.commands import Command
from jvae.cli.drawing import drawing
from jvae.cli.near import Choice

PARTS: tuple[Part, ...] = tuple(import_module(f"experiments.parts.{name}").PART for name in NAMES)


@click.command("all", cls=Command, short_help="All parts in one report", examples=examples_of("all"))
@partial(shared_options, folder="report")
@click.option(
    "--only",
    "names",
    type=Choice([part.name for part in PARTS]),
    metavar="PART",
    multiple=True,
    help="measure only this part, and others named in the same way; finished parts stay in the report",
)
@click.option("--retell", is_flag=True, help="measure nothing: write the report from the folder's results")
def everything(settings: Settings, output: Path, names: tuple[str, ...], retell: bool) -> None:
    """Measure all parts and write one report of them: report.md, and report.html with everything inside it.

    A part that is finished in the output folder with the same settings is not measured again, so an interrupted
    command continues where it stopped. A part that fails does not stop the others: the report says so, and the exit
    code is 1. What the folder holds of parts that are not measured stays in the report, each with its own settings.
    """
    from jvae.cli.console import use_device
    from jvae.errors import JvaeError

    if retell:
        refuse_typed("--retell", lambda name: name not in ("retell", "output"))
    check_markdown()
    check_folder(output, PARTS)
    use_device(settings.device)
    with drawing(), open_folder(output) as folder:
        shared = [part.name for part in PARTS if not part.alone(settings)]
        findings = held(folder) if retell else measure_all(names or shared, settings, folder)
        write_all(findings, settings_told(list(findings.values())) if retell else settings, folder, names)
    click.echo(f"wrote {folder / 'report.md'} and {folder / 'report.html'}")
    wrong = [part.name for part, found in findings.items() if not story_of(part, found).sound]
    if wrong:
        raise JvaeError(f"failed, or not as it must be: {', '.join(wrong)}; the report says more")


def held(folder: Path) -> dict[Part, Findings]:
    """Return the results of all parts that a folder holds, as far as this version can tell them.

    Raises:
        JvaeError: it holds none.
    """
    from jvae.errors import JvaeError

    findings = {part: found for part in PARTS if (found := load_told(part, folder))}
    if not findings:
        raise JvaeError(f"{folder}: holds no results to tell")
    return findings


def measure_all(names: Sequence[str], settings: Settings, folder: Path) -> dict[Part, Findings]:
    """Measure the named parts that are not finished, and return all results that exist."""
    lab = Lab(settings, folder, lambda line: show(line))
    known = {part: first_look(part, lab) for part in PARTS}
    waiting = [part for part in PARTS if part.name in names and not is_whole(part, known[part])]
    minutes = [max(1, round(part.minutes(settings))) for part in waiting]
    title = f"to measure: {', '.join(part.name for part in waiting) or 'nothing'}; about {sum(minutes)} min"
    width = shutil.get_terminal_size().columns - 50 if sys.stderr.isatty() else None
    with click.progressbar(
        length=sum(minutes), label=title, width=20, bar_template="[%(bar)s] %(info)s  %(label)s", file=sys.stderr
    ) as bar:
        for i, (part, expected) in enumerate(zip(waiting, minutes, strict=True), start=1):

            def show(line: str, where: str = f"[{i}/{len(waiting)}] {part.name}") -> None:
                bar.label = f"{where}: {line}"[:width]  # in a log, every new label is a line
                bar.render_progress()

            show("begins")
            found = known[part] = measure(part, lab)
            show(found.failed or f"done, {found.seconds:.0f} s")
            bar.update(expected)
    others = {part: load_told(part, folder) for part, found in known.items() if found is None}
    return {part: found for part, found in (known | others).items() if found is not None}


def first_look(part: Part, lab: Lab) -> Findings | None:
    """Return a part's results if it is finished; where it cannot be measured, any, or why; None if it must be."""
    if obstacle := part.obstacle(lab.settings):
        return load_told(part, lab.folder) or Findings({}, {}, 0.0, {}, skipped=obstacle)
    return load_finished(part, lab.folder, settings_of(part, lab, {}))


def is_whole(part: Part, found: Findings | None) -> bool:
    """Return True if there is nothing more to measure."""
    return found is not None and (not found.values or part.finished(found.values))


def measure(part: Part, lab: Lab) -> Findings:
    """Measure a part; return any exception as a failed result, so that the other parts go on."""
    from jvae.files import write_text

    trace = lab.folder / f"{part.name}-error.txt"
    trace.unlink(missing_ok=True)
    try:
        return obtain(part, lab)
    except Exception as error:
        write_text(trace, traceback.format_exc())
        message = (str(error).splitlines() or [""])[0]
        return Findings({}, {}, 0.0, {}, failed=f"{type(error).__name__}: {message}")


def write_all(findings: Mapping[Part, Findings], settings: Settings, folder: Path, names: Sequence[str]) -> None:
    """Write the report, and the pages of the parts that have their own."""
    only = " ".join(f"--only {name}" for name in names)
    command = " ".join(["python -m experiments all", settings.command_line(), only, f"--output {folder.name}"])
    text = report_text(findings, " ".join(command.split()))
    write_both(text, folder, "report", "The exercise sheet, answered by measurement")
    for part, found in findings.items():
        if part.page and found.values:
            write_page(part, found, folder)
