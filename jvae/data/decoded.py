"""Image sets that tensorflow-datasets has prepared, decoded once into the cache and mapped from there.

Decoding takes long, and the images may be more than the memory holds: they are written as they come, and later loads
map the files into memory, which reads only what is used.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvae.data.idx import idx_sha256
from jvae.data.tfds import Split, checked_examples, find_prepared, quietly, read_split
from jvae.errors import DataError

SPLITS = ("train", "test")
ABOUT = "decoded.json"


class Decoded(NamedTuple):
    """Two splits, and the sha256 of the IDX encodings of train images, train labels, test images and test labels."""

    train: Split
    test: Split
    sha256: tuple[str, ...]


class NotWrittenError(DataError):
    """The cache cannot be written."""


def load_decoded(name: str, folders: list[Path], cache: Path, report: Callable[[str], None]) -> Decoded:
    """The image set of this name, from the cache if it was decoded before and has not changed since.

    Args:
        name: as tensorflow-datasets spells it.
        folders: where it may have been prepared.
        cache: the folder for decoded sets.
        report: called with a line that says where it came from.

    Raises:
        DataError: it is not prepared, or its images are not uint8 of one common shape.
    """
    builder = find_prepared(name, folders)
    source = files_of(Path(builder.data_path))
    folder = cache / builder.info.full_name.replace("/", "-")
    decoded = read_decoded(folder, source)
    if decoded is not None:
        report(f"tfds:{name}: read from {folder}")
        return decoded
    with quietly(f"tfds:{name}"):
        try:
            decoded = decode_into(folder, builder, source)
            report(f"tfds:{name}: decoded from {builder.data_path} to {folder}")
        except NotWrittenError as error:
            report(f"tfds:{name}: cache: cannot be written at {folder}: {error}")
            train, test = narrowed(*(read_split(builder, split) for split in SPLITS))
            decoded = Decoded(train, test, hashes(train, test))
    return decoded


def decode_into(folder: Path, builder: Any, source: dict[str, list[int]]) -> Decoded:
    """Make a folder hold both splits, decoded one image at a time, at once or not at all.

    Raises:
        DataError: the images are not uint8 of one common shape.
        NotWrittenError: the folder cannot be written.
    """
    with writing():
        folder.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for split in SPLITS:
            write_split(builder, split, workplace)
        train, test = narrowed(*(mapped(workplace, split) for split in SPLITS))
        sha256 = hashes(train, test)
        with writing():
            (workplace / ABOUT).write_text(json.dumps({"source": source, "sha256": sha256}))
            shutil.rmtree(folder, ignore_errors=True)
            workplace.rename(folder)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return Decoded(train, test, sha256)  # the files are mapped, whatever their folder is called


def write_split(builder: Any, split: str, folder: Path) -> None:
    """Decode a split into two .npy files."""
    labels: list[int] = []
    with writing():
        file = (folder / f"{split}-images.npy").open("wb")
    with file:
        for image, label in checked_examples(builder, split):
            with writing():
                if not labels:
                    shape = (builder.info.splits[split].num_examples, *image.shape)
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(image.tobytes())
            labels.append(label)
        with writing():
            file.flush()
            os.fsync(file.fileno())
            np.save(folder / f"{split}-labels.npy", np.array(labels, np.int64))


def read_decoded(folder: Path, source: dict[str, list[int]]) -> Decoded | None:
    """What the folder holds, if it was decoded from these very files."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        if about["source"] != source:
            return None
        return Decoded(*narrowed(*(mapped(folder, split) for split in SPLITS)), tuple(about["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mapped(folder: Path, split: str) -> Split:
    """A decoded split: its images mapped, its labels in memory."""
    return Split(
        np.load(folder / f"{split}-images.npy", mmap_mode="r", allow_pickle=False),
        np.load(folder / f"{split}-labels.npy", allow_pickle=False),
    )


def narrowed(train: Split, test: Split) -> tuple[Split, Split]:
    """The splits with their labels in the smaller type that holds them all.

    Raises:
        DataError: their images differ in shape.
    """
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(f"images of train and test differ in shape: {train.images.shape[1:]}, {test.images.shape[1:]}")
    labels = np.concatenate([train.labels, test.labels])
    dtype = np.uint8 if labels.min() >= 0 and labels.max() <= 255 else np.int32
    return train._replace(labels=train.labels.astype(dtype)), test._replace(labels=test.labels.astype(dtype))


def hashes(train: Split, test: Split) -> tuple[str, ...]:
    """Of the IDX encodings; greyscale images are hashed as IDX files keep them, without their last axis."""
    arrays = (train.images, train.labels, test.images, test.labels)
    return tuple(idx_sha256(a[..., 0] if a.ndim == 4 and a.shape[-1] == 1 else a) for a in arrays)


def files_of(folder: Path) -> dict[str, list[int]]:
    """Size and time of change of every file in a folder: what tells that a prepared set is another one."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Tells what cannot be written from what cannot be read."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(error.strerror or str(error)) from error
