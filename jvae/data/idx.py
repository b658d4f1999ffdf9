"""The IDX format of MNIST's files: a magic number, the shape as big-endian 32-bit integers, then the values.

Magic number: two zero bytes, one byte for the type of the values, one byte for the number of axes. Whatever is wrong
with a file becomes a `DataError` of one line that names the file and the reason.
"""

import gzip
import hashlib
import math
import stat
import struct
import zlib
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from jvae.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(type_).newbyteorder("="): code for code, type_ in TYPES.items()}
MAX_AXES = 4
MAX_BYTES = 2**30
CHUNK = 2**20


@runtime_checkable
class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end."""


def idx_header(array: np.ndarray) -> bytes:
    """The bytes that stand before the values of `array` in an IDX file.

    Raises:
        ValueError: the format or this reader has no such type, number of axes or length.
    """
    dtype = array.dtype.newbyteorder("=")
    if dtype not in CODES:
        raise ValueError(f"array has dtype {array.dtype}: an IDX file holds {', '.join(map(str, CODES))}")
    if not 1 <= array.ndim <= MAX_AXES:
        raise ValueError(f"array has {array.ndim} axes: an IDX file here has 1 to {MAX_AXES}")
    return struct.pack(f">HBB{array.ndim}I", 0, CODES[dtype], array.ndim, *array.shape)


def encode_idx(array: np.ndarray) -> bytes:
    """The content of the IDX file that holds `array`, which has 1 to 4 axes."""
    return idx_header(array) + _big_endian(array).tobytes()


def idx_sha256(array: np.ndarray) -> str:
    """The sha256 in hex of `encode_idx(array)`, without building it."""
    digest = hashlib.sha256(idx_header(array))
    digest.update(_big_endian(array).data)
    return digest.hexdigest()


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, gzipped or not, of 1 to 4 axes.

    Raises:
        DataError: the file is absent, unreadable, damaged, or no IDX file.
    """
    return read_idx_sha256(path)[0]


def read_idx_sha256(path: Path, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, str]:
    """The array in an IDX file, gzipped or not, and the sha256 in hex of its uncompressed content, in one pass.

    Args:
        path: the file.
        shape: the shape that it must have; checked before its values are read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: is a directory or device, not a file")
        with path.open("rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not gzipped:
                return decode_idx(file, str(path), shape)
            with gzip.GzipFile(fileobj=file) as stream:
                return decode_idx(stream, str(path), shape)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is a damaged gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def decode_idx(stream: Readable, name: str, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, str]:
    """Reads one IDX array and its sha256 from a stream that ends with it. Never reads more than its length + 1 byte.

    Raises:
        DataError: the content is not what it claims to be, or not of the given shape; the message starts with `name`.
    """
    head = _read_up_to(stream, 4)
    dtype, axes = _parse_magic(head, name)
    lengths = _read_up_to(stream, 4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(f"{name}: is truncated: it ends within its header")
    found = struct.unpack(f">{axes}I", lengths)
    if shape is not None and (found != shape or dtype != np.uint8):
        raise DataError(f"{name}: holds {dtype.name} of shape {_show(found)} where uint8 of {_show(shape)} is needed")
    size = math.prod(found) * dtype.itemsize
    if math.prod(length or 1 for length in found) * dtype.itemsize > MAX_BYTES:  # numpy refuses 0 x 2**32 x 2**32 too
        raise DataError(f"{name}: claims to hold {_show(found)} values, more than {MAX_BYTES:,} bytes")

    values = np.empty(size, np.uint8)
    view, count = values.data, 0
    while count < size and (chunk := stream.read(min(CHUNK, size - count))):
        view[count : count + len(chunk)] = chunk
        count += len(chunk)
    if count < size:
        raise DataError(f"{name}: is truncated: it ends after {count:,} of {size:,} bytes of values")
    if stream.read(1):  # at a gzip stream's end this also checks its checksum
        raise DataError(f"{name}: has more bytes than the {size:,} that its header announces")
    digest = hashlib.sha256(head + lengths)
    digest.update(values.data)
    return values.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(found), digest.hexdigest()


def _parse_magic(head: bytes, name: str) -> tuple[np.dtype, int]:
    """The type of the values and the number of axes."""
    if not head:
        raise DataError(f"{name}: is empty")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataError(f"{name}: looks like a web page, not an IDX file; was the download answered with a page?")
    if len(head) < 4:
        raise DataError(f"{name}: is truncated: it ends within its header")
    zero, code, axes = struct.unpack(">HBB", head)
    if zero or code not in TYPES or not 1 <= axes <= MAX_AXES:
        raise DataError(f"{name}: is not an IDX file: its magic number is 0x{head.hex()}")
    return np.dtype(TYPES[code]), axes


def _read_up_to(stream: Readable, size: int) -> bytes:
    """`size` bytes, fewer only at the end of the stream."""
    content = b""
    while len(content) < size and (more := stream.read(size - len(content))):
        content += more
    return content


def _big_endian(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder(">"))


def _show(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
