"""TFRecord files, as TensorFlow's users have them: their content, and that all damage is detected."""

import struct

import pytest
from made_sets import ARRAYS, assert_is_made, png, prepare

from jvae.data import tfds
from jvae.data.datasets import load_dataset
from jvae.errors import DataError


def crc32c(data):
    """Return the CRC-32C by the polynomial's definition, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def framed(record):
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def as_tfrecord(folder):
    """Rewrite a prepared data set as TensorFlow would have stored it."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    for path in list(folder.rglob("*.array_record*")):
        records = ArrayRecordDataSource([str(path)])
        frames = [framed(record) for record in records.__getitems__(range(len(records)))]
        path.with_name(path.name.replace("array_record", "tfrecord")).write_bytes(b"".join(frames))
        path.unlink()
    (info,) = folder.rglob("dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))


def test_the_checksum_is_tensorflows(tmp_path):
    assert framed(bytes(24))[:12] == b'\x18\0\0\0\0\0\0\0\xa3\x7fK"'  # how TensorBoard's files begin
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    (tmp_path / "made.tfrecord").write_bytes(framed(b"123456789") + framed(b"") + framed(bytes(1000)))
    assert list(tfds.read_tfrecords(tmp_path / "made.tfrecord")) == [b"123456789", b"", bytes(1000)]


@pytest.mark.parametrize("place", range(8 * len(framed(b"abc"))))
def test_a_flipped_bit_in_a_tfrecord_is_an_error(tmp_path, place):
    content = bytearray(framed(b"abc") + framed(b"de"))
    content[place // 8] ^= 1 << place % 8
    (tmp_path / "made.tfrecord").write_bytes(content)
    with pytest.raises(DataError, match=r"made.tfrecord: is damaged") as caught:
        list(tfds.read_tfrecords(tmp_path / "made.tfrecord"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", set(range(1, len(framed(b"abc")))) | {len(framed(b"abc")) + 5})
def test_a_truncated_tfrecord_is_an_error(tmp_path, size):
    (tmp_path / "made.tfrecord").write_bytes((framed(b"abc") + framed(b"de"))[:size])
    with pytest.raises(DataError, match=r"made.tfrecord: is truncated"):
        list(tfds.read_tfrecords(tmp_path / "made.tfrecord"))


@pytest.mark.usefixtures("home")
def test_prepared_greyscale_images_in_both_formats(tmp_path, capfd):
    """As IDX files hold them: the fingerprint is that of the same set from another source."""
    splits = {
        name: [{"image": png(image), "label": label} for image, label in zip(images, labels, strict=True)]
        for name, images, labels in (("train", *ARRAYS[:2]), ("test", *ARRAYS[2:]))
    }

    def features(kinds):
        return {"image": kinds.Image(shape=(28, 28, 1)), "label": kinds.ClassLabel(num_classes=10)}

    prepare(tmp_path / "home/tensorflow_datasets", features, **splits)
    capfd.readouterr()
    prepared = load_dataset("tfds:made")
    assert_is_made(prepared)
    assert prepared.name == "tfds:made"
    as_tfrecord(tmp_path / "home/tensorflow_datasets")
    lines = []
    assert_is_made(load_dataset("tfds:made", log=lines.append))
    assert "decoded from" in lines[-1]
    (path,) = (tmp_path / "home/tensorflow_datasets").rglob("*test.tfrecord*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged") as caught:
        load_dataset("tfds:made")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
