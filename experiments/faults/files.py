"""Faults of files: damaged, mismatched, hostile and half-written model files, and bad data files."""

import contextlib
import errno
import gzip
import io
import json
import os
import pickle
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

Arrays = dict[str, np.ndarray]


def small_model(folder: Path) -> Path:
    """A model file of some ten thousand bytes."""
    from jvae.data.datasets import load_dataset
    from jvae.runs import api as run
    from jvae.runs.checkpoint import save_model
    from jvae.runs.config import Config

    data = load_dataset("digits")
    config = Config(dataset="digits", latent_dim=2, hidden_dim=4, epochs=1, batch_size=512)
    path = folder / "original.npz"
    save_model(path, next(run.train(config, data)))
    return path


def refusal(path: Path, about: str = "") -> str:
    """'' if a model file is refused in one line that names it and says what it should; else what happened instead."""
    from jvae.errors import ModelFileError
    from jvae.runs.checkpoint import load_model

    try:
        load_model(path)
    except ModelFileError as error:
        text = str(error)
        fine = "\n" not in text and text.startswith(str(path)) and about in text and len(text) < 600
        return "" if fine else f"says {text[:300]!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return "was loaded"


def flipped_bits(folder: Path, share: float) -> Iterator[str]:
    """One bit each, at random places of the whole file, its digest included."""
    path = small_model(folder)
    data, places = bytearray(path.read_bytes()), random.Random(0)
    for _ in range(round(2000 * share)):
        place = places.randrange(8 * len(data))
        data[place // 8] ^= 1 << (place % 8)
        path.write_bytes(data)
        data[place // 8] ^= 1 << (place % 8)
        text = refusal(path)
        yield text and f"bit {place}: {text}"


def damaged_files(folder: Path, share: float) -> Iterator[str]:
    """Cut short, with a page of zeros, doubled, or of random bytes."""
    path = small_model(folder)
    data, numbers = path.read_bytes(), random.Random(1)
    count = round(75 * share)
    cuts = [b"", data[:1], data[:4], data[:-1], data[:-64], data[1:], data + data, data + b"\0"]
    cuts += [data[: numbers.randrange(len(data))] for _ in range(count)]
    starts = [numbers.randrange(len(data) - 512) for _ in range(count)]
    zeroed = [data[:start] + bytes(512) + data[start + 512 :] for start in starts]
    garbage = [numbers.randbytes(numbers.randrange(1, 20_000)) for _ in range(count)]
    disguised = [b"PK\x03\x04" + numbers.randbytes(numbers.randrange(1, 20_000)) for _ in range(count)]
    for i, content in enumerate([*cuts, *zeroed, *garbage, *disguised]):
        path.write_bytes(content)
        text = refusal(path)
        yield text and f"file {i} of {len(content)} bytes: {text}"
    path.unlink()
    path.mkdir()
    yield refusal(path, "directory")
    path.rmdir()
    yield refusal(path, "No such file")


def mismatched_files(folder: Path, share: float) -> Iterator[str]:
    """Files with a good digest whose content is another model's, a later version's, or an attack."""
    from jvae.runs.checkpoint import pack

    path = small_model(folder)
    arrays, about = content_of(path)
    bias, trap = "params/encoder/net/linear_0/bias", Trap(folder)
    for name, say, content in (
        ("an array is missing", f"{bias} is missing", pack(without(arrays, bias), about)),
        ("an array too many", "params/extra is not expected", pack({**arrays, "params/extra": arrays[bias]}, about)),
        ("a shape", "float32[3], not float32[4]", pack({**arrays, bias: arrays[bias][:3]}, about)),
        ("a dtype", "float64[4], not float32[4]", pack({**arrays, bias: arrays[bias].astype(np.float64)}, about)),
        ("another configuration", "does not fit its configuration", pack(arrays, changed(about, latent_dim=3))),
        ("an unknown field", "unknown configuration field colour", pack(arrays, changed(about, colour="red"))),
        ("a bad field", "latent_dim is 0", pack(arrays, changed(about, latent_dim=0))),
        ("a field of another type", "latent_dim is '2'", pack(arrays, changed(about, latent_dim="2"))),
        ("an enormous number", "learning_rate is a number of 400", pack(arrays, changed(about, learning_rate=10**399))),
        ("an enormous model", "does not fit", pack(arrays, changed(about, hidden_dim=65_536, runs=9999))),
        ("a later version", "format version 99", pack(arrays, {**about, "format_version": 99})),
        ("another format", "is not a jvae model file", pack(arrays, {**about, "format": "other"})),
        ("no fingerprint", "no field 'fingerprint'", pack(arrays, without(about, "fingerprint"))),
        ("a bad history", "history must be records", pack(arrays, {**about, "history": ["x"]})),
        ("a bad shape", "image_shape is", pack(arrays, {**about, "image_shape": [10**9, 8, 1]})),
        ("a bad rest of training", "unfinished must say", pack(arrays, {**about, "unfinished": {"done": -1}})),
        ("deep JSON", "is not JSON", zipped({"model.json": b"[" * 100_000})),
        ("no description", "holds no model.json", zipped({"a.npy": b""})),
        ("a compressed bomb", "a member is compressed", zipped({"model.json": bytes(10**8)}, zipfile.ZIP_DEFLATED)),
        ("a name that climbs", "is not expected", with_member(path, "../../climbed.npy", npy(arrays[bias]))),
        ("an absolute name", "is not expected", with_member(path, "/tmp/climbed.npy", npy(arrays[bias]))),
        ("a name twice", "two members have one name", with_member(path, f"{bias}.npy", npy(arrays[bias]))),
        ("pickled objects", "float32[4]", replaced(path, bias, npy(np.array([trap] * 4), pickled=True))),
        ("an absurd shape", "float32[4]", replaced(path, bias, npy_header("(9999999999999,)"))),
        ("a header that is code", "is not an array", replaced(path, bias, npy_header("__import__('os').getcwd()"))),
        ("an array cut short", "is not an array", replaced(path, bias, npy(arrays[bias])[:-4])),
        ("bytes after an array", "more bytes", replaced(path, bias, npy(arrays[bias]) + b"0000")),
        ("an array that is text", "is not an array", replaced(path, bias, b"hello")),
        ("a pickle", "is not a jvae model file", pickle.dumps(trap)),
        ("a model of PyTorch", "damaged or not", zipped({"model/data.pkl": pickle.dumps(trap)}, digest=False)),
    ):  # fmt: skip
        target = folder / "hostile.npz"
        target.write_bytes(content)
        text = refusal(target, say)
        yield text and f"{name}: {text}"
    yield "something was run" if (folder / "trapped").exists() else ""
    yield other_data(path)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "trapped")

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (self.path,)


def other_data(path: Path) -> str:
    """A sound model, and data that it was not trained on."""
    from jvae.data.datasets import load_dataset
    from jvae.errors import DataError
    from jvae.runs.api import evaluate_model
    from jvae.runs.checkpoint import load_model

    digits = load_dataset("digits")
    try:
        evaluate_model(load_model(path), digits._replace(fingerprint="0" * 64))
    except DataError as error:
        return "" if "is not the data set that the model was trained on" in str(error) else str(error)
    return "other data were evaluated"


def content_of(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the description in a model file."""
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("model.json"))
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files if name != "model.json"}, about


def without(items: dict[str, Any], name: str) -> dict[str, Any]:
    """The items but one."""
    return {key: value for key, value in items.items() if key != name}


def changed(about: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A description with other fields of its configuration."""
    return {**about, "config": {**about["config"], **fields}}


def zipped(
    members: dict[str, bytes] | list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED, digest: bool = True
) -> bytes:
    """An archive with the digest that its bytes call for."""
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.comment = b"0" * 64
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(zipfile.ZipInfo(name) if how == zipfile.ZIP_STORED else name, content)
    body = buffer.getvalue()[:-64]
    return body + (hashlib.sha256(body).hexdigest().encode() if digest else b"0" * 64)


def members_of(path: Path) -> list[tuple[str, bytes]]:
    """The names and contents in an archive."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def with_member(path: Path, name: str, content: bytes) -> bytes:
    """The archive with one member more."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of a name that is there twice
        return zipped([*members_of(path), (name, content)])


def replaced(path: Path, name: str, content: bytes) -> bytes:
    """The archive with another content of an array."""
    return zipped([(n, content if n == f"{name}.npy" else c) for n, c in members_of(path)])


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    """An array as a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def npy_header(shape: str) -> bytes:
    """The start of a .npy file that claims a shape."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def failing_writes(folder: Path, share: float) -> Iterator[str]:
    """Every call that a save makes of the system fails, with every error of a disk; then a real limit is met."""
    from jvae.errors import ModelFileError
    from jvae.runs.checkpoint import load_model, save_model

    path = small_model(folder)
    model, before = load_model(path), path.read_bytes()
    for call in ("tempfile.mkstemp", "os.fdopen", "write", "os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"):
        for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES):
            failure = OSError(number, os.strerror(number))
            with failing_file(failure) if call == "write" else mock.patch(call, side_effect=failure):
                try:
                    save_model(path, model)
                    text = "nothing was raised"
                except ModelFileError as error:
                    text = "" if str(error) == f"{path}: cannot be written: {os.strerror(number)}" else str(error)
            left = sorted(other.name for other in folder.iterdir())
            text = text or ("the old file is changed" if path.read_bytes() != before else "")
            yield text or (f"left: {left}" if left != [path.name] else "")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    script = f"{limit}; from jvae.cli.main import main; main()"
    command = [
        "train",
        "--dataset",
        "digits",
        "--epochs",
        "1",
        "--hidden-dim",
        "8",
        "--overwrite",
        "--model",
        str(path),
    ]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True)
    last = (done.stderr.splitlines() or [""])[-1]
    yield "" if done.returncode == 1 and "cannot be written: File too large" in last else f"a file-size limit: {last}"
    yield "" if path.read_bytes() == before and len(list(folder.iterdir())) == 1 else "a file-size limit left something"


@contextlib.contextmanager
def failing_file(failure: OSError) -> Iterator[None]:
    """Files that take a part of what is written, and then fail."""
    opened = os.fdopen

    def half(*arguments: Any, **options: Any) -> Any:
        file = opened(*arguments, **options)
        broken = mock.MagicMock(wraps=file)
        broken.__enter__.return_value = broken
        broken.__exit__.side_effect = lambda *_: file.close()

        def write(data: bytes) -> None:
            file.write(data[: len(data) // 2])
            raise failure

        broken.write.side_effect = write
        return broken

    with mock.patch("os.fdopen", side_effect=half):
        yield


WRITER = """
import sys
from pathlib import Path
from jvae.runs.checkpoint import load_model, save_model
model = load_model(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    save_model(Path(sys.argv[2]), model)
"""


def racing_writers(folder: Path, share: float) -> Iterator[str]:
    """Two processes that write one file, many times, and a reader between."""
    from jvae.runs.checkpoint import load_model, save_model

    one = small_model(folder)
    model = load_model(one)
    other, path = folder / "other.npz", folder / "model.npz"
    save_model(other, model._replace(fingerprint="other"))
    contents = {one.read_bytes(), other.read_bytes()}
    times = str(round(300 * share))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(source), str(path), times], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for source in (one, other)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            yield "" if path.read_bytes() in contents else "the file was neither of the two"
            time.sleep(0.01)
    for writer in writers:
        writer.communicate()
    left = sorted(other.name for other in folder.iterdir())
    yield "" if left == ["model.npz", "original.npz", "other.npz"] else f"left: {left}"


def bad_data_files(folder: Path, share: float) -> Iterator[str]:
    """Every way in which one of the four IDX files can be wrong."""
    from jvae.data.idx import encode_idx
    from jvae.data.known import FILES, Family, find_files, read_files
    from jvae.errors import DataError

    family, numbers = Family("made", "", "Made", num_train=20, num_test=10), np.random.default_rng(0)
    sound = {
        name: encode_idx(numbers.integers(0, 10, shape, dtype=np.uint8))
        for name, shape in zip(FILES, family.shapes, strict=True)
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
            read_files(family, find_files(family, place))
            text = "was read"
        except DataError as error:
            text = "" if file in str(error) and "\n" not in str(error) else f"says {str(error)!r}"
        except Exception as error:
            text = f"raises {type(error).__name__}: {error}"
        yield text and f"{name}: {text}"
