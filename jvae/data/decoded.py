"""Decoded sets in the cache: sets that take long to decode are decoded once, and later loads map the files.

An entry is a folder of `.npy` files with a record of their source and their sha256. It is read as long as its source
and its content are unchanged; otherwise it is decoded again and replaced.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from jvae.data.cache import replacing
from jvae.data.idx import idx_sha256
from jvae.errors import NPY_ERRORS, DataError

ABOUT = "about.json"


class Source(NamedTuple):
    """The source of an entry."""

    root: Path
    """Its folder."""
    files: dict[str, list[int]]
    """A file's path below `root` -> its size in bytes and modification time, which reveal a change."""


def source_of(root: Path, files: Iterable[Path]) -> Source:
    """Return the source that consists of files in a folder.

    Raises:
        OSError: there is no such file.
    """
    stats = {path.relative_to(root).as_posix(): path.stat() for path in files}
    return Source(root.absolute(), {name: [stat.st_size, stat.st_mtime_ns] for name, stat in sorted(stats.items())})


class Decoded(NamedTuple):
    """A decoded array."""

    array: Shaped[np.ndarray, "..."]
    """The array, mapped from its file."""
    sha256: str
    """The sha256, in hex, of its IDX encoding."""


def load_decoded(
    entry: Path, source: Source, decode: Callable[[Path], None], log: Callable[[str], None]
) -> dict[str, Decoded]:
    """Return the arrays of a source, by name: from the cache, or decoded into it if it can be written.

    Args:
        entry: the folder in the cache. Writing it also removes neighbouring entries whose sources are gone.
        source: the source to decode.
        decode: a function that writes `NAME.npy` files into a folder.
        log: called with a line that says where the arrays came from.

    Raises:
        DataError: `decode` raised it, or there is no place for its files; the cache is then unchanged.
    """
    try:
        about = json.loads((entry / ABOUT).read_text())
        if about["source"] == source.files:
            found = _read(entry)
            if {name: decoded.sha256 for name, decoded in found.items()} == about["sha256"]:
                log(f"read from {entry}")
                return found
            log(f"cache: {entry} is not as it was written")
    except (OSError, KeyError, *NPY_ERRORS):
        pass
    try:
        with replacing(entry) as new:
            found = _decode(decode, new)
            about = {"root": str(source.root), "source": source.files}
            sha256 = {name: decoded.sha256 for name, decoded in found.items()}
            (new / ABOUT).write_text(json.dumps({**about, "sha256": sha256}))
        log(f"decoded from {source.root} to {entry}")
        sweep_decoded(entry.parent)
    except OSError as error:
        log(f"cache: cannot be written at {entry}: {error.strerror or error}")
        try:
            with tempfile.TemporaryDirectory(prefix="jvae-", ignore_cleanup_errors=True) as until_mapped:
                found = _decode(decode, Path(until_mapped))
        except OSError as again:
            raise DataError(f"{source.root}: there is no place to decode it to: {again.strerror or again}") from again
    return found


def sweep_decoded(folder: Path) -> None:
    """Remove the entries whose sources are gone, and those of earlier versions, which record none."""
    for entry in folder.iterdir():
        if entry.name.startswith(".") or not entry.is_dir():  # a temporary of another writer, or not an entry
            continue
        try:
            stale = not Path(json.loads((entry / ABOUT).read_text())["root"]).is_dir()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            stale = True
        if stale:
            shutil.rmtree(entry, ignore_errors=True)


def _decode(decode: Callable[[Path], None], folder: Path) -> dict[str, Decoded]:
    decode(folder)
    return _read(folder)


def _read(folder: Path) -> dict[str, Decoded]:
    """Return the arrays in a folder, mapped, and the sha256 of their content."""
    arrays = {path.stem: np.load(path, "r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    return {name: Decoded(array, idx_sha256(array)) for name, array in arrays.items()}
