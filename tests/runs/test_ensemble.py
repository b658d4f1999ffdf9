"""Many runs in one program, each the same as it would be alone."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st

from jvae.cli.main import main
from jvae.errors import NonFiniteError
from jvae.evaluation import spread
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.conditions import Chunking
from jvae.runs.config import Config
from jvae.runs.ensemble import (
    ACCELERATOR_BLOCK,
    Together,
    block_of,
    init_states,
    make_chunk,
    make_numbers,
    make_recipe_of,
    resident_batches,
    together,
)
from jvae.runs.loop import Member, check_finite
from jvae.runs.plan import Plan
from jvae.runs.selection import select_run
from jvae.training import Metrics, StepMetrics, init_step_metrics
from jvae.view import pictures

QUICK = {"dataset": "digits", "latent_dim": 2, "epochs": 2, "batch_size": 32, "hidden": (8, 8)}
VARIATIONS = [{}, {"prior": "mog", "num_components": 3}, {"network": "cnn", "channels": (4,), "epochs": 1},
              {"prior": "vamp", "num_components": 3, "pseudo_inputs": "data"}]  # fmt: skip


def config_of(variation: dict, **more) -> Config:
    fields = {**QUICK, **variation, **more}
    if fields.get("network") == "cnn":
        del fields["hidden"]
    return Config(**fields)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("variation", VARIATIONS, ids=str)
def test_run_i_is_the_single_run_with_its_seed_bit_by_bit(variation, tiny):
    *_, many = api.train_config_epochs(config_of(variation, runs=3, seed=5), tiny)
    for i in (0, 2):
        *_, one = api.train_config_epochs(config_of(variation, seed=5 + i), tiny)
        chosen = select_run(many, i)
        assert chosen.config == one.config
        jax.tree.map(np.testing.assert_array_equal, chosen.state.runs, one.state.runs)
        for mine, theirs in zip(chosen.history, one.history, strict=True):
            assert mine["bound"] == pytest.approx(theirs["bound"], rel=1e-6)


@pytest.mark.slow
def test_runs_computed_together_are_the_same_within_rounding(tiny):
    """As on a GPU: a vmap over groups of 2 runs, the last one smaller."""
    *_, apart = api.train_config_epochs(config_of({}, runs=3), tiny)
    apart = jax.device_get(apart.params)
    *_, together = api.train_config_epochs(config_of({}, runs=3), tiny, how=api.Conditions(runs_together=2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), apart, jax.device_get(together.params))


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("runs_together", [1, 2])
def test_steps_in_blocks_of_known_length_are_the_same_bits(runs_together, tiny):
    """As on a GPU: loops of 3 steps, and a loop of the steps that are left of an epoch's 4 or of a chunk."""
    how = api.Conditions(runs_together=runs_together, chunking=Chunking(first_steps=2))
    *_, plain = api.train_config_epochs(config_of({}, runs=2, batch_size=13), tiny, how=how)
    *_, blocks = api.train_config_epochs(config_of({}, runs=2, batch_size=13), tiny, how=how._replace(block=3))
    jax.tree.map(np.testing.assert_array_equal, blocks.state, plain.state)


@pytest.mark.slow
def test_an_accelerators_program_has_loops_of_known_length_and_keeps_no_copy_of_the_state(tiny):
    """What is donated - parameters and optimizer state - is overwritten."""
    recipe_of = make_recipe_of(config_of({}, runs=4), tiny.train_images.shape[1:], 4)
    numbers = make_numbers(range(4), [1e-3] * 4, [1.0] * 4)
    states = init_states(recipe_of(None), numbers, tiny.train_images, np.arange(100))
    chunk = make_chunk(recipe_of, resident_batches(32), Together(4), None, block_of("gpu"))
    record = init_step_metrics(states, 4)
    arguments = (states, numbers, jnp.asarray(tiny.train_images), (), record, 0, 4)
    compiled = jax.jit(chunk, donate_argnums=0).lower(*arguments).compile()
    donated = sum(leaf.nbytes for leaf in jax.tree.leaves(states))
    assert compiled.memory_analysis().alias_size_in_bytes == donated
    assert f'"known_trip_count":{{"n":"{ACCELERATOR_BLOCK}"}}' in compiled.as_text()


@pytest.mark.slow
def test_runs_differ(tiny):
    *_, many = api.train_config_epochs(config_of({}, runs=3), tiny)
    kernel = np.asarray(many.params["params"]["encoder"]["net"]["linear_0"]["kernel"])
    assert len(np.unique(kernel[:, 0, 0])) == 3
    assert len(set(many.history[-1]["bound"])) == 3


@pytest.mark.slow
def test_a_file_of_many_runs_holds_them_all(tiny, tmp_path):
    *_, many = api.train_config_epochs(config_of({}, runs=2), tiny)
    save(tmp_path / "m.npz", many)
    loaded = load(tmp_path / "m.npz")
    jax.tree.map(np.testing.assert_array_equal, loaded.state, many.state)
    assert loaded.config.runs == 2
    assert len(pictures.history(loaded).axes[0].lines) == 2


@pytest.mark.slow
def test_a_run_that_is_not_there_is_named(tiny):
    *_, many = api.train_config_epochs(config_of({}, runs=2), tiny)
    with pytest.raises(ValueError, match=r"^run is 2: must be from 0 to 1"):
        select_run(many, 2)


def test_the_run_that_diverged_is_named():
    fine, broken = np.zeros((2, 3)), np.array([[0, 0, 0], [0, np.nan, np.nan]])
    running, everything = np.array([True, True]), np.array([True, True])
    member = Member(None, Plan(1, 1, seeds=(7, 8)), slice(0, 2), [], Config(seed=7, runs=2))
    metrics = Metrics(bound=broken, reconstruction=fine, kl=broken)
    with pytest.raises(NonFiniteError, match=r"^the KL of the run with seed 8 is not finite at epoch 3, step 2 of 3"):
        check_finite(member, StepMetrics(metrics, fine), everything, 3, running)
    check_finite(member, StepMetrics(metrics, fine), everything, 3, np.array([True, False]))
    sound = StepMetrics(Metrics(fine, fine, fine), fine)
    check_finite(member, sound, everything, 3, running)
    with pytest.raises(NonFiniteError, match=r"^a parameter of the run with seed 7 is not finite at epoch 3, step 3"):
        check_finite(member, sound, np.array([False, True]), 3, running)


def test_seeds_stay_in_their_range():
    with pytest.raises(ValueError, match=r"^runs is 2: the last seed"):
        Config(seed=2**32 - 1, runs=2)


def test_a_cpu_takes_one_run_and_one_step_at_a_time_and_an_accelerator_more():
    assert [together(8, 1, backend)[0] for backend in ("cpu", "gpu", "tpu")] == [(1, None), (8, None), (8, None)]
    assert [block_of(backend) for backend in ("cpu", "gpu", "tpu")] == [1, ACCELERATOR_BLOCK, ACCELERATOR_BLOCK]


def test_where_that_is_too_much_fewer_runs_are_taken_and_then_fewer_draws():
    assert together(6, 30, "gpu") == [*map(Together, (6, 3, 1)), Together(1, 10), Together(1, 1)]
    assert together(6, 1, "cpu") == [Together(1)]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_spread_is_the_textbooks(values):
    found = spread(values)
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.standard_deviation == pytest.approx(variance**0.5, abs=1e-6)
    assert found.standard_error == pytest.approx((variance / len(values)) ** 0.5, abs=1e-6)


@pytest.mark.slow
def test_the_commands_know_all_runs(tmp_path):
    def jvae(*arguments, code=0):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == code, result.output
        return result

    path, one = tmp_path / "m.npz", tmp_path / "one.npz"
    quick = ["--dataset", "digits", "--latent-dim", 2, "--epochs", 1, "--batch-size", 128, "--hidden", "8,8"]
    trained = jvae("train", *quick, "--runs", 2, "--model", path, "--json", tmp_path / "t.json")
    assert "2 runs in one program, one after another" in trained.stderr
    assert "standard deviation" in trained.stdout
    jvae("train", *quick, "--seed", 1, "--model", one, "--json", tmp_path / "one.json")
    result = json.loads((tmp_path / "t.json").read_text())["runs"]["elbo"]
    alone = json.loads((tmp_path / "one.json").read_text())["elbo"]["value"]
    assert result["values"][1] == pytest.approx(alone, rel=1e-6)
    assert result["mean"] == pytest.approx(sum(result["values"]) / 2)
    jvae("evaluate", "--model", path, "--iwae", 5, "--json", tmp_path / "e.json")
    evaluated = json.loads((tmp_path / "e.json").read_text())
    assert evaluated["runs"]["elbo"]["values"] == result["values"]
    assert len(evaluated["diagnostics"]) == len(evaluated["runs"]["iwae-5"]["values"]) == 2
    for i in (0, 1):
        jvae("sample", "--model", path, "--run", i, "--num-images", 4, "--samples", tmp_path / f"{i}.png")
    jvae("sample", "--model", one, "--num-images", 4, "--samples", tmp_path / "one.png")
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()
    assert "run is 2" in jvae("plot", "posterior", "--model", path, "--run", 2, code=2).stderr
