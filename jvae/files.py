"""Files that are written whole or not at all."""

import contextlib
import os
import re
import socket
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary file beside the path, flush it to the disk, and rename it into place.

    Raises:
        OSError: it cannot be written; what stood at the path is as it was, and nothing is left beside it.
    """
    prefix = f".{path.name}.{socket.gethostname()}.{os.getpid()}."
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
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
    """Whether a process of this number lives on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and is another user's
        return True
    return True


def current_umask() -> int:
    """The process's file mode mask: mkstemp's files are private, a model file is as any other."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
