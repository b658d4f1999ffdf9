"""A part's results in its folder: measured once, and reused while their settings are the same."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click

from experiments.reporting.lab import Lab
from experiments.reporting.machine import about, commit, devices, machine, versions
from experiments.reporting.page import pictures_in
from experiments.reporting.part import Part, Pictures, Values
from jvae.cli.paths import check_products

RESULTS = "results.json"
STATE = "state"
"""The folder within a part's that holds unfinished work, to be resumed."""
NEW = ".new-"
"""Before a part's name, the folder of results that are being saved."""


class Findings(NamedTuple):
    """A part's results as its folder holds them; or why there are none."""

    values: Values
    settings: dict[str, Any]
    """The settings that they depend on, and the command's own options."""
    seconds: float
    about: dict[str, Any]
    """Versions, machine and date."""
    skipped: str = ""
    failed: str = ""


def settings_of(part: Part, lab: Lab, choices: dict[str, Any]) -> dict[str, Any]:
    """Return what a part's results depend on, as JSON values; of a checkout its name and commit."""
    values: dict[str, Any] = {name: value for name, value in asdict(lab.settings).items() if name in part.uses}
    if "dataset" in part.uses:
        values["fingerprint"] = lab.data.fingerprint
    checkout = lambda path: f"{path.resolve().name} {commit(path)}".strip()  # noqa: E731
    return json.loads(json.dumps({**values, **choices}, default=checkout))


def obtain(part: Part, lab: Lab, choices: dict[str, Any] | None = None) -> Findings:
    """Return a part's results: from the lab's folder if the settings are the same, else measured and saved there.

    Results that a measurement continues from are part of its time and of its provenance.

    Raises:
        JvaeError: it cannot be measured.
    """
    given = {name: value for name, value in (choices or {}).items() if value}
    steering = given.keys() & set(part.steering)
    settings = settings_of(part, lab, {name: value for name, value in given.items() if name not in steering})
    known = load_finished(part, lab.folder, settings)
    if known is not None and part.finished(known.values) and not steering:
        return known
    before = load_same(part, lab.folder, settings) if part.steering else None
    source, started = commit(), time.perf_counter()
    values, pictures = part.measure(lab, **given)
    made = about() | {"commit": source}  # of the code that was loaded, whatever the checkout holds by now
    found = Findings(json.loads(json.dumps(values)), settings, time.perf_counter() - started, made)
    if before is not None:
        if found.values == before.values:
            return before
        found = continued(before, found)
    found = found._replace(seconds=max(found.seconds, part.worked(found.values)))
    save_findings(lab.folder / part.name, found, pictures)
    check_story(part, found, lab.folder)
    return found


def continued(known: Findings, found: Findings) -> Findings:
    """Return the results of a measurement that went on from others: the seconds, commits and machines of both."""
    made = {
        name: [*known.about.get(name, "unknown").split(" and "), found.about[name]] for name in ("commit", "machine")
    }
    both = {name: " and ".join(dict.fromkeys(each)) for name, each in made.items()}
    return found._replace(seconds=known.seconds + found.seconds, about=found.about | both)


def load_finished(part: Part, folder: Path, settings: dict[str, Any]) -> Findings | None:
    """Return a part's results in the folder, if they are of the same settings, versions and devices.

    Those of a part that times programs must also be of the same machine.
    """
    from jvae.runs.checkpoint import current_versions

    found = load_same(part, folder, settings)
    if found is None or found.about.get("devices") != devices():
        return None
    if part.timed and found.about.get("machine") != machine():
        return None
    ours, theirs = versions(), found.about.get("versions", {})
    same = all(theirs.get(name) == ours.get(name) for name in (*current_versions(), *part.packages))
    return found if same else None


def load_same(part: Part, folder: Path, settings: dict[str, Any]) -> Findings | None:
    """Return a part's results in the folder, if they are of the same settings, but for the word of --device."""
    found = load_told(part, folder)
    same = found is not None and found.settings | {"device": ""} == settings | {"device": ""}
    return found if same else None


def load_told(part: Part, folder: Path) -> Findings | None:
    """Return a part's results in the folder, of whatever settings, if they can be told."""
    found = load_findings(folder / part.name)
    try:
        if found is not None:
            check_story(part, found, folder)
    except Exception:  # saved by another version of this program: any error may arise
        return None
    return found


def check_story(part: Part, found: Findings, folder: Path) -> None:
    """Tell a part's results, and raise a FileNotFoundError if a picture of the story is missing."""
    for name in pictures_in(part.tell(found.values).text):
        (folder / part.name / name).stat()


def load_findings(folder: Path) -> Findings | None:
    """Return the results in a part's folder, if there are any."""
    try:
        return Findings(**json.loads((folder / RESULTS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def save_findings(folder: Path, found: Findings, pictures: Pictures) -> None:
    """Write results and pictures to a part's folder, all or none of them; other files there stay.

    Raises:
        JvaeError: they cannot be written.
    """
    from jvae.errors import JvaeError
    from jvae.files import write_json

    new = folder.with_name(f"{NEW}{folder.name}")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        for name, figure in pictures.items():
            figure.savefig(new / f"{name}.png", bbox_inches="tight", pad_inches=0.1)
        kept = ("values", "settings", "seconds", "about")
        write_json(new / RESULTS, {name: getattr(found, name) for name in kept})
        settle(new)
    except OSError as error:
        raise JvaeError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def settle(new: Path) -> None:
    """Replace a part's results and pictures by those that wait beside its folder; done again, it does no harm.

    Whoever is killed meanwhile leaves the waiting ones, which are whole once they have results: `open_folder` goes on.
    """
    from jvae.files import write_file

    if (new / RESULTS).exists():
        folder = new.with_name(new.name.removeprefix(NEW))
        folder.mkdir(exist_ok=True)
        made = sorted(new.iterdir(), key=lambda path: path.name == RESULTS)
        for path in set(folder.glob("*.png")) - {folder / path.name for path in made}:
            path.unlink()
        for path in made:
            write_file(folder / path.name, path.read_bytes())
    shutil.rmtree(new, ignore_errors=True)


def check_folder(output: Path, parts: Sequence[Part]) -> None:
    """Check that parts' results would replace no other folder and no input in an output folder.

    Raises:
        click.UsageError: they would.
    """
    for part in parts:
        folder = output / part.name
        if folder.is_dir() and not (folder / RESULTS).exists() and any(p.name != STATE for p in folder.iterdir()):
            raise click.UsageError(f"{folder}: holds something other than results, which is not replaced")
    names = [
        name for part in parts for name in (part.name, *(f"{part.page or part.name}{e}" for e in (".md", ".html")))
    ]
    check_products(click.get_current_context(), [output / name for name in [*names, "report.md", "report.html"]])


@contextmanager
def open_folder(output: Path | None) -> Iterator[Path]:
    """Yield the output folder, created if necessary and locked meanwhile, or a temporary one.

    Raises:
        JvaeError: it cannot be created, or another process is writing to it.
    """
    from jvae.files import make_folder
    from jvae.runs.lock import owning

    if output is None:
        with tempfile.TemporaryDirectory(prefix="jvae-experiments-") as folder:
            yield Path(folder)
    else:
        with owning(make_folder(output)):
            for new in output.glob(f"{NEW}*"):
                settle(new)
            yield output
