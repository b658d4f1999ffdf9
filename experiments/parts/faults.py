"""Faults injected into runs, files and command lines, and how many of them jvae handles.

Question: does a run survive interruptions, and is every damaged file and wrong command line refused in one line?
Command:  python -m experiments faults --output report
Expected: no fault goes unnoticed.
Minutes:  31 to 81; with --quick a twentieth of the faults, and 2.
"""

import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from experiments.faults.command_lines import random_command_lines
from experiments.faults.data_files import bad_data_files
from experiments.faults.environment import bad_environments
from experiments.faults.model_files import damaged_files, flipped_bits, mismatched_files
from experiments.faults.mutated_inputs import mutated_inputs
from experiments.faults.paths import overlapping_paths
from experiments.faults.runs import (
    bad_command_lines,
    interrupted_epochs,
    killed_in_training,
    killed_while_saving,
    signalled,
)
from experiments.faults.together import started_together
from experiments.faults.writes import failing_writes, racing_writers
from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.machine import commit
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from jvae.cli.near import Choice
from jvae.errors import first_line


class Campaign(NamedTuple):
    """One kind of fault."""

    fault: str
    right: str
    """The right outcome."""
    inject: Callable[[Path, float], Iterator[str]]
    """A folder, and the share of all faults to inject -> one text per fault: '' if handled, else what went wrong."""


CAMPAIGNS = (
    Campaign(
        "interrupted at every epoch boundary, and within an epoch", "resumes to the same bits", interrupted_epochs
    ),
    Campaign("SIGTERM", "exit code 143, loadable, resumes to the same bits", partial(signalled, signal.SIGTERM)),
    Campaign("SIGINT", "exit code 130, loadable, resumes to the same bits", partial(signalled, signal.SIGINT)),
    Campaign("two trainings of one file at once", "one is trained, the other refused in one line", started_together),
    Campaign("SIGKILL while training", "file loadable or absent, temporaries swept", killed_in_training),
    Campaign("SIGKILL while saving", "file loadable or absent, temporaries swept", killed_while_saving),
    Campaign("two writers of one file", "the file is one of theirs whenever it is read", racing_writers),
    Campaign("flipped bit in a model file", "one line", flipped_bits),
    Campaign("truncated, zeroed, empty or garbage model file", "one line", damaged_files),
    Campaign("mismatched or hostile model file", "one line that says why", mismatched_files),
    Campaign("failing write", "old file intact, no temporary, one line", failing_writes),
    Campaign("an output that is another path", "one line, exit code 2, all files untouched", overlapping_paths),
    Campaign("bad data file", "one line that names the file", bad_data_files),
    Campaign("mutated input of any type", "as it was, or one line; nothing run or left", mutated_inputs),
    Campaign("environment", "honoured with the same results, or one line", bad_environments),
    Campaign("random command line", "exit code 0, 1 or 2, at most one line of error", random_command_lines),
    Campaign("bad command line", "one line, exit code 2, jax not imported", bad_command_lines),
)


PROSE = Prose(__file__)
LONG = ("SIGINT", "SIGKILL while training")
"""What the short form leaves out: whole trainings, much like those that SIGTERM ends."""


def measure(lab: Lab, only: str = "") -> Measured:
    """Inject the faults of every campaign, or of one."""
    share, source = 0.05 if lab.settings.quick else 1.0, commit()
    rows = []
    for i, campaign in enumerate(CAMPAIGNS):
        if campaign.fault != only if only else lab.settings.quick and campaign.fault in LONG:
            continue
        lab.say(f"{i + 1}/{len(CAMPAIGNS)}, {campaign.fault}")
        rows.append(inject(campaign, share, lab.folder / "campaigns", source))
    return {"rows": rows, "share": share}, {}


def inject(campaign: Campaign, share: float, kept: Path, source: str) -> dict[str, Any]:
    """Return a campaign's row: from the folder, if this code handled all faults there, else measured anew.

    Args:
        campaign: the faults.
        share: of them, from 0 to 1.
        kept: the folder with the rows of campaigns that are over, to go on after an interruption.
        source: the commit of the code, as `machine.commit` has it: files that differ from it are code of their own.
    """
    from jvae.files import make_folder, write_json
    from jvae.runs.checkpoint import current_versions

    path = kept / f"{campaign.fault}, {share:g}.json"
    circumstances = {"versions": current_versions(), "right": campaign.right, "commit": source}
    known = bool(source) and not source.endswith("-dirty")
    with suppress(OSError, ValueError, KeyError):
        found = json.loads(path.read_text())
        if known and found["circumstances"] == circumstances and not found["row"]["missed"]:
            return found["row"]
    with tempfile.TemporaryDirectory(prefix="jvae-faults-") as folder:
        texts = texts_of(campaign, Path(folder), share)
    missed = [text for text in texts if text]
    row = {"fault": campaign.fault, "right": campaign.right, "injected": len(texts), "missed": missed}
    make_folder(kept)
    write_json(path, {"row": row, "circumstances": circumstances})
    return row


def texts_of(campaign: Campaign, folder: Path, share: float) -> list[str]:
    """Return one text per fault of a campaign; an error that ends it is a fault that was not handled."""
    texts = []
    try:
        for text in campaign.inject(folder, share):
            texts.append(text)
    except Exception as error:
        texts.append(f"the campaign ends: {type(error).__name__}: {first_line(error)}")
    return texts


def tell(values: Values) -> Story:
    """Tell the table, and the faults that were not handled."""
    rows = values["rows"]
    lines = []
    for row in rows:
        silent = len(row["missed"])
        lines.append([row["fault"], row["injected"], row["injected"] - silent, silent, row["right"]])
    missed = [f"{row['fault']}: {text}" for row in rows for text in row["missed"]]
    injected = sum(row["injected"] for row in rows)
    left_out = f" and without {' and '.join(LONG)}" if len(rows) > 1 else ""
    verdict = PROSE("missed", missed=len(missed), injected=injected) if missed else PROSE("handled", injected=injected)
    text = PROSE(
        "text",
        faults=table(["fault", "injected", "handled", "missed", "what must happen"], lines),
        verdict=verdict,
        form="" if values["share"] == 1 else " " + PROSE("short form", share=values["share"], left_out=left_out),
        missed="".join(f"\n- `{text.replace('`', '')}`" for text in missed),
    )
    return Story(verdict.replace("**", ""), text.strip(), sound=not missed)


PART = Part(
    name="faults",
    title="Study: faults",
    question="Does a run survive what runs meet: interruptions, kills, damaged and hostile files, wrong command lines?",
    help=__doc__,
    minutes=lambda s: s.choose(3600, 90) / 60,
    measure=measure,
    tell=tell,
    uses=("quick",),
    options=(
        click.option(
            "--only",
            type=Choice([campaign.fault for campaign in CAMPAIGNS]),
            metavar="FAULT",
            help=f"this campaign alone: {', '.join(campaign.fault for campaign in CAMPAIGNS)}",
        ),
    ),
)
