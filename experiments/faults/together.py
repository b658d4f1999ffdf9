"""Faults of processes that want the same file: two trainings of one model file started together."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from experiments.faults.runs import JVAE

SMALL = ["--dataset", "digits", "--device", "cpu", "--latent-dim", "2", "--hidden", "8,8", "--batch-size", "512"]


def started_together(folder: Path, share: float) -> Iterator[str]:
    """Start two trainings of one file at once: one is trained, the other refused in one line."""
    from jvae.runs.checkpoint import load

    path, pipe = folder / "model.npz", subprocess.PIPE
    for i in range(max(2, round(20 * share))):
        lines = [
            [*JVAE, "train", *SMALL, "--epochs", "1", "--seed", str(seed), "--model", str(path)] for seed in (0, 1)
        ]
        both = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=pipe, text=True) for line in lines]
        said = [process.communicate(timeout=120)[1] for process in both]
        codes = [process.returncode for process in both]
        left = sorted(other.name for other in folder.iterdir())
        if 0 not in codes or not set(codes) & {1, 2}:
            yield f"{i}: exit codes {codes}, {said[0][-200:]!r}, {said[1][-200:]!r}"
        elif len(said[codes.index(0) - 1].splitlines()) != 1 or left != [path.name]:
            yield f"{i}: {said[codes.index(0) - 1][-200:]!r}, and the folder holds {', '.join(left)}"
        else:
            config = load(path).config
            yield "" if config is not None and config.seed == codes.index(0) else f"{i}: the file is the other's"
        path.unlink(missing_ok=True)
