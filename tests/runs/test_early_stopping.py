"""Which epoch a run keeps, and when it stops."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st

from jvae.cli.main import main
from jvae.errors import NonFiniteError
from jvae.runs import api
from jvae.runs.checkpoint import load
from jvae.runs.config import Config, build_recipe
from jvae.runs.early_stopping import is_warming_up, judge_epoch
from jvae.runs.fields import text_of
from jvae.runs.plan import plan_of, split_rows
from jvae.runs.selection import kept_epochs, select_run
from jvae.runs.state import init_loop_state
from jvae.runs.training import validation_data
from jvae.training import TrainState
from jvae.view import pictures

QUICK = {"dataset": "digits", "latent_dim": 2, "batch_size": 32, "hidden": (16, 16), "learning_rate": 0.1}


def state_at(epoch: int, runs: int) -> TrainState:
    value = jnp.full((runs,), epoch)
    return TrainState({"w": value * 1.0}, (), value)


@pytest.mark.slow
@settings(deadline=None)  # the first case compiles
@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=8),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 4),
)
def test_select_does_what_a_loop_over_one_run_does(bounds, keep_best, patience, warmup):
    """A tie is no improvement; a stopped run keeps what it had, and a run in its warm-up keeps the latest."""
    loop = init_loop_state(state_at(0, 3), 1, validated=True)
    for epoch, bound in enumerate(bounds, 1):
        loop = loop._replace(runs=state_at(epoch, 3), epoch=np.array(epoch))
        rising = np.array([False, epoch <= warmup, epoch <= 1])
        loop = judge_epoch(loop, np.array(bound, float), keep_best, patience, rising)
    for i in range(3):
        best, kept, waited = -np.inf, 0, 0
        for epoch, bound in enumerate(bounds, 1):
            if epoch <= (0, warmup, 1)[i]:
                kept = epoch
                continue
            better = bound[i] > best
            best, waited = (bound[i], 0) if better else (best, waited + 1)
            kept = epoch if better or not keep_best else kept
            if patience and waited >= patience:
                break
        assert loop.kept_epoch[i] == kept == loop.params["w"][i]
        assert loop.best[i] == best
        assert loop.running[i] == (patience == 0 or waited < patience)


@pytest.mark.parametrize(
    ("fields", "epochs"),
    [
        ({}, 0),
        ({"kl_warmup": 2.0}, 2),
        ({"kl_warmup": 2.1}, 3),
        ({"kl_warmup": 50.0}, 5),
        ({"kl_warmup": 2.0, "beta": 0.0}, 0),
        ({"bound": "iwae"}, 0),
    ],
)
def test_an_epoch_warms_up_while_the_weight_at_its_start_is_below_the_last(fields, epochs):
    recipe = build_recipe(Config(**fields), (8, 8, 1), steps_per_epoch=10)
    found = [is_warming_up(recipe.kl_weight, epoch, 5, 10) for epoch in range(1, 6)]
    assert found == [epoch <= epochs for epoch in range(1, 6)]


def test_an_epoch_of_one_step_warms_up_as_it_does_in_a_longer_training():
    recipe = build_recipe(Config(kl_warmup=5.0), (8, 8, 1), steps_per_epoch=1)
    for epochs in (2, 12):
        assert [is_warming_up(recipe.kl_weight, epoch, epochs, 1) for epoch in (1, 2)] == [True, True]
    assert [is_warming_up(recipe.kl_weight, epoch, 12, 1) for epoch in (5, 6, 12)] == [True, False, False]


@pytest.mark.slow
def test_a_run_does_not_stop_before_the_warm_up_of_its_kl_ends(tiny):
    """A case in which the validation bound falls throughout the warm-up, on images that are not trained on."""
    negatives = tiny._replace(test_images=255 - tiny.test_images)
    config = Config(**QUICK, epochs=8, validation="test", keep="best", patience=1, kl_warmup=5.0)
    *_, model = api.train_config_epochs(config, negatives)
    bounds = [record["validation"] for record in model.history]
    assert min(np.diff(bounds[:5])) < 0, "without the rule no run would stop: this setting tests nothing"
    assert len(model.history) > 5
    assert [record["kept"] for record in model.history[:5]] == [1, 2, 3, 4, 5]
    assert kept_epochs(model) == [6 + int(np.argmax(bounds[5:]))]


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_the_best_epoch_is_kept_as_it_was(bound, tiny):
    """The kept state is that of a training that ended there, and has the highest validation bound of all.

    Negatives are the validation images: longer training on positives makes their bound worse.
    """
    negatives = tiny._replace(test_images=255 - tiny.test_images)
    config = Config(
        **{**QUICK, "learning_rate": 0.01}, epochs=3, validation="test", keep="best", bound=bound, num_samples=2
    )
    *_, model = api.train_config_epochs(config, negatives)
    bounds = [record["validation"] for record in model.history]
    best = int(np.argmax(bounds)) + 1
    assert kept_epochs(model) == [best]
    assert best < 3, "the last epoch is the best: this setting tests nothing"
    for epoch, reference in enumerate(
        api.train_config_epochs(Config(**{**config.to_dict(), "keep": "last"}), negatives), 1
    ):
        if epoch == best:
            kept = jax.device_get(reference.params)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(model.params), kept)
    if bound == "elbo":
        assert api.evaluate(model, negatives, 1)[0].elbo.value == pytest.approx(max(bounds), rel=1e-6)


def test_a_validation_bound_that_is_not_finite_is_an_error(tiny, monkeypatch):
    config = Config(
        dataset="digits", latent_dim=2, epochs=2, batch_size=50, hidden=(4,), validation="test", keep="best"
    )
    monkeypatch.setattr("jvae.runs.loop.validate", lambda *_: np.array([np.nan]))
    with pytest.raises(NonFiniteError, match="the validation bound is not finite at epoch 1, though training is"):
        next(api.train_config_epochs(config, tiny))


def test_the_best_epoch_of_a_resumed_training_is_one_whose_parameters_were_kept(tiny, monkeypatch):
    bounds = iter([-1.0, -3.0, -2.0, -4.0])
    monkeypatch.setattr("jvae.runs.loop.validate", lambda *_: np.array([next(bounds)]))
    config = Config(dataset="digits", latent_dim=2, epochs=2, batch_size=50, hidden=(4,), validation="test")
    *_, last = api.train_config_epochs(config, tiny)
    *_, best = api.train_config_epochs(replace(config, epochs=4, keep="best"), tiny, resume=last)
    assert [int(epoch) for epoch in best.state.kept_epoch] == [3]


def test_a_run_that_has_stopped_is_not_resumed_with_another_patience(tiny, monkeypatch):
    bounds = iter([-1.0, -2.0])
    monkeypatch.setattr("jvae.runs.loop.validate", lambda *_: np.array([next(bounds)]))
    fields = {"dataset": "digits", "latent_dim": 2, "epochs": 4, "batch_size": 50, "hidden": (4,)}
    config = Config(**fields, validation="test", patience=1)
    *_, stopped = api.train_config_epochs(config, tiny)
    assert list(api.train_config_epochs(config, tiny, resume=stopped)) == []
    with pytest.raises(ValueError, match="patience is 0: must be 1, with which a run of the model to resume"):
        api.train_config(replace(config, patience=0), tiny, resume=stopped)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_a_run_that_stops_early_is_the_same_alone_and_among_others(tiny):
    config = Config(**QUICK, epochs=12, runs=3, validation="held-out", held_out=0.3, keep="best", patience=2)
    *_, many = api.train_config_epochs(config, tiny)
    lengths = []
    for i in range(3):
        *_, alone = api.train_config_epochs(Config(**{**config.to_dict(), "runs": 1, "seed": i}), tiny)
        mine = select_run(many, i)
        jax.tree.map(np.testing.assert_array_equal, mine.params, alone.params)
        lengths.append(len(alone.history))
        assert len(mine.history) == lengths[-1]
        bounds = [record["validation"] for record in alone.history]
        assert [record["validation"] for record in mine.history] == pytest.approx(bounds, rel=1e-6)
        if lengths[-1] < 12:
            assert np.argmax(bounds) == lengths[-1] - 3
    assert len(set(lengths)) > 1, "all runs stop together: this setting tests nothing"
    assert len(many.history) == max(lengths)
    lines = pictures.history(many).axes[0].lines
    assert sorted(np.isfinite(line.get_ydata()).sum() for line in lines[:3]) == sorted(lengths)


@pytest.mark.slow
def test_held_out_images_are_never_trained_on(tiny):
    config = Config(validation="held-out", held_out=0.25)
    plan = plan_of(config)
    rows, held_out_rows = split_rows(plan, 100)
    assert (len(rows), len(held_out_rows)) == (75, 25)
    kept, held_out = tiny.train_images[rows], validation_data(plan, tiny)
    together = np.concatenate([kept, held_out]).reshape(100, -1)
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(tiny.train_images.reshape(100, -1), axis=0))
    assert np.unique(together, axis=0).shape == np.unique(tiny.train_images.reshape(100, -1), axis=0).shape
    changed = tiny.train_images.copy()
    where = [i for i, image in enumerate(changed) if any((image == other).all() for other in held_out)]
    changed[where] = 0
    fields = {**QUICK, "epochs": 1, "validation": "held-out", "held_out": 0.25}
    states = [
        next(api.train_config_epochs(Config(**fields), data)).params
        for data in (tiny, tiny._replace(train_images=changed))
    ]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert validation_data(plan_of(Config(validation="test")), tiny) is tiny.test_images


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep": "best"}, "keep is best: applies only with validation held-out or test, not none"),
        ({"patience": 3}, "patience is 3: applies only with validation"),
        ({"held_out": 0.5, "validation": "test"}, "held_out is 0.5: applies only with validation held-out"),
        ({"held_out": 0.95, "validation": "held-out"}, "held_out is 0.95: must be above 0 and at most 0.9"),
    ],
)
def test_invalid_options_of_early_stopping_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)


def test_a_held_out_share_below_one_image_is_refused(tiny):
    with pytest.raises(ValueError, match=r"held_out is 0\.001: is 0 of 100 training images"):
        api.train_config_epochs(Config(validation="held-out", held_out=0.001), tiny)


@pytest.mark.slow
def test_train_says_which_epoch_it_kept(tmp_path):
    path, result = tmp_path / "m.npz", tmp_path / "t.json"
    flags = {**QUICK, "epochs": 30, "validation": "test", "keep": "best", "patience": 1, "batch_size": 300}
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", text_of(value))]
    trained = CliRunner().invoke(main, ["train", *words, "--runs", "2", "--model", str(path), "--json", str(result)])
    assert trained.exit_code == 0, trained.output
    kept = kept_epochs(load(path))
    assert f"kept epoch {kept[0]}, {kept[1]}" in trained.stderr
    assert "validation" in trained.stderr
    history = json.loads(result.read_text())["history"]
    assert len(history) == max(kept) + 1 < 30
