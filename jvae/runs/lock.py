"""Lock: ownership of a file or folder by the one process that writes it; it ends with the process.

The kernel's lock is on a small file beside the owned one, because a file that is replaced by renaming cannot carry it;
a lock file that a killed process leaves locks nothing. On a file system without locks, a save detects by the end of the
file, which in a model file is its digest, that another process has written it. Readers take no lock.
"""

import contextlib
import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from jvae.errors import JvaeError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 255
HELD = (errno.EWOULDBLOCK, errno.EACCES)
TAIL_BYTES = 128


class OwnedFile:
    """A file that this process owns, and its end after the last save."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = end_of(path)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Save the file, which need not exist, inside this context, unless another process has written it since.

        Raises:
            JvaeError: another process has written it.
        """
        if end_of(self.path) not in (None, self.left):
            raise JvaeError(f"{self.path}: another process has written it meanwhile; it is left as it is")
        yield
        self.left = end_of(self.path)


@contextlib.contextmanager
def owning(path: str | PathLike[str]) -> Iterator[None]:
    """Own a file, which need not exist, or a folder, as a context; links are followed.

    Raises:
        JvaeError: another process owns it, or nothing can be written beside it.
    """
    path = Path(path)
    lock = lock_of(Path(os.path.realpath(path)))
    try:
        descriptor = acquire(lock)
    except BlockingIOError as error:
        raise JvaeError(f"{path}: {owner_of(lock)} is writing it: wait until it ends, or name another") from error
    except OSError as error:
        raise JvaeError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        release(lock, descriptor)


def lock_of(path: Path) -> Path:
    """Return the path of the lock file: beside a file, inside a folder."""
    if path.is_dir():
        return path / ".jvae.lock"
    name = f".{path.name}.lock"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.lock"
    return path.with_name(name)


def acquire(lock: Path) -> int:
    """Return a descriptor of the lock file, locked if the file system has locks, after writing our name to it.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the file cannot be created.
    """
    while True:
        descriptor = open_lock(lock)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                os.close(descriptor)
                raise BlockingIOError(*error.args) from error
        if is_at(lock, descriptor):
            with contextlib.suppress(OSError):  # a killed process of another user: it can be locked but not written
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
            return descriptor
        os.close(descriptor)  # its owner ended and removed it after we opened it


def open_lock(lock: Path) -> int:
    """Open the lock file, and create it if there is none.

    Raises:
        OSError: it can neither be opened nor created.
    """
    nofollow = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | nofollow, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | nofollow)


def release(lock: Path, descriptor: int) -> None:
    """Remove the lock file while it is locked, then unlock it."""
    with contextlib.suppress(OSError):
        if is_at(lock, descriptor):
            lock.unlink()
    os.close(descriptor)


def is_at(path: Path, descriptor: int) -> bool:
    """Return True if an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def owner_of(lock: Path) -> str:
    """Return the owner of a lock in words, from its file."""
    with contextlib.suppress(OSError, ValueError):
        process, host = lock.read_text().split()
        return f"process {int(process)} on {host}"
    return "another process"


def end_of(path: Path) -> tuple[int, bytes] | None:
    """Return a file's size and last bytes, which identify its content; None if there is no file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            return size, file.read()
    except OSError:
        return None
