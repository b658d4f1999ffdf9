"""A user's own images: `npz:FILE`, `npy:FILE`, `folder:DIR` and `idx:DIR`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from jvae.data.arrays import KERAS, as_images, read_npy, read_npz
from jvae.data.cache import cache_folder
from jvae.data.dataset import Dataset, make_dataset
from jvae.data.folder import load_folder
from jvae.data.idx import find_set, read_idx
from jvae.errors import DataError

Log = Callable[[str], None]
Parts = dict[str, tuple[np.ndarray, np.ndarray | None]]
"""The images and labels by split: `train` and `test`, or all together."""


def load_own(
    kind: str,
    path: Path,
    test_share: float,
    size: tuple[int, int] | None,
    transpose: bool,
    cache: Path | None,
    log: Log,
) -> Dataset:
    """Load a user's own images from a file of arrays, a folder of pictures, or a folder of IDX files.

    Args:
        kind: one of `OWN_KINDS`.
        path: the file or the folder.
        test_share: the share of the images to use as test set, in a source without one.
        size: the height and width that pictures of a folder are resized to; None to leave them.
        transpose: swap the axes of IDX images.
        cache: the cache's folder; None for the default one.
        log: called with one line for every conversion, and for the place that pictures are read from.

    Raises:
        DataError: a file is missing or wrong, or the share of the test set does not fit the source.
    """
    parts: Parts
    if kind == "npz":
        parts = parts_of_npz(read_npz(path), path)
    elif kind == "npy":
        parts = {path.name: (read_npy(path), None)}
    elif kind == "idx":
        if not path.is_dir():
            raise DataError(f"{kind}:{path}: is not a directory: name the one with the IDX files")
        train, train_labels, test, test_labels = (read_idx(file) for file in find_set(path))
        if transpose:
            train, test = (np.swapaxes(part, 1, 2) if part.ndim > 2 else part for part in (train, test))
        parts = {"train images": (train, train_labels), "test images": (test, test_labels)}
    else:
        found = load_folder(path, size, cache_folder("own", cache), log)
        parts = dict(zip(("train", "test") if len(found) == 2 else ("pictures",), found, strict=True))
    for name, (array, _) in parts.items():
        if array.ndim < 2:
            raise DataError(f"{path}: {name} is {array.dtype}{list(array.shape)}: must be [n, ...], a datum each row")
    pixels = as_images({f"{path}: {name}": images for name, (images, _) in parts.items()}, log)
    images, labels = [a[..., None] if a.ndim == 3 else a for a in pixels], [labels for _, labels in parts.values()]
    if len(images) == 1:
        images, labels = split_off_test(images[0], labels[0], test_share, path)
    elif test_share:
        raise DataError(f"{path}: has a test set of its own: --test-share must be 0")
    try:
        return make_dataset(images[0], images[1], labels[0], labels[1], f"{kind}:{path.name}")
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def parts_of_npz(arrays: dict[str, Shaped[np.ndarray, "..."]], path: Path) -> Parts:
    """Return images and labels of train and test by Keras's names, or of the only array.

    Raises:
        DataError: the names are others.
    """
    if all(name in arrays for name in KERAS):
        unknown = arrays.keys() - {*KERAS, "y_train", "y_test"}
        if unknown:
            raise DataError(f"{path}: holds {', '.join(sorted(unknown))} beside x_train, y_train, x_test, y_test")
        if ("y_train" in arrays) != ("y_test" in arrays):
            raise DataError(f"{path}: holds labels of one set only: must be both of y_train and y_test, or none")
        return {name: (arrays[name], arrays.get(name.replace("x", "y", 1))) for name in KERAS}
    if len(arrays) == 1:
        return {name: (array, None) for name, array in arrays.items()}
    raise DataError(
        f"{path}: holds {', '.join(sorted(arrays)[:8]) or 'nothing'}: must be x_train, y_train, x_test and y_test "
        "(labels may be left out), or one array"
    )


def split_off_test(
    images: Shaped[np.ndarray, "n ..."], labels: Shaped[np.ndarray, " n"] | None, test_share: float, path: Path
) -> tuple[list[Shaped[np.ndarray, "_ ..."]], list[Shaped[np.ndarray, " _"] | None]]:
    """Return images and labels of train and of test, which is a share of the rows, chosen at random by a fixed seed.

    Raises:
        DataError: the share is no row at all, or every row.
    """
    count = round(test_share * len(images))
    if not 0 < count < len(images):
        if test_share == 0:
            raise DataError(f"{path}: has no test set: give a share of the images, such as --test-share 0.1")
        raise DataError(f"{path}: --test-share {test_share:g} is {count} of {len(images)} images: both sets need some")
    order = np.random.RandomState(0).permutation(len(images))
    rows = [np.sort(order[count:]), np.sort(order[:count])]
    return [images[part] for part in rows], [None if labels is None else labels[part] for part in rows]
