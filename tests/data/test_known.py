"""The known sets: light to import, and the published files are what they must be."""

import subprocess
import sys
from pathlib import Path

import pytest

from jvae.data.datasets import load_dataset
from jvae.data.known import DATASETS, FILES, KNOWN_SETS

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("jvae.data.known", {"numpy", "jax", "sklearn", "tensorflow_datasets", "jvae.data.idx"}),
        ("jvae.data.datasets", {"jax", "sklearn", "tensorflow_datasets", "requests", "google_crc32c"}),
    ],
)
def test_import_is_light(module, heavy):
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_file_has_a_published_checksum():
    assert DATASETS == ("mnist", "fashion_mnist", "kmnist", "digits")
    for name, known in KNOWN_SETS.items():
        assert known.name == name
        for sha256, gz_sha256 in zip(known.sha256, known.gz_sha256, strict=True):
            assert [len(bytes.fromhex(value)) for value in (sha256, gz_sha256) if value] == [32]
    assert len({sha256 for known in KNOWN_SETS.values() for sha256 in known.sha256 if sha256}) == 11


def test_tensorflow_datasets_knows_every_file():
    from tensorflow_datasets.core.download import checksums

    registered = checksums.get_all_url_infos()
    for known in KNOWN_SETS.values():
        for file, gz_sha256 in zip(FILES, known.gz_sha256, strict=True):
            assert gz_sha256 in (None, registered[f"{known.url}{file}.gz"].checksum)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist(tmp_path):
    data = load_dataset("fashion_mnist", DEBIAN, tmp_path)
    assert data.train_images.shape == (60_000, 28, 28, 1)
    assert data.test_images.shape == (10_000, 28, 28, 1)
    assert data.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert data.test_labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert load_dataset("fashion_mnist", cache_dir=tmp_path).fingerprint == data.fingerprint
