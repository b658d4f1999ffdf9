"""tensorflow-datasets without TensorFlow: its downloads of the known sets, and the image sets it has prepared.

Decoding a prepared set takes long, and its images may not fit in memory: they are written to the cache one by one, and
later loads map the files.
"""

import contextlib
import io
import os
import re
import struct
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from jvae.data.decoded import load_decoded, source_of
from jvae.data.idx import IdxArrays, NotThereError, read_files
from jvae.data.known import FILES, KnownSet
from jvae.errors import DataError
from jvae.files import fitting_name

PROBE_SECONDS = 3.0
BATCH = 1_000  # examples read at a time; one by one is slower
SPLITS = ("train", "test")
ARRAYS = tuple(f"{split}-{kind}" for split in SPLITS for kind in ("images", "labels"))
MAX_RECORD = 2**30


def tfds_dir() -> Path:
    """Return the folder of tensorflow-datasets: $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or os.path.expanduser("~/tensorflow_datasets"))


def prepared_sets(folder: Path) -> list[str]:
    """Return the sorted names, NAME or NAME/CONFIG, of the sets that tensorflow-datasets has prepared in a folder."""
    found = [path for depth in ("*/*", "*/*/*") for path in folder.glob(f"{depth}/dataset_info.json")]
    return sorted({f"tfds:{path.parent.parent.relative_to(folder).as_posix()}" for path in found})


def fetch_tfds(known: KnownSet) -> IdxArrays:
    """Download the set's four files with tensorflow-datasets' download manager, which knows the sha256 of each .gz.

    Raises:
        DataError: there is no connection, or a file has another sha256.
    """
    urls = [f"{known.url}{name}.gz" for name in FILES]
    with quietly("tensorflow-datasets"), tempfile.TemporaryDirectory(prefix="jvae-", ignore_cleanup_errors=True) as to:
        if reason := _unreachable(urls[0]):
            raise NotThereError(reason)
        from tensorflow_datasets.core.download import download_manager

        try:
            paths = download_manager.DownloadManager(download_dir=to).download(urls)
        except download_manager.NonMatchingChecksumError as error:  # its first lines name the file and both checksums
            raise DataError(" ".join(str(error).splitlines()[:3])) from error
        return read_files(known, [Path(path) for path in paths], urls)


def load_prepared(name: str, folders: list[Path], cache: Path, log: Callable[[str], None]) -> IdxArrays:
    """Load an image set that tensorflow-datasets has prepared, from the cache if it is unchanged since its decoding.

    Labels are uint8, or int32 if one does not fit; all are 0 if the set has none.

    Args:
        name: the set's name in tensorflow-datasets: `name`, `name/config` or `name:version`.
        folders: the folders to look for it in, in this order.
        cache: the folder for decoded sets.
        log: called with a line that says where the set came from.

    Raises:
        DataError: it is not prepared, or its images are not uint8 of one common shape.
    """
    said: list[str] = []  # swallows the messages of the decoding
    with quietly(f"tfds:{name}"):
        builder = _find_prepared(name, folders)
        origin = Path(builder.data_path)
        source = source_of(origin, filter(Path.is_file, origin.rglob("*")))
        entry = cache / fitting_name(builder.info.full_name.replace("/", "-"))
        found = load_decoded(entry, source, partial(_decode, builder), said.append)
    for line in said:
        log(f"tfds:{name}: {line}")
    each = [found[name] for name in ARRAYS]
    return IdxArrays(tuple(decoded.array for decoded in each), tuple(decoded.sha256 for decoded in each))


def _find_prepared(name: str, folders: list[Path]) -> Any:
    """Return the builder of a set that one of the folders holds, with a train and a test split."""
    from tensorflow_datasets.core import read_only_builder, registered

    for folder in folders:
        with contextlib.suppress(registered.DatasetNotFoundError):
            builder = read_only_builder.builder_from_files(name, data_dir=str(folder))
            for split in SPLITS:
                if split not in builder.info.splits:
                    raise DataError(f"tfds:{name} has no {split} split, only {', '.join(builder.info.splits)}")
            return builder
    places = " or ".join(map(str, folders))
    raise NotThereError(f"tfds:{name} is not prepared in {places}{_what_next(name, folders)}")


def _what_next(name: str, folders: list[Path]) -> str:
    """Return how to prepare a set, or a similar name if there is no such set, as the end of a sentence."""
    from tensorflow_datasets.core import registered

    base, known = re.split("[:/]", name)[0], registered.list_imported_builders()
    if base in known:
        rule = "" if name == base else ", if there is such a version or configuration"
        return f"; `tfds build {name} --data_dir {folders[0]}` prepares it, where TensorFlow is installed{rule}"
    there = [found.removeprefix("tfds:") for folder in folders for found in prepared_sets(folder)]
    near = get_close_matches(name.lower(), [*there, *known], 1)
    meant = f"did you mean tfds:{near[0]}?" if near else "`jvae datasets` lists what is prepared"
    return f", and tensorflow-datasets has no such set; {meant}"


def _decode(builder: Any, folder: Path) -> None:
    """Decode both splits into files of a folder, one image at a time.

    Raises:
        DataError: the set cannot be read, or its images are not uint8 of one common shape.
        OSError: the folder cannot be written.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    labels: dict[str, list[int]] = {}
    for split in SPLITS:
        n, labels[split] = builder.info.splits[split].num_examples, []
        with (folder / f"{split}-images.npy").open("wb") as file:
            for image, label in _checked_examples(builder, split):
                if not labels[split]:
                    shapes[split] = image.shape
                    shape = (n, *(image.shape[:2] if image.shape[2] == 1 else image.shape))  # greyscale as in IDX
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(image.tobytes())
                labels[split].append(label)
    if shapes["train"] != shapes["test"]:
        raise DataError(f"images of train and test differ in shape: {shapes['train']}, {shapes['test']}")
    every = labels["train"] + labels["test"]
    dtype = np.uint8 if min(every) >= 0 and max(every) <= 255 else np.int32
    for split in SPLITS:
        np.save(folder / f"{split}-labels.npy", np.array(labels[split], dtype))


def _checked_examples(builder: Any, split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the images uint8[h, w, c] and labels of a split; all labels are 0 if the set has none.

    Raises:
        DataError: the images are missing or unreadable, or they are not uint8 of one common shape.
    """
    name, features, n = builder.info.full_name, builder.info.features, builder.info.splits[split].num_examples
    if not n:
        raise DataError(f"{name}: {split} is empty")
    if "image" not in features:
        raise DataError(f"{name}: {split} holds no 'image', only {', '.join(features)}")
    label = dict(features.items()).get("label")
    labelled = label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    count, shape = 0, None
    try:
        for example in _examples(builder, split):
            image = np.asarray(example["image"])
            if image.dtype != np.uint8 or image.ndim != 3:
                raise DataError(f"{name}: images must be uint8[h, w, c], but one is {image.dtype}{list(image.shape)}")
            shape = shape or image.shape
            if image.shape != shape:
                raise DataError(f"{name}: images must share one shape, but there are {shape} and {image.shape}")
            count += 1
            yield image, int(example["label"]) if labelled else 0
    except OSError as error:
        raise DataError(f"{name}: {split} cannot be read: {error.strerror or error}") from error
    if count != n:
        raise DataError(f"{name}: {split} holds {count:,} images, not the {n:,} that it announces")


def _examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """Yield the decoded examples of a split in the order of its files."""
    file_format = builder.info.file_format.value
    if file_format == "array_record":
        source = builder.as_data_source(split)
        for start in range(0, len(source), BATCH):
            yield from source.__getitems__(range(start, min(start + BATCH, len(source))))
    elif file_format == "tfrecord":  # TensorFlow's default, which tensorflow-datasets cannot read without TensorFlow
        for path in builder.info.splits[split].filepaths:
            for record in read_tfrecords(Path(path)):
                yield builder.info.features.deserialize_example_np(record)
    else:
        raise DataError(f"{builder.info.full_name}: is stored as {file_format}; jvae reads array_record and tfrecord")


def read_tfrecords(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file: each is its length, the length's checksum, the record, its checksum.

    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details

    Raises:
        DataError: the file is truncated, or a checksum is wrong.
    """
    with path.open("rb") as file:
        while head := file.read(12):
            if len(head) < 12:
                raise DataError(f"{path}: is truncated")
            _check_crc(path, head)
            (length,) = struct.unpack("<Q", head[:8])
            record = file.read(length + 4) if length < MAX_RECORD else b""
            if len(record) < length + 4:
                raise DataError(f"{path}: is truncated")
            _check_crc(path, record)
            yield record[:-4]


def _check_crc(path: Path, data: bytes) -> None:
    """Check the last 4 bytes: the CRC-32C of the bytes before them, masked as TFRecord does."""
    import google_crc32c

    crc, (found,) = google_crc32c.value(data[:-4]), struct.unpack("<I", data[-4:])
    needed = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    if found != needed:
        raise DataError(f"{path}: is damaged: a checksum is {found:08x} where {needed:08x} is needed")


def _unreachable(url: str) -> str:
    """Return why the URL does not answer within seconds, or '': the download manager itself has no timeout."""
    import requests  # as tensorflow-datasets uses it, with the same proxies and certificates

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

    thread = threading.Thread(target=ask, daemon=True)  # a hanging name server ignores the timeout
    thread.start()
    thread.join(PROBE_SECONDS + 1)
    return reasons[-1]


@contextlib.contextmanager
def quietly(name: str) -> Iterator[None]:
    """Hide tensorflow-datasets' progress bars and warnings, and turn its errors into one line.

    Raises:
        DataError: the block raised an error; the message starts with `name`, unless it was a DataError already.
    """
    sink = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:  # from tensorflow-datasets, requests, array_record, the system or a missing package
        line = next(iter(str(error).strip().splitlines()), "it failed")
        what = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise DataError(f"{name}: {what}{line}") from error
