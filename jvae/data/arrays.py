"""A user's arrays, `.npz` and `.npy`, as uint8 images; any other content is refused, or converted with a message.

Pickles are never opened: an array of objects is refused by its header.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped, UInt8

from jvae.errors import NPY_ERRORS, DataError, first_line

T = TypeVar("T")
KERAS = ("x_train", "x_test")
"""The names of the images in an `.npz` with a test set; the labels are y_train and y_test."""
EXACT = 1e-3  # the largest distance of 255 x from a whole number


def read_npz(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read all arrays of an `.npz` file, by name.

    Raises:
        DataError: the file is missing or damaged, or holds objects.
    """
    return _read(path, lambda: dict(_arrays(path)))


def read_npy(path: Path) -> Shaped[np.ndarray, "..."]:
    """Map the array of an `.npy` file into memory.

    Raises:
        DataError: the file is missing or damaged, or holds objects.
    """

    def read() -> np.ndarray:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it is an archive of arrays: read it as npz:FILE")
        return found

    return _read(path, read)


def as_images(
    arrays: Mapping[str, Shaped[np.ndarray, "n ..."]], say: Callable[[str], None]
) -> list[UInt8[np.ndarray, "_ ..."]]:
    """Return arrays as uint8 from 0 to 255, and report a conversion.

    uint8 is unchanged. Booleans, and arrays of any type that hold only 0 and 1, become 0 and 255. Floats are pixels /
    255. All arrays are judged together, for a dark test set alone does not show its range.

    Raises:
        DataError: an array is none of these; the message names it, and the values found.
    """
    whole = all(array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer) for array in arrays.values())
    if whole and all(not array.size or (array.min() >= 0 and array.max() <= 1) for array in arrays.values()):
        if any(array.any() for array in arrays.values()):
            say("pixels are 0 and 1: loaded as 0 and 255")
        return [array.astype(np.uint8) * np.uint8(255) for array in arrays.values()]
    return [as_uint8(array, name) for name, array in arrays.items()]


def as_uint8(array: Shaped[np.ndarray, "n ..."], name: str) -> UInt8[np.ndarray, "n ..."]:
    """Return pixels from 0 to 255.

    Raises:
        DataError: the array is neither uint8, nor floats in [0, 1] that are multiples of 1/255.
    """
    if array.dtype == np.uint8:
        return array
    rule = "must be uint8 from 0 to 255, or floats in [0, 1] that are multiples of 1/255"
    found = f"{name} is {array.dtype}"
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{found}: {rule}")
    if not array.size:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise DataError(f"{found} from {low:g} to {high:g}: {rule}")
    pixels = np.empty(array.shape, np.uint8)
    tolerance = max(EXACT, 255 * float(np.finfo(array.dtype).eps))
    for i in range(0, len(array), 1000):
        part = array[i : i + 1000].astype(np.float32 if array.dtype.itemsize < 8 else np.float64) * 255
        whole = np.rint(part)
        if (off := np.abs(part - whole)).max() > tolerance:
            value = float(part.ravel()[int(off.argmax())]) / 255
            raise DataError(f"{found} with the value {value:g}, which is no multiple of 1/255: {rule}")
        pixels[i : i + 1000] = whole
    return pixels


def _arrays(path: Path) -> list[tuple[str, np.ndarray]]:
    """Return the arrays of an archive, after checking that none is longer than its member says."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if dtype.hasobject:
                    raise ValueError(f"{name} holds objects: no pickle is opened")
                if file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize != member.file_size:
                    raise ValueError(f"{name} is not as long as its header says")
            with archive.open(member) as file:
                found.append((name, np.lib.format.read_array(file, allow_pickle=False)))
    return found


def _read(path: Path, read: Callable[[], T]) -> T:
    """Return the result of `read`, with any error as a DataError of one line."""
    try:
        if not path.is_file() and path.exists():
            raise DataError(f"{path}: is a directory or device, not a file")
        return read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: is damaged: {first_line(error)}") from None
    except (*NPY_ERRORS, KeyError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: is not a file of arrays: {first_line(error)}") from None
