"""Files that are written whole or not at all."""

import contextlib
import json
import math
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jvae.errors import JvaeError


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside the path to write to; at the end flush it to the disk, and rename it into place.

    Raises:
        OSError: it cannot be written; what stood at the path is as it was, and nothing is left beside it.
    """
    prefix = f".{path.name}.{socket.gethostname()}.{os.getpid()}."
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~current_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every file system lets a directory be synced
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file, so that a reader, or a crash, meets what stood there before or all of it.

    Raises:
        OSError: it cannot be written; what stood at the path is as it was, and nothing is left beside it.
    """
    with open_atomically(path) as file:
        file.write(data)


@contextlib.contextmanager
def open_result(path: Path) -> Iterator[BinaryIO]:
    """Open a result to write to, which comes to be whole or not at all.

    Raises:
        JvaeError: the file cannot be written.
    """
    try:
        with open_atomically(path) as file:
            yield file
    except OSError as error:
        raise JvaeError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a result, whole or not at all.

    Raises:
        JvaeError: the file cannot be written.
    """
    with open_result(path) as file:
        file.write(data)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write results as JSON; numbers that do not exist (NaN) become null."""
    write_file(path, (json.dumps(without_nan(values), indent=2, allow_nan=False) + "\n").encode())


def without_nan(value: Any) -> Any:
    """Return a JSON value with null in place of NaN and the infinities."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sweep_temporaries(path: Path) -> list[Path]:
    """Remove what writers of a file that were killed on this machine have left beside it, and return it."""
    swept = []
    ours = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(socket.gethostname())}\.(\d+)\.\w+\.tmp")
    for name in os.listdir(path.parent):
        match = ours.fullmatch(name)
        if match and not is_running(int(match[1])):
            with contextlib.suppress(OSError):
                (path.parent / name).unlink()
                swept.append(path.parent / name)
    return swept


def is_running(process: int) -> bool:
    """Return True if a process of this number lives on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and is another user's
        return True
    return True


def current_umask() -> int:
    """Return the process's file mode mask: mkstemp's files are private, a model file is as any other."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
