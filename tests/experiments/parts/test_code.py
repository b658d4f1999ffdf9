"""The answers of experiments/parts/exercise_1_4.md, checked on the code by checks that can fail."""

from pathlib import Path

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rest_slow

from experiments.parts import code_checks as checks
from experiments.parts.code import tell
from experiments.parts.code_checks import CHECKS
from jvae.bounds import LogDensities, elbo

ANSWERS = (Path(checks.__file__).parent / "exercise_1_4.md").read_text()


@pytest.mark.parametrize("check", rest_slow(CHECKS), ids=lambda check: check.__name__)
def test_every_claim_holds(check):
    found = check()
    assert found.holds, found
    assert f"`{check.__name__}`" in ANSWERS


@pytest.mark.slow
def test_a_draw_that_cuts_the_path_is_noticed(monkeypatch):
    draw = distrax.Normal.sample
    cut = lambda self, *, seed, sample_shape=(): jax.lax.stop_gradient(draw(self, seed=seed, sample_shape=sample_shape))  # noqa: E731
    monkeypatch.setattr(distrax.Normal, "sample", cut)
    assert not checks.draw_is_loc_plus_scale_times_noise().holds
    assert not checks.encoder_learns_through_the_draw().holds
    assert not checks.gradient_is_that_of_the_expectation().holds


@pytest.mark.slow
def test_a_mean_over_pixels_or_latents_is_noticed(monkeypatch):
    monkeypatch.setattr(jnp, "sum", jnp.mean)
    assert not checks.independent_sums_over_the_event().holds


@pytest.mark.slow
def test_a_split_the_other_way_round_is_noticed(monkeypatch):
    split = jnp.split
    monkeypatch.setattr(jnp, "split", lambda *arguments, **options: split(*arguments, **options)[::-1])
    assert not checks.split_gives_loc_and_log_scale().holds


def test_a_claim_that_does_not_hold_is_told():
    good, bad = (checks.Check(1, claim, "0", holds)._asdict() for claim, holds in (("sound", True), ("hollow", False)))
    assert tell({"checks": [good]}).sound
    story = tell({"checks": [good, bad]})
    assert not story.sound
    assert "hollow" in story.short


def test_elbo_is_reconstruction_minus_kl():
    d = LogDensities(*(jnp.full((1, 2), v) for v in (-90.0, -20.0, -5.0, 16.0)))
    np.testing.assert_array_equal(elbo(d), [-106.0, -106.0])
