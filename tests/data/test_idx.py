"""The IDX format: round trips, and every kind of bad file as one line that names the file and the reason."""

import contextlib
import gzip
import hashlib
import os
import struct

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from made_sets import ARRAYS as MADE, NUM_TEST, SHA256, assert_is_made, made_arrays, write

from jvae.data import idx
from jvae.data.datasets import load_dataset
from jvae.data.idx import encode_idx, idx_sha256, read_idx, read_idx_sha256
from jvae.data.known import FILES
from jvae.errors import DataError
from jvae.runs.mesh import place_data

DTYPES = ("u1", "i1", "i2", ">i2", "i4", "f4", ">f4", "f8")
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, min_side=0)))
SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


@given(array=ARRAYS, gzipped=st.booleans())
def test_read_inverts_encode(folder, array, gzipped):
    path = folder / "file"
    content = encode_idx(array)
    path.write_bytes(gzip.compress(content, 1) if gzipped else content)
    read, sha256 = read_idx_sha256(path)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype.newbyteorder("=")
    assert sha256 == idx_sha256(array) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_cpu_uses_the_array_where_it_lies(folder, gzipped):
    """Else a training holds its data twice."""
    array = np.arange(3 * 2**20, dtype=np.uint8).reshape(-1, 64)
    content = encode_idx(array)
    path = folder / "x"
    path.write_bytes(gzip.compress(content, 1) if gzipped else content)
    read = read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert place_data(read, None).unsafe_buffer_pointer() == read.ctypes.data


def test_encoding_is_mnists():
    assert encode_idx(np.array([[1, 2, 3]], np.uint8)) == bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3])
    assert encode_idx(np.array([258], np.int32)) == bytes([0, 0, 12, 1, 0, 0, 0, 1, 0, 0, 1, 2])


def test_strided_arrays_are_encoded_in_row_order():
    assert encode_idx(SMALL.T) == encode_idx(np.ascontiguousarray(SMALL.T))
    assert idx_sha256(SMALL[:, ::2]) == idx_sha256(SMALL[:, ::2].copy())


@pytest.mark.parametrize("array", [np.zeros((), np.uint8), np.zeros((1,) * 5, np.uint8), np.zeros(3, np.int64)])
def test_encode_refuses_what_the_format_lacks(array):
    with pytest.raises(ValueError, match="array has"):
        encode_idx(array)


@given(data=st.data(), gzipped=st.booleans())
def test_truncation_is_a_data_error(folder, data, gzipped):
    content = gzip.compress(encode_idx(SMALL)) if gzipped else encode_idx(SMALL)
    path = folder / "truncated"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(DataError, match=r"truncated") as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@given(content=st.binary(max_size=64), place=st.integers(0, 60), gzipped=st.booleans())
def test_corruption_is_a_data_error_or_another_array(folder, content, place, gzipped):
    original = gzip.compress(encode_idx(SMALL)) if gzipped else encode_idx(SMALL)
    path = folder / "corrupt"
    path.write_bytes(original[:place] + content + original[place + len(content) :])
    message = f"{path}: "
    try:
        read_idx(path)
    except DataError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@given(content=st.binary(max_size=64))
def test_any_bytes_are_a_data_error_or_an_array(folder, content):
    path = folder / "any"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert encode_idx(read_idx(path)) == content


GOOD = encode_idx(SMALL)
PAGE = b"\n<!DOCTYPE html><html>Not found</html>"


BAD = [
    (b"", "is empty"),
    (gzip.compress(b""), "is empty"),
    (b"\x00\x00", "is truncated: it ends within its header"),
    (GOOD[:10], "is truncated: it ends within its header"),
    (GOOD[:-1], "is truncated: it ends after 23 of 24 bytes"),
    (GOOD + b"\x00", "has more bytes than the 24"),
    (gzip.compress(GOOD + b"\x00"), "has more bytes than the 24"),
    (b"\x00\x01" + GOOD[2:], "is not an IDX file: its magic number is 0x00010803"),
    (b"\x00\x00\x0a\x01" + GOOD[4:], "is not an IDX file"),
    (b"\x00\x00\x08\x05" + GOOD[4:], "is not an IDX file"),
    (b"\x89PNG" + GOOD, "is not an IDX file"),
    (PAGE, "looks like a web page"),
    (gzip.compress(PAGE), "looks like a web page"),
    (b"\xef\xbb\xbf<html>", "looks like a web page"),
    (gzip.compress(GOOD)[:-3], "damaged gzip file"),
    (gzip.compress(GOOD)[:-8] + b"\x00" * 8, "damaged gzip file"),
    (gzip.compress(GOOD)[:10] + b"\xff" * 20, "damaged gzip file"),
    (encode_idx(SMALL.reshape(4, 6)), "holds uint8 of shape 4x6 where uint8 of 2x3x4 is needed"),
    (encode_idx(SMALL.astype(np.int32)), "holds int32 of shape 2x3x4 where"),
]


@pytest.mark.parametrize(("content", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_bad_content_is_named(tmp_path, content, reason):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx_sha256(path, (2, 3, 4))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 4, (0, *(2**32 - 1,) * 3), (2**30 + 1,)])
def test_a_header_that_claims_too_much_is_refused(tmp_path, shape):
    (tmp_path / "huge").write_bytes(struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape))
    with pytest.raises(DataError, match=r"huge: claims to hold .* more than"):
        read_idx(tmp_path / "huge")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_of_any_size_is_read_if_it_can_hold_what_it_claims(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(idx, "MAX_BYTES", 1000)
    (tmp_path / "large").write_bytes(pack(encode_idx(np.zeros((30, 40), np.uint8))))
    assert read_idx(tmp_path / "large").shape == (30, 40)
    (tmp_path / "huge").write_bytes(pack(struct.pack(">HBBI", 0, 8, 1, 10**6)))
    with pytest.raises(DataError, match=r"huge: claims to hold 1000000 values, more than"):
        read_idx(tmp_path / "huge")


def test_bad_places_are_named(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError, match="is a directory or device, not a file"):
            read_idx(path)
    for path in (tmp_path / "absent", tmp_path / "link"):
        with pytest.raises(DataError, match="cannot be read: No such file"):
            read_idx(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").write_bytes(GOOD)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match="file: cannot be read: Permission denied"):
        read_idx(tmp_path / "file")


def test_gzip_bomb_is_left_unread(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(50_000_000), 9))
    unpacked = []
    read = gzip._GzipReader.read

    def counted(self, size=-1):
        unpacked.append(read(self, size))
        return unpacked[-1]

    monkeypatch.setattr(gzip._GzipReader, "read", counted)
    with pytest.raises(DataError, match="has more bytes than the 24"):
        read_idx(path)
    assert 24 < sum(map(len, unpacked)) < 2**20


# --- the four files of a known set ---

BAD_FILES = [
    (0, encode_idx(MADE[0][:-1]), "holds uint8 of shape 11x28x28 where uint8 of 12x28x28 is needed"),
    (0, encode_idx(MADE[0][:, 1:]), "holds uint8 of shape 12x27x28 where uint8 of 12x28x28 is needed"),
    (1, encode_idx(MADE[0]), "holds uint8 of shape 12x28x28 where uint8 of 12 is needed"),
    (1, encode_idx(MADE[1][1:]), "holds uint8 of shape 11 where uint8 of 12 is needed"),
    (3, encode_idx(np.full(NUM_TEST, 10, np.uint8)), "holds the label 10; labels are 0 to 9"),
    (2, b"<html>", "looks like a web page"),
    (2, b"", "is empty"),
    (2, gzip.compress(encode_idx(MADE[2]))[:-9], "is a damaged gzip file"),
    (2, None, "is a directory"),
]


@pytest.mark.usefixtures("home")
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


@pytest.mark.usefixtures("home")
def test_changed_content_is_an_error(tmp_path, change):
    change("mnist", sha256=SHA256)
    assert_is_made(load_dataset("mnist", write(tmp_path / "data"), tmp_path / "c"))
    with pytest.raises(DataError, match=rf"{FILES[0]}: its content is not mnist's"):
        load_dataset("mnist", write(tmp_path / "changed", made_arrays(1)))
    for name in ("kmnist", "fashion_mnist"):
        change("fashion_mnist", sha256=("0" * 64,) * 4)
        with pytest.raises(DataError, match=rf"{FILES[0]}: is a file of mnist, not of {name}"):
            load_dataset(name, tmp_path / "data")


@pytest.mark.usefixtures("home")
def test_a_gzip_file_is_checked_where_its_content_is_unknown(tmp_path, change):
    """Only there: a file that was gzipped again still holds the same images."""
    names = [f"{name}.gz" for name in FILES]
    write(tmp_path / "published", names=names, pack=gzip.compress)
    write(tmp_path / "anew", names=names, pack=lambda content: gzip.compress(content, 1))
    sha256 = hashlib.sha256((tmp_path / "published" / names[0]).read_bytes()).hexdigest()
    change("kmnist", sha256=(None, *SHA256[1:]), gz_sha256=(sha256, None, None, None))
    assert_is_made(load_dataset("kmnist", tmp_path / "published", tmp_path / "c"))
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "c"))
    with pytest.raises(DataError, match=rf"{names[0]}: is not the published gzip file: .*, not {sha256}$"):
        load_dataset("kmnist", tmp_path / "anew", tmp_path / "d")
    write(tmp_path / "published", made_arrays(1)[:1], FILES[:1])  # torchvision leaves both there
    assert_is_made(load_dataset("kmnist", tmp_path / "published", tmp_path / "d"))
    change("kmnist", sha256=SHA256, gz_sha256=(None,) * 4)
    assert_is_made(load_dataset("kmnist", tmp_path / "anew", tmp_path / "d"))


@pytest.mark.usefixtures("home")
def test_a_cache_is_checked_by_its_own_checksums(tmp_path):
    """Even if none is published."""
    load_dataset("kmnist", write(tmp_path / "data"), tmp_path / "c")
    folder = tmp_path / "c/datasets/kmnist"
    content = (folder / FILES[0]).read_bytes()
    (folder / FILES[0]).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=f"{FILES[0]}: is not as it was written.*: remove {folder}"):
        load_dataset("kmnist", cache_dir=tmp_path / "c")
    (folder / FILES[0]).write_bytes(content)
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "c"))
    (folder / "SHA256SUMS").write_text("hello, world and all\n")
    with pytest.raises(DataError, match="is not a list of sha256 and names"):
        load_dataset("kmnist", cache_dir=tmp_path / "c")
    assert_is_made(load_dataset("kmnist", tmp_path / "data", tmp_path / "c"))  # it repairs the cache
    assert_is_made(load_dataset("kmnist", cache_dir=tmp_path / "c"))
