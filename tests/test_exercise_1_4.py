"""The answers of experiments/exercise_1_4.md, asserted on the code."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_within
from flax import linen as nn

from jvae.bounds import LogDensities, draw, elbo
from jvae.config import build_model
from jvae.decoders import BernoulliDecoder
from jvae.encoders import GaussianEncoder
from jvae.networks import MLP


class Constant(nn.Module):
    """A network that ignores its input."""

    value: jax.Array

    def __call__(self, z):
        return self.value


@pytest.fixture
def x(digits):
    return (jnp.asarray(digits.test_images[:4]) >= 128).astype(jnp.float32)


def test_a_reparametrised_draw_is_loc_plus_scale_times_noise(key):
    """Question 1: the draw is a deterministic, differentiable function of the parameters and of noise."""
    loc, scale = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    q = distrax.Independent(distrax.Normal(loc, scale), 1)
    standard = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
    noise = standard.sample(seed=key)
    np.testing.assert_allclose(q.sample(seed=key), loc + scale * noise, rtol=1e-6)

    def z(loc, scale):
        return distrax.Normal(loc, scale).sample(seed=key)

    d_loc, d_scale = jax.jacobian(z, argnums=(0, 1))(loc, scale)
    np.testing.assert_allclose(d_loc, np.eye(2))
    np.testing.assert_allclose(d_scale, np.diag(noise), rtol=1e-6)


def test_the_encoder_learns_through_the_draw_alone(small, x, key):
    """Question 1: cut the path through z, and the reconstruction has no gradient in the encoder."""
    vae = build_model(small, (8, 8, 1))
    params = vae.init(key, key, x)

    def reconstruction(params, cut):
        q = vae.apply(params, x, method="posterior")
        z = q.sample(seed=key)
        z = jax.lax.stop_gradient(z) if cut else z
        return jnp.mean(vae.apply(params, z, method="decode").log_prob(x))

    def encoder_gradient(cut):
        grads = jax.jit(jax.grad(reconstruction), static_argnums=1)(params, cut)["params"]["encoder"]
        return float(sum(jnp.sum(jnp.abs(g)) for g in jax.tree.leaves(grads)))

    assert encoder_gradient(cut=False) > 0
    assert encoder_gradient(cut=True) == 0


def test_the_reparametrised_gradient_is_the_gradient_of_the_expectation():
    """Question 1: for f(z) = z^2 and z ~ N(loc, scale^2), E f = loc^2 + scale^2, with gradient (2 loc, 2 scale)."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    f = lambda theta, key: jnp.square(distrax.Normal(theta[0], theta[1]).sample(seed=key))  # noqa: E731
    grads = jax.vmap(jax.grad(f), in_axes=(None, 0))(jnp.array([1.5, 0.7]), keys)
    assert_within(np.asarray(grads), np.array([3.0, 1.4]))


def test_both_terms_of_the_elbo_are_one_number_per_datum(small, x, key):
    """Question 2: log p(x|z) and KL have shape [b]; K draws put a k before it; elbo is the mean over k."""
    vae = build_model(small, (8, 8, 1))
    params = vae.init(key, key, x)
    d = vae.apply(params, key, x)
    assert d.log_px_z.shape == d.kl.shape == (4,)
    many = draw(lambda k, x: vae.apply(params, k, x), key, x, 7)
    assert many.log_px_z.shape == (7, 4)
    assert elbo(many).shape == (4,)
    assert vae.apply(params, x, method="posterior").batch_shape == (4,)


def test_independent_sums_the_log_density_over_the_event(key):
    """Question 3: without Independent one log-density a pixel, with it one an image."""
    logits = jax.random.normal(key, (4, 8, 8, 1))
    x = (logits > 0).astype(jnp.float32)
    pixels = distrax.Bernoulli(logits=logits)
    images = BernoulliDecoder(Constant(logits)).apply({}, jnp.zeros((4, 2)))
    assert pixels.log_prob(x).shape == (4, 8, 8, 1)
    assert (images.batch_shape, images.event_shape) == ((4,), (8, 8, 1))
    np.testing.assert_allclose(images.log_prob(x), pixels.log_prob(x).sum(axis=(1, 2, 3)), rtol=1e-6)


def test_without_independent_the_kl_would_be_one_number_per_latent(key):
    """Question 3: Independent is also what sums the KL over the latent dimensions."""
    loc = jax.random.normal(key, (4, 3))
    q, p = distrax.Normal(loc, jnp.ones_like(loc)), distrax.Normal(jnp.zeros(3), jnp.ones(3))
    assert q.kl_divergence(p).shape == (4, 3)
    summed = distrax.Independent(q, 1).kl_divergence(distrax.Independent(p, 1))
    np.testing.assert_allclose(summed, q.kl_divergence(p).sum(axis=1), rtol=1e-6)


def test_the_split_gives_loc_and_a_positive_scale_to_every_latent(x, key):
    """Question 4: the network's 2m outputs are m locs and m log-scales; exp makes every scale positive."""
    encoder = GaussianEncoder(MLP((16,), (6,)))
    params = encoder.init(key, x)
    outputs = MLP((16,), (6,)).apply({"params": params["params"]["net"]}, x)
    q = encoder.apply(params, x)
    assert q.event_shape == (3,)
    np.testing.assert_allclose(q.mean(), outputs[:, :3], rtol=1e-6)
    np.testing.assert_allclose(q.stddev(), np.exp(outputs[:, 3:]), rtol=1e-5)
    shifted = jax.tree.map(lambda p: p - 50.0, params)  # outputs far below zero
    assert np.all(encoder.apply(shifted, x).stddev() >= 0)


def test_elbo_is_reconstruction_minus_kl():
    d = LogDensities(*(jnp.full((1, 2), v) for v in (-90.0, -20.0, -5.0, 16.0)))
    np.testing.assert_array_equal(elbo(d), [-106.0, -106.0])
