"""The exercise's command from the shell, in jvae and in PyTorch: whole processes in turn, their time and memory."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from experiments.reporting.comparison import ratio_table

MAIN = "from jvae.cli.main import main; main()"
FIRST_STEP = f"""
import os
from jvae.runs import progress

def advance(*arguments, all_steps=progress.advance):
    progress.FIRST_STEPS = 1
    next(all_steps(*arguments))
    os._exit(0)

progress.advance = advance
{MAIN}
"""
"""jvae's command, which ends as soon as one step of training is taken."""


def compare_commands(rounds: int, latent_dim: int, batch_size: int) -> str:
    """Five epochs of the exercise from the shell, and jvae's way to its first step: tables, as Markdown.

    The first round fills the caches of files and of programs, and is not counted.
    """
    settings = ["--latent-dim", str(latent_dim), "--epochs", "5", "--batch-size", str(batch_size)]
    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", str(Path(folder, "model.npz")), "--overwrite"]
        train = ["train", "--device", "cpu", *settings, *model]
        cold = [*train, "--no-compile-cache"]
        commands = {
            "jvae, cold": ["-c", MAIN, *cold],
            "jvae, compiled before": ["-c", MAIN, *train],
            "the exercise in PyTorch": ["-m", "experiments.peers.pytorch", *settings],
            "jvae to its first step, cold": ["-c", FIRST_STEP, *cold],
            "jvae to its first step, compiled before": ["-c", FIRST_STEP, *train],
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for i in range(rounds):
            for name, command in commands.items():
                found = run_process([sys.executable, *command])
                if i > 0:
                    spent[name].append(found)
                    click.echo(f"round {i}: {name}: {found[0]:.2f} s, {found[1]:.0f} MiB", err=True)
    seconds = {name: [each[0] for each in found] for name, found in spent.items()}
    table = ratio_table(seconds, "the process")
    memory = [f"{name} {np.median([each[1] for each in found]):,.0f} MiB" for name, found in spent.items()]
    return f"{table}\n\nPeak resident memory: {', '.join(memory[:3])}."


def run_process(command: list[str]) -> tuple[float, float]:
    """The seconds and the peak resident MiB of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise click.ClickException(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**10
