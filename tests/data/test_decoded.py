"""The cache of decoded sets: read while it is valid, otherwise rebuilt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jvae.data.decoded import ABOUT, load_decoded, source_of
from jvae.errors import DataError


class Decoder:
    """A decoder that writes two arrays, and counts how often."""

    def __init__(self, root: Path) -> None:
        self.root, self.count, self.lines = root, 0, []
        root.mkdir()
        (root / "a.bin").write_bytes(b"abc")

    def __call__(self, place: Path) -> None:
        self.count += 1
        np.save(place / "x.npy", np.arange(24, dtype=np.uint8).reshape(4, 3, 2))
        np.save(place / "y.npy", np.array([0, 300], np.int32))

    def load(self, entry: Path) -> dict:
        found = load_decoded(entry, source_of(self.root, self.root.iterdir()), self, self.lines.append)
        assert found["x"].array.tolist() == np.arange(24).reshape(4, 3, 2).tolist()
        assert found["y"].array.tolist() == [0, 300]
        return found


@pytest.fixture
def decoder(tmp_path):
    return Decoder(tmp_path / "root")


def test_it_is_decoded_once_and_mapped(decoder, tmp_path):
    decoder.load(tmp_path / "cache/made")
    found = decoder.load(tmp_path / "cache/made")
    assert decoder.count == 1
    assert isinstance(found["x"].array, np.memmap)


@pytest.mark.parametrize("harm", ["flip", "truncate", "other", "absent", "deep", "list", "sha256", "unreadable"])
def test_a_damaged_entry_is_decoded_again(decoder, tmp_path, harm):
    entry = tmp_path / "cache/made"
    sha256 = decoder.load(entry)["x"].sha256
    path = entry / "x.npy"
    about = json.loads((entry / ABOUT).read_text())
    match harm:
        case "flip":
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        case "truncate":
            path.write_bytes(path.read_bytes()[:-1])
        case "other":
            np.save(path, np.array([None]), allow_pickle=True)
        case "absent":
            path.unlink()
        case "deep":
            (entry / ABOUT).write_text("[" * 10_000)
        case "list":
            (entry / ABOUT).write_text("[]")
        case "sha256":
            (entry / ABOUT).write_text(json.dumps({**about, "sha256": 3}))
        case "unreadable":
            path.unlink()
            path.mkdir()
    assert decoder.load(entry)["x"].sha256 == sha256
    decoder.load(entry)
    assert decoder.count == 2


def test_another_source_is_decoded_again(decoder, tmp_path):
    decoder.load(tmp_path / "cache/made")
    (decoder.root / "a.bin").write_bytes(b"abcd")
    decoder.load(tmp_path / "cache/made")
    assert decoder.count == 2


def test_entries_without_a_source_are_removed(decoder, tmp_path):
    gone = Decoder(tmp_path / "gone")
    gone.load(tmp_path / "cache/gone")
    shutil.rmtree(gone.root)
    (tmp_path / "cache/of-an-earlier-version").mkdir()
    (tmp_path / "cache/.made-somebody-writes").mkdir()
    (tmp_path / "cache/file").write_text("")
    decoder.load(tmp_path / "cache/made")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"made", ".made-somebody-writes", "file"}


def test_a_cache_that_cannot_be_written_is_not_needed(decoder, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    decoder.load(tmp_path / "cache/made")
    assert "cannot be written" in decoder.lines[-1]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="there is no place to decode it to"):
        decoder.load(tmp_path / "cache/made")


def test_a_decoding_that_fails_leaves_nothing(decoder, tmp_path):
    def fail(place: Path) -> None:
        (place / "x.npy").write_bytes(b"half")
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        load_decoded(tmp_path / "cache/made", source_of(decoder.root, []), fail, print)
    assert list((tmp_path / "cache").iterdir()) == []
