import errno
import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.faults.model_files import content_of
from jvae import files
from jvae.errors import ModelFileError
from jvae.runs import api, archive
from jvae.runs.archive import DIGEST_LENGTH, named_arrays, pack
from jvae.runs.checkpoint import load, read_model, save
from jvae.runs.config import Config, build_recipe
from jvae.runs.selection import select_run
from jvae.view import pictures

STORED = Path(__file__).parents[1] / "stored" / "model_0_1_0.npz"


@pytest.fixture(scope="module")
def model(tiny):
    return next(
        api.train_config_epochs(Config(dataset="digits", latent_dim=3, epochs=2, batch_size=32, hidden=(16, 16)), tiny)
    )


@pytest.fixture
def path(model, tmp_path):
    save(tmp_path / "model.npz", model)
    return tmp_path / "model.npz"


@pytest.mark.parametrize("name", ["model.npz", "model.pt", "model", "a model.with dots"])
def test_a_model_survives_any_file_name(model, tmp_path, name):
    save(tmp_path / name, model)
    loaded = load(tmp_path / name)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(model.state), loaded.state)
    assert jax.tree.structure(loaded.state) == jax.tree.structure(model.state)
    rest = {"state": None, "params": None, "recipe": None}
    assert loaded._replace(**rest) == model._replace(**rest)
    assert loaded.recipe.model == model.recipe.model
    assert os.listdir(tmp_path) == [name]


def test_one_content_is_one_file(model, path, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9)
    save(tmp_path / "again.npz", load(path))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_the_file_is_a_zip_that_numpy_reads_without_pickle(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["runs/params/encoder/net/linear_0/kernel"].shape == (1, 64, 16)
        assert arrays["runs/step"] == [4]
        assert arrays["runs/opt_state/0/mu/params/encoder/net/linear_0/kernel"].shape == (1, 64, 16)
        assert arrays["epoch"] == 1
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        description = json.loads(archive.read("model.json"))
    assert description["config"]["latent_dim"] == 3
    assert set(description["versions"]) >= {"jvae", "jax", "python"}
    assert len(description["history"]) == 1


def test_no_flipped_bit_goes_unseen(path):
    data = bytearray(path.read_bytes())
    for position in np.random.default_rng(0).integers(0, 8 * len(data), 300):
        data[position // 8] ^= 1 << (position % 8)
        with pytest.raises(ValueError, match=r"damaged|not a jvae|empty"):
            read_model(io.BytesIO(data))
        data[position // 8] ^= 1 << (position % 8)
    read_model(io.BytesIO(data))


@pytest.mark.parametrize("kept", [0, 1, 3, 100, -1, -DIGEST_LENGTH, -DIGEST_LENGTH - 1])
def test_a_truncated_file_is_refused_in_one_line(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"model\.npz: ") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_an_array_beyond_a_zips_usual_limit_is_written(monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10_000)
    monkeypatch.setattr(archive, "FAR_BELOW_ZIP64", 5_000)
    arrays = {"large": np.arange(5000, dtype=np.float32), "small": np.arange(3)}
    with archive.open_archive(io.BytesIO(pack(arrays, {}))) as members:
        for name, array in arrays.items():
            np.testing.assert_array_equal(archive.read_array(members, name), array)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(1e-3, mu_dtype=jnp.bfloat16), optax.noisy_sgd(1e-3, 0.01, 0.55, key=jax.random.key(0))],
    ids=["bfloat16", "key"],
)
def test_an_optimizer_of_any_state_is_resumed_with_the_same_bits(optimizer, tiny, tmp_path):
    """NumPy knows neither bfloat16 nor typed keys."""
    config = Config(dataset="digits", latent_dim=2, hidden=(8,))
    recipe = build_recipe(config, (8, 8, 1))._replace(optimizer=optimizer)
    train = partial(api.train, recipe, tiny, batch_size=50, seeds=(0, 1))
    save(tmp_path / "m.npz", train(epochs=1))
    resumed = train(epochs=2, resume=load(tmp_path / "m.npz", recipe))
    assert resumed.history[-1]["bound"] == train(epochs=2).history[-1]["bound"]


def reject(path, arrays, description, match):
    """Assert that a file with a valid digest, but content that does not fit, is refused with the reason."""
    path.write_bytes(pack(arrays, description))
    with pytest.raises(ModelFileError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_the_configuration_is_named(path):
    arrays, description = content_of(path)
    name = "runs/params/encoder/net/linear_0/bias"
    reject(path, {k: v for k, v in arrays.items() if k != name}, description, f"{name} is missing")
    reject(path, arrays | {"params/more": arrays[name]}, description, "params/more is not expected")
    reject(path, arrays | {name: arrays[name][:, :-1]}, description, r"bias is float32\[1, 15\], not float32\[1, 16\]")
    reject(
        path, arrays | {name: arrays[name].astype(np.float64)}, description, r"bias is float64\[1, 16\], not float32"
    )
    wider = {**description, "config": {**description["config"], "latent_dim": 4}}
    reject(path, arrays, wider, r"\[1, 16, 6\], not float32\[1, 16, 8\]")


def test_a_bad_description_is_named(path):
    arrays, description = content_of(path)
    reject(path, arrays, {**description, "format": "other"}, "is not a jvae model file")
    reject(path, arrays, {**description, "format_version": 99}, "format version 99, this jvae reads 1 to 2")
    config = description["config"]
    reject(path, arrays, {**description, "config": {**config, "colour": 1}}, "unknown configuration field colour")
    reject(path, arrays, {**description, "config": {**config, "latent_dim": 0}}, "latent_dim is 0")
    reject(path, arrays, {**description, "unit": 3}, "unit must be a text")
    reject(path, arrays, {k: v for k, v in description.items() if k != "fingerprint"}, "no field 'fingerprint'")


def test_a_pickle_is_refused_and_not_run(path, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelFileError, match="is not a jvae model file"):
        load(path)
    with path.open("wb") as file:
        np.savez(file, a=np.array(Trap(), dtype=object))
    with pytest.raises(ModelFileError, match="was not written by jvae"):
        load(path)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
def test_a_failing_write_leaves_the_old_file_and_no_temporary(model, path, monkeypatch, call):
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = files.Path if call == "replace" else os
    monkeypatch.setattr(owner, call, full)
    with pytest.raises(ModelFileError, match=r"model\.npz: cannot be written: No space left"):
        save(path, model)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_file_or_directory_is_named(tmp_path, model):
    with pytest.raises(ModelFileError, match="No such file"):
        load(tmp_path / "none.npz")
    with pytest.raises(ModelFileError, match="directory"):
        load(tmp_path)
    with pytest.raises(ModelFileError, match="cannot be written"):
        save(tmp_path / "none" / "model.npz", model)


def test_names_are_paths(model):
    names = named_arrays(model.state).keys()
    assert "runs/params/decoder/net/linear_2/bias" in names
    assert "runs/opt_state/0/count" in names


def test_readers_check_the_parameters_and_nothing_else(path):
    """A model can thus be read with another optimizer; resuming reads and checks everything."""
    arrays, description = content_of(path)
    name = "runs/opt_state/0/mu/params/encoder/net/linear_0/bias"
    path.write_bytes(pack({k: v for k, v in arrays.items() if k != name}, description))
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        load(path)
    read = load(path, params_only=True)
    assert read.state is None
    np.testing.assert_array_equal(
        read.params["params"]["encoder"]["net"]["linear_0"]["bias"], arrays["runs/params/encoder/net/linear_0/bias"]
    )


def test_counters_that_make_no_sense_are_refused(path):
    arrays, description = content_of(path)
    for name, value in (("epoch", 0), ("done", 5), ("done", -1)):
        reject(path, {**arrays, name: np.array(value)}, description, "counters make no sense")


@pytest.mark.slow
def test_a_model_file_of_version_0_1_0_is_evaluated_and_drawn_but_not_resumed(digits):
    """It was trained for two epochs in two runs, and the best epochs were kept."""
    model = load(STORED)
    elbos = [api.evaluate(model, digits)[i].elbo.value for i in (0, 1)]
    np.testing.assert_allclose(elbos, [-44.680, -43.612], atol=0.01)
    assert pictures.samples(select_run(model, 1), num_images=9, mean=True).axes
    with pytest.raises(ModelFileError, match="cannot be resumed"):
        api.train_config_epochs(replace(model.config, epochs=3), digits, resume=model)
