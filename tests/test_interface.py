"""Numbers, arrays, keys and paths of NumPy, JAX and Python are all accepted; anything else is named."""

import inspect
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_model
from jaxtyping import TypeCheckError

import jvae
from jvae.errors import DataError
from jvae.runs import api
from jvae.runs.config import Config
from jvae.runs.plan import whole_number

OLD, KEY = jax.random.PRNGKey(0), jax.random.key(0)
Z = [[0.5, -1.0], [0.0, 2.0]]


@pytest.fixture(scope="module")
def data():
    images = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 1), np.uint8)
    return jvae.make_dataset(images[:16], images[16:], np.arange(16) % 3, np.arange(8) % 3)


@pytest.fixture(scope="module")
def model(data):
    return random_model(Config(dataset="digits", latent_dim=2, hidden=(4,), runs=1), data)


def same(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
@pytest.mark.parametrize("key", [OLD, np.asarray(OLD)], ids=["jax", "numpy"])
def test_keys_of_either_kind_are_one_key(key, model, data):
    images = data.test_images
    same(jvae.encode(model, images, key), jvae.encode(model, images, KEY))
    same(jvae.sample(model, key, 3), jvae.sample(model, KEY, 3))
    same(jvae.evaluate(model, data, 2, key=key), jvae.evaluate(model, data, 2, key=KEY))
    same(jvae.diagnose(model, data, key), jvae.diagnose(model, data, KEY))
    same(np.asarray(jvae.stochastic_binarise(key, images)), np.asarray(jvae.stochastic_binarise(KEY, images)))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [np.int64, np.uint8, jnp.int32], ids=lambda kind: kind.__name__)
def test_numbers_of_numpy_and_jax_are_numbers(whole, model, data):
    images, zero = data.test_images, whole(0)
    same(jvae.encode(model, images, KEY, zero, zero), jvae.encode(model, images, KEY))
    same(jvae.decode(model, Z, zero), jvae.decode(model, Z))
    same(jvae.sample(model, KEY, whole(3), zero), jvae.sample(model, KEY, 3))
    same(jvae.evaluate(model, data, whole(2), whole(3)), jvae.evaluate(model, data, 2, 3))
    assert jvae.pictures.posterior(model, data, KEY, zero, zero).axes
    config = Config(dataset="digits", epochs=whole(2), hidden=[whole(8), 8], seed=whole(1), held_out=np.float32(0.25),
                    validation="held-out")  # fmt: skip
    assert config == Config(dataset="digits", epochs=2, hidden=(8, 8), seed=1, held_out=0.25, validation="held-out")
    assert (type(config.epochs), type(config.hidden[0]), type(config.held_out)) == (int, int, float)
    assert jvae.build_recipe(config, (4, 4, 1), whole(5)).num_samples == 1


@pytest.mark.slow
def test_a_training_takes_numbers_of_numpy(model, data):
    options = {"epochs": np.int64(1), "batch_size": np.int32(8), "seeds": np.arange(1, 2)}
    assert jvae.train(model.recipe, data, **options).plan == model.plan._replace(epochs=1, batch_size=8, seeds=(1,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, lambda array: np.asarray(array).tolist()])
def test_arrays_of_numpy_jax_and_python_are_arrays(kind, model, data):
    images, labels = data.train_images, np.asarray(data.train_labels)
    same(jvae.encode(model, kind(images), KEY), jvae.encode(model, images, KEY))
    same(jvae.decode(model, kind(np.float32(Z))), jvae.decode(model, Z))
    same(jvae.decode(model, kind(np.zeros((1, 2), int))), jvae.decode(model, np.zeros((1, 2))))
    again = jvae.make_dataset(kind(images), kind(data.test_images), kind(labels), kind(data.test_labels))
    assert again.fingerprint == data.fingerprint


class Place(os.PathLike):
    """A user's own class of paths."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, Place])
def test_paths_are_text_or_path_like(kind, model, tmp_path):
    path = kind(tmp_path / "m.npz")
    jvae.save(path, model)
    same(jvae.load(path).params, model.params)
    with pytest.raises(DataError, match="nothing"):
        jvae.load_dataset("mnist", kind(tmp_path / "nothing"))


NOT_ONE_KEY = [0, None, jax.random.split(KEY), np.zeros(3, np.uint32), np.zeros(2, np.float32), "key"]
WRONG = {
    "key": [lambda m, d, key=key: jvae.sample(m, key, 1) for key in NOT_ONE_KEY]
    + [lambda m, d, key=key: jvae.encode(m, d.test_images, key) for key in NOT_ONE_KEY]
    + [lambda m, d: jvae.evaluate(m, d, key=7), lambda m, d: jvae.pictures.posterior(m, d, 7)],
    "run": [lambda m, d, run=run: jvae.sample(m, KEY, 1, run) for run in (1, -1, np.int64(9))]
    + [lambda m, d: jvae.encode(m, d.test_images, KEY, 1), lambda m, d: jvae.decode(m, Z, 1)]
    + [lambda m, d: m.run_params(3)]
    + [lambda m, d, draw=draw: getattr(jvae.pictures, draw)(m, d, KEY, 5) for draw in
       ("posterior", "prior", "manifold", "reconstructions", "interpolation", "traversals", "training_gif")],
    "level": [lambda m, d, level=level: jvae.encode(m, d.test_images, KEY, 0, level) for level in (1, -1)]
    + [lambda m, d, draw=draw: getattr(jvae.pictures, draw)(m, d, KEY, 0, 1) for draw in
       ("posterior", "prior", "training")],
    "images": [lambda m, d, x=x: jvae.encode(m, x, KEY) for x in
               (np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 5, 1), np.uint8), np.zeros((0, 4, 4, 1), np.uint8), [[300]],
                [[1], [1, 2]], np.uint8(3), "images", None, np.full((1, 4, 4, 1), np.nan))]
    + [lambda m, d, f=f: f(KEY, np.zeros((2, 4))) for f in
       (jvae.binarise, jvae.stochastic_binarise, jvae.rescale, jvae.dequantise)],
    "z": [lambda m, d, z=z: jvae.decode(m, z) for z in
          ([0.0, 1.0], [[0.0] * 3], np.zeros((0, 2)), [[np.nan, 0]], [[np.inf, 0]], [["a", "b"]], [[1j, 0]], None)],
    "n": [lambda m, d, n=n: jvae.sample(m, KEY, n) for n in (0, -1, 1.5, None, "3")],
    "num_samples": [lambda m, d, n=n: jvae.evaluate(m, d, n) for n in (0, 2.0)],
    "iwae": [lambda m, d: jvae.evaluate(m, d, 1, iwae=0)],
    "data": [lambda m, d, f=f: f(m, d._replace(test_images=d.test_images[:0], test_labels=d.test_labels[:0]))
             for f in (jvae.evaluate, jvae.diagnose)],
    "epochs": [lambda m, d, e=e: jvae.train(m.recipe, d, epochs=e, batch_size=4) for e in (0, 1.5, "1", None)],
    "batch_size": [lambda m, d, b=b: jvae.train(m.recipe, d, epochs=1, batch_size=b) for b in (0, 17, 2.5)],
    "seeds": [lambda m, d, s=s: jvae.train(m.recipe, d, epochs=1, batch_size=4, seeds=s)
              for s in ((), 3, [-1], [2**32], [0.5], "ab")],
    "validation": [lambda m, d: jvae.train(m.recipe, d, epochs=1, batch_size=4, validation="val"),
                   lambda m, d: jvae.train(m.recipe, d._replace(test_images=d.test_images[:0]), epochs=1, batch_size=4,
                                           validation="test")],
    "train_images": [lambda m, d, x=x: jvae.make_dataset(x, d.test_images) for x in (
                     np.zeros((2, 4, 4, 1)), np.zeros(3, np.uint8), np.zeros((0, 4, 4, 1), np.uint8), [[-1]], [[256]])],
    "test_images": [lambda m, d: jvae.make_dataset(d.train_images, d.test_images[:, :3])],
    "train_labels": [lambda m, d, y=y: jvae.make_dataset(d.train_images, d.test_images, y) for y in
                     (np.zeros(16), np.zeros(15, int), np.full(16, np.nan), [2**40] * 16)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "call"), [pytest.param(n, c, id=f"{n}-{i}") for n, calls in WRONG.items() for i, c in enumerate(calls)]
)
def test_what_is_wrong_is_named(name, call, model, data):
    with pytest.raises((ValueError, TypeCheckError)) as caught:  # under test a wrong type meets the type checker first
        call(model, data)
    assert re.search(rf"'{name}'" if isinstance(caught.value, TypeCheckError) else rf"^{name}\b", str(caught.value))


@pytest.mark.parametrize("value", [1.5, "3", None])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match=r"^epochs is .*: must be a whole number"):
        inspect.unwrap(whole_number)("epochs", value)


def test_data_of_four_axes_and_no_history_are_taken_as_they_are(model):
    video = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 2, 3), np.uint8)
    assert jvae.make_dataset(video, video[:2]).train_images.shape == (5, 2, 2, 2, 3)
    with pytest.raises(ValueError, match="the model has no history"):
        api.kept_epochs(model._replace(history=[]))
