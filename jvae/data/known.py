"""The data sets that come as MNIST's four IDX files: what the files must hold, where they lie, how they are kept."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvae.data.idx import idx_header, read_idx_sha256
from jvae.errors import DataError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIZE = 28
NUM_CLASSES = 10


class Family(NamedTuple):
    """One data set of four IDX files."""

    name: str
    url: str  # of the folder that holds the four files, gzipped
    folder: str  # torchvision's folder for it
    num_train: int = 60_000
    num_test: int = 10_000
    sha256: tuple[str, ...] = ()  # of the four files, uncompressed; () where nobody has published them

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the four arrays, in the order of `FILES`."""
        n, m = self.num_train, self.num_test
        return (n, SIZE, SIZE), (n,), (m, SIZE, SIZE), (m,)


class IdxArrays(NamedTuple):
    """The four arrays, in the order of `FILES`, and the sha256 of their IDX encodings."""

    arrays: tuple[np.ndarray, ...]  # uint8: [n, 28, 28], [n], [m, 28, 28], [m]
    sha256: tuple[str, ...]


class NotThereError(DataError):
    """A place that could hold the files does not."""


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "MNIST",
            sha256=(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        Family("fashion_mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", "FashionMNIST"),
        Family("kmnist", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/", "KMNIST"),
    )
}


def find_files(family: Family, folder: Path) -> tuple[Path, ...]:
    """The paths of the four files in `folder`, in its subfolder of the family's name, or where torchvision keeps them.

    Raises:
        NotThereError: none of these places holds all four.
    """
    # the folders that name the family come first: the files themselves are called the same in every family
    places = (folder / family.name, folder / family.folder / "raw", folder)
    missing = {}
    for place in places:
        found = [next(_present(place, name), None) for name in FILES]
        if all(found):
            return tuple(path for path in found if path)
        missing[place] = [name for name, path in zip(FILES, found, strict=True) if not path]
    for place, names in missing.items():
        if len(names) < len(FILES):
            raise NotThereError(f"{place} lacks {', '.join(names)}")
    raise NotThereError(f"nothing at {', '.join(map(str, places))}")


def _present(folder: Path, name: str) -> Iterator[Path]:
    """What lies in `folder` under one of the spellings of `name`."""
    dotted = name.replace("-idx", ".idx")
    for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if os.path.lexists(folder / spelling):  # a broken link counts: reading it then says what is wrong
            yield folder / spelling


def read_files(family: Family, paths: Sequence[Path]) -> IdxArrays:
    """Reads and checks the family's four files.

    Raises:
        DataError: one of them is not what it must be.
    """
    read = [read_idx_sha256(path, shape) for path, shape in zip(paths, family.shapes, strict=True)]
    return check_arrays(family, read, [str(path) for path in paths])


def check_arrays(family: Family, read: Sequence[tuple[np.ndarray, str]], names: Sequence[str]) -> IdxArrays:
    """Checks four arrays and their sha256, in the order of `FILES`, against all that is known of the family.

    Raises:
        DataError: a shape, a label or a sha256 is not the family's; the message starts with the file's name.
    """
    for i, ((array, sha256), name) in enumerate(zip(read, names, strict=True)):
        if array.shape != family.shapes[i] or array.dtype != np.uint8:
            raise DataError(f"{name}: holds {array.dtype} of shape {array.shape}, not uint8 of {family.shapes[i]}")
        if array.ndim == 1 and array.size and array.max() >= NUM_CLASSES:
            raise DataError(f"{name}: holds the label {array.max()}; labels are 0 to {NUM_CLASSES - 1}")
        if family.sha256 and sha256 != family.sha256[i]:
            raise DataError(f"{name}: its content is not {family.name}'s: sha256 {sha256}, not {family.sha256[i]}")
        for other in FAMILIES.values():
            if other.name != family.name and sha256 in other.sha256:
                raise DataError(f"{name}: is a file of {other.name}, not of {family.name}")
    return IdxArrays(tuple(array for array, _ in read), tuple(sha256 for _, sha256 in read))


def write_files(arrays: IdxArrays, folder: Path) -> None:
    """Makes `folder` hold the four files and nothing else, at once or not at all.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new, old = workplace / "new", workplace / "old"
        new.mkdir()
        for name, array in zip(FILES, arrays.arrays, strict=True):
            with (new / name).open("wb") as file:
                file.write(idx_header(array))
                file.write(np.ascontiguousarray(array).data)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(new)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another writer was faster: its files are as good
                raise
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Makes the names in `folder` survive a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
