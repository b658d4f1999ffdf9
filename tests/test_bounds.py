import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jvae.bounds import LogDensities, draw, elbo, elbo_terms, iwae, log_weights, mean_over_draws, monte_carlo_elbo


@pytest.fixture
def d() -> LogDensities:
    """Return log-densities of five draws for seven data."""
    fields = np.random.default_rng(0).normal(-50, 10, (4, 5, 7)).astype(np.float32)
    return LogDensities(*map(jnp.asarray, fields))


def test_elbo_is_the_mean_of_reconstruction_minus_kl(d):
    np.testing.assert_allclose(elbo(d), np.mean(np.asarray(d.log_px_z) - np.asarray(d.kl), axis=0), rtol=1e-5)


def test_beta_weighs_the_kl(d):
    difference = elbo(d, beta=1.0) - elbo(d, beta=3.0)
    np.testing.assert_allclose(difference, 2 * np.mean(np.asarray(d.kl), axis=0), rtol=1e-4)


def test_monte_carlo_elbo_uses_the_densities_and_not_the_closed_form(d):
    expected = np.mean(np.asarray(d.log_px_z) + np.asarray(d.log_pz) - np.asarray(d.log_qz_x), axis=0)
    np.testing.assert_allclose(monte_carlo_elbo(d), expected, rtol=1e-5)


def test_iwae_is_the_log_mean_weight(d):
    w = np.asarray(log_weights(d), np.float64)
    np.testing.assert_allclose(iwae(d), logsumexp(w, axis=0) - np.log(5), rtol=1e-6)


def test_iwae_of_one_draw_is_the_one_draw_elbo(d):
    one = jax.tree.map(lambda v: v[:1], d)
    np.testing.assert_allclose(iwae(one), monte_carlo_elbo(one), rtol=1e-6)


def test_iwae_is_never_below_the_elbo(d):
    assert np.all(np.asarray(iwae(d)) >= np.asarray(monte_carlo_elbo(d)))


def test_iwae_survives_extreme_weights():
    zeros = jnp.zeros((2, 1))
    assert np.isfinite(iwae(LogDensities(jnp.array([[-2000.0], [-3000.0]]), zeros, zeros, zeros)))


def test_elbo_terms_average_to_the_elbo(d):
    np.testing.assert_allclose(jnp.mean(elbo_terms(d, beta=2.0), axis=0), elbo(d, beta=2.0), rtol=1e-6)
    assert mean_over_draws(d).kl.shape == (7,)


def noisy_model(key, x):
    """Return a model whose densities depend on its key."""
    noise = jax.random.normal(key, x.shape[:1])
    return LogDensities(noise, noise, noise, noise)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_draws_are_independent_and_chunks_change_nothing(key):
    x = jnp.zeros((4, 2))
    whole = draw(noisy_model, key, x, 7)
    assert whole.kl.shape == (7, 4)
    assert len(np.unique(np.asarray(whole.kl))) == 28
    for chunk in (1, 3, 7, 100):
        np.testing.assert_array_equal(draw(noisy_model, key, x, 7, chunk).kl, whole.kl)


def test_draw_runs_what_does_not_depend_on_the_key_once():
    """K draws multiply the matmul that depends on the key, not the one that depends on the batch alone."""

    def model(key, x):
        h = x @ jnp.ones((6, 11))
        z = h + jax.random.normal(key, h.shape)
        value = jnp.sum(z @ jnp.ones((11, 13)), axis=-1)
        return LogDensities(value, value, value, value)

    jaxpr = str(jax.make_jaxpr(lambda k, x: draw(model, k, x, 9))(jax.random.key(0), jnp.ones((4, 6))))
    matmuls = [line.split("=")[0] for line in jaxpr.splitlines() if "dot_general" in line]
    assert len(matmuls) == 2
    assert "f32[4,11]" in matmuls[0]
    assert "9" in matmuls[1]


def test_no_draws_are_refused(key):
    with pytest.raises(ValueError, match="num_samples is 0"):
        draw(noisy_model, key, jnp.zeros((4, 2)), 0)


def test_a_bound_takes_only_log_densities_by_position(d):
    """So that a step number is never taken for beta silently."""
    with pytest.raises(TypeError):
        elbo(d, 2.0)
