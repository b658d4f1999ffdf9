"""Mutated inputs: files of every type that a command reads, changed at random, and how the command handles them."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from experiments.faults.inputs import OUTPUTS, Input, run, sound_inputs
from experiments.faults.mutations import mutated


def mutated_inputs(folder: Path, share: float) -> Iterator[str]:
    """Mutate a file of every type, and run a command that reads it in this process."""
    numbers = random.Random(0)
    places = {"JVAE_CACHE_DIR": str(folder / "cache"), "TFDS_DATA_DIR": str(folder / "tfds")}
    with mock.patch.dict(os.environ, places):
        (folder / OUTPUTS).mkdir()
        for given in sound_inputs(folder):
            sound = run(given.command)
            if sound.exit_code != 0:
                yield f"{given.name}: the sound input is refused: {sound.output[-200:]!r}"
                continue
            for i in range(max(2, round(1000 * share**2))):  # there are many inputs: the short form is shorter
                text = trial(given, sound.stdout, numbers, folder)
                yield text and f"{given.name} {i}: {text}"


def trial(given: Input, sound: str, numbers: random.Random, folder: Path) -> str:
    """Mutate one file, run the command and put the file back; return what went wrong, or ''."""
    path = numbers.choice(given.files)
    content, before = path.read_bytes(), listing(folder)
    inside = given.members is not None and numbers.random() < 0.5
    changed = given.members(content, numbers) if given.members and inside else mutated(content, numbers)
    path.write_bytes(changed)
    result = run(given.command)
    path.write_bytes(content)
    for output in (folder / OUTPUTS).iterdir():
        output.unlink()
        before.discard(output)
    if (folder / "trapped").exists():
        return "a pickle was opened"
    errors = [line for line in result.stderr.splitlines() if line.startswith("jvae: error: ")]
    told = f"{path.name}: exit code {result.exit_code}, {result.output[-300:]!r}"
    if not isinstance(result.exception, SystemExit | None):
        return f"{path.name}: {type(result.exception).__name__}: {result.exception}"
    if result.exit_code not in (0, 1, 2) or len(errors) != (result.exit_code != 0) or "Warning" in result.stderr:
        return told
    if errors and (result.stderr.splitlines()[-1] != errors[0] or len(errors[0]) > 2000):
        return told
    if result.exit_code != 0 and listing(folder) != before:
        return f"{path.name}: left {', '.join(map(str, listing(folder) ^ before))}"
    if result.exit_code == 0 and given.checked and not inside and result.stdout != sound:
        return f"{path.name}: was read as another: {result.stdout[-200:]!r}"
    return ""


def listing(folder: Path) -> set[Path]:
    """Return all files and folders in a folder."""
    return set(folder.rglob("*"))
