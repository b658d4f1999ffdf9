"""Faults of the environment: variables that cannot be honoured, and others that must change nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

JVAE = [sys.executable, "-m", "jvae"]
SMALL = ["--dataset", "digits", "--latent-dim", "2", "--hidden", "8", "--epochs", "1", "--batch-size", "512"]
TRAIN, INFO = ["train", *SMALL, "--model", "new.npz"], ["info"]
RESUME = ["train", "--resume", "--epochs", "2", "--model", "model.npz"]
EVALUATE = ["evaluate", "--model", "model.npz", "--json", "result.json"]
PLOT = ["plot", "history", "--model", "model.npz", "--output", "picture.png"]
NOWHERE = f"{os.devnull}/place"  # below a device, not a folder: not even root can create it
UNUSABLE = (
    ("PYTHONOPTIMIZE", "2"),
    ("JAX_PLATFORMS", "cuda"),
    ("JAX_PLATFORMS", "abacus"),
    ("JAX_ENABLE_X64", "maybe"),
    ("JAX_DEFAULT_MATMUL_PRECISION", "some"),
    ("JAX_DEFAULT_PRNG_IMPL", "dice"),
    ("JAX_NUM_CPU_DEVICES", "two"),
    ("XLA_FLAGS", "--xla_no_such_flag=1"),
    ("XLA_FLAGS", "no/such/file"),
    ("XLA_FLAGS", "--xla_force_host_platform_device_count=x"),
)
DECIDING = (
    ("JAX_DEFAULT_MATMUL_PRECISION", "bfloat16"),
    ("JAX_DEFAULT_MATMUL_PRECISION", "highest"),
    ("JAX_DEFAULT_PRNG_IMPL", "rbg"),
    ("JAX_DEFAULT_PRNG_IMPL", "unsafe_rbg"),
    ("JAX_THREEFRY_PARTITIONABLE", "0"),
    ("JAX_RANDOM_SEED_OFFSET", "7"),
)
MISSPELT = ("JVAE_TRAIN_EPOCH", "JVAE_TRIAN_EPOCHS", "JVAE_EPOCHS", "JVAE_CACHEDIR", "JVAE_TRAIN_NOTHING")
HARMLESS = (
    ("JAX_DEBUG_NANS", "1"),
    ("JAX_DEBUG_INFS", "1"),
    ("JAX_CHECK_TRACER_LEAKS", "1"),
    ("JAX_ENABLE_CHECKS", "1"),
    ("JAX_TRACEBACK_FILTERING", "off"),
    ("JAX_LOG_COMPILES", "1"),
    ("JAX_COMPILATION_CACHE_DIR", "/proc/none"),
    ("JAX_ENABLE_COMPILATION_CACHE", "0"),
    ("XLA_PYTHON_CLIENT_MEM_FRACTION", "abc"),
    ("XLA_PYTHON_CLIENT_ALLOCATOR", "none"),
    ("PYTHONWARNINGS", "error"),
    ("PYTHONOPTIMIZE", "1"),
    ("PYTHONIOENCODING", "ascii"),
    ("LC_ALL", "C"),
    ("LANG", "de_DE.ISO-8859-1"),
    ("COLUMNS", "abc"),
    ("COLUMNS", "1"),
    ("NO_COLOR", "1"),
    ("TMPDIR", NOWHERE),
    ("HOME", NOWHERE),
    ("MPLBACKEND", "abacus"),
    ("MPLCONFIGDIR", "/proc/none"),
    ("MATPLOTLIBRC", "rc"),
    ("TERM", "dumb"),
)


class Case(NamedTuple):
    """A command in an environment, and the exit code that it must have."""

    variable: str
    value: str
    words: list[str]
    code: int = 0

    def __str__(self) -> str:
        return f"{self.variable}={self.value} jvae {self.words[0]}"


def cases() -> list[Case]:
    """Return all cases."""
    from jvae.cli.environment import REFUSED

    values = [(name.upper(), str(int(v) if isinstance(v, bool) else v)) for name, vs in REFUSED.items() for v in vs]
    unusable = [Case(*pair, words, 1) for pair in UNUSABLE for words in (INFO, TRAIN, EVALUATE)]
    unusable += [Case(*pair, INFO, 1) for pair in values]
    decided = [Case(*pair, RESUME, 1) for pair in DECIDING]
    misspelt = [Case(variable, "3", TRAIN, 2) for variable in MISSPELT]
    return [*unusable, *decided, *misspelt, *(Case(*pair, words) for pair in HARMLESS for words in (EVALUATE, PLOT))]


def run(case: Case, folder: Path) -> subprocess.CompletedProcess:
    """Run a case as a process."""
    variables = {**os.environ, case.variable: case.value}
    return subprocess.run([*JVAE, *case.words], cwd=folder, env=variables, capture_output=True, text=True)


def bad_environments(folder: Path, share: float) -> Iterator[str]:
    """Run commands in environments; the short form runs only some that are refused at once."""
    (folder / "rc").mkdir()
    (folder / "rc" / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 30\naxes.facecolor: red\nnothing: 1\n")
    outputs = [folder / name for name in ("result.json", "picture.png")]
    usual = []
    if share == 1:
        for words in (TRAIN, EVALUATE, PLOT):
            done = run(Case("NO_COLOR", "", words), folder)
            yield "" if done.returncode == 0 else done.stderr[-300:]
            if words is TRAIN:
                (folder / "new.npz").rename(folder / "model.npz")
        usual = [path.read_bytes() for path in outputs]
    chosen = cases() if share == 1 else [case for case in cases() if case.words is INFO][:: round(1 / share)]
    for case in chosen:
        for path in outputs:
            path.unlink(missing_ok=True)
        done = run(case, folder)
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        right = done.returncode == case.code and len(errors) == (case.code != 0) and "Traceback" not in done.stderr
        unwritten = case.code == 0 and not (folder / case.words[-1]).exists()
        if not right or unwritten or (folder / "new.npz").exists():
            yield f"{case}: exit code {done.returncode}{', no output' * unwritten}, {done.stderr[-300:]!r}"
        else:
            other = [
                path.name for path, b in zip(outputs, usual, strict=False) if path.exists() and path.read_bytes() != b
            ]
            yield f"{case}: another {other[0]}" if other else ""
