"""Faults: what is done to runs, files and command lines, and how many times jvae noticed.

Question: does a run survive what runs meet, and is every damaged file and wrong command line refused in one line?
Command:  python -m experiments faults --output report
Expected: no fault goes unnoticed.
Minutes:  11; with --quick a twentieth of the faults, and 1.
"""

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from experiments.faults.files import (
    bad_data_files,
    damaged_files,
    failing_writes,
    flipped_bits,
    mismatched_files,
    racing_writers,
)
from experiments.faults.runs import (
    bad_command_lines,
    interrupted_epochs,
    killed_in_training,
    killed_while_saving,
    signalled,
)
from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.settings import Settings, shared_options


class Campaign(NamedTuple):
    """One kind of fault."""

    fault: str
    right: str
    """What must become of it."""
    inject: Callable[[Path, float], Iterator[str]]
    """A folder, and the share of all faults to inject -> a text a fault: '' where it was handled, else what was not."""


CAMPAIGNS = (
    Campaign(
        "interrupted at every epoch boundary, and within an epoch", "resumes to the same bits", interrupted_epochs
    ),
    Campaign(
        "SIGTERM", "exit code 143, loadable, resumes to the same bits", lambda f, s: signalled(signal.SIGTERM, f, s)
    ),
    Campaign(
        "SIGINT", "exit code 130, loadable, resumes to the same bits", lambda f, s: signalled(signal.SIGINT, f, s)
    ),
    Campaign("SIGKILL while training", "file loadable or absent, temporaries swept", killed_in_training),
    Campaign("SIGKILL while saving", "file loadable or absent, temporaries swept", killed_while_saving),
    Campaign("two writers of one file", "the file is one of theirs at every moment", racing_writers),
    Campaign("flipped bit in a model file", "one line", flipped_bits),
    Campaign("truncated, zeroed, empty or garbage model file", "one line", damaged_files),
    Campaign("mismatched or hostile model file", "one line that says why", mismatched_files),
    Campaign("failing write", "old file intact, no temporary, one line", failing_writes),
    Campaign("bad data file", "one line that names the file", bad_data_files),
    Campaign("bad command line", "one line, exit code 2, jax not imported", bad_command_lines),
)


LONG = ("SIGINT", "SIGKILL while training")
"""What the short form leaves out: whole trainings, as those that SIGTERM ends."""


def measure(lab: Lab, only: str = "") -> Measured:
    """Inject the faults of every campaign, or of one."""
    share = 0.05 if lab.settings.quick else 1.0
    rows = []
    for i, campaign in enumerate(CAMPAIGNS):
        if campaign.fault != only if only else lab.settings.quick and campaign.fault in LONG:
            continue
        lab.say(f"{i + 1}/{len(CAMPAIGNS)}, {campaign.fault}")
        with tempfile.TemporaryDirectory(prefix="jvae-faults-") as folder:
            texts = list(campaign.inject(Path(folder), share))
        missed = [text for text in texts if text]
        rows.append({"fault": campaign.fault, "right": campaign.right, "injected": len(texts), "missed": missed})
    return Measured({"rows": rows, "share": share}, {})


def tell(values: dict[str, Any]) -> Story:
    """The table, and what went unnoticed."""
    lines, missed, injected = [], [], 0
    for row in values["rows"]:
        silent = len(row["missed"])
        injected += row["injected"]
        missed += [f"{row['fault']}: {text}" for text in row["missed"]]
        lines.append([row["fault"], row["injected"], row["injected"] - silent, silent, row["right"]])
    verdict = (
        f"**{len(missed)} of {injected:,} faults were not handled as they must be.**"
        if missed
        else f"**All {injected:,} faults were handled as they must be.**"
    )
    part = (
        ""
        if values["share"] == 1
        else f" This is the short form, with {values['share']:.0%} of the faults and without {' and '.join(LONG)}."
    )
    text = f"""{table(["fault", "injected", "handled", "silent", "right is"], lines)}

{verdict}{part}"""
    if missed:
        text += "\n\n" + "\n".join(f"- `{text.replace('`', '')}`" for text in missed)
    return Story(verdict.replace("**", ""), text, sound=not missed)


PART = Part(
    name="faults",
    title="Study: faults",
    question="Does a run survive what runs meet: interruptions, kills, damaged and hostile files, wrong command lines?",
    minutes=lambda s: s.choose(660, 50) / 60,
    measure=measure,
    tell=tell,
    uses=("quick",),
)


@click.command()
@shared_options
@click.option("--only", type=click.Choice([campaign.fault for campaign in CAMPAIGNS]), help="this campaign alone")
def faults(settings: Settings, output: Path | None, only: str | None) -> None:
    """Does a run survive what runs meet? Injects faults, and counts those that were not handled as they must be."""
    run_part(PART, settings, output, only=only)
