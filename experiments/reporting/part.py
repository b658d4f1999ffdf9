"""A part of the report, one exercise or study: what it asks, how it is measured, and how its results are told."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from experiments.reporting.lab import Lab
from experiments.reporting.page import pictures_in, without_pictures
from experiments.reporting.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = "results.json"
SHARED = ("dataset", "runs", "epochs", "latent_dim", "batch_size", "device", "quick")


class Measured(NamedTuple):
    """What a part measured."""

    values: dict[str, Any]
    """JSON values, from which the part is told."""
    pictures: dict[str, "Figure"]


class Story(NamedTuple):
    """Results in words: a pure function of the values."""

    short: str
    """The answer in a sentence or two."""
    text: str
    """Markdown: tables, pictures as `![caption](name.png)`, and answers; headings from the fourth level on."""
    sound: bool = True
    """Whether everything that must hold did: where not, the command ends with exit code 1."""


class Part(NamedTuple):
    """One exercise or study."""

    name: str
    """Of its command and of its folder."""
    title: str
    question: str
    minutes: Callable[[Settings], float]
    """Expected, on two cores, without any model that another part trains."""
    measure: Callable[..., Measured]
    """A Lab and the command's own options -> results."""
    tell: Callable[[dict[str, Any]], Story]
    uses: tuple[str, ...] = SHARED
    """The settings that its results depend on."""
    derivation: str = ""
    """The file beside this one that holds what does not depend on a measurement."""
    obstacle: Callable[[Settings], str] = lambda settings: ""
    """Why the part cannot be measured here, if it cannot."""
    page: str = ""
    """The name of a page of its own, beside the report."""


class Result(NamedTuple):
    """A part's results as its folder holds them."""

    values: dict[str, Any]
    settings: dict[str, Any]
    """That they depend on, and the command's own options."""
    seconds: float
    about: dict[str, Any]
    """Versions, machine and date."""


def settings_of(part: Part, lab: Lab, choices: dict[str, Any]) -> dict[str, Any]:
    """What a part's results depend on, as JSON values."""
    values: dict[str, Any] = {name: value for name, value in asdict(lab.settings).items() if name in part.uses}
    if "dataset" in part.uses:
        values["fingerprint"] = lab.data.fingerprint
    return json.loads(json.dumps({**values, **choices}))


def obtain(part: Part, lab: Lab, choices: dict[str, Any] | None = None) -> Result:
    """A part's results: those in the lab's folder if the settings are the same, or else measured now and put there.

    Raises:
        JvaeError: it cannot be measured.
    """
    choices = {name: value for name, value in (choices or {}).items() if value not in (None, ())}
    settings = settings_of(part, lab, choices)
    found = finished(part, lab.folder, settings)
    if found is not None:
        return found
    started = time.perf_counter()
    measured = part.measure(lab, **choices)
    seconds = time.perf_counter() - started
    save_result(lab.folder / part.name, measured, settings, seconds)
    result = load_result(lab.folder / part.name)
    assert result is not None
    check_story(part, result, lab.folder)
    return result


def finished(part: Part, folder: Path, settings: dict[str, Any]) -> Result | None:
    """A part's results in the folder, if they are there, whole, and of the same settings, versions and devices."""
    from experiments.reporting.machine import devices
    from jvae.runs.checkpoint import current_versions

    found = load_result(folder / part.name)
    if found is None or found.settings != settings:
        return None
    try:
        if found.about["devices"] != devices() or not current_versions().items() <= found.about["versions"].items():
            return None
        check_story(part, found, folder)
    except Exception:  # of another state of this program, which any error may tell
        return None
    return found


def check_story(part: Part, result: Result, folder: Path) -> None:
    """Raise a FileNotFoundError unless every picture of the part's story is there; or what telling it raises."""
    for name in pictures_in(part.tell(result.values).text):
        (folder / part.name / name).stat()


def load_result(folder: Path) -> Result | None:
    """The results in a part's folder, if there are any."""
    try:
        return Result(**json.loads((folder / RESULTS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def save_result(folder: Path, measured: Measured, settings: dict[str, Any], seconds: float) -> None:
    """Put results and pictures into a part's folder, whole or not at all.

    Raises:
        JvaeError: they cannot be written.
    """
    from experiments.reporting.machine import about
    from jvae.errors import JvaeError
    from jvae.files import write_json

    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        for name, figure in measured.pictures.items():
            buffer = BytesIO()
            figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.1)
            (new / f"{name}.png").write_bytes(buffer.getvalue())
        write_json(
            new / RESULTS, {"values": measured.values, "settings": settings, "seconds": seconds, "about": about()}
        )
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except OSError as error:
        raise JvaeError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def run_part(part: Part, settings: Settings, output: Path | None, **choices: Any) -> None:
    """A part as a command: print its tables and answers; with an output folder, also its pictures and its page."""
    from experiments.reporting.report import write_page
    from jvae.cli.console import report, use_device
    from jvae.errors import JvaeError

    if obstacle := part.obstacle(settings):
        raise JvaeError(obstacle)
    use_device(settings.device)
    with folder_of(output) as folder:
        result = obtain(part, Lab(settings, folder, report), choices)
        story = part.tell(result.values)
        click.echo(without_pictures(f"{part.question}\n\n{story.short}\n\n{story.text}"))
        if output is not None:
            write_page(part, result, output)
    if not story.sound:
        raise JvaeError(f"{part.name}: not everything that must hold did; see above")


@contextmanager
def folder_of(output: Path | None) -> Iterator[Path]:
    """The output folder, made if need be, or a temporary one."""
    from jvae.errors import JvaeError

    if output is None:
        with tempfile.TemporaryDirectory(prefix="jvae-experiments-") as folder:
            yield Path(folder)
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JvaeError(f"{output}: cannot be made: {error.strerror or error}") from error
    yield output
