"""The known sets: light to import."""

import subprocess
import sys

import pytest


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
