"""Folders of pictures, as for torchvision's ImageFolder: `train/CLASS/*.png`, `CLASS/*.png`, or plain pictures.

Decoding takes long, so the decoded pictures are kept in the cache, and read from there as long as no file's size or
modification time has changed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from jvae.data.decoded import load_decoded, source_of
from jvae.errors import DataError, first_line

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("train", "test")
GREY = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
TRANSPARENT = ("LA", "RGBA", "PA")
Pictures = tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]


def load_folder(folder: Path, size: tuple[int, int] | None, cache: Path, log: Callable[[str], None]) -> list[Pictures]:
    """Load the pictures of a folder and their labels: of `train` and of `test`, or of all if there is no such split.

    A class is a folder. Labels number the sorted class names, and are 0 for pictures outside a class. If one picture is
    in colour, all are loaded in colour.

    Args:
        folder: the folder.
        size: the height and width that every picture is resized to; None if all have the same size.
        cache: the folder for decoded sets.
        log: called with a line that says where the pictures came from.

    Raises:
        DataError: there are no pictures, one cannot be read, or they differ in size; the message names the file.
    """
    if not folder.is_dir():
        raise DataError(f"folder:{folder}: is not a directory: name the one with the pictures")
    roots = [folder / split for split in SPLITS]
    if not all(root.is_dir() for root in roots):
        roots = [folder]
    try:
        found = [find_pictures(root) for root in roots]
        source = source_of(folder, (path for files in found for path, _ in files))
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from None
    for root, files in zip(roots, found, strict=True):
        if not files:
            raise DataError(f"{root}: holds no pictures")
    paths = [[path for path, _ in files] for files in found]
    classes = sorted({name for files in found for _, name in files})
    labels = [np.array([classes.index(name) for _, name in files]) for files in found]
    key = hashlib.sha256(json.dumps([str(folder.resolve()), size]).encode()).hexdigest()[:32]

    images = load_decoded(cache / f"folder-{key}", source, partial(decode_pictures, paths, size), log)
    return [(images[str(i)].array, part) for i, part in enumerate(labels)]


def find_pictures(root: Path) -> list[tuple[Path, str]]:
    """Return the sorted pictures of a folder, and of all below it, with their classes: the subfolder's name, or ""."""
    endings, found = picture_endings(), []
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        for path in sorted(root.iterdir() if folder == root else folder.rglob("*")):
            if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file():
                found.append((path, "" if folder == root else folder.name))
    return found


def picture_endings() -> set[str]:
    """Return the lower-case suffixes of the files that are read as pictures."""
    from PIL import Image

    return {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def decode_pictures(paths: Sequence[Sequence[Path]], size: tuple[int, int] | None, place: Path) -> None:
    """Decode pictures of one size, or resized to it, into `0.npy`, ... in a folder; in colour if one of them is.

    They are written one by one, so that they need not fit in memory.

    Raises:
        DataError: a picture cannot be read, or differs in size.
        OSError: the files cannot be written.
    """
    every = [path for each in paths for path in each]
    shapes = [shape_of(path, size) for path in every]
    first = shapes[0][:2]
    for path, shape in zip(every, shapes, strict=True):
        if shape[:2] != first:
            ours, theirs = ("x".join(map(str, sides)) for sides in (shape[:2], first))
            raise DataError(f"{path}: is {ours}, and {every[0].name} is {theirs}: give one size, --resize HxW")
    channels = max(shape[2] for shape in shapes)
    for i, each in enumerate(paths):
        whole = (len(each), *first, channels)
        rows = np.lib.format.open_memmap(place / f"{i}.npy", "w+", np.dtype(np.uint8), whole)
        for row, path in zip(np.asarray(rows), each, strict=True):  # threads are slower: Python bounds small pictures
            row[...] = decode_picture(path, size)  # a grey picture is copied to all channels


@contextmanager
def opened(path: Path) -> Iterator["Image.Image"]:
    """Open a picture, whose header is read; any error becomes one line that names it.

    Raises:
        DataError: it cannot be read, or its pixels have more than 8 bits.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode not in (*GREY, *COLOUR):
                raise DataError(f"{path}: has pixels of the kind {picture.mode}: must be 8 bits, grey or colour")
            if picture.width * picture.height > 2**26:
                raise DataError(f"{path}: claims {picture.width} x {picture.height} pixels: too large")
            yield picture
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, RuntimeError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a picture: {first_line(error)}") from None


def shape_of(path: Path, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return height, width and channels of a picture once it is decoded; errors as `opened`."""
    with opened(path) as picture:
        height, width = size or (picture.height, picture.width)
        return height, width, 1 if picture.mode in GREY else 3


def on_white(picture: "Image.Image") -> "Image.Image":
    """Return a picture with what is transparent in it laid over white: dropped, it would be black, or anything."""
    from PIL import Image

    if picture.mode not in TRANSPARENT and "transparency" not in picture.info:
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA"))


def decode_picture(path: Path, size: tuple[int, int] | None) -> UInt8[np.ndarray, "h w c"]:
    """Decode one picture, with one channel if it is grey, else with red, green and blue; errors as `opened`."""
    from PIL import Image

    with opened(path) as picture:
        picture.verify()  # checks a PNG's checksums, which decoding ignores
    with opened(path) as picture:
        plain = on_white(picture).convert("L" if picture.mode in GREY else "RGB")
        if size is not None:
            plain = plain.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(plain)
    return pixels[..., None] if pixels.ndim == 2 else pixels
