"""All parts in one go, and one report of them.

Question: everything that the exercise sheet asks, and the mini-project.
Command:  python -m experiments all --output report; with --quick a short form of everything.
Expected: report.md and report.html in the output folder, and mini-project.md and .html.
Minutes:  6 with --quick, 60 without, on two cores.
"""

import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from experiments.parts import (
    baseline,
    bounds,
    code,
    faults,
    hierarchical,
    kl,
    mirror,
    networks,
    outputs,
    ppca,
    priors,
    reparametrisation,
    throughput,
)
from experiments.reporting.lab import Lab
from experiments.reporting.part import Part, finished, folder_of, obtain, settings_of
from experiments.reporting.progress import Progress
from experiments.reporting.report import Chapter, report, write_both, write_page
from experiments.reporting.settings import Settings, shared_options

PARTS: tuple[Part, ...] = tuple(
    module.PART
    for module in (
        ppca,
        kl,
        hierarchical,
        code,
        baseline,
        priors,
        outputs,
        networks,
        bounds,
        reparametrisation,
        mirror,
        throughput,
        faults,
    )
)


@click.command("all")
@shared_options
@click.option(
    "--only",
    "names",
    type=click.Choice([part.name for part in PARTS]),
    multiple=True,
    help="measure this part, and others that are named so; what is finished stands in the report all the same",
)
def everything(settings: Settings, output: Path | None, names: tuple[str, ...]) -> None:
    """The whole sheet and all studies, in one report: report.md, and report.html with everything inside it.

    A part that is finished in the output folder with the same settings is not done again, so that an interrupted
    command goes on where it was. A part that fails loses only itself: the report says so, and the exit code is 1.
    """
    from jvae.cli.console import use_device
    from jvae.errors import JvaeError

    use_device(settings.device)
    with folder_of(output or Path("report")) as folder:
        chapters = run_all([part.name for part in PARTS if not names or part.name in names], settings, folder)
        write_all(chapters, settings, folder, names)
    click.echo(f"wrote {folder / 'report.md'} and {folder / 'report.html'}")
    wrong = [chapter.part.name for chapter in chapters if not chapter.story.sound]
    if wrong:
        raise JvaeError(f"failed, or not as it must be: {', '.join(wrong)}; the report says more")


def run_all(names: Sequence[str], settings: Settings, folder: Path) -> list[Chapter]:
    """The chapters of all parts that are finished, after measuring those of the names that are not."""
    lab = Lab(settings, folder, lambda line: progress.say(line))
    found = {part.name: first_look(part, lab) for part in PARTS}
    waiting = [part for part in PARTS if found[part.name] is None and part.name in names]
    progress = Progress([(part.name, part.minutes(settings)) for part in waiting])
    chapters = []
    for part in PARTS:
        chapter = found[part.name]
        if chapter is None and part in waiting:
            progress.begin()
            chapter = measure(part, lab)
            progress.end(chapter.failed or "done")
        if chapter is not None:
            chapters.append(chapter)
    return chapters


def first_look(part: Part, lab: Lab) -> Chapter | None:
    """The chapter of a part that is finished or cannot be measured here; None where it is to be measured."""
    if obstacle := part.obstacle(lab.settings):
        return Chapter(part, None, skipped=obstacle)
    result = finished(part, lab.folder, settings_of(part, lab, {}))
    return None if result is None else Chapter(part, result)


def measure(part: Part, lab: Lab) -> Chapter:
    """Measure a part; whatever goes wrong is its own loss."""
    trace = lab.folder / f"{part.name}-error.txt"
    trace.unlink(missing_ok=True)
    try:
        result = obtain(part, lab)
    except Exception as error:
        trace.write_text(traceback.format_exc())
        message = (str(error).splitlines() or [""])[0]
        return Chapter(part, None, failed=f"{type(error).__name__}: {message}")
    return Chapter(part, result)


def write_all(chapters: Sequence[Chapter], settings: Settings, folder: Path, names: Sequence[str]) -> None:
    """Write the report, and the pages of the parts that have their own."""
    only = " ".join(f"--only {name}" for name in names)
    command = " ".join(["python -m experiments all", settings.command_line(), only, f"--output {folder.name}"])
    seconds = sum(chapter.result.seconds for chapter in chapters if chapter.result is not None)
    text = report(chapters, " ".join(command.split()), settings.runs, seconds)
    write_both(text, folder, "report", "The exercise sheet, answered by measurement")
    for chapter in chapters:
        if chapter.part.page and chapter.result is not None:
            write_page(chapter.part, chapter.result, folder)
