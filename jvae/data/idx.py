"""IDX, the format of MNIST's files: a magic number, the shape as big-endian 32-bit integers, then the values.

The magic number has two zero bytes, one byte for the type of the values and one for the number of axes. Any error in a
file becomes a `DataError` of one line that names the file and the reason.
"""

import gzip
import hashlib
import io
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from jvae.data.known import FILES, KNOWN_SETS, NUM_CLASSES, KnownSet
from jvae.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(type_).newbyteorder("="): code for code, type_ in TYPES.items()}
GZIP = b"\x1f\x8b"
SUMS = "SHA256SUMS"
NAME = re.compile(r"(?P<prefix>.*?)(?P<split>train|t10k|test)[-_](?P<kind>images|labels)[-.]idx\d-u?byte(\.gz)?")
MAX_AXES = 4
MAX_BYTES = 2**30
MAX_VALUES = 2**60
GZIP_RATIO = 1032
"""The largest ratio by which gzip can compress."""
ALIGNMENT = 64


class NotThereError(DataError):
    """A place that could hold a data set does not hold it."""


class IdxArrays(NamedTuple):
    """Four arrays in the order of `FILES`, and their sha256."""

    arrays: tuple[Shaped[np.ndarray, "..."], ...]
    """Training images [n, h, w] or [n, h, w, c] and labels [n]; test images [m, ...] and labels [m]."""
    sha256: tuple[str, ...]
    """The sha256, in hex, of their IDX encodings."""


def encode_idx(array: Shaped[np.ndarray, "..."]) -> bytes:
    """Return the content of the IDX file that holds `array`, which has 1 to 4 axes.

    Raises:
        ValueError: the format, or this reader, does not support the type, the number of axes or a length.
    """
    return b"".join(_encoding(array))


def idx_sha256(array: Shaped[np.ndarray, "..."]) -> str:
    """Return the sha256 in hex of `encode_idx(array)`, without building it.

    Raises:
        ValueError: as `encode_idx`.
    """
    return _sha256(_encoding(array))


def read_idx(path: Path) -> Shaped[np.ndarray, "..."]:
    """Read the array in an IDX file, gzipped or not, of 1 to 4 axes.

    Raises:
        DataError: the file is missing, unreadable, damaged, or not an IDX file.
    """
    return read_idx_sha256(path)[0]


def read_idx_sha256(
    path: Path, shape: tuple[int, ...] | None = None, name: str | None = None, gz_sha256: str | None = None
) -> tuple[Shaped[np.ndarray, "..."], str]:
    """Read the array in an IDX file, gzipped or not, and the sha256 in hex of its uncompressed content.

    Args:
        path: the file.
        shape: the shape that it must have; checked before its values are read.
        name: the file's name in errors, by default its path.
        gz_sha256: the sha256 that the file itself must have if it is gzipped.

    Raises:
        DataError: the file is missing, unreadable or damaged, or has another shape or sha256.
    """
    name = str(path) if name is None else name
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            raise DataError(f"{name}: is a directory or device, not a file")
        with path.open("rb") as file:
            gzipped = file.read(len(GZIP)) == GZIP
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if not gzipped:
                return decode_idx(file, name, shape, max(MAX_BYTES, size))
            with gzip.GzipFile(fileobj=file) as stream:
                decoded = decode_idx(stream, name, shape, max(MAX_BYTES, size * GZIP_RATIO))
            file.seek(0)
            if gz_sha256 and (found := hashlib.file_digest(file, "sha256").hexdigest()) != gz_sha256:
                raise DataError(f"{name}: is not the published gzip file: sha256 {found}, not {gz_sha256}")
            return decoded
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name}: is a damaged gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from None


def decode_idx(
    stream: io.BufferedIOBase, name: str, shape: tuple[int, ...] | None = None, most: int = MAX_BYTES
) -> tuple[Shaped[np.ndarray, "..."], str]:
    """Read one IDX array and its sha256 from a stream that ends with it, reading at most one byte more.

    Args:
        stream: the stream.
        name: its name in errors.
        shape: the shape that the array must have.
        most: the bytes that the header may announce: the file's own, if they are more than a gigabyte.

    Raises:
        DataError: the content does not match its header, or the given shape; the message starts with `name`.
    """
    head = stream.read(4)
    dtype, axes = _parse_magic(head, name)
    lengths = stream.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(f"{name}: is truncated: it ends within its header")
    found = struct.unpack(f">{axes}I", lengths)
    if shape is not None and (found != shape or dtype != np.uint8):
        raise DataError(f"{name}: holds {dtype.name} of shape {_show(found)} where uint8 of {_show(shape)} is needed")
    size = math.prod(found) * dtype.itemsize
    if size > most or math.prod(length or 1 for length in found) > MAX_VALUES:  # NumPy refuses 0 x 2**32 x 2**32
        raise DataError(f"{name}: claims to hold {_show(found)} values, more than {most:,} bytes")

    values = _aligned(size)
    if (end := stream.readinto(values.data)) < size:
        raise DataError(f"{name}: is truncated: it ends after {end:,} of {size:,} bytes of values")
    if stream.read(1):  # at the end of a gzip stream, this also checks its checksum
        raise DataError(f"{name}: has more bytes than the {size:,} that its header announces")
    sha256 = _sha256((head, lengths, values.data))
    return values.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(found), sha256


def find_files(known: KnownSet, folder: Path) -> tuple[Path, ...]:
    """Return the paths of the four files in `folder`, in its subfolder with the set's name, or in torchvision's.

    Raises:
        NotThereError: none of these places holds all four.
    """
    # the folders that name the set come first, because all sets share the file names
    places = (folder / known.name, folder / known.folder / "raw", folder)
    missing = {}
    for place in places:
        found = [_present(place, *each) for each in zip(FILES, known.gz_sha256, strict=True)]
        if all(found):
            return tuple(path for path in found if path)
        missing[place] = [name for name, path in zip(FILES, found, strict=True) if not path]
    for place, names in missing.items():
        if len(names) < len(FILES):
            raise NotThereError(f"{place} lacks {', '.join(names)}")
    raise NotThereError(f"nothing at {', '.join(map(str, places))}")


def read_files(known: KnownSet, paths: Sequence[Path], names: Sequence[str] | None = None) -> IdxArrays:
    """Read and check the set's four files; errors call them `names`, by default their paths.

    Raises:
        DataError: a file is missing, damaged, or not the set's.
    """
    names = [str(path) for path in paths] if names is None else names
    each = zip(paths, known.shapes, names, known.gz_sha256, strict=True)
    return check_arrays(known, [read_idx_sha256(*arguments) for arguments in each], names)


def check_arrays(
    known: KnownSet, read: Sequence[tuple[Shaped[np.ndarray, "..."], str]], names: Sequence[str]
) -> IdxArrays:
    """Check the labels and the sha256 of four arrays of the set's shapes.

    Raises:
        DataError: a label or a sha256 is not the set's; the message starts with the file's name.
    """
    for (array, sha256), expected, name in zip(read, known.sha256, names, strict=True):
        if array.ndim == 1 and array.size and array.max() >= NUM_CLASSES:
            raise DataError(f"{name}: holds the label {array.max()}; labels are 0 to {NUM_CLASSES - 1}")
        for other in KNOWN_SETS.values():
            if other.name != known.name and sha256 in other.sha256:
                raise DataError(f"{name}: is a file of {other.name}, not of {known.name}")
        if expected and sha256 != expected:
            raise DataError(f"{name}: its content is not {known.name}'s: sha256 {sha256}, not {expected}")
    return IdxArrays(tuple(array for array, _ in read), tuple(sha256 for _, sha256 in read))


def write_files(arrays: IdxArrays, folder: Path) -> None:
    """Write the four files, uncompressed, into `folder`.

    Raises:
        OSError: it cannot be written.
    """
    for name, array in zip(FILES, arrays.arrays, strict=True):
        with (folder / name).open("wb") as file:
            file.writelines(_encoding(array))


def write_sums(arrays: IdxArrays, folder: Path) -> None:
    """Write the sha256 of the four files into `folder`, in the format of the command `sha256sum`.

    Raises:
        OSError: it cannot be written.
    """
    (folder / SUMS).write_text(
        "".join(f"{sha256}  {name}\n" for name, sha256 in zip(FILES, arrays.sha256, strict=True))
    )


def check_sums(arrays: IdxArrays, folder: Path) -> None:
    """Raise a DataError if the files in `folder` do not match the sha256 that were written with them."""
    try:
        sums = dict(line.split()[::-1] for line in (folder / SUMS).read_text().splitlines())
    except OSError:  # the files came without sums
        return
    except ValueError:
        raise DataError(f"{folder / SUMS}: is not a list of sha256 and names") from None
    for name, sha256 in zip(FILES, arrays.sha256, strict=True):
        if sums.get(name, sha256) != sha256:
            raise DataError(f"{folder / name}: is not as it was written: sha256 {sha256}, not {sums[name][:64]}")


def find_set(folder: Path) -> tuple[Path, ...]:
    """Return the paths of the four files of the one set that a folder holds, in the order of `FILES`.

    The files have MNIST's names, perhaps with a prefix (`emnist-letters-train-images-idx3-ubyte.gz`) or a dot for a
    dash, gzipped or not. They lie in the folder or at most two levels below it; where a file lies beside its gzipped
    form, it is taken.

    Raises:
        DataError: there is no such set, a file of it is missing, or there are several sets.
    """
    wanted = ("train images", "train labels", "test images", "test labels")
    places: dict[tuple[str, str], dict[Path, Path]] = {}
    for pattern in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(pattern)):
            match = NAME.fullmatch(path.name)
            if match and path.is_file():
                role = f"{'train' if match['split'] == 'train' else 'test'} {match['kind']}"
                own = NAME.fullmatch(path.parent.name)  # as in Kaggle's folders of one file, with its name
                place = path.parent.parent if own else path.parent
                places.setdefault((match["prefix"], role), {}).setdefault(place, path)
    if not places:
        raise NotThereError(f"{folder}: holds no IDX files such as {FILES[0]}")
    several = sorted({prefix for prefix, _ in places})
    if len(several) == 1:
        several = next((sorted(map(str, files)) for files in places.values() if len(files) > 1), several)
    if len(several) > 1:
        raise DataError(f"{folder}: holds several sets, {', '.join(several)}: name the folder of one")
    files = {role: path for (_, role), there in places.items() for path in there.values()}
    if missing := [name for name in wanted if name not in files]:
        raise NotThereError(f"{folder}: lacks the file of the {' and '.join(missing)}")
    return tuple(files[name] for name in wanted)


def _present(folder: Path, name: str, gz_sha256: str | None = None) -> Path | None:
    """Return the file in `folder` with one of the spellings of `name`, perhaps inside a folder of that name.

    The gzipped file is preferred if the known sha256 is that of the gzipped file.
    """
    dotted = name.replace("-idx", ".idx")
    places = (folder / spelling for spelling in (f"{name}/{name}", name, f"{name}.gz", dotted, f"{dotted}.gz"))
    there = sorted(  # including broken links: reading one says what is wrong
        filter(os.path.lexists, places),
        key=lambda path: (path.is_dir(), gz_sha256 is not None and path.suffix != ".gz"),
    )
    return next(iter(there), None)


def _parse_magic(head: bytes, name: str) -> tuple[np.dtype, int]:
    """Return the type of the values and the number of axes."""
    if not head:
        raise DataError(f"{name}: is empty")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataError(f"{name}: looks like a web page, not an IDX file; was a page downloaded?")
    if len(head) < 4:
        raise DataError(f"{name}: is truncated: it ends within its header")
    zero, code, axes = struct.unpack(">HBB", head)
    if zero or code not in TYPES or not 1 <= axes <= MAX_AXES:
        raise DataError(f"{name}: is not an IDX file: its magic number is 0x{head.hex()}")
    return np.dtype(TYPES[code]), axes


def _encoding(array: np.ndarray) -> tuple[bytes, memoryview]:
    """Return an IDX file's header and values."""
    dtype = array.dtype.newbyteorder("=")
    if dtype not in CODES:
        raise ValueError(f"array has dtype {array.dtype}: an IDX file holds {', '.join(map(str, CODES))}")
    if not 1 <= array.ndim <= MAX_AXES:
        raise ValueError(f"array has {array.ndim} axes: an IDX file here has 1 to {MAX_AXES}")
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[dtype], array.ndim, *array.shape)
    return header, np.ascontiguousarray(array, array.dtype.newbyteorder(">")).data


def _aligned(size: int) -> UInt8[np.ndarray, " size"]:
    """Return an array at a multiple of 64 bytes, which JAX on a CPU reads where it lies; others it copies."""
    longer = np.empty(size + ALIGNMENT, np.uint8)
    start = -longer.ctypes.data % ALIGNMENT
    return longer[start : start + size]


def _sha256(chunks: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _show(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
