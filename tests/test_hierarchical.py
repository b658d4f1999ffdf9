"""The two-level VAE: both forms of its ELBO, a linear-Gaussian case with a known answer, and its pictures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers import assert_within, random_model
from scipy import stats

from jvae.bounds import draw, elbo, iwae, monte_carlo_elbo
from jvae.distributions import ImageDistribution
from jvae.encoders import GaussianEncoder
from jvae.priors import GaussianPrior
from jvae.runs import api
from jvae.runs.config import Config, build_model
from jvae.vae import VAE, HierarchicalVAE
from jvae.view import pictures

TWO = Config(dataset="digits", latent_dim=3, levels=2, upper_dim=2, epochs=1, batch_size=50, hidden=(16, 16))


class Affine(nn.Module):
    """A network x -> (weight x + shift, log scale) for a scalar Gaussian, with fixed numbers."""

    weight: float
    shift: float
    log_scale: float

    def __call__(self, x):
        x = x.reshape(len(x), 1)
        return jnp.concatenate([self.weight * x + self.shift, jnp.full_like(x, self.log_scale)], axis=1)


class Pixel(nn.Module):
    """A decoder z -> N(x | weight z + shift, scale^2) of one-pixel images."""

    def __call__(self, z):
        import distrax

        return ImageDistribution(distrax.Normal, (1.5 * z - 0.4)[:, None, None], jnp.float32(0.7))


def linear_gaussian(exact: bool) -> tuple[HierarchicalVAE, float, float]:
    """Return z2 ~ N(0, 1), z1 ~ N(0.8 z2 + 0.3, 0.5^2), x ~ N(1.5 z1 - 0.4, 0.7^2), the posterior exact or wrong."""
    loc_1, var_1 = 0.3, 0.8**2 + 0.5**2
    gain = 1.5 * var_1 / (1.5**2 * var_1 + 0.7**2)  # of q(z1|x)
    encoder = Affine(gain, loc_1 - gain * (1.5 * loc_1 - 0.4), 0.5 * np.log(var_1 - 1.5 * gain * var_1))
    upper_gain = 0.8 / var_1  # of q(z2|z1)
    upper = Affine(upper_gain, -upper_gain * loc_1, 0.5 * np.log(1 - 0.8 * upper_gain))
    if not exact:
        encoder, upper = Affine(0.3, 0.1, -0.2), Affine(0.4, 0.0, -0.1)
    above = VAE(GaussianPrior(1), GaussianEncoder(Affine(0.8, 0.3, np.log(0.5))), GaussianEncoder(upper))
    vae = HierarchicalVAE(above, Pixel(), GaussianEncoder(encoder))
    return vae, 1.5 * loc_1 - 0.4, np.sqrt(1.5**2 * var_1 + 0.7**2)


X = jnp.array([-2.0, -0.3, 0.4, 1.9]).reshape(4, 1, 1, 1)


@pytest.mark.slow
def test_with_the_exact_posterior_every_draw_gives_the_evidence():
    vae, loc, scale = linear_gaussian(exact=True)
    d = draw(lambda k, x: vae.apply({}, k, x), jax.random.key(0), X, 50)
    log_evidence = stats.norm(loc, scale).logpdf(np.asarray(X).ravel())
    np.testing.assert_allclose(d.log_px_z + d.log_pz - d.log_qz_x, np.broadcast_to(log_evidence, (50, 4)), atol=2e-5)


def test_both_forms_of_the_elbo_have_the_known_expectation():
    """With a wrong posterior: (27) and (28) against the Gaussian integral, and IWAE between it and the evidence."""
    vae, loc, scale = linear_gaussian(exact=False)
    d = draw(lambda k, x: vae.apply({}, k, x), jax.random.key(0), X, 20_000)
    x = np.asarray(X).ravel().astype(np.float64)
    m1, s1 = 0.3 * x + 0.1, np.exp(-0.2)  # q(z1|x)
    m2, s2 = 0.4 * m1, np.sqrt(0.4**2 * s1**2 + np.exp(-0.2))  # q(z2|x), a marginal
    expected_log = lambda loc, var, scale: stats.norm(loc, scale).logpdf(0) - 0.5 * var / scale**2  # noqa: E731
    p_x = expected_log(x - 1.5 * m1 + 0.4, 1.5**2 * s1**2, 0.7)
    residual_variance = (1 - 0.8 * 0.4) ** 2 * s1**2 + 0.8**2 * np.exp(-0.2)  # of z1 - 0.8 z2
    p_1 = expected_log(m1 - 0.8 * m2 - 0.3, residual_variance, 0.5)
    p_2 = expected_log(m2, s2**2, 1.0)
    exact = p_x + p_1 + p_2 + stats.norm(0, s1).entropy() + stats.norm(0, np.exp(-0.1)).entropy()
    assert_within(d.log_px_z + d.log_pz - d.log_qz_x, exact)
    assert_within(d.log_px_z - d.kl, exact)
    np.testing.assert_allclose(elbo(d), exact, atol=0.1)
    log_evidence = stats.norm(loc, scale).logpdf(x)
    assert np.all(exact < log_evidence - 0.05)
    np.testing.assert_allclose(iwae(d), log_evidence, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["gaussian", "mog", "vamp", "flow"])
@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian", "continuous-bernoulli"])
def test_both_forms_agree_on_networks_with_any_prior_and_output(prior, decoder, digits):
    vae = build_model(
        Config(latent_dim=3, levels=2, upper_dim=2, hidden=(8, 8), prior=prior, decoder=decoder), (8, 8, 1)
    )
    x = (jnp.asarray(digits.test_images[:3]) >= 128).astype(jnp.float32)
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), x)
    d = jax.jit(lambda params: draw(lambda k, x: vae.apply(params, k, x), jax.random.key(1), x, 4000, 500))(params)
    difference = np.asarray(d.log_pz - d.log_qz_x + d.kl, np.float64)
    if prior == "gaussian":
        assert_within(difference, np.zeros(3))
        assert np.std(difference) > 0.01
    else:
        np.testing.assert_allclose(difference, 0, atol=1e-3)
    np.testing.assert_allclose(monte_carlo_elbo(d), elbo(d), atol=0.2)


@pytest.mark.slow
def test_gradients_reach_every_parameter_of_both_levels(digits):
    vae = build_model(TWO, (8, 8, 1))
    x = (jnp.asarray(digits.test_images[:50]) >= 128).astype(jnp.float32)
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), x)
    bound = lambda params: jnp.mean(elbo(draw(lambda k, x: vae.apply(params, k, x), jax.random.key(1), x)))  # noqa: E731
    grads = jax.jit(jax.grad(bound))(params)
    assert all(np.all(np.isfinite(leaf)) and np.any(leaf) for leaf in jax.tree.leaves(grads))
    assert set(params["params"]["prior"]) == {"decoder", "encoder"}


@pytest.mark.slow
def test_samples_come_from_both_levels():
    vae, _, _ = linear_gaussian(exact=True)
    z1, z2 = vae.apply({}, jax.random.key(0), 50_000, method="sample_latents")
    moments = np.cov(np.asarray(z1).ravel(), np.asarray(z2).ravel())
    np.testing.assert_allclose(moments, [[0.8**2 + 0.5**2, 0.8], [0.8, 1.0]], atol=0.03)
    assert vae.apply({}, jax.random.key(0), 7, method="sample").shape == (7, 1, 1, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_both_levels_are_trained_measured_and_drawn(tiny):
    model = next(api.train_config_epochs(TWO, tiny))
    result = api.evaluate(model, tiny)[0]
    lower, upper = api.diagnose(model, tiny)[0].levels
    assert (lower.num_units, upper.num_units) == (3, 2)
    np.testing.assert_allclose(lower.kl + upper.kl, result.kl.value, atol=1.0)
    for level in (1, 2):
        for picture in (pictures.posterior, pictures.prior):
            assert f" of level {level}" in picture(model, tiny, level=level - 1).get_suptitle()
    assert pictures.samples(model, num_images=4, mean=True).axes
    assert pictures.manifold(model, tiny).axes


@pytest.mark.slow
def test_pseudo_inputs_of_an_upper_level_are_decoded(tiny):
    model = random_model(replace(TWO, prior="vamp", num_components=6), tiny)
    figure = pictures.pseudo_inputs(model)
    assert "decoded pseudo-inputs" in figure.get_suptitle()
    assert figure.axes[0].images[0].get_array().shape == (2 * 9 + 1, 3 * 9 + 1)


@pytest.mark.slow
def test_a_level_that_is_not_there_is_named(tiny, small):
    model = random_model(small, tiny)
    with pytest.raises(ValueError, match=r"level is 1: must be 0, for the model has 1$"):
        pictures.posterior(model, tiny, level=1)
