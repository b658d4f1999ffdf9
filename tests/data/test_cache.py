"""The cache: where it is, and that its folders are replaced whole or not at all."""

import os
import threading

import pytest
from made_sets import ARRAYS, assert_is_made, cache, made_arrays, write

from jvae.data.cache import replacing
from jvae.data.datasets import load_dataset
from jvae.data.idx import read_files, write_files
from jvae.data.known import FILES, KNOWN_SETS

pytestmark = pytest.mark.usefixtures("home")


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


def test_a_folder_is_replaced_whole(tmp_path):
    folder = write(tmp_path / "cache/mnist", made_arrays(1))
    (folder / "other").write_text("")
    with replacing(folder) as new:
        write(new)
        assert (folder / "other").is_file()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in write(tmp_path / "data").iterdir()
    }
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_what_killed_writers_left_is_removed(tmp_path):
    dead, alive = (f".set.{os.uname().nodename}.{pid}.x.tmp" for pid in (2**22 + 1, os.getpid()))
    for name in (dead, alive):
        (tmp_path / "cache" / name / "new").mkdir(parents=True)
        (tmp_path / "cache" / name / "new" / "half").touch()
    with replacing(tmp_path / "cache" / "set") as new:
        (new / "whole").touch()
    assert sorted(os.listdir(tmp_path / "cache")) == [alive, "set"]


@pytest.mark.parametrize("failing", ["the block", "the disk"])
def test_an_interrupted_write_leaves_the_old_cache(tmp_path, monkeypatch, failing):
    folder = cache("mnist")
    arrays = read_files(KNOWN_SETS["mnist"], [write(folder) / name for name in FILES])

    def fail(*_):
        raise OSError(28, "No space left on device")

    def write_again():
        with replacing(folder) as new:
            write_files(arrays, new)
            if failing == "the block":
                fail()

    if failing == "the disk":
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_again()
    assert_is_made(load_dataset("mnist"))
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_concurrent_writers_are_harmless(tmp_path):
    folder = tmp_path / "cache/mnist"
    arrays = read_files(KNOWN_SETS["mnist"], [write(tmp_path / "data") / name for name in FILES])
    failures = []

    def work():
        try:
            for _ in range(20):
                with replacing(folder) as new:
                    write_files(arrays, new)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert failures == []
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]
    found = read_files(KNOWN_SETS["mnist"], [folder / name for name in FILES]).arrays
    assert all((a == b).all() for a, b in zip(found, ARRAYS, strict=True))
