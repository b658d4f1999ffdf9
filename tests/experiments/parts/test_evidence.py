"""The log-evidence on a grid against probabilistic PCA, whose log-evidence is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parts.evidence import Evidence, Grid, grid_over, log_evidence
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
    """The sum over a square of points, and how far it is from the integral."""
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
    assert np.all(evidence.error + ROUNDING > np.minimum(off, 0.5))  # an error of more is told as large, not how large


def test_spacings_may_differ():
    grid = Grid(np.linspace(-6, 6, 101), np.linspace(-8, 8, 161))
    assert grid.spacing == pytest.approx((0.12, 0.1))
    np.testing.assert_allclose(log_evidence(MODEL, PARAMS, X, grid).log_px, EXACT, atol=ROUNDING)
