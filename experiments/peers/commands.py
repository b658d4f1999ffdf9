"""The exercise's command as whole processes, jvae and PyTorch in turn: their time and memory."""

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jvae.errors import JvaeError, first_line

ROOT = Path(__file__).parents[2]
FIRST_STEP = """
import os
import sys
import jvae.cli.main
from jvae.cli.compile_cache import use_compile_cache
from jvae.data.datasets import load_dataset
from jvae.runs.api import Conditions, train_config_epochs
from jvae.runs.config import Config
from jvae.runs.conditions import Chunking

latent_dim, batch_size, compile_cache = map(int, sys.argv[1:])
if compile_cache:
    use_compile_cache()
config = Config(latent_dim=latent_dim, epochs=5, batch_size=batch_size)
how = Conditions(interrupted=lambda: True, chunking=Chunking(first_steps=1))
next(train_config_epochs(config, load_dataset("mnist"), how=how))
os._exit(0)
"""
"""What jvae's command imports and does, up to the first step of training."""


def time_commands(
    rounds: int, latent_dim: int, batch_size: int, beside: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time five epochs of the exercise from the shell, and jvae up to its first step, in turn.

    The first round fills the caches of files and compiled programs, and is not counted.

    Args:
        rounds: rounds, 2 or more.
        latent_dim: dimension of z.
        batch_size: images per step.
        beside: checkout of another version of jvae, which is timed too.
        say: called with a line for every process that is counted.

    Returns:
        seconds by command, and the peak resident memory of whole trainings in MiB; one value per round.

    Raises:
        JvaeError: a process failed, or the checkout's pyproject.toml names no command `jvae`.
    """
    settings = ["--latent-dim", str(latent_dim), "--epochs", "5", "--batch-size", str(batch_size)]
    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", str(Path(folder, "model.npz")), "--overwrite"]
        train = ["train", "--device", "cpu", *settings, *model]
        cold = [*train, "--no-compile-cache"]
        checkouts = {"jvae": ROOT} | ({} if beside is None else {f"{beside.resolve().name}/": beside.resolve()})
        commands = {}
        for name, checkout in checkouts.items():
            commands[f"{name}, cold"] = [*entry(checkout), *cold]
            commands[f"{name}, compiled before"] = [*entry(checkout), *train]
        trainings = [*commands, "the exercise in PyTorch"]
        commands |= {
            "the exercise in PyTorch": ["-m", "experiments.peers.pytorch", *settings],
            "jvae to its first step, cold": ["-c", FIRST_STEP, str(latent_dim), str(batch_size), "0"],
            "jvae to its first step, compiled before": ["-c", FIRST_STEP, str(latent_dim), str(batch_size), "1"],
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for i in range(rounds):
            for name, command in commands.items():
                found = run_process([sys.executable, *command])
                if i > 0:
                    spent[name].append(found)
                    say(f"round {i}: {name}: {found[0]:.2f} s, {found[1]:.0f} MiB")
    seconds = {name: [each[0] for each in found] for name, found in spent.items()}
    memory = {name: [each[1] for each in found] for name, found in spent.items() if name in trainings}
    return {"seconds": seconds, "memory": memory}


def entry(checkout: Path) -> list[str]:
    """Return Python's arguments that run the command `jvae` of a checkout, whatever is installed."""
    try:
        with open(checkout / "pyproject.toml", "rb") as file:
            module, _, name = tomllib.load(file)["project"]["scripts"]["jvae"].partition(":")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JvaeError(f"{checkout}: is no checkout of jvae: {first_line(error)}") from error
    return ["-c", f"import sys; sys.path.insert(0, {str(checkout)!r}); from {module} import {name}; {name}()"]


def run_process(command: list[str]) -> tuple[float, float]:
    """Run a process, and return its seconds and the peak of its resident memory in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise JvaeError(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**10
