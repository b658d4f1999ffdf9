"""tensorflow-datasets: downloads from a local server, and prepared sets."""

import gzip
import hashlib
import os
import re
import socket
import tempfile
import time

import numpy as np
import pytest
from made_sets import ARRAYS, NOWHERE, SHA256, assert_is_made, images, made_arrays, prepare, tensors, write

from jvae.data import tfds
from jvae.data.datasets import load_dataset
from jvae.data.known import FILES, KNOWN_SETS
from jvae.errors import DataError

pytestmark = pytest.mark.usefixtures("home")


def serve(folder, arrays=ARRAYS, pack=gzip.compress):
    write(folder, arrays, [f"{name}.gz" for name in FILES], pack)


def test_download_through_tfds(tmp_path, monkeypatch, server, change, capfd):
    url, www = server
    serve(www)
    change("kmnist", url=url, sha256=SHA256)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    lines = []
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "first", log=lines.append))
    assert lines[1:] == [
        "kmnist: read from tensorflow-datasets",
        f"kmnist: cache: written to {tmp_path / 'first/datasets/kmnist'}",
    ]
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "home").iterdir())  # the cache is the only place that holds it

    change("kmnist", url=NOWHERE)
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "first"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("right", [True, False])
def test_a_download_has_the_checksum_that_tfds_knows(monkeypatch, server, change, right):
    from tensorflow_datasets.core.download import checksums

    url, www = server
    serve(www)
    files = {f"{url}{name}.gz": (www / f"{name}.gz").read_bytes() for name in FILES}
    infos = {
        url: checksums.UrlInfo(len(content), hashlib.sha256(content).hexdigest(), None)
        for url, content in files.items()
    }
    monkeypatch.setattr(checksums, "get_all_url_infos", lambda: infos)
    known = change("kmnist", url=url)
    if right:
        np.testing.assert_array_equal(tfds.fetch_tfds(known).arrays[2], ARRAYS[2])
        return
    serve(www, made_arrays(1))
    with pytest.raises(DataError) as caught:
        tfds.fetch_tfds(known)
    assert "\n" not in str(caught.value)
    assert f"{url}{FILES[0]}.gz" in str(caught.value)
    assert infos[f"{url}{FILES[0]}.gz"].checksum in str(caught.value)


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
        tfds.fetch_tfds(KNOWN_SETS["kmnist"]._replace(url=url))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{url}{FILES[0]}.gz: ")
    assert not (tmp_path / "tfds").exists()


def test_a_server_without_the_files_is_one_line(server):
    url, _ = server
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz answers with HTTP status 404"):
        tfds.fetch_tfds(KNOWN_SETS["kmnist"]._replace(url=url))


def test_a_network_that_hangs_is_given_up(monkeypatch, change):
    monkeypatch.setattr(tfds, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        change("kmnist", url=url)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"no answer from 127.0.0.1:\d+ within 0.2 s"):
            load_dataset("kmnist")
    assert time.monotonic() - start < 5


# --- prepared sets ---


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
    assert tfds.prepared_sets(tmp_path / "data") == ["tfds:made"]
    assert tfds.prepared_sets(tmp_path / "nowhere") == []
    arrays = {
        f"x_{split}": np.array([example["image"] for example in part])
        for split, part in (("train", train), ("test", test))
    }
    np.savez(tmp_path / "a.npz", **arrays)  # the same rows are the same data
    assert load_dataset(f"npz:{tmp_path / 'a.npz'}").fingerprint == data.fingerprint
    with pytest.raises(DataError, match="is not prepared in"):  # what is named is used, or nothing is
        load_dataset("tfds:made", tmp_path)


def test_what_is_not_prepared_is_named_with_what_to_type(tmp_path):
    prepare(tmp_path / "data", tensors((3, 5, 3)), train=images(4, 3, 5, 3), test=images(2, 3, 5, 3))
    for name, said in {
        "cifar10": f"`tfds build cifar10 --data_dir {tmp_path / 'data'}` prepares it, where TensorFlow is installed",
        "cifar10:3.0.2": "`tfds build cifar10:3.0.2 --data_dir ",
        "cifar": "has no such set; did you mean tfds:cifar10?",
        "maed": "has no such set; did you mean tfds:made?",
        "qqqq": "has no such set; `jvae datasets` lists what is prepared",
    }.items():
        with pytest.raises(DataError, match=re.escape(said)):
            load_dataset(f"tfds:{name}", tmp_path / "data")


def test_a_prepared_set_is_decoded_once(tmp_path, monkeypatch):
    """Later loads map the cache, until the prepared files change; what cannot be cached is read into memory."""
    folder = tmp_path / "data"
    prepare(folder, tensors((3, 5, 3)), train=images(40, 3, 5, 3), test=images(2, 3, 5, 3))
    said = []
    first = load_dataset("tfds:made", folder, log=said.append)
    assert "decoded from" in said[-1]
    decoded = []
    original = tfds._checked_examples
    monkeypatch.setattr(tfds, "_checked_examples", lambda *a: (decoded.append(a), original(*a))[1])
    again = load_dataset("tfds:made", folder, log=said.append)
    assert not decoded
    assert isinstance(again.train_images, np.memmap)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.train_images, first.train_images)
    (changed,) = folder.rglob("*train*")
    os.utime(changed, ns=(0, 0))
    load_dataset("tfds:made", folder)
    assert len(decoded) == 2
    (path,) = (tmp_path / "home").rglob("train-images.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    mended = load_dataset("tfds:made", folder, log=said.append)
    assert "is not as it was written" in said[-2]
    np.testing.assert_array_equal(mended.train_images, first.train_images)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "file"))
    uncached = load_dataset("tfds:made", folder, log=said.append)
    assert "cannot be written at" in said[-1]
    assert len(decoded) == 6
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
