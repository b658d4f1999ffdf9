"""Snapshots of the parameters during training: when they are taken, what they hold, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.faults.model_files import content_of
from jvae.errors import ModelFileError, NotEnoughMemoryError
from jvae.runs import api, snapshots
from jvae.runs.archive import pack
from jvae.runs.checkpoint import TrainedModel, load, save
from jvae.runs.conditions import Chunking, Conditions
from jvae.runs.config import Config
from jvae.runs.loop import Member, checkpoint
from jvae.runs.selection import select_run
from jvae.runs.snapshots import Snapshot, Snapshots, check_room, halved, planned_steps, rows_of, start_snapshots

ASKED = 6
CONFIG = Config(dataset="digits", latent_dim=2, epochs=3, batch_size=10, hidden=(8,), runs=2)
STEPS = [0, 5, 10, 16, 22, 30]
"""Of 3 epochs of 10 steps, when 6 snapshots are taken."""


@pytest.fixture(scope="module")
def plain(tiny):
    return api.train_config(CONFIG, tiny)


@pytest.fixture(scope="module")
def whole(tiny):
    return api.train_config(CONFIG, tiny, how=Conditions(snapshots=ASKED))


@pytest.fixture(scope="module")
def saved(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshots") / "m.npz"
    save(path, whole)
    return path


def taken(model: TrainedModel) -> tuple[Snapshot, ...]:
    assert model.snapshots is not None
    return model.snapshots.taken


def assert_same_snapshots(one: TrainedModel, other: TrainedModel) -> None:
    assert [shot[:2] for shot in taken(one)] == [shot[:2] for shot in taken(other)]
    for mine, theirs in zip(taken(one), taken(other), strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine.params, theirs.params)


@pytest.mark.parametrize("asked", [2, 10, 1000])
@pytest.mark.parametrize("total", [1, 5, 125, 4690, 10**11])
def test_snapshots_are_planned_from_the_first_step_to_the_last(asked, total):
    steps = planned_steps(asked, total)
    assert steps[0] == 0
    assert steps[-1] == total
    assert steps == sorted(set(steps))
    assert len(steps) <= asked
    gaps = np.diff(steps)
    if len(steps) == asked:
        assert np.all(np.diff(gaps) >= -1)  # up to rounding they grow


def test_the_first_epoch_of_few_or_many_is_seen_to_unfold():
    for epochs in (5, 100):
        steps = planned_steps(10, epochs * 469)
        assert sum(0 < step < 469 for step in steps) >= 3


@pytest.mark.slow
def test_what_is_trained_is_the_same_with_snapshots(plain, whole):
    assert plain.snapshots is None
    jax.tree.map(np.testing.assert_array_equal, plain.state.runs, whole.state.runs)
    assert [record["bound"] for record in plain.history] == [record["bound"] for record in whole.history]


@pytest.mark.slow
def test_a_snapshot_holds_the_parameters_of_its_step(whole):
    assert [shot.step for shot in taken(whole)] == STEPS == planned_steps(ASKED, 30)
    assert [shot.epochs for shot in taken(whole)] == [step / 10 for step in STEPS]
    jax.tree.map(np.testing.assert_array_equal, taken(whole)[-1].params, jax.tree.map(halved, whole.params))


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_snapshots_of_one_that_was_not_stopped(whole, tiny, tmp_path):
    asked = iter([False] * 13)
    how = Conditions(interrupted=lambda: next(asked, True), chunking=Chunking(3, 0.0), snapshots=ASKED)
    stopped = api.train_config(CONFIG, tiny, how=how)
    assert stopped.state.steps_taken == STEPS[3]
    jax.tree.map(np.testing.assert_array_equal, taken(whole)[3].params, jax.tree.map(halved, stopped.params))
    save(tmp_path / "m.npz", stopped)
    resumed = api.train_config(CONFIG, tiny, resume=load(tmp_path / "m.npz"))
    jax.tree.map(np.testing.assert_array_equal, whole.state.runs, resumed.state.runs)
    assert_same_snapshots(whole, resumed)


@pytest.mark.slow
def test_snapshots_are_kept_in_the_model_file(whole, saved, tmp_path):
    for params_only in (False, True):
        assert_same_snapshots(load(saved, params_only=params_only), whole)
    save(tmp_path / "again.npz", load(saved))
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


@pytest.mark.slow
def test_a_file_whose_snapshots_do_not_fit_is_refused_in_one_line(saved, tmp_path):
    path = tmp_path / "m.npz"
    arrays, description = content_of(saved)
    name = "snapshots/2/params/encoder/net/linear_0/bias"
    times = description["snapshots"]
    assert arrays[name].dtype == np.float16
    broken = [
        ({**arrays, name: arrays[name].astype(np.float32)}, description),
        ({key: value for key, value in arrays.items() if key != name}, description),
        ({**arrays, "snapshots/9/more": arrays[name]}, description),
        (arrays, {**description, "snapshots": None}),
        (arrays, {**description, "snapshots": [1]}),
        (arrays, {**description, "snapshots": {**times, "asked": True}}),
        (arrays, {**description, "snapshots": {**times, "steps": times["steps"][::-1]}}),
        (arrays, {**description, "snapshots": {**times, "epochs": [float("nan")] * ASKED}}),
    ]
    for content in broken:
        path.write_bytes(pack(*content))
        with pytest.raises(ModelFileError, match="snapshots") as caught:
            load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_more_epochs_of_another_length_go_on_with_the_snapshots_there_are(whole, saved, tiny, tmp_path):
    """From Python a training may resume with other batches: steps and epochs still increase."""
    config = Config(**{**CONFIG.to_dict(), "epochs": 6, "batch_size": 20})
    longer = api.train_config(config, tiny, resume=load(saved))
    assert [shot.step for shot in taken(longer)] == [*STEPS, 31, 37, 45]
    assert [shot.epochs for shot in taken(longer)[-3:]] == [3.2, 4.4, 6]
    assert_same_snapshots(longer._replace(snapshots=Snapshots(ASKED, taken(longer)[:-3])), whole)
    save(tmp_path / "m.npz", longer)
    assert_same_snapshots(load(tmp_path / "m.npz"), longer)


def test_a_run_has_its_own_snapshots_until_it_ends(whole):
    alone = select_run(whole, 1)
    for mine, theirs in zip(taken(alone), taken(whole), strict=True):
        jax.tree.map(lambda one, all_: np.testing.assert_array_equal(one, all_[1:]), mine.params, theirs.params)
    stopped = [{**record, "bound": [record["bound"][0], None]} for record in whole.history[1:]]
    ended = select_run(whole._replace(history=[whole.history[0], *stopped]), 1)
    assert [shot.step for shot in taken(ended)] == [0, 5, 10]
    assert len(taken(select_run(whole._replace(history=[]), 1))) == len(STEPS)


def test_a_training_among_others_in_one_program_has_the_snapshots_of_its_own_runs(whole, tiny):
    rows = slice(1, 2)
    member = Member(whole.recipe, whole.plan, rows, [])
    assert_same_snapshots(
        checkpoint(member, whole.state, tiny, whole.snapshots),
        whole._replace(snapshots=rows_of(whole.snapshots, rows)),
    )


def test_what_is_asked_for_is_checked(whole):
    known = whole.snapshots
    assert start_snapshots(None, None, False) is start_snapshots(None, None, True) is None
    assert start_snapshots(None, known, True) is start_snapshots(np.int64(ASKED), known, True) is known
    assert start_snapshots(2, None, False) == Snapshots(2)
    for asked in (0, 1, 1001, -3):
        with pytest.raises(ValueError, match=f"snapshots is {asked}: must be from 2 to 1000"):
            start_snapshots(asked, None, False)
    for other in (known, None):
        with pytest.raises(ValueError, match="snapshots is 7: must be as in the model to resume"):
            start_snapshots(7, other, True)


def test_numbers_are_halved_within_their_range():
    small = halved(jnp.array([0.1, -1e9, jnp.inf, jnp.nan], jnp.float32))
    np.testing.assert_array_equal(small, np.array([0.1, -65504, 65504, np.nan], np.float16))
    assert halved(jnp.arange(3)).dtype == jnp.arange(3).dtype
    assert halved(jnp.ones(3, jnp.bfloat16)).dtype == np.float16


@pytest.mark.slow
def test_more_snapshots_than_memory_takes_are_refused(whole, monkeypatch):
    monkeypatch.setattr(snapshots, "host_bytes", lambda: 10_000)
    shapes = jax.eval_shape(lambda: whole.params)
    check_room(Snapshots(2), jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1,), leaf.dtype), shapes))
    with pytest.raises(NotEnoughMemoryError, match="6 snapshots of the parameters need"):
        check_room(Snapshots(ASKED), shapes)
