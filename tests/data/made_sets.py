"""Made-up data sets: four small IDX files, what they must load as, and sets prepared by tensorflow-datasets."""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from jvae.data.idx import encode_idx
from jvae.data.known import FILES

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
SHA256 = tuple(hashlib.sha256(encode_idx(array)).hexdigest() for array in ARRAYS)


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


def cache(name):
    return Path.home() / ".cache/jvae/datasets" / name


def prepare(folder, features, **splits):
    """Prepare the set `made` with the given features; a split is a list of examples."""
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


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file
