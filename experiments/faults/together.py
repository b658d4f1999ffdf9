"""Faults of processes that want the same file: two trainings of one model file started together."""

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from experiments.faults.injection import ended, outcome
from experiments.faults.runs import JVAE

SMALL = ["--dataset", "digits", "--device", "cpu", "--latent-dim", "2", "--hidden", "8,8", "--batch-size", "512"]


def started_together(folder: Path, share: float) -> Iterator[str]:
    """Start two trainings of one file at once: one is trained, the other refused in one line."""
    path = folder / "model.npz"
    for i in range(max(2, round(20 * share))):
        text = outcome(partial(start_two, path))
        yield text and f"{i}: {text}"
        path.unlink(missing_ok=True)


def start_two(path: Path) -> str:
    """Return '' if of two trainings of a file one is trained, and the other refused in one line."""
    from jvae.runs.checkpoint import load

    lines = [[*JVAE, "train", *SMALL, "--epochs", "1", "--seed", str(seed), "--model", str(path)] for seed in (0, 1)]
    start = partial(subprocess.Popen, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with ended(start(lines[0])) as one, ended(start(lines[1])) as other:
        said = [process.communicate(timeout=120)[1] for process in (one, other)]
    codes = [one.returncode, other.returncode]
    left = sorted(file.name for file in path.parent.iterdir())
    if 0 not in codes or not set(codes) & {1, 2}:
        return f"exit codes {codes}, {said[0][-200:]!r}, {said[1][-200:]!r}"
    if len(said[codes.index(0) - 1].splitlines()) != 1 or left != [path.name]:
        return f"{said[codes.index(0) - 1][-200:]!r}, and the folder holds {', '.join(left)}"
    config = load(path).config
    return "" if config is not None and config.seed == codes.index(0) else "the file is the other's"
