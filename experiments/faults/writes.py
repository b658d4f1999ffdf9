"""Faults of writing: saves that fail, and two writers of one file."""

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from experiments.faults.injection import ended, outcome
from experiments.faults.model_files import small_model

if TYPE_CHECKING:
    from jvae.runs.checkpoint import TrainedModel


def failing_writes(folder: Path, share: float) -> Iterator[str]:
    """Fail every system call of a save with every error of a disk; then hit a real limit of the file size."""
    from jvae.runs.checkpoint import load

    path = small_model(folder)
    model, before = load(path), path.read_bytes()
    for call in ("tempfile.mkstemp", "os.fdopen", "write", "os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"):
        for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES):
            failure = OSError(number, os.strerror(number))
            with failing_file(failure) if call == "write" else mock.patch(call, side_effect=failure):
                text = outcome(partial(refused_save, path, model, os.strerror(number)))
            left = sorted(other.name for other in folder.iterdir())
            text = text or ("the old file is changed" if path.read_bytes() != before else "")
            yield text or (f"left: {left}" if left != [path.name] else "")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    script = f"{limit}; from jvae.cli.main import main; main()"
    command = [
        "train",
        "--dataset",
        "digits",
        "--epochs",
        "1",
        "--hidden",
        "8,8",
        "--overwrite",
        "--model",
        str(path),
    ]
    # -B: under the limit Python would cut its own compiled modules short, and every later process would read them
    done = subprocess.run([sys.executable, "-B", "-c", script, *command], capture_output=True, text=True)
    last = (done.stderr.splitlines() or [""])[-1]
    yield "" if done.returncode == 1 and "cannot be written: File too large" in last else f"a file-size limit: {last}"
    yield "" if path.read_bytes() == before and len(list(folder.iterdir())) == 1 else "a file-size limit left something"


def refused_save(path: Path, model: "TrainedModel", why: str) -> str:
    """Return '' if a model cannot be saved for a reason of the system's; else what happened."""
    from jvae.errors import ModelFileError
    from jvae.runs.checkpoint import save

    try:
        save(path, model)
    except ModelFileError as error:
        return "" if str(error) == f"{path}: cannot be written: {why}" else str(error)
    return "nothing was raised"


@contextlib.contextmanager
def failing_file(failure: OSError) -> Iterator[None]:
    """Make every file store half of what is written, and then fail."""
    opened = os.fdopen

    def half(*arguments: Any, **options: Any) -> Any:
        file = opened(*arguments, **options)
        broken = mock.MagicMock(wraps=file)
        broken.__enter__.return_value = broken
        broken.__exit__.side_effect = lambda *_: file.close()

        def write(data: bytes) -> None:
            file.write(data[: len(data) // 2])
            raise failure

        broken.write.side_effect = write
        return broken

    with mock.patch("os.fdopen", side_effect=half):
        yield


WRITER = """
import sys
from pathlib import Path
from jvae.runs.checkpoint import load, save
model = load(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    save(Path(sys.argv[2]), model)
"""


def racing_writers(folder: Path, share: float) -> Iterator[str]:
    """Write one file many times from two processes, and read it meanwhile; every save is one fault."""
    from jvae.runs.checkpoint import load, save

    one = small_model(folder)
    model = load(one)
    other, path = folder / "other.npz", folder / "model.npz"
    save(other, model._replace(fingerprint="other"))
    contents = {one.read_bytes(), other.read_bytes()}
    times, torn = round(300 * share), 0
    start: Callable[..., Any] = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    commands = [[sys.executable, "-c", WRITER, str(source), str(path), str(times)] for source in (one, other)]
    with ended(start(commands[0])) as first, ended(start(commands[1])) as second:
        for writer in (first, second):
            writer.stdout.readline()
        for writer in (first, second):
            writer.stdin.write(b"\n")
            writer.stdin.flush()
        while first.poll() is None or second.poll() is None:
            torn += path.exists() and path.read_bytes() not in contents
            time.sleep(0.01)
    yield from ("the file was neither of the two" if i < torn else "" for i in range(2 * times))
    left, codes = sorted(other.name for other in folder.iterdir()), [first.returncode, second.returncode]
    fine = left == ["model.npz", "original.npz", "other.npz"] and codes == [0, 0]
    yield "" if fine else f"left: {left}; exit codes {codes}"
