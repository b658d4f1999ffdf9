"""Files that are written whole or not at all. Symbolic links are followed, and stay.

Text may also go to stdout (`-`), and to pipes and devices, which are written directly. Everything else is written to a
temporary file beside its target, and then renamed.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
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
"""Bytes written at the start of a command, to check that there is room for its results."""
STEM_BYTES = 128
"""The most bytes of a file name made of options: with any suffix it fits every file system."""
TAIL_BYTES = 23
"""Bytes of a temporary file's name after the host: the process, random letters, the suffix and the dots."""


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside a path's target; on exit flush it to the disk and rename it into place.

    The new file takes the permissions of the one it replaces.

    Raises:
        OSError: it cannot be written; an existing file is unchanged, and no temporary file is left.
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
    with contextlib.suppress(OSError):  # not every file system can sync a directory
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def target_of(path: Path) -> Path:
    """Return the path that a path leads to when symbolic links are followed.

    Raises:
        OSError: the links form a cycle.
    """
    target = Path(os.path.realpath(path))
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


@contextlib.contextmanager
def temporary_beside(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a temporary file beside a target, and remove it on exit unless it has been renamed.

    What killed writers of the target left is removed first.
    """
    sweep_temporaries(target)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=temporary_prefix(target), suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def temporary_prefix(target: Path) -> str:
    """Return the prefix of the names of this process's temporaries beside a target."""
    return f"{temporary_stem(target)}{os.getpid()}."


def temporary_stem(target: Path) -> str:
    """Return the prefix of the names of a file's temporaries on this machine, short enough for the rest to fit."""
    host = socket.gethostname()
    room = longest_name(target.parent) - len(f"..{host}.") - TAIL_BYTES
    return f".{fitting_name(target.name, room)}.{host}."


def fitting_name(name: str, room: int = STEM_BYTES) -> str:
    """Return a name of at most `room` bytes: a longer one is cut, and ends with a digest of the whole."""
    data = os.fsencode(name)
    if len(data) <= room:
        return name
    digest = "~" + hashlib.sha256(data).hexdigest()[:16]
    return data[: max(0, room - len(digest))].decode(errors="ignore") + digest


def longest_name(folder: Path) -> int:
    """Return the most bytes that a file name in a folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # there is no such folder, or the system does not say
        return 255


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of the file at a path, following links; None if there is none."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def is_stream(path: Path) -> bool:
    """Return True if a path is written directly: `-`, a pipe, a device, or this process's own stdout or stderr."""
    there = status_of(path)
    if path == STDOUT or there is None or stat.S_ISDIR(there.st_mode):
        return path == STDOUT
    return not stat.S_ISREG(there.st_mode) or any(is_descriptor(there, number) for number in (1, 2))


def is_stdout(path: Path) -> bool:
    """Return True if a path is `-`, or names the pipe or file that is this process's stdout, as /dev/stdout does."""
    there = status_of(path)
    if path == STDOUT or there is None or stat.S_ISCHR(there.st_mode):  # /dev/null may be both
        return path == STDOUT
    return is_descriptor(there, 1)


def is_descriptor(there: os.stat_result, number: int) -> bool:
    """Return True if a descriptor of this process refers to the file with this status."""
    try:
        return os.path.samestat(there, os.fstat(number))
    except OSError:
        return False


def same_file(one: Path, other: Path) -> bool:
    """Return True if two paths lead, or would lead, to the same file or folder, through links or other spellings."""
    if STDOUT in (one, other):
        return one == other or (is_stdout(one) and is_stdout(other))
    there, here = status_of(one), status_of(other)
    if there is not None and here is not None:
        return os.path.samestat(there, here)
    return there is here is None and os.path.realpath(one) == os.path.realpath(other)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, even after a crash, finds the old content or all of the new.

    Raises:
        OSError: it cannot be written; an existing file is unchanged, and no temporary file is left.
    """
    with open_atomically(path) as file:
        file.write(data)


def check_writable(path: Path) -> None:
    """Write and remove a probe beside a path's target, so that an unwritable path fails now and not at the end.

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
    """Turn an OSError into a JvaeError that says which path cannot be written."""
    try:
        yield
    except OSError as error:
        raise JvaeError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def open_result(path: Path) -> Iterator[BinaryIO]:
    """Open a result for writing, which appears whole or not at all.

    Raises:
        JvaeError: the file cannot be written.
    """
    with telling_unwritten(path), open_atomically(path) as file:
        yield file


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open text for writing: to a file, which appears whole or not at all, or to stdout, a pipe or a device.

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
    """Create a folder for results, unless it exists, and return its path.

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
    """Write a text result; to a file, whole or not at all.

    Raises:
        JvaeError: it cannot be written.
    """
    with open_text(path) as file:
        file.write(text)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write results as JSON, with null for NaN and the infinities."""
    write_text(path, json.dumps(without_nan(values), indent=2, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """Return a JSON value with null in place of NaN and the infinities."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sweep_temporaries(path: Path) -> list[Path]:
    """Remove what killed writers of a file or folder left beside it on this machine, and return the paths."""
    target, swept = target_of(path), []
    ours = re.compile(rf"{re.escape(temporary_stem(target))}(\d+)\.\w+\.tmp")
    try:
        names = os.listdir(target.parent)
    except OSError:  # a folder that may be written to, but not listed
        return []
    for name in names:
        match = ours.fullmatch(name)
        left = target.parent / name
        if match and not is_running(int(match[1])):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
                swept.append(left)
    return swept


def is_running(process: int) -> bool:
    """Return True if a process with this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, as another user
        return True
    return True


def current_umask() -> int:
    """Return the process's umask: mkstemp makes private files, but results get the usual permissions."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
