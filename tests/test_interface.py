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
from jvae.bounds import monte_carlo_elbo
from jvae.errors import DataError, ModelFileError, whole_number
from jvae.priors import GaussianPrior
from jvae.runs.config import Config
from jvae.runs.selection import kept_epochs

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
OTHER = ["digits", None, 3, np.zeros(3), Config(), GaussianPrior(2), GaussianPrior]
"""What is no recipe, data set, trained model or conditions."""
OF_TYPES = {
    "recipe": [lambda m, d, x=x: jvae.train(x, d, epochs=1, batch_size=4) for x in OTHER],
    "data": [lambda m, d, x=x: jvae.train_epochs(m.recipe, x, epochs=1, batch_size=4) for x in OTHER]
    + [lambda m, d: jvae.evaluate(m, d.test_images), lambda m, d: jvae.diagnose(m, data="digits")],
    "dataset": [lambda m, d, f=f: f(m, d.test_images) for f in (jvae.pictures.posterior, jvae.pictures.training_gif)],
    "resume": [lambda m, d: jvae.train(m.recipe, d, epochs=1, batch_size=4, resume="m.npz")],
    "how": [lambda m, d: jvae.train_config(Config(), d, how="cpu")],
    "config": [lambda m, d, x=x: jvae.train_config_epochs(x, d) for x in ("digits", {}, None, GaussianPrior(2))],
    "model": [lambda m, d, f=f: f("m.npz", d) for f in (jvae.evaluate, jvae.diagnose, jvae.pictures.prior)]
    + [lambda m, d: jvae.encode(m.recipe, d.test_images, KEY), lambda m, d: jvae.decode(None, Z)]
    + [lambda m, d: jvae.sample(d, KEY, 3), lambda m, d: jvae.save(m, "m.npz"), lambda m, d: jvae.pictures.history(d)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "call"), [pytest.param(n, c, id=f"{n}-{i}") for n, calls in OF_TYPES.items() for i, c in enumerate(calls)]
)
def test_what_is_of_another_type_is_named(name, call, model, data):
    with pytest.raises(ValueError, match=rf"^{name} is .*: must be a \w+$"):
        call(model, data)


SIZES = {
    "latent_dim is 0: must be at least 1": lambda: GaussianPrior(0),
    "num_components is 0: must be at least 1": lambda: jvae.MoGPrior(2, 0),
    "num_layers is 0: must be at least 1": lambda: jvae.FlowPrior(2, num_layers=0),
    "spline_limit is inf: must be above 0 and finite": lambda: jvae.FlowPrior(2, "spline", spline_limit=np.inf),
    "hidden is 0: must be at least 1": lambda: jvae.MLP((4, 0), (3,)),
    "fixed_scale is -1.0: must be above 0 and finite": lambda: jvae.GaussianDecoder(MLP_, "fixed", -1.0),
}
MLP_ = jvae.MLP((4,), (4, 4, 1))


@pytest.mark.parametrize("message", SIZES)
def test_what_is_no_size_is_refused_where_it_is_given(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        SIZES[message]()


def test_modules_with_lists_of_sizes_are_equal_and_hash():
    assert jvae.MLP([4], [8, 8, 1]) == jvae.MLP((4,), (8, 8, 1))
    parts = (jvae.VampPrior([8, 8, 1], 3), jvae.FlowPrior(2, hidden=[8]), jvae.ConvEncoderNet([4], channels=[8]))
    assert all(isinstance(hash(part), int) for part in parts)


def test_a_bound_of_log_densities_without_draws_is_refused():
    d = jvae.LogDensities(*[np.zeros(3, np.float32)] * 4)
    for bound in (jvae.elbo, jvae.iwae, monte_carlo_elbo):
        with pytest.raises(ValueError, match=r"have the shape \[3\]: must be \[k, b\]"):
            inspect.unwrap(bound)(d)


def test_what_load_gets_in_a_recipes_place_is_named(model, tmp_path):
    jvae.save(tmp_path / "m.npz", model._replace(config=None))
    for wrong in ("my.py", GaussianPrior(2), 3):
        with pytest.raises(ValueError, match=r"^recipe is .*: must be a Recipe, or a function that makes one"):
            inspect.unwrap(jvae.load)(tmp_path / "m.npz", wrong)
    with pytest.raises(ModelFileError, match="recipe returned None: must return a Recipe"):
        jvae.load(tmp_path / "m.npz", lambda config, data_shape, steps: None)
    with pytest.raises(ValueError, match=r"^options has 'foo': must be fields of Config"):
        jvae.load(tmp_path / "m.npz", lambda *given: model.recipe, options={"foo": 1})


@pytest.mark.parametrize(
    ("name", "call"), [pytest.param(n, c, id=f"{n}-{i}") for n, calls in WRONG.items() for i, c in enumerate(calls)]
)
def test_what_is_wrong_is_named(name, call, model, data):
    with pytest.raises((ValueError, TypeCheckError)) as caught:  # under test a wrong type meets the type checker first
        call(model, data)
    assert re.search(rf"'{name}'" if isinstance(caught.value, TypeCheckError) else rf"^{name}\b", str(caught.value))


@pytest.mark.parametrize("value", [1.5, "3", None, True, np.True_])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match=r"^epochs is .*: must be a whole number"):
        inspect.unwrap(whole_number)("epochs", value)


def test_data_of_four_axes_and_no_history_are_taken_as_they_are(model):
    video = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 2, 3), np.uint8)
    assert jvae.make_dataset(video, video[:2]).train_images.shape == (5, 2, 2, 2, 3)
    with pytest.raises(ValueError, match="the model has no history"):
        kept_epochs(model._replace(history=[]))
