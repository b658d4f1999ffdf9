"""Files that are written whole or not at all, where their paths lead: links are followed, and stay.

Text may also go to `-`, which is stdout, and to pipes and devices, which are written straight into; all else is
written beside the file that it will be, and renamed.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from jvae.errors import JvaeError

STDOUT = Path("-")
PROBE_BYTES = 2**16
"""What is written at the start of a command, to see that there is room for its results."""
STEM_BYTES = 128
"""Of a name that is made of many options, at most: with any ending it fits every file system."""
TAIL_BYTES = 23
"""Of a temporary's name, what follows the host's: a process, random letters, the ending, and the dots between."""


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside where a path leads; at the end flush it to the disk, and rename it into place.

    A file that is replaced passes its permissions on.

    Raises:
        OSError: it cannot be written; what stood at the path is as it was, and nothing is left beside it.
    """
    there, target = status_of(path), target_of(path)
    if is_stream(path):
        raise OSError(errno.EINVAL, "Is a pipe, a device or this program's own output")
    with temporary_beside(target) as (file, temporary):
        yield file
        file.flush()
        os.fsync(file.fileno())
        temporary.chmod(0o666 & ~current_umask() if there is None else stat.S_IMODE(there.st_mode))
        temporary.replace(target)
    with contextlib.suppress(OSError):  # not every file system lets a directory be synced
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def target_of(path: Path) -> Path:
    """Return where a path leads, links followed.

    Raises:
        OSError: nowhere, for the links lead to each other.
    """
    target = Path(os.path.realpath(path))
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


@contextlib.contextmanager
def temporary_beside(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a file beside another, which is gone at the end: renamed by then, or else removed."""
    prefix = f"{temporary_stem(target)}{os.getpid()}."
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def temporary_stem(target: Path) -> str:
    """Return what the names of a file's temporaries on this machine begin with; it leaves room for the rest."""
    host = socket.gethostname()
    room = longest_name(target.parent) - len(f"..{host}.") - TAIL_BYTES
    return f".{fitting_name(target.name, room)}.{host}."


def fitting_name(name: str, room: int = STEM_BYTES) -> str:
    """Return a name, or where it has more bytes than there is room for its beginning and a digest of all of it."""
    data = os.fsencode(name)
    if len(data) <= room:
        return name
    digest = "~" + hashlib.sha256(data).hexdigest()[:16]
    return data[: max(0, room - len(digest))].decode(errors="ignore") + digest


def longest_name(folder: Path) -> int:
    """Return how many bytes a name in a folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # it is not there, or the system does not tell
        return 255


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of what stands at a path, links followed; None of nothing."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def is_stream(path: Path) -> bool:
    """Return True if a path is one that is written straight into: `-`, a pipe, a device, our own stdout or stderr."""
    there = status_of(path)
    if path == STDOUT or there is None or stat.S_ISDIR(there.st_mode):
        return path == STDOUT
    return not stat.S_ISREG(there.st_mode) or any(is_descriptor(there, number) for number in (1, 2))


def is_stdout(path: Path) -> bool:
    """Return True if a path is `-`, or the pipe or the file that this process's stdout is, as /dev/stdout is."""
    there = status_of(path)
    if path == STDOUT or there is None or stat.S_ISCHR(there.st_mode):  # /dev/null may be both
        return path == STDOUT
    return is_descriptor(there, 1)


def is_descriptor(there: os.stat_result, number: int) -> bool:
    """Return True if a file is what a descriptor of this process has open."""
    try:
        return os.path.samestat(there, os.fstat(number))
    except OSError:
        return False


def same_file(one: Path, other: Path) -> bool:
    """Return True if two paths are one file or folder, or would be: by links, hard links or other spellings."""
    if STDOUT in (one, other):
        return one == other or (is_stdout(one) and is_stdout(other))
    there, here = status_of(one), status_of(other)
    if there is not None and here is not None:
        return os.path.samestat(there, here)
    return there is here is None and os.path.realpath(one) == os.path.realpath(other)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file, so that a reader, or a crash, meets what stood there before or all of it.

    Raises:
        OSError: it cannot be written; what stood at the path is as it was, and nothing is left beside it.
    """
    with open_atomically(path) as file:
        file.write(data)


def check_writable(path: Path) -> None:
    """Write a little where a path leads and remove it, so that what would fail at the end fails now.

    Raises:
        OSError: it cannot be written.
    """
    target, stream = target_of(path), is_stream(path)
    if status_of(path) is not None and not os.access(path, os.W_OK):
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY if hasattr(os, "statvfs") else False
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number))
    if not stream:
        with temporary_beside(target) as (file, _):
            file.write(bytes(PROBE_BYTES))


@contextlib.contextmanager
def telling_unwritten(path: Path) -> Iterator[None]:
    """Turn an OSError into a JvaeError that says that a path cannot be written."""
    try:
        yield
    except OSError as error:
        raise JvaeError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def open_result(path: Path) -> Iterator[BinaryIO]:
    """Open a result to write to, which comes to be whole or not at all.

    Raises:
        JvaeError: the file cannot be written.
    """
    with telling_unwritten(path), open_atomically(path) as file:
        yield file


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open text to write to: a file, which comes to be whole or not at all; or stdout, a pipe or a device.

    Raises:
        JvaeError: it cannot be written.
    """
    with telling_unwritten(path):
        if is_stdout(path):
            yield sys.stdout
            sys.stdout.flush()
        elif is_stream(path):
            with open(path, "a", encoding="utf-8", newline="") as stream:
                yield stream
        else:
            with open_atomically(path) as file:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="")
                yield text
                text.detach()


def make_folder(path: Path) -> Path:
    """Make a folder for results, if it is not there, and return it.

    Raises:
        JvaeError: it cannot be made.
    """
    try:
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JvaeError(f"{path}: cannot be made: {error.strerror or error}") from error
    return path


def write_file(path: Path, data: bytes) -> None:
    """Write a result, whole or not at all.

    Raises:
        JvaeError: the file cannot be written.
    """
    with open_result(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a result that is text, to a file whole or not at all.

    Raises:
        JvaeError: it cannot be written.
    """
    with open_text(path) as file:
        file.write(text)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write results as JSON; numbers that do not exist (NaN) become null."""
    write_text(path, json.dumps(without_nan(values), indent=2, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """Return a JSON value with null in place of NaN and the infinities."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sweep_temporaries(path: Path) -> list[Path]:
    """Remove what writers of a file that were killed on this machine have left beside it, and return it."""
    target, swept = target_of(path), []
    ours = re.compile(rf"{re.escape(temporary_stem(target))}(\d+)\.\w+\.tmp")
    for name in os.listdir(target.parent):
        match = ours.fullmatch(name)
        if match and not is_running(int(match[1])):
            with contextlib.suppress(OSError):
                (target.parent / name).unlink()
                swept.append(target.parent / name)
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
