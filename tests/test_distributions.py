"""The Bernoulli against distrax; mixtures of Gaussians and the continuous Bernoulli against float64 and others."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rest_slow
from scipy import stats
from tensorflow_probability.substrates import jax as tfp

from jvae.distributions import (
    INVERSE_SERIES,
    SERIES,
    Bernoulli,
    ContinuousBernoulli,
    GaussianMixture,
    ImageDistribution,
    log_normaliser,
)

ETAS = [0.0, 1e-8, 1e-4, 0.03, 0.0999, 0.1001, 0.4999, 0.5001, 1.0, 3.0, 10.0, 20.0, 50.0, 100.0]
ETAS = np.float32([-eta for eta in ETAS[:0:-1]] + ETAS)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)
GRID, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2


def exact_log_normaliser(eta):
    """Return log((e^eta - 1)/eta) in float64, by its series where that is more accurate."""
    eta = np.asarray(eta, np.float64)
    wide = np.where(np.abs(eta) < 1e-2, 1.0, eta)
    closed = np.maximum(wide, 0) + np.log(-np.expm1(-np.abs(wide))) - np.log(np.abs(wide))
    return np.where(np.abs(eta) < 1e-2, eta / 2 + eta**2 / 24 - eta**4 / 2880, closed)


def test_log_normaliser_matches_float64():
    etas = np.linspace(-100, 100, 40_001, dtype=np.float32)
    np.testing.assert_allclose(log_normaliser(jnp.asarray(etas)), exact_log_normaliser(etas), atol=4e-6, rtol=1e-7)
    near = np.linspace(-2, 2, 40_001, dtype=np.float32)
    np.testing.assert_allclose(log_normaliser(jnp.asarray(near)), exact_log_normaliser(near), atol=3e-7)


@pytest.mark.parametrize("eta", ETAS)
def test_log_prob_matches_float64_also_at_the_ends(eta):
    x = np.float32([0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 2**-24, 1])
    exact = np.float64(eta) * x - exact_log_normaliser(eta)
    np.testing.assert_allclose(
        ContinuousBernoulli(jnp.full(9, eta)).log_prob(jnp.asarray(x)), exact, atol=2e-6, rtol=3e-7
    )


def test_moments_entropy_and_mass_match_quadrature():
    p = ContinuousBernoulli(jnp.asarray(ETAS))
    etas = np.float64(ETAS)[:, None]
    exact_log_prob = etas * GRID - np.array([[exact_log_normaliser(eta)] for eta in ETAS])
    log_prob = np.asarray(ContinuousBernoulli(jnp.float32(etas)).log_prob(jnp.float32(GRID)), np.float64)
    mass = WEIGHTS * np.exp(exact_log_prob)
    mean = np.sum(mass * GRID, axis=1)
    np.testing.assert_allclose(np.sum(WEIGHTS * np.exp(log_prob), axis=1), 1, atol=2e-5)
    np.testing.assert_allclose(p.mean(), mean, rtol=2e-6)
    np.testing.assert_allclose(p.variance(), np.sum(mass * (GRID - mean[:, None]) ** 2, axis=1), rtol=2e-5)
    np.testing.assert_allclose(p.stddev() ** 2, p.variance(), rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), -np.sum(mass * exact_log_prob, axis=1), atol=1e-5)
    np.testing.assert_array_equal(p.mode(), ETAS > 0)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("x", rest_slow([0.25, 0.0, 1.0]))
def test_gradient_in_the_logits_is_x_minus_the_mean(eta, x):
    gradient = jax.grad(lambda e: ContinuousBernoulli(e).log_prob(jnp.float32(x)))(jnp.asarray(eta))
    density = np.exp(np.float64(eta) * GRID - exact_log_normaliser(eta))
    np.testing.assert_allclose(gradient, x - np.sum(WEIGHTS * density * GRID), atol=1e-6)
    assert gradient != 0


def test_nothing_outside_the_unit_interval():
    p = ContinuousBernoulli(jnp.float32(2.0))
    assert p.log_prob(jnp.float32(-0.01)) == p.log_prob(jnp.float32(1.01)) == -jnp.inf


@pytest.mark.slow
def test_log_prob_agrees_with_tensorflow_probability_where_that_is_accurate():
    eta, x = jnp.meshgrid(jnp.linspace(-8, 8, 41), jnp.linspace(0, 1, 11))
    ours, theirs = ContinuousBernoulli(eta), tfp.distributions.ContinuousBernoulli(logits=eta)
    np.testing.assert_allclose(ours.log_prob(x), theirs.log_prob(x), atol=3e-4)
    np.testing.assert_allclose(ours.mean(), theirs.mean(), atol=1e-4)
    np.testing.assert_allclose(ours.stddev(), theirs.stddev(), atol=1e-3)


def test_log_prob_agrees_with_pytorch_where_that_is_accurate():
    torch = pytest.importorskip("torch")
    eta, x = np.meshgrid(np.linspace(-8, 8, 41), np.linspace(0, 1, 11))
    theirs = torch.distributions.ContinuousBernoulli(logits=torch.tensor(eta))
    ours = ContinuousBernoulli(jnp.float32(eta))
    np.testing.assert_allclose(ours.log_prob(jnp.float32(x)), theirs.log_prob(torch.tensor(x)), atol=1e-5)
    np.testing.assert_allclose(ours.mean(), theirs.mean, atol=1e-5)
    np.testing.assert_allclose(ours.entropy(), theirs.entropy(), atol=1e-5)


@pytest.mark.parametrize("eta", [-100.0, -3.0, -0.05, 0.0, 0.05, 3.0, 100.0])
def test_samples_follow_the_density(eta):
    """Kolmogorov-Smirnov at a level of one in a million."""
    n = 20_000
    x = np.asarray(ContinuousBernoulli(jnp.float32(eta)).sample(seed=jax.random.key(1), sample_shape=n), np.float64)
    cdf = (lambda v: v) if eta == 0 else (lambda v: np.expm1(eta * v) / np.expm1(eta))
    assert x.min() >= 0
    assert x.max() <= 1
    assert stats.kstest(x, cdf).pvalue > 1e-6


@pytest.mark.parametrize("eta", [*ETAS[[0, 3, -4, -1]], INVERSE_SERIES, -INVERSE_SERIES, SERIES, 1e-3, 0.0])
def test_samples_carry_the_gradient_of_the_inverse_distribution_function(eta):
    """dx/d eta = -(dF/d eta)/f, by central differences in float64."""
    u = np.float32([1e-4, 0.1, 0.5, 0.9, 0.9999])
    gradient = jax.vmap(jax.grad(lambda e, u: ContinuousBernoulli(e).inverse_cdf(u)), (None, 0))(jnp.float32(eta), u)

    def inverse(e):
        v = np.float64(u)
        if abs(e) < 1e-12:
            return v
        return (np.log(v) + np.log1p((1 - v) / v * np.exp(-e))) / e + 1 if e > 0 else np.log1p(v * np.expm1(e)) / e

    h = 1e-4
    exact = (inverse(float(eta) + h) - inverse(float(eta) - h)) / (2 * h)
    np.testing.assert_allclose(gradient, exact, atol=3e-6, rtol=5e-4)  # 1 - u has few digits left where u is small


@pytest.mark.slow
def test_kl_divergence_by_quadrature_and_through_independent():
    eta, other = jnp.float32([-30.0, -0.2, 0.0, 4.0]), jnp.float32([10.0, 0.3, 1.0, 4.0])
    log_p = [np.float64(e) * GRID - exact_log_normaliser(e) for e in eta]
    log_q = [np.float64(e) * GRID - exact_log_normaliser(e) for e in other]
    exact = [np.sum(WEIGHTS * np.exp(a) * (a - b)) for a, b in zip(log_p, log_q, strict=True)]
    kl = ContinuousBernoulli(eta).kl_divergence(ContinuousBernoulli(other))
    np.testing.assert_allclose(kl, exact, atol=1e-5)
    whole = distrax.Independent(ContinuousBernoulli(eta), 1).kl_divergence(
        distrax.Independent(ContinuousBernoulli(other), 1)
    )
    np.testing.assert_allclose(whole, np.sum(exact), atol=1e-4)


@pytest.mark.slow
def test_jit_vmap_and_indexing_agree_with_the_plain_calls():
    eta, x = jnp.linspace(-5.0, 5.0, 7), jnp.linspace(0.0, 1.0, 7)
    plain = ContinuousBernoulli(eta).log_prob(x)
    np.testing.assert_allclose(jax.jit(lambda e, x: ContinuousBernoulli(e).log_prob(x))(eta, x), plain, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(lambda e, x: ContinuousBernoulli(e).log_prob(x))(eta, x), plain, rtol=1e-6)
    np.testing.assert_allclose(ContinuousBernoulli(eta)[2:4].log_prob(x[2:4]), plain[2:4], rtol=1e-6)
    returned = jax.jit(ContinuousBernoulli)(eta)
    np.testing.assert_array_equal(returned.logits, eta)
    assert ContinuousBernoulli(eta).sample(seed=jax.random.key(0), sample_shape=(2, 3)).shape == (2, 3, 7)


@pytest.mark.parametrize("x", rest_slow([0.0, 1.0]))
def test_the_bernoulli_is_distraxs_in_value_gradient_and_samples(x):
    logits = jnp.asarray([-200.0, -88.0, -20.0, -3.0, -0.1, 0.0, 1e-8, 0.5, 17.0, 90.0, 200.0])
    ours, theirs = (lambda eta: Bernoulli(eta)), (lambda eta: distrax.Bernoulli(logits=eta, dtype=jnp.float32))
    for make in (ours, theirs):
        assert np.all(np.isfinite(make(logits).log_prob(jnp.full(11, x))))
    np.testing.assert_allclose(
        ours(logits).log_prob(jnp.full(11, x)), theirs(logits).log_prob(jnp.full(11, x)), rtol=1e-5, atol=1e-6
    )
    slopes = [
        jax.vmap(jax.grad(lambda eta, make=make: make(eta).log_prob(jnp.float32(x))))(logits) for make in (ours, theirs)
    ]
    np.testing.assert_allclose(*slopes, atol=1e-6)
    exact = x - 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    np.testing.assert_allclose(slopes[0], exact, atol=1e-6)
    samples = [make(logits).sample(seed=jax.random.key(0), sample_shape=100) for make in (ours, theirs)]
    np.testing.assert_array_equal(*samples)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pixels", "scales"),
    [(Bernoulli, []), (ContinuousBernoulli, []), (distrax.Normal, [jnp.linspace(0.1, 2, 12).reshape(3, 4, 1)])],
)
def test_an_image_distribution_is_independent_over_the_pixels(pixels, scales, key):
    """Whether its pixels are flattened inside or not: the same densities, draws and moments, under vmap too."""
    first = jax.random.normal(key, (5, 3, 4, 1))
    images = ImageDistribution(pixels, first, *scales)
    expected = distrax.Independent(pixels(first, *(jnp.broadcast_to(s, first.shape) for s in scales)), 3)
    assert (images.batch_shape, images.event_shape) == (expected.batch_shape, expected.event_shape)
    x = expected.sample(seed=key, sample_shape=(7,))
    np.testing.assert_array_equal(images.sample(seed=key, sample_shape=(7,)), x)
    np.testing.assert_allclose(images.log_prob(x), expected.log_prob(x), rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(images.log_prob)(x), expected.log_prob(x), rtol=1e-5)
    np.testing.assert_allclose(images.mean(), expected.mean())
    np.testing.assert_allclose(images.stddev(), expected.stddev())


def test_data_of_one_number_have_one_density_each():
    logits, x = jnp.array([1.0, 2.0, -3.0]), jnp.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(ImageDistribution(Bernoulli, logits).log_prob(x), Bernoulli(logits).log_prob(x))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_draws_of_16_bits_lie_in_the_unit_interval(dtype, key):
    p = ContinuousBernoulli(jnp.array([-1e4, -3.0, 0.0, 3.0, 1e4], dtype))
    x = p.sample(seed=key, sample_shape=(1000,))
    assert x.dtype == dtype
    assert jnp.all((x >= 0) & (x <= 1))


@pytest.mark.parametrize("narrow", [1.0, 0.02])
def test_a_gaussian_mixture_and_its_gradients_match_float64(narrow):
    rng = np.random.default_rng(0)
    loc, logits, weights = rng.normal(size=(7, 3)), rng.normal(size=7), rng.normal(size=12)
    scale = narrow * np.exp(0.3 * rng.normal(size=(7, 3)))
    z = np.concatenate([loc + scale * rng.normal(size=(7, 3)), 4 * rng.normal(size=(5, 3))])
    loc, scale, logits, weights, z = (np.float64(np.float32(each)) for each in (loc, scale, logits, weights, z))

    u = (z[:, None] - loc) / scale
    joint = logits - np.logaddexp.reduce(logits) + stats.norm.logpdf(u).sum(-1) - np.log(scale).sum(-1)
    density = np.logaddexp.reduce(joint, axis=1)
    shares = np.exp(joint - density[:, None])[:, :, None]  # p(k|z)
    each = weights[:, None, None] * shares
    exact = [
        np.sum(-each * u / scale, axis=1),
        np.sum(each * u / scale, axis=0),
        np.sum(each * (u**2 - 1) / scale, axis=0),
        np.sum(each[..., 0], axis=0) - np.sum(weights) * np.exp(logits - np.logaddexp.reduce(logits)),
    ]

    def log_prob(z, loc, scale, logits):
        components = distrax.Independent(distrax.Normal(loc, scale), 1)
        return GaussianMixture(distrax.Categorical(logits=logits), components).log_prob(z)

    given = [jnp.float32(array) for array in (z, loc, scale, logits)]
    np.testing.assert_allclose(log_prob(*given), density, rtol=1e-5)
    found = jax.jit(jax.grad(lambda *given: jnp.float32(weights) @ log_prob(*given), argnums=(0, 1, 2, 3)))(*given)
    for ours, theirs in zip(found, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=3e-6 * np.abs(theirs).max())

    by_draw = jax.jit(lambda z, *rest: jax.vmap(lambda z: log_prob(z, *rest))(z.reshape(3, 4, 3)))  # as bounds draw
    np.testing.assert_allclose(by_draw(*given).ravel(), density, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda *given: jnp.float32(weights) @ by_draw(*given).ravel(), argnums=1))(*given)
    np.testing.assert_allclose(gradient, exact[1], rtol=1e-4, atol=3e-6 * np.abs(exact[1]).max())
