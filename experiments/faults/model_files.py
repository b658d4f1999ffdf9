"""Faults of model files: damaged, mismatched and hostile ones."""

import hashlib
import io
import json
import os
import pickle
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jvae.runs.checkpoint import TrainedModel

Arrays = dict[str, np.ndarray]


@cache
def trained_small_model() -> "TrainedModel":
    """Train a model whose file has some ten thousand bytes."""
    from jvae.data.datasets import load_dataset
    from jvae.runs import api
    from jvae.runs.config import Config

    config = Config(dataset="digits", latent_dim=2, hidden=(4, 4), epochs=1, batch_size=512)
    return next(api.train_config_epochs(config, load_dataset("digits")))


def small_model(folder: Path) -> Path:
    """Write the small model's file."""
    from jvae.runs.checkpoint import save

    path = folder / "original.npz"
    save(path, trained_small_model())
    return path


def refusal(path: Path, about: str = "") -> str:
    """Return '' if a model file is refused in one line that names it and contains `about`; else what happened."""
    from jvae.errors import ModelFileError
    from jvae.runs.checkpoint import load

    try:
        load(path)
    except ModelFileError as error:
        text = str(error)
        fine = "\n" not in text and text.startswith(str(path)) and about in text and len(text) < 600
        return "" if fine else f"says {text[:300]!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return "was loaded"


def flipped_bits(folder: Path, share: float) -> Iterator[str]:
    """Flip one bit at a time, at random places of the whole file, digest included."""
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
    """Cut a file short, fill a page with zeros, double it, or replace it by random bytes."""
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
    """Write files with a valid digest and the content of another model, a later version, or an attack."""
    from jvae.runs.archive import pack

    path = small_model(folder)
    arrays, about = content_of(path)
    bias, trap = "runs/params/encoder/net/linear_0/bias", Trap(folder)
    for name, say, content in (
        ("an array is missing", f"{bias} is missing", pack(without(arrays, bias), about)),
        ("an array too many", "params/extra is not expected", pack({**arrays, "params/extra": arrays[bias]}, about)),
        ("a shape", "float32[1, 3], not float32[1, 4]", pack({**arrays, bias: arrays[bias][:, :3]}, about)),
        ("a dtype", "float64[1, 4], not float32[1, 4]", pack({**arrays, bias: arrays[bias].astype(np.float64)}, about)),
        ("another configuration", "does not fit its recipe", pack(arrays, changed(about, latent_dim=3))),
        ("an unknown field", "unknown configuration field colour", pack(arrays, changed(about, colour="red"))),
        ("a bad field", "latent_dim is 0", pack(arrays, changed(about, latent_dim=0))),
        ("a field of another type", "latent_dim is '2'", pack(arrays, changed(about, latent_dim="2"))),
        ("an enormous number", "learning_rate is a number of 400", pack(arrays, changed(about, learning_rate=10**399))),
        ("an enormous model", "does not fit", pack(arrays, changed(about, hidden=(65_536, 65_536), runs=9999))),
        ("a later version", "format version 99", pack(arrays, {**about, "format_version": 99})),
        ("another format", "is not a jvae model file", pack(arrays, {**about, "format": "other"})),
        ("no fingerprint", "no field 'fingerprint'", pack(arrays, without(about, "fingerprint"))),
        ("a bad history", "history must be records", pack(arrays, {**about, "history": ["x"]})),
        ("a bad shape", "data_shape is", pack(arrays, {**about, "data_shape": [10**9, 8, 1]})),
        ("a bad counter", "its counters make no sense", pack({**arrays, "done": np.array(-1)}, about)),
        ("deep JSON", "is not JSON", zipped({"model.json": b"[" * 100_000})),
        ("no description", "holds no model.json", zipped({"a.npy": b""})),
        ("a compressed bomb", "a member is compressed", zipped({"model.json": bytes(10**8)}, zipfile.ZIP_DEFLATED)),
        ("a name that climbs", "is not expected", with_member(path, "../../climbed.npy", npy(arrays[bias]))),
        ("an absolute name", "is not expected", with_member(path, "/tmp/climbed.npy", npy(arrays[bias]))),
        ("a name twice", "two members have one name", with_member(path, f"{bias}.npy", npy(arrays[bias]))),
        ("pickled objects", "float32[1, 4]", replaced(path, bias, npy(np.array([trap] * 4), pickled=True))),
        ("an absurd shape", "float32[1, 4]", replaced(path, bias, npy_header("(9999999999999,)"))),
        ("a header that is code", "is not an array", replaced(path, bias, npy_header("__import__('os').getcwd()"))),
        ("an array cut short", "is not an array", replaced(path, bias, npy(arrays[bias])[:-4])),
        ("bytes after an array", "more bytes", replaced(path, bias, npy(arrays[bias]) + b"0000")),
        ("an array that is text", "is not an array", replaced(path, bias, b"hello")),
        ("a pickle", "is not a jvae model file", pickle.dumps(trap)),
        ("a model of PyTorch", "is a PyTorch file", zipped({"model/data.pkl": pickle.dumps(trap)}, digest=False)),
    ):  # fmt: skip
        target = folder / "hostile.npz"
        target.write_bytes(content)
        text = refusal(target, say)
        yield text and f"{name}: {text}"
    yield "something was run" if (folder / "trapped").exists() else ""
    yield other_data(path)


class Trap:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "trapped")

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (self.path,)


def other_data(path: Path) -> str:
    """Evaluate a sound model on data that it was not trained on."""
    from jvae.data.datasets import load_dataset
    from jvae.errors import DataError
    from jvae.runs.api import evaluate
    from jvae.runs.checkpoint import load

    digits = load_dataset("digits")
    try:
        evaluate(load(path), digits._replace(fingerprint="0" * 64))
    except DataError as error:
        return "" if "is not the data set that the model was trained on" in str(error) else str(error)
    return "other data were evaluated"


def content_of(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the description in a model file."""
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("model.json"))
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files if name != "model.json"}, about


def without(items: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the items without one."""
    return {key: value for key, value in items.items() if key != name}


def changed(about: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a description with some fields of its configuration replaced."""
    return {**about, "config": {**about["config"], **fields}}


def zipped(
    members: dict[str, bytes] | list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED, digest: bool = True
) -> bytes:
    """Return an archive of the members that ends in its digest, or in zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.comment = b"0" * 64
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(zipfile.ZipInfo(name) if how == zipfile.ZIP_STORED else name, content)
    body = buffer.getvalue()[:-64]
    return body + (hashlib.sha256(body).hexdigest().encode() if digest else b"0" * 64)


def members_of(path: Path) -> list[tuple[str, bytes]]:
    """Return the names and contents in an archive."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def with_member(path: Path, name: str, content: bytes) -> bytes:
    """Return the archive with one more member."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a duplicate name
        return zipped([*members_of(path), (name, content)])


def replaced(path: Path, name: str, content: bytes) -> bytes:
    """Return the archive with an array's content replaced."""
    return zipped([(n, content if n == f"{name}.npy" else c) for n, c in members_of(path)])


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    """Return an array as a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def npy_header(shape: str) -> bytes:
    """Return the start of a .npy file that claims a shape."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
