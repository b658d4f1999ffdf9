"""The cache: its place, and how a folder in it is replaced as a whole or not at all."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jvae.errors import DataError
from jvae.files import sweep_temporaries, temporary_prefix


def cache_root() -> Path:
    """Return the cache's folder: $JVAE_CACHE_DIR, $XDG_CACHE_HOME/jvae or ~/.cache/jvae.

    Raises:
        DataError: the user has no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.path.expanduser(os.environ.get("JVAE_CACHE_DIR") or os.path.join(base, "jvae"))
    if folder.startswith("~"):
        raise DataError(f"{folder}: there is no such home directory for the cache: set JVAE_CACHE_DIR to a folder")
    return Path(folder)


def cache_folder(name: str, cache_dir: Path | None = None) -> Path:
    """Return the folder for the files of one data set, in `cache_dir` or by default in `cache_root()`.

    Raises:
        DataError: as `cache_root`.
    """
    return Path(cache_root() if cache_dir is None else cache_dir, "datasets", name)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends, `folder` holds the files in it and nothing else.

    If the block raises, the old files stay. Of several writers at a time, one wins; what killed ones left is removed.

    Raises:
        OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder)
    with tempfile.TemporaryDirectory(
        prefix=temporary_prefix(folder), suffix=".tmp", dir=folder.parent, ignore_cleanup_errors=True
    ) as workplace:
        new, old = Path(workplace, "new"), Path(workplace, "old")
        new.mkdir()
        yield new
        for path in (*new.iterdir(), new):
            _sync(path)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another writer was faster; its files are as good
                raise
        _sync(folder.parent)


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder if the system can, so that it survives a power cut."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
