"""What changes over a training: the step size and the KL's weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.bounds import LogDensities, elbo
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config, build_recipe
from jvae.runs.selection import select_run

STEPS = 10


def step_sizes(config: Config) -> np.ndarray:
    """Return how far Adam moves in each step under a constant gradient: its step size."""
    optimizer = build_recipe(config, (8, 8, 1), STEPS).optimizer
    params = jnp.zeros(())
    state, sizes = optimizer.init(params), []
    for _ in range(config.epochs * STEPS):
        update, state = optimizer.update(jnp.ones(()), state, params)
        sizes.append(-float(update))
    return np.array(sizes)


def test_step_sizes_follow_the_schedule():
    at = np.arange(4 * STEPS)
    rate = {"epochs": 4, "learning_rate": 0.1}
    rising = at[:STEPS] / STEPS
    for schedule, after in {
        "constant": np.ones(3 * STEPS),
        "linear": 1 - np.arange(3 * STEPS) / (3 * STEPS),
        "cosine": (1 + np.cos(np.pi * np.arange(3 * STEPS) / (3 * STEPS))) / 2,
    }.items():
        sizes = step_sizes(Config(schedule=schedule, warmup=1.0, **rate))
        np.testing.assert_allclose(sizes, 0.1 * np.concatenate([rising, after]), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(step_sizes(Config(schedule="linear", **rate)), 0.1 * (1 - at / 40), rtol=1e-4)
    np.testing.assert_allclose(step_sizes(Config(**rate)), 0.1, rtol=1e-4)


def test_the_weight_of_the_kl_rises_to_beta():
    d = LogDensities(*(jnp.full((1, 1), v) for v in (-90.0, -10.0, 5.0, 20.0)))
    rising = build_recipe(Config(kl_warmup=2.0, beta=3.0), (8, 8, 1), STEPS)
    for step, weight in ((0, 0.0), (5, 0.75), (10, 1.5), (20, 3.0), (500, 3.0)):
        weighted = d._replace(kl=rising.kl_weight(jnp.int32(step)) * d.kl)
        np.testing.assert_allclose(rising.bound(weighted), elbo(d, beta=weight), rtol=1e-6)
    assert build_recipe(Config(beta=3.0), (8, 8, 1), STEPS).kl_weight(jnp.int32(0)) == 3.0
    endless = build_recipe(Config(kl_warmup=1e30), (8, 8, 1), STEPS)  # more steps than are counted
    assert 0 < endless.kl_weight(jnp.int32(1000)) < 1e-5
    assert build_recipe(Config(bound="iwae"), (8, 8, 1)).kl_weight is None


@pytest.mark.slow
def test_a_scheduled_run_is_one_of_many_and_saved_whole(small, tiny, tmp_path):
    fields = {**small.to_dict(), "schedule": "cosine", "warmup": 0.5, "kl_warmup": 1.0}
    *_, both = api.train_config_epochs(Config(**{**fields, "runs": 2}), tiny)
    save(tmp_path / "model.npz", both)
    *_, alone = api.train_config_epochs(Config(**{**fields, "seed": 1}), tiny)
    second = select_run(load(tmp_path / "model.npz"), 1)
    jax.tree.map(np.testing.assert_array_equal, second.state.runs, alone.state.runs)
    *_, plain = api.train_config_epochs(small, tiny)
    assert plain.history[0]["kl"] < alone.history[0]["kl"]  # with a lower weight the KL grows


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"warmup": 11.0}, "warmup is 11: must be at most the number of epochs, 10"),
        ({"kl_warmup": 1.0, "bound": "iwae"}, "kl_warmup is 1: the bound iwae"),
        ({"warmup": -1.0}, "warmup is -1.0: must be at least 0"),
        ({"schedule": "step"}, "schedule is 'step'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)
