"""tensorflow-datasets without TensorFlow: its downloads for the IDX families, and image sets that it has prepared."""

import contextlib
import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from jvae.data.idx import idx_sha256
from jvae.data.known import FILES, NUM_CLASSES, SIZE, Family, IdxArrays, NotThereError, check_arrays, read_files
from jvae.errors import DataError

PROBE_SECONDS = 3.0
BATCH = 1_000  # examples read at once: one by one takes longer


class Split(NamedTuple):
    """Images uint8[n, h, w, c] and labels int64[n]; all labels are 0 where the set has none."""

    images: np.ndarray
    labels: np.ndarray


def tfds_dir() -> Path:
    """Where tensorflow-datasets keeps its sets: $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or os.path.expanduser("~/tensorflow_datasets"))


def fetch_family(family: Family) -> IdxArrays:
    """The family's arrays through tensorflow-datasets, which downloads and prepares them unless it has before.

    Raises:
        DataError: there is no connection, or the files are not what they must be.
    """
    # tensorflow-datasets raises errors of its own, of requests, of array_record and of the operating system
    with quietly("tensorflow-datasets"):
        builder = _make_builder(family, tfds_dir())
        if not builder.data_path.exists():
            if reason := _unreachable(family.url + FILES[0] + ".gz"):
                raise NotThereError(reason)
            builder.download_and_prepare(file_format="array_record")
        splits = [read_split(builder, split) for split in ("train", "test")]
    arrays = [a for s in splits for a in (s.images[..., 0], s.labels.astype(np.uint8))]
    names = [f"{builder.data_path}: {name}" for name in FILES]
    return check_arrays(family, [(array, idx_sha256(array)) for array in arrays], names)


def find_prepared(name: str, folders: list[Path]) -> Any:
    """The builder of an image set that tensorflow-datasets has prepared in one of the folders.

    Args:
        name: as tensorflow-datasets spells it: `name`, `name/config`, `name:version`.
        folders: where to look, in this order.

    Raises:
        DataError: no folder has it, or it lacks a train or a test split.
    """
    with quietly(f"tfds:{name}"):
        from tensorflow_datasets.core import read_only_builder, registered

        builder = None
        for folder in folders:
            with contextlib.suppress(registered.DatasetNotFoundError):
                builder = builder or read_only_builder.builder_from_files(name, data_dir=str(folder))
        if builder is None:
            raise NotThereError(
                f"tfds:{name} is not prepared in {' or '.join(map(str, folders))}; prepare it with tensorflow-datasets"
            )
        for split in ("train", "test"):
            if split not in builder.info.splits:
                raise DataError(f"tfds:{name} has no {split} split, only {', '.join(builder.info.splits)}")
        return builder


def _make_builder(family: Family, data_dir: Path) -> Any:
    """A builder that, unlike the stock ones, needs no TensorFlow and keeps the order of the IDX files."""
    import tensorflow_datasets as tfds
    from PIL import Image

    def png(image: np.ndarray) -> io.BytesIO:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=1)
        file.seek(0)
        return file

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        name = f"jvae_{family.name}"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            image, label = tfds.features.Image(shape=(SIZE, SIZE, 1)), tfds.features.ClassLabel(num_classes=NUM_CLASSES)
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            paths = dl_manager.download([f"{family.url}{name}.gz" for name in FILES])
            train_images, train_labels, test_images, test_labels = read_files(family, [Path(p) for p in paths]).arrays
            return {
                "train": self._generate_examples(train_images, train_labels),
                "test": self._generate_examples(test_images, test_labels),
            }

        def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield i, {"image": png(image), "label": int(label)}

    return Builder(data_dir=str(data_dir))


def read_split(builder: Any, split: str) -> Split:
    """One split whole, in memory.

    Raises:
        DataError: its images are missing, or they are not uint8 of one common shape.
    """
    images, labels = zip(*checked_examples(builder, split), strict=True)
    return Split(np.stack(images), np.array(labels, np.int64))


def checked_examples(builder: Any, split: str) -> Iterator[tuple[np.ndarray, int]]:
    """The images and labels of a split, one by one; all labels are 0 where the set has none.

    Raises:
        DataError: its images are missing, or they are not uint8 of one common shape.
    """
    name, features, n = builder.info.full_name, builder.info.features, builder.info.splits[split].num_examples
    if not n:
        raise DataError(f"{name}: {split} is empty")
    if "image" not in features:
        raise DataError(f"{name}: {split} holds no 'image', only {', '.join(features)}")
    label = dict(features.items()).get("label")
    labelled = label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    count, shape = 0, None
    for example in _examples(builder, split):
        image = np.asarray(example["image"])
        if image.dtype != np.uint8 or image.ndim != 3:
            raise DataError(f"{name}: images must be uint8[h, w, c], but one is {image.dtype} of shape {image.shape}")
        shape = shape or image.shape
        if image.shape != shape:
            raise DataError(f"{name}: images must share one shape, but there are {shape} and {image.shape}")
        count += 1
        yield image, int(example["label"]) if labelled else 0
    if count != n:
        raise DataError(f"{name}: {split} holds {count:,} images, not the {n:,} that it announces")


def _examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """The decoded examples of a split in the order of its files."""
    file_format = builder.info.file_format.value
    if file_format == "array_record":
        source = builder.as_data_source(split)
        for start in range(0, len(source), BATCH):
            yield from source.__getitems__(range(start, min(start + BATCH, len(source))))
    elif file_format == "tfrecord":  # what TensorFlow's users have; tensorflow-datasets alone cannot read it
        for path in builder.info.splits[split].filepaths:
            for record in _tfrecords(Path(path)):
                yield builder.info.features.deserialize_example_np(record)
    else:
        raise DataError(f"{builder.info.full_name}: is stored as {file_format}; jvae reads array_record and tfrecord")


def _tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: each is its length, 4 bytes of checksum, the record, 4 bytes of checksum."""
    with path.open("rb") as file:
        while head := file.read(12):
            (length,) = struct.unpack("<Q", head[:8]) if len(head) == 12 else (0,)
            record = file.read(length + 4) if length < 2**30 else b""
            if len(head) < 12 or len(record) < length + 4:
                raise DataError(f"{path}: is truncated")
            yield record[:-4]


def _unreachable(url: str) -> str:
    """Why the URL does not answer within seconds, '' if it does: tensorflow-datasets itself would wait for ever."""
    import requests  # as tensorflow-datasets does: the same proxies and certificates

    host = urlsplit(url).netloc
    reasons = [f"no answer from {host} within {PROBE_SECONDS:g} s"]

    def ask() -> None:
        try:
            status = requests.head(url, timeout=PROBE_SECONDS, allow_redirects=True).status_code
            reasons.append("" if status < 400 else f"{url} answers with HTTP status {status}")
        except requests.exceptions.Timeout:
            pass
        except Exception as error:
            reasons.append(f"no connection to {host} ({type(error).__name__})")

    thread = threading.Thread(target=ask, daemon=True)  # a name server that hangs obeys no timeout
    thread.start()
    thread.join(PROBE_SECONDS + 1)
    return reasons[-1]


@contextlib.contextmanager
def quietly(name: str) -> Iterator[None]:
    """Keeps tensorflow-datasets' bars and warnings off the terminal and makes of its errors one line."""
    sink = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"{name}: {_first_line(error)}") from error
    except Exception as error:
        raise DataError(f"{name}: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "it failed")
