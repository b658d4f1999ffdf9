"""Faults: what is done to runs, files and command lines, and how many times jvae noticed."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from experiments.faults_files import (
    bad_data_files,
    damaged_files,
    failing_writes,
    flipped_bits,
    mismatched_files,
    racing_writers,
)
from experiments.faults_runs import (
    bad_command_lines,
    interrupted_epochs,
    killed_in_training,
    killed_while_saving,
    signalled,
)


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


@click.command()
@click.option("--quick", is_flag=True, help="a tenth of the faults")
@click.option("--only", help="the campaigns whose name contains this")
def faults(quick: bool, only: str | None) -> None:
    """Does a run survive what runs meet? Injects faults, and counts those that were not handled as they must be."""
    click.echo("| fault | injected | handled | silent | right is |\n|---|---|---|---|---|")
    wrong: list[str] = []
    for campaign in CAMPAIGNS:
        if only and only not in campaign.fault:
            continue
        with tempfile.TemporaryDirectory(prefix="jvae-faults-") as folder:
            texts = list(campaign.inject(Path(folder), 0.1 if quick else 1.0))
        missed = [text for text in texts if text]
        wrong += [f"{campaign.fault}: {text}" for text in missed]
        click.echo(
            f"| {campaign.fault} | {len(texts)} | {len(texts) - len(missed)} | {len(missed)} | {campaign.right} |"
        )
    for text in wrong:
        click.echo(text, err=True)
    if wrong:
        raise click.ClickException(f"{len(wrong)} faults were not handled")
