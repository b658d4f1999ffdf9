"""Trainings that resume from a model file."""

import json
import os
from dataclasses import replace

import jax
import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers import random_model

from jvae.cli.main import main
from jvae.data.dataset import draw_test_set
from jvae.data.datasets import load_dataset
from jvae.errors import DataError, ModelFileError
from jvae.files import sweep_temporaries
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.conditions import Chunking
from jvae.runs.config import Config, build_recipe
from jvae.runs.fields import text_of

QUICK = {"dataset": "digits", "latent_dim": 2, "epochs": 2, "batch_size": 512, "hidden": (8, 8)}


def jvae(*arguments, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def train(path, *more, code: int = 0, **changes) -> Result:
    fields = {**QUICK, **changes}
    words = [word for name, value in fields.items() for word in (f"--{name.replace('_', '-')}", text_of(value))]
    return jvae("train", *words, "--model", path, *more, code=code)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.state.runs, other.state.runs)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert [record["bound"] for record in one.history] == [record["bound"] for record in other.history]


@pytest.mark.slow
def test_more_epochs_are_those_of_a_longer_training(tmp_path):
    train(tmp_path / "long.npz", epochs=3)
    train(tmp_path / "m.npz", epochs=1)
    said = jvae("train", "--resume", "--epochs", 3, "--model", tmp_path / "m.npz")
    assert "resuming after epoch 1 of 3" in said.stderr
    assert_same(load(tmp_path / "m.npz"), load(tmp_path / "long.npz"))
    finished = jvae("train", "--resume", "--model", tmp_path / "m.npz", "--json", tmp_path / "m.json")
    assert "its training is finished, after epoch 3 of 3" in finished.stderr
    assert "elbo " in finished.stdout
    assert len(json.loads((tmp_path / "m.json").read_text())["history"]) == 3
    assert (
        "--epochs is 2, but" in jvae("train", "--resume", "--epochs", 2, "--model", tmp_path / "m.npz", code=2).stderr
    )


@pytest.mark.slow
def test_fewer_epochs_than_the_warm_up_are_refused(tmp_path):
    config = Config(**{**QUICK, "epochs": 5, "warmup": 4.0})
    save(tmp_path / "m.npz", next(api.train_config_epochs(config, load_dataset("digits"))))
    line = jvae("train", "--resume", "--epochs", 3, "--model", tmp_path / "m.npz", code=2).stderr
    assert "--warmup is 4: must be at most the number of epochs, 3" in line


@pytest.mark.slow
def test_a_model_file_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "m.npz"
    train(path, "--resume", epochs=1)  # there is none yet: it starts
    before = path.read_bytes()
    for more in [[], ["--resume", "--latent-dim", "3"], ["--resume", "--overwrite"]]:
        assert len(train(path, *more, code=2).stderr.splitlines()) == 1
        assert path.read_bytes() == before
    train(path, "--overwrite", epochs=1, seed=1)
    assert load(path).config.seed == 1


@pytest.mark.slow
def test_an_option_given_again_is_compared_with_the_file_alone(tmp_path):
    train(tmp_path / "m.npz", epochs=1, prior="mog", num_components=3)
    again = ["train", "--resume", "--model", tmp_path / "m.npz", "--num-components"]
    assert "its training is finished" in jvae(*again, 3).stderr
    assert "--num-components is 4, but" in jvae(*again, 4, code=2).stderr


@pytest.mark.slow
def test_a_schedule_that_has_ended_is_not_stretched(tmp_path):
    train(tmp_path / "m.npz", schedule="cosine")
    line = jvae("train", "--resume", "--epochs", 4, "--model", tmp_path / "m.npz", code=2).stderr
    assert "the cosine schedule of" in line


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_a_training_stopped_within_an_epoch_goes_on_with_the_same_bits(tiny, tmp_path):
    """After a stop at a safe point in the first or second epoch: saved, loaded and resumed."""
    config = Config(**{**QUICK, "batch_size": 10, "runs": 2})
    *_, whole = api.train_config_epochs(config, tiny)
    chunking = Chunking(first_steps=3, seconds=0)  # every later chunk is one step
    for chunks, done in ((6, 9), (1, 4), (12, 5)):
        asked = iter([False] * chunks)
        how = api.Conditions(interrupted=lambda asked=asked: next(asked, True), chunking=chunking)
        *_, stopped = api.train_config_epochs(config, tiny, how=how)
        assert stopped.state.done == done
        save(tmp_path / "m.npz", stopped)
        if len(stopped.history) == 1:  # within the second epoch, it is no training of one
            shorter = replace(config, epochs=1)
            with pytest.raises(ValueError, match=r"epochs is 1: .* has been trained for 2, the last of them in part"):
                api.train_config_epochs(shorter, tiny, resume=load(tmp_path / "m.npz"))
            found = jvae("train", "--resume", "--epochs", 1, "--model", tmp_path / "m.npz", code=2)
            assert "--epochs is 1, but" in found.stderr.splitlines()[-1]
        *_, resumed = api.train_config_epochs(config, tiny, resume=load(tmp_path / "m.npz"))
        assert_same(resumed, whole)
        assert resumed.state.epoch_is_over


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("stream", [False, True])
def test_epochs_after_a_change_of_the_batch_size_do_not_depend_on_chunks(tiny, stream):
    """And the model that is resumed stays as it is."""
    config = Config(**{**QUICK, "epochs": 1, "batch_size": 10})
    model = next(api.train_config_epochs(config, tiny))
    before = jax.tree.map(np.array, model.state.runs)
    other, ends = replace(config, epochs=3, batch_size=16), []
    for chunking in (Chunking(first_steps=1000), Chunking(first_steps=3, seconds=0)):
        how = api.Conditions(chunking=chunking, stream=stream)
        *_, end = api.train_config_epochs(other, tiny, resume=model, how=how)
        ends.append(end)
    assert_same(*ends)
    jax.tree.map(np.testing.assert_array_equal, model.state.runs, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": (8, 9)}, "hidden is 8,9: must be 8,8, as in the model to resume"),
        ({"learning_rate": 0.1}, r"learning_rate is 0.1: must be 0.001, as in the model to resume"),
        ({"decoder": "gaussian"}, "decoder is gaussian: must be bernoulli, as in the model to resume"),
        ({"epochs": 1}, "epochs is 1: the model to resume has been trained for 2"),
        ({"seed": 1}, r"seeds is \(1,\): must be \(0,\), as in the model to resume"),
    ],
)
def test_a_model_of_another_recipe_or_plan_is_not_resumed(tiny, changes, message):
    config = Config(**{**QUICK, "batch_size": 50})
    model = random_model(config, tiny)
    trained = model._replace(history=[{"epoch": 1}, {"epoch": 2}])
    with pytest.raises(ValueError, match=message):
        api.train_config_epochs(replace(config, **changes), tiny, resume=trained)


def test_a_schedule_is_not_stretched_from_python_either(tiny):
    model = random_model(Config(**{**QUICK, "batch_size": 50, "schedule": "cosine"}), tiny)
    with pytest.raises(ValueError, match=r"epochs is 9: must be .*, for its cosine schedule ends there"):
        api.train_config_epochs(replace(model.config, epochs=9), tiny, resume=model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden": (8, 9)},
            r"does not fit the recipe: params/decoder/net/linear_0/bias is float32\[1, 8\], not float32\[1, 9\]",
        ),
        ({"prior": "mog"}, "does not fit the recipe: .*prior/.* is missing"),
        ({"schedule": "cosine"}, "does not fit the recipe: .*count is missing"),
        ({"decoder": "gaussian"}, "unit is .*log-density.*: must be .*log-probability.*, as in the model to resume"),
    ],
)
def test_a_model_of_another_recipe_is_not_resumed_from_python(tiny, changes, message):
    config = Config(**{**QUICK, "batch_size": 50})
    model = random_model(config, tiny)
    recipe = build_recipe(replace(config, **changes), model.data_shape, 2)
    with pytest.raises(ValueError, match=message):
        api.train_epochs(recipe, tiny, epochs=2, batch_size=50, resume=model)


@pytest.mark.slow
def test_a_file_of_other_data_is_not_resumed(tiny, tmp_path):
    config = Config(**{**QUICK, "batch_size": 50})
    model = next(api.train_config_epochs(config, tiny))
    with pytest.raises(DataError, match="is not the data set that the model was trained on"):
        api.train_config_epochs(config, tiny._replace(fingerprint="0" * 64), resume=model)
    *_, stopped = api.train_config_epochs(
        Config(**{**QUICK, "batch_size": 2}), tiny, how=api.Conditions(interrupted=lambda: True)
    )
    with pytest.raises(ModelFileError, match="was stopped within an epoch of 50 steps, not 2"):
        api.train_config_epochs(config, tiny, resume=stopped)


@pytest.mark.slow
def test_a_diverged_training_says_what_the_file_holds(tmp_path):
    train(tmp_path / "m.npz", epochs=1)
    model = load(tmp_path / "m.npz")
    broken = jax.tree.map(lambda leaf: leaf * np.nan if leaf.dtype == np.float32 else leaf, model.state.runs)
    save(tmp_path / "m.npz", model._replace(state=model.state._replace(runs=broken)))
    line = jvae("train", "--resume", "--epochs", 2, "--model", tmp_path / "m.npz", code=1).stderr.splitlines()[-1]
    assert "the reconstruction log p(x|z) is not finite at epoch 2, step 1 of 4" in line
    assert line.endswith("m.npz holds epoch 1, the last good one")


def test_a_test_set_that_was_not_drawn_is_refused(tiny):
    config = Config(**{**QUICK, "batch_size": 50}, binarise="stochastic")
    with pytest.raises(ValueError, match=r"binarise is stochastic: the test set of digits must be drawn, by load_d"):
        api.train_config(config, tiny)
    assert next(api.train_config_epochs(config, draw_test_set(tiny))).config == config


def test_only_leftovers_of_dead_processes_are_swept(tmp_path):
    path = tmp_path / "m.npz"
    host = os.uname().nodename
    dead, alive = tmp_path / f".m.npz.{host}.{2**22 + 1}.x.tmp", tmp_path / f".m.npz.{host}.{os.getpid()}.x.tmp"
    others = [alive, tmp_path / f".m.npz.elsewhere.{2**22 + 1}.x.tmp", tmp_path / f".n.npz.{host}.{2**22 + 1}.x.tmp"]
    for file in [dead, *others]:
        file.write_text("")
    assert sweep_temporaries(path) == [dead]
    assert set(tmp_path.iterdir()) == set(others)
