"""Bounds from weights on cells of the plane, against bounds from direct draws, and the errors of a mean weight."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from experiments.parts.evidence import grid_over, log_evidence
from experiments.parts.importance import Importance, as_far, cells_of
from jvae.decoders import GaussianDecoder
from jvae.encoders import GaussianEncoder
from jvae.nn.networks import MLP
from jvae.priors import GaussianPrior
from jvae.vae import VAE

D = 5
MODEL = VAE(GaussianPrior(2), GaussianDecoder(MLP((), (D,)), "fixed", 0.4), GaussianEncoder(MLP((), (4,))))
SILENT = {"params": {"decoder": {"net": {"linear_0": {"kernel": jnp.zeros((2, D)), "bias": jnp.zeros(D)}}}}}
"""Parameters by which x says nothing about z: p(z|x) = N(0, I), so that w = p(x) N(z; 0, I) / q(z|x)."""
X = jnp.linspace(-0.5, 0.5, D)[None]


def direct_bounds(loc, scale, num_samples, repeats):
    """Return bounds less log p(x) from draws of q(z|x)."""
    z = loc + scale * np.moveaxis(np.random.default_rng(1).standard_normal((2, repeats, num_samples)), 0, -1)
    log_w = stats.norm.logpdf(z).sum(axis=-1) - stats.norm.logpdf(z, loc, scale).sum(axis=-1)
    return logsumexp(log_w, axis=1) - np.log(num_samples)


@pytest.mark.parametrize("scale", [(1.3, 1.3), (0.5, 0.8)])
def test_bounds_are_known_where_x_says_nothing_about_z(scale):
    loc, scale = np.array([0.3, -0.2]), np.array(scale)
    log_px = log_evidence(MODEL, SILENT, X, grid_over(np.full(2, -7.0), np.full(2, 7.0), 101)).log_px[0]
    cells = cells_of(MODEL, SILENT, X, loc, scale)
    bounds, direct = cells.bounds(100, 4000), log_px + direct_bounds(loc, scale, 100, 4000)
    assert abs(bounds.mean() - direct.mean()) < 5 * np.hypot(bounds.std(), direct.std()) / np.sqrt(4000)
    assert bounds.std() == pytest.approx(direct.std(), rel=0.1)
    ends = stats.norm.cdf(loc + 7 * scale) - stats.norm.cdf(loc - 7 * scale)
    np.testing.assert_allclose(np.exp(cells.log_held - log_px), np.prod(ends), rtol=2e-3)


def test_a_place_that_one_bound_in_hundreds_meets_counts_in_their_spread():
    """q(z|x) is narrow and away from p(z|x), so that a few of all draws have nearly all of the weight."""
    loc, scale = np.array([2.4, 0.0]), np.array([0.3, 0.3])
    bounds, direct = cells_of(MODEL, SILENT, X, loc, scale).bounds(100, 4000), direct_bounds(loc, scale, 100, 4000)
    for k in (0.5, 0.9, 0.99):
        gap = np.quantile(bounds, k) - np.quantile(bounds, 0.1), np.quantile(direct, k) - np.quantile(direct, 0.1)
        assert gap[0] == pytest.approx(gap[1], rel=0.15)


def test_weights_that_differ_little_are_one_with_their_mean(monkeypatch):
    loc, scale = np.array([0.3, -0.2]), np.array([1.3, 0.9])
    some = cells_of(MODEL, SILENT, X, loc, scale)
    monkeypatch.setattr("experiments.parts.importance.STEP", 1e-9)
    every = cells_of(MODEL, SILENT, X, loc, scale)
    assert len(some.share) < len(every.share) / 3
    for cells in (some, every):
        assert np.sum(cells.share) == pytest.approx(1)
    means = [np.sum(cells.share * np.exp(cells.log_weight - every.log_held)) for cells in (some, every)]
    np.testing.assert_allclose(means, means[1], rtol=1e-9)
    squares = [np.sum(cells.share * np.exp(2 * (cells.log_weight - every.log_held))) for cells in (some, every)]
    np.testing.assert_allclose(squares[0], squares[1], rtol=1e-3)


def test_bounds_as_far_out_are_those_on_the_same_side():
    bounds = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    assert [as_far(bounds, found) for found in (0.5, 1.0, 2.0, 3.1, -0.5, -3.0, -4.0)] == [2, 2, 1, 0, 2, 1, 0]
    assert as_far(bounds, 3.1, error=0.2) == 1
    assert as_far(bounds, -3.1, error=0.2) == 1
    assert as_far(bounds, np.nan) == 0


def test_the_errors_of_a_mean_weight_are_those_of_repetition():
    """For log-normal weights of mean 1, bias and standard error from one set of draws are those over many sets."""
    log_w = 0.6 * np.random.default_rng(0).normal(size=(500, 2000)) - 0.18  # 2,000 sets of 500 draws
    found = Importance(log_w.mean(axis=0), log_w)
    bound = found.bound(500)
    np.testing.assert_allclose(found.standard_error().mean(), bound.std(), rtol=0.06)
    assert abs(bound.mean() - found.bias().mean()) < 5 * bound.std() / np.sqrt(2000)
    np.testing.assert_allclose(found.bias().mean(), -np.expm1(0.36) / (2 * 500), rtol=0.05)
    np.testing.assert_allclose(found.bound(1), found.elbo)
    assert np.all(np.diff([found.bound(k).mean() for k in (1, 10, 100, 500)]) > 0)
