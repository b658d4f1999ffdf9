"""The log-evidence on a grid against probabilistic PCA, whose log-evidence is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parts.evidence import Evidence, Grid, grid_over, log_evidence, mass_boxes
from jvae import ppca
from jvae.decoders import GaussianDecoder
from jvae.encoders import GaussianEncoder
from jvae.nn.networks import MLP
from jvae.priors import GaussianPrior
from jvae.vae import VAE

SCALE, D = 0.4, 5
MODEL = VAE(GaussianPrior(2), GaussianDecoder(MLP((), (D,)), "fixed", SCALE), GaussianEncoder(MLP((), (4,))))
PPCA = ppca.PPCA(
    jnp.array([0.2, -0.1, 0.0, 1.0, 0.5]), jax.random.normal(jax.random.key(0), (D, 2)), jnp.log(jnp.float32(SCALE))
)
PARAMS = {"params": {"decoder": {"net": {"linear_0": {"kernel": PPCA.weights.T, "bias": PPCA.loc}}}}}
X = ppca.sample(PPCA, jax.random.key(1), 20)
EXACT = np.asarray(ppca.log_likelihood(PPCA, X), np.float64)
ROUNDING = 2e-5
"""Of densities in float32, of some ten nats."""


def found(half: float, side: int) -> tuple[Evidence, np.ndarray]:
    """Return the sum over a square of points, and its distance from the integral."""
    evidence = log_evidence(MODEL, PARAMS, X, grid_over(np.full(2, -half), np.full(2, half), side))
    return evidence, np.abs(evidence.log_px - EXACT)


def test_the_sum_over_a_grid_is_the_integral():
    evidence, off = found(7.0, 141)
    assert np.max(off) < ROUNDING
    assert np.max(evidence.error) < 1e-4
    assert np.max(evidence.border) < 1e-9


@pytest.mark.parametrize(("half", "side"), [(7.0, 41), (7.0, 31), (2.5, 141), (2.0, 140)])
def test_a_grid_that_is_too_coarse_or_too_small_says_so(half, side):
    evidence, off = found(half, side)
    assert np.max(off) > 10 * ROUNDING
    assert np.all(evidence.error + ROUNDING > np.minimum(off, 0.5))  # above that an error is only known to be large


@pytest.mark.slow
def test_a_box_holds_what_a_far_coarser_grid_sees():
    """p(z|x) = N(mean, (W'W / s^2 + I)^-1): a millionth lies beyond 4.75 deviations; the box is two points wider."""
    plane = grid_over(np.full(2, -20.0), np.full(2, 20.0), 201)
    low, high = mass_boxes(MODEL, PARAMS, X, plane)
    w = np.asarray(PPCA.weights, np.float64)
    covariance = np.linalg.inv(w.T @ w / SCALE**2 + np.eye(2))
    mean, deviation = (np.asarray(X) - np.asarray(PPCA.loc)) @ w @ covariance / SCALE**2, np.sqrt(np.diag(covariance))
    for away in (mean - low, high - mean):
        assert np.all(away > 4.75 * deviation)
        assert np.all(away < 4.75 * deviation + 4 * plane.spacing[0])
    boxes = [grid_over(*box, 60) for box in zip(low, high, strict=True)]
    found = [log_evidence(MODEL, PARAMS, X[i : i + 1], box).log_px[0] for i, box in enumerate(boxes)]
    np.testing.assert_allclose(found, EXACT, atol=ROUNDING)


def test_spacings_may_differ():
    grid = Grid(np.linspace(-6, 6, 101), np.linspace(-8, 8, 161))
    assert grid.spacing == pytest.approx((0.12, 0.1))
    np.testing.assert_allclose(log_evidence(MODEL, PARAMS, X, grid).log_px, EXACT, atol=ROUNDING)
