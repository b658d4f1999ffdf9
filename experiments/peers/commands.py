"""The exercise's command as whole processes, jvae and PyTorch in turn: their time and memory."""

import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvae.errors import JvaeError, first_line

ROOT = Path(__file__).parents[2]
EPOCH_END = re.compile(r"epoch \d.* (bound|loss) ")
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
sys.exit(code)
"""
"""Runs a command, and says its peak memory in KiB: Linux counts in that of a process what its parent had."""


class Training(NamedTuple):
    """A training as its process shows it from outside."""

    seconds: float
    """Of the whole process."""
    memory: float
    """Peak of its resident memory in MiB."""
    epoch_ends: list[float]
    """Seconds after the process began at which each epoch ended."""

    @property
    def epoch(self) -> float:
        """Median seconds from an epoch's end to the next one's."""
        return float(np.median(np.diff(self.epoch_ends)))

    @property
    def start(self) -> float:
        """Seconds to the first training step: to the first epoch's end, less an epoch."""
        return self.epoch_ends[0] - self.epoch


def time_commands(
    rounds: int, epochs: int, options: Sequence[str], beside: Path | None, say: Callable[[str], None]
) -> dict[str, dict[str, list[float]]]:
    """Time the exercise's training from the shell, in turn: jvae's, another version's, and PyTorch's.

    The first round fills the caches of files and compiled programs, and is not counted.

    Args:
        rounds: rounds, 2 or more.
        epochs: epochs of each training, 2 or more.
        options: of the command `train`, such as --latent-dim 10; PyTorch's program takes them too.
        beside: checkout of another version of jvae, which is timed too.
        say: called with a line for every process that is counted.

    Returns:
        By command, one value per round: the seconds of the process, of an epoch, and before the first training step
        (start); the peak resident memory in MiB.

    Raises:
        JvaeError: a process failed, or the checkout's pyproject.toml names no command `jvae`.
    """
    settings = [*options, "--epochs", str(epochs)]
    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", str(Path(folder, "model.npz")), "--overwrite"]
        train = ["train", "--device", "cpu", *settings, *model]
        checkouts = {"jvae": ROOT} | ({} if beside is None else {f"{beside.resolve().name}/": beside.resolve()})
        commands = {}
        for name, checkout in checkouts.items():
            commands[f"{name}, cold"] = [*entry(checkout), *train, "--no-compile-cache"]
            commands[f"{name}, compiled before"] = [*entry(checkout), *train]
        commands["the exercise in PyTorch"] = ["-m", "experiments.peers.pytorch", *settings]
        found: dict[str, list[Training]] = {name: [] for name in commands}
        for i in range(rounds):
            for name, command in commands.items():
                one = run_training([sys.executable, *command], epochs)
                if i > 0:
                    found[name].append(one)
                    say(f"round {i}: {name}: {one.seconds:.2f} s, {one.epoch:.2f} s an epoch, {one.memory:.0f} MiB")
    terms = ("seconds", "epoch", "start", "memory")
    return {term: {name: [getattr(one, term) for one in each] for name, each in found.items()} for term in terms}


def entry(checkout: Path) -> list[str]:
    """Return Python's arguments that run the command `jvae` of a checkout, whatever is installed."""
    try:
        with open(checkout / "pyproject.toml", "rb") as file:
            module, _, name = tomllib.load(file)["project"]["scripts"]["jvae"].partition(":")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JvaeError(f"{checkout}: is no checkout of jvae: {first_line(error)}") from error
    return ["-c", f"import sys; sys.path.insert(0, {str(checkout)!r}); from {module} import {name}; {name}()"]


def run_training(command: list[str], epochs: int) -> Training:
    """Run a training's process, which says a line with the bound, or the loss, at the end of every epoch."""
    started = time.perf_counter()
    launched = [sys.executable, "-c", LAUNCHER, *command]
    process = subprocess.Popen(launched, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with process, process.stdout as lines:
        said = [(line, time.perf_counter() - started) for line in lines]
    ends = [at for line, at in said if EPOCH_END.match(line)]
    if process.returncode != 0 or len(ends) != epochs:
        words = [line.strip() for line, _ in said if not line.strip().isdecimal()]
        last = words[-1] if words else "it said nothing"
        raise JvaeError(f"{' '.join(command)}: exit code {process.returncode}, {len(ends)} of {epochs} epochs: {last}")
    peak, seconds = said[-1]
    return Training(seconds, int(peak) / 2**10, ends)
