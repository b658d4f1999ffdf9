"""Faults of data files: every way in which an IDX file can be wrong."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def bad_data_files(folder: Path, share: float) -> Iterator[str]:
    """Read sets of four IDX files, one of which is wrong in each possible way."""
    from jvae.data.idx import encode_idx, find_files, read_files
    from jvae.data.known import FILES, KnownSet
    from jvae.errors import DataError

    known, numbers = KnownSet("made", "", "Made", num_train=20, num_test=10), np.random.default_rng(0)
    sound = {
        name: encode_idx(numbers.integers(0, 10, shape, dtype=np.uint8))
        for name, shape in zip(FILES, known.shapes, strict=True)
    }
    images, labels = FILES[0], FILES[1]
    pixels = sound[images]
    for name, file, content in (
        ("empty", images, b""),
        ("cut in its header", images, pixels[:6]),
        ("cut in its values", images, pixels[:-1]),
        ("longer than it says", images, pixels + b"0"),
        ("random bytes", images, numbers.bytes(5000)),
        ("a web page", images, b"<!DOCTYPE html><html>404</html>"),
        ("text", labels, b"5 0 4 1 9"),
        ("another magic number", images, b"\x00\x00\x07\x03" + pixels[4:]),
        ("another number of axes", images, b"\x00\x00\x08\x02" + pixels[4:]),
        ("floats", images, encode_idx(np.zeros((20, 28, 28), np.float32))),
        ("fewer images", images, encode_idx(np.zeros((19, 28, 28), np.uint8))),
        ("other sides", images, encode_idx(np.zeros((20, 32, 32), np.uint8))),
        ("a claim of 10^12 values", images, pixels[:4] + b"\x00\x0f\x42\x40" * 3),
        ("a label of 10", labels, encode_idx(np.full(20, 10, np.uint8))),
        ("labels for images", images, sound[labels]),
        ("images for labels", labels, pixels),
        ("a gzip cut short", images, gzip.compress(pixels)[:-20]),
        ("a gzip with a flipped bit", images, bytes([*gzip.compress(pixels)[:200], 7, *gzip.compress(pixels)[201:]])),
        ("a gzip that expands for ever", images, gzip.compress(pixels + bytes(10**8))),
        ("a directory", labels, None),
        ("absent", images, None),
    ):
        place = folder / name.replace(" ", "-")
        place.mkdir()
        for other, whole in sound.items():
            (place / other).write_bytes(whole)
        if name == "absent":
            (place / file).unlink()
        elif content is None:
            (place / file).unlink()
            (place / file).mkdir()
        else:
            (place / file).write_bytes(content)
        try:
            read_files(known, find_files(known, place))
            text = "was read"
        except DataError as error:
            text = "" if file in str(error) and "\n" not in str(error) else f"says {str(error)!r}"
        except Exception as error:
            text = f"raises {type(error).__name__}: {error}"
        yield text and f"{name}: {text}"
