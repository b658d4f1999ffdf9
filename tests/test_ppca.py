import inspect
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import assert_within, rest_slow
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from experiments.__main__ import experiments
from jvae import ppca
from jvae.bounds import draw, elbo, iwae, log_weights, monte_carlo_elbo
from jvae.data.datasets import load_dataset
from jvae.divergences import kl_full
from jvae.ppca import PPCA, Posterior

mean_log_likelihood = jax.jit(ppca.mean_log_likelihood)
gradient = jax.jit(jax.grad(ppca.mean_log_likelihood))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def random_model(d=6, m=2, seed=0, dtype=None):
    keys = jax.random.split(jax.random.key(seed), 3)
    weights = jax.random.normal(keys[0], (d, m), dtype)
    return PPCA(jax.random.normal(keys[1], (d,), dtype), weights, 0.3 * jax.random.normal(keys[2], (), dtype) - 0.5)


def covariance(model):
    w = np.asarray(model.weights, np.float64)
    return w @ w.T + np.exp(2 * np.float64(model.log_scale)) * np.eye(len(w))


def correlated_data(n=200, d=6, m=2, seed=0):
    """Return data with a covariance of no special form."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))


def with_unbiased_covariance(model, n):
    """Return the model with n/(n-1) times the covariance of the given one: scikit-learn's convention."""
    scale = np.sqrt(n / (n - 1))
    return PPCA(model.loc, model.weights * scale, model.log_scale + np.log(scale))


@pytest.fixture(scope="module")
def digit_rows(digits):
    return jnp.asarray(digits.train_images.reshape(len(digits.train_images), -1), jnp.float32) / 255


@pytest.fixture(scope="module")
def fitted(digit_rows):
    return ppca.fit_closed_form(digit_rows, 10)


# the likelihood


def test_log_likelihood_is_scipys_with_the_full_covariance(fitted, digit_rows):
    expected = multivariate_normal(np.asarray(fitted.loc), covariance(fitted)).logpdf(np.asarray(digit_rows))
    np.testing.assert_allclose(ppca.log_likelihood(fitted, digit_rows), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("d", "m"), rest_slow([(6, 2), (6, 5), (2, 1)]))
def test_log_likelihood_is_scipys_to_the_last_digits(float64, d, m):
    model = random_model(d, m, dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(9), (7, d), jnp.float64) * 3
    expected = multivariate_normal(np.asarray(model.loc), covariance(model)).logpdf(np.asarray(x))
    np.testing.assert_allclose(ppca.log_likelihood(model, x), expected, rtol=1e-12)


def test_the_likelihood_depends_on_the_data_through_their_moments(float64):
    model, x = random_model(dtype=jnp.float64), correlated_data()
    expected = np.mean(ppca.log_likelihood(model, x))
    np.testing.assert_allclose(mean_log_likelihood(model, ppca.compute_moments(x)), expected, rtol=1e-12)


@pytest.mark.slow
def test_samples_have_the_models_moments(key):
    model = random_model()
    x = np.asarray(ppca.sample(model, key, 20_000), np.float64)
    away = x - np.asarray(model.loc)
    assert_within(away, np.zeros(6))
    assert_within(away[:, :, None] * away[:, None, :], covariance(model))


def test_no_d_by_d_matrix_is_factorised():
    """The likelihood of 5 data of 300 dimensions meets no array of 300 x 300."""
    jaxpr = jax.make_jaxpr(ppca.log_likelihood)(random_model(300, 3), jnp.zeros((5, 300)))
    assert "300,300" not in str(jaxpr)


# scikit-learn, whose PCA divides the covariance by n - 1


@pytest.mark.parametrize("latent_dim", rest_slow([5, 1, 10, 40]))
def test_log_likelihood_of_the_digits_is_scikit_learns_score(digit_rows, latent_dim):
    n = len(digit_rows)
    reference = PCA(latent_dim, svd_solver="full").fit(np.asarray(digit_rows, np.float64))
    score = reference.score(np.asarray(digit_rows, np.float64))
    model = ppca.fit_closed_form(digit_rows, latent_dim)
    # as it stands: the conventions differ by d/4n^2 nats here, far below the tolerance
    np.testing.assert_allclose(ppca.log_likelihood(model, digit_rows).mean(), score, rtol=1e-4)
    np.testing.assert_allclose(
        ppca.log_likelihood(with_unbiased_covariance(model, n), digit_rows).mean(), score, rtol=1e-4
    )


def test_the_convention_of_the_covariance_is_all_the_difference_to_scikit_learn(float64):
    """With C replaced by C n/(n-1) the score is equal; otherwise it is higher by d/2 (log c - 1 + 1/c), c = n/(n-1)."""
    n, d = 20, 6
    x = correlated_data(n, d)
    reference = PCA(2, svd_solver="full").fit(np.asarray(x))
    model = ppca.fit_closed_form(x, 2)
    matched = with_unbiased_covariance(model, n)
    np.testing.assert_allclose(ppca.log_likelihood(matched, x), reference.score_samples(np.asarray(x)), rtol=1e-9)
    np.testing.assert_allclose(covariance(matched), reference.get_covariance(), rtol=1e-9)
    c = n / (n - 1)
    gain = d / 2 * (np.log(c) - 1 + 1 / c)
    assert gain > 1e-3
    np.testing.assert_allclose(ppca.log_likelihood(model, x).mean() - reference.score(np.asarray(x)), gain, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.mnist
def test_log_likelihood_of_mnist_is_scikit_learns_score():
    images = load_dataset("mnist").train_images
    rows = images.reshape(len(images), -1).astype(np.float32) / 255
    score = PCA(10, svd_solver="covariance_eigh").fit(rows.astype(np.float64)).score(rows.astype(np.float64))
    x = jnp.asarray(rows)
    model = ppca.fit_closed_form(x, 10)
    ours = np.mean(np.asarray(jax.jit(ppca.log_likelihood)(model, x), np.float64))
    np.testing.assert_allclose(ours, score, rtol=1e-4)


# exercise 1.1: the maximum


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_in_b_vanishes_at_the_mean_and_nowhere_else(float64, seed):
    """For any W and sigma it is C^-1 (mean - b): C^-1 is positive definite, so that only b = mean makes it 0."""
    x = correlated_data()
    moments = ppca.compute_moments(x)
    model = random_model(seed=seed, dtype=jnp.float64)
    at_mean = model._replace(loc=moments.mean)
    assert np.max(np.abs(gradient(at_mean, moments).loc)) < 1e-12
    by_data = jax.grad(lambda b: jnp.mean(ppca.log_likelihood(model._replace(loc=b), x)))
    assert np.max(np.abs(by_data(moments.mean))) < 1e-12
    for b in (model.loc, moments.mean.at[0].add(1e-3), moments.mean + 100):
        expected = np.linalg.solve(covariance(model), np.asarray(moments.mean - b))
        np.testing.assert_allclose(by_data(b), expected, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(gradient(model._replace(loc=b), moments).loc, expected, rtol=1e-8, atol=1e-12)
        assert np.linalg.norm(expected) > 1e-6
        assert mean_log_likelihood(model._replace(loc=b), moments) < mean_log_likelihood(at_mean, moments)


def test_the_closed_form_is_a_maximum(float64):
    """Every gradient vanishes there, every perturbation lowers the likelihood, and no other start ends above it."""
    x = correlated_data()
    moments = ppca.compute_moments(x)
    model = ppca.fit_closed_form(x, 2)
    top = mean_log_likelihood(model, moments)
    for part in gradient(model, moments):
        assert np.max(np.abs(part)) < 1e-10
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(20):
            moved = PPCA(*(jnp.asarray(p + size * rng.normal(size=p.shape)) for p in model))
            assert mean_log_likelihood(moved, moments) < top
    for seed in range(5):
        assert ppca.fit_em(x, 2, 500, jax.random.key(seed)).log_likelihood[-1] < top + 1e-10


def test_at_the_maximum_the_model_has_the_datas_variance_along_the_axes_it_keeps_and_in_total(float64):
    x = correlated_data()
    model = ppca.fit_closed_form(x, 2)
    data = np.cov(np.asarray(x).T, bias=True)
    values, vectors = np.linalg.eigh(data)
    kept = vectors[:, -2:]
    np.testing.assert_allclose(kept.T @ covariance(model) @ kept, np.diag(values[-2:]), atol=1e-10)
    np.testing.assert_allclose(np.exp(2 * model.log_scale), values[:-2].mean(), rtol=1e-10)
    np.testing.assert_allclose(np.trace(covariance(model)), np.trace(data), rtol=1e-10)
    np.testing.assert_allclose(np.trace(np.linalg.solve(covariance(model), data)), 6, rtol=1e-10)
    value = -(6 * np.log(2 * np.pi) + np.log(values[-2:]).sum() + 4 * np.log(values[:-2].mean()) + 6) / 2
    np.testing.assert_allclose(np.mean(ppca.log_likelihood(model, x)), value, rtol=1e-10)


def test_other_eigenvectors_are_stationary_too_but_lower(float64):
    """A saddle: with eigenvectors 1 and 3 in W all gradients vanish, and turning towards the second is uphill."""
    x = correlated_data()
    moments = ppca.compute_moments(x)
    values, vectors = np.linalg.eigh(np.asarray(moments.covariance))
    chosen, rest = [5, 3], [4, 2, 1, 0]
    variance = values[rest].mean()
    weights = vectors[:, chosen] * np.sqrt(values[chosen] - variance)
    saddle = PPCA(moments.mean, jnp.asarray(weights), jnp.asarray(np.log(variance) / 2))
    for part in gradient(saddle, moments):
        assert np.max(np.abs(part)) < 1e-10
    level = mean_log_likelihood(saddle, moments)
    assert level < mean_log_likelihood(ppca.fit_closed_form(x, 2), moments)
    towards = saddle._replace(weights=saddle.weights.at[:, 1].add(1e-2 * vectors[:, 4]))
    assert mean_log_likelihood(towards, moments) > level


def test_a_rotation_of_the_latents_changes_nothing(float64):
    x = correlated_data()
    model = ppca.fit_closed_form(x, 2)
    turned = model._replace(weights=model.weights @ jnp.array([[0.6, -0.8], [0.8, 0.6]]))
    np.testing.assert_allclose(ppca.log_likelihood(turned, x), ppca.log_likelihood(model, x), rtol=1e-12)


def test_an_em_step_is_both_steps_written_out(float64):
    """E: the posterior's moments of every datum. M: the regression of x on z that they imply."""
    x = np.asarray(correlated_data(30))
    model = random_model(dtype=jnp.float64)
    w, variance = np.asarray(model.weights), np.exp(2 * model.log_scale)
    centred = x - x.mean(axis=0)
    inverse = np.linalg.inv(w.T @ w + variance * np.eye(2))
    means = centred @ w @ inverse
    seconds = variance * inverse + means[:, :, None] * means[:, None, :]
    new = (centred.T @ means) @ np.linalg.inv(seconds.sum(axis=0))
    errors = [
        r @ r - 2 * z @ new.T @ r + np.trace(s @ new.T @ new) for r, z, s in zip(centred, means, seconds, strict=True)
    ]
    stepped = jax.jit(ppca.em_step)(model, ppca.compute_moments(jnp.asarray(x)))
    np.testing.assert_allclose(stepped.weights, new, rtol=1e-10)
    np.testing.assert_allclose(np.exp(2 * stepped.log_scale), np.mean(errors) / 6, rtol=1e-10)
    np.testing.assert_allclose(stepped.loc, x.mean(axis=0), rtol=1e-12)


def test_em_never_falls_and_reaches_the_closed_form(float64):
    x = correlated_data()
    fit = ppca.fit_em(x, 2, 500, jax.random.key(0))
    assert np.min(np.diff(fit.log_likelihood)) > -1e-12
    assert fit.log_likelihood[-1] - fit.log_likelihood[0] > 0.5
    closed = ppca.fit_closed_form(x, 2)
    np.testing.assert_allclose(fit.log_likelihood[-1], np.mean(ppca.log_likelihood(closed, x)), rtol=1e-9)
    np.testing.assert_allclose(fit.log_likelihood[-1], np.mean(ppca.log_likelihood(fit.model, x)), rtol=1e-12)
    np.testing.assert_allclose(covariance(fit.model), covariance(closed), rtol=1e-3, atol=1e-4)


def test_the_gradient_fit_reaches_the_closed_form(float64):
    x = correlated_data()
    fit = ppca.fit_gradient(x, 2, 1500, 0.1, jax.random.key(0))
    closed = ppca.fit_closed_form(x, 2)
    np.testing.assert_allclose(fit.log_likelihood[-1], np.mean(ppca.log_likelihood(closed, x)), rtol=1e-7)
    np.testing.assert_allclose(fit.log_likelihood[-1], np.mean(ppca.log_likelihood(fit.model, x)), rtol=1e-12)
    np.testing.assert_allclose(fit.model.loc, closed.loc, atol=1e-3)


@pytest.mark.slow
def test_both_iterations_reach_the_closed_form_on_the_digits_in_float32(fitted, digit_rows):
    top = np.mean(ppca.log_likelihood(fitted, digit_rows))
    em = ppca.fit_em(digit_rows, 10, 300, jax.random.key(0))
    gradient_fit = ppca.fit_gradient(digit_rows, 10, 1000, 0.1, jax.random.key(0))
    np.testing.assert_allclose([em.log_likelihood[-1], gradient_fit.log_likelihood[-1]], top, atol=1e-3)


# the oracle of the bounds


def test_the_posterior_is_gaussian_conditioning(float64):
    """p(z|x) from the joint covariance of (z, x), inverted as it stands."""
    model = random_model(dtype=jnp.float64)
    w, c = np.asarray(model.weights), covariance(model)
    joint = block_diag(np.eye(2), np.zeros((6, 6)))
    joint[:2, 2:], joint[2:, :2], joint[2:, 2:] = w.T, w, c
    x = np.asarray(correlated_data(5))
    precision = np.linalg.inv(joint)
    expected_covariance = np.linalg.inv(precision[:2, :2])
    expected_mean = -(x - np.asarray(model.loc)) @ precision[2:, :2] @ expected_covariance
    q = ppca.posterior(model, jnp.asarray(x))
    np.testing.assert_allclose(q.loc, expected_mean, rtol=1e-9)
    np.testing.assert_allclose(q.scale_tril @ q.scale_tril.T, expected_covariance, rtol=1e-9)
    np.testing.assert_allclose(q.scale_tril, np.linalg.cholesky(expected_covariance), rtol=1e-9, atol=1e-15)


@pytest.mark.slow
def test_every_bound_is_the_log_likelihood_at_every_draw_of_the_exact_posterior(fitted, digit_rows, key):
    x = digit_rows[:20]
    d = jax.jit(lambda key: draw(lambda k, x: ppca.log_densities(fitted, k, x), key, x, 50))(key)
    exact = ppca.log_likelihood(fitted, x)
    assert np.std(d.log_pz, axis=0).min() > 0.5  # the draws do differ
    np.testing.assert_allclose(log_weights(d), np.broadcast_to(exact, (50, 20)), atol=2e-3)
    np.testing.assert_allclose(iwae(d), exact, atol=1e-3)
    np.testing.assert_allclose(monte_carlo_elbo(d), exact, atol=1e-3)


def test_densities_are_scipys(float64, key):
    """At the draw itself, which loc = 0 and a unit scale reveal: z is the noise."""
    model, x = random_model(dtype=jnp.float64), correlated_data(1)
    tril = np.array([[0.5, 0.0], [0.4, 0.8]])
    q = Posterior(jnp.zeros((1, 2)), jnp.asarray(tril))
    d = ppca.log_densities(model, key, x, q)
    z = tril @ np.asarray(jax.random.normal(key, (1, 2), jnp.float64))[0]
    np.testing.assert_allclose(d.log_pz[0], multivariate_normal(np.zeros(2)).logpdf(z), rtol=1e-12)
    np.testing.assert_allclose(d.log_qz_x[0], multivariate_normal(np.zeros(2), tril @ tril.T).logpdf(z), rtol=1e-12)
    mean = np.asarray(model.loc) + np.asarray(model.weights) @ z
    expected = multivariate_normal(mean, np.exp(2 * model.log_scale)).logpdf(np.asarray(x)[0])
    np.testing.assert_allclose(d.log_px_z[0], expected, rtol=1e-12)


@pytest.fixture(scope="module")
def wrong():
    """Return a model of 8 dimensions, data from it, and a q that is shifted, diagonal and 1.4 times too wide."""
    model = random_model(8, 3, seed=4)
    x = ppca.sample(model, jax.random.key(5), 400)
    exact = ppca.posterior(model, x)
    scales = jnp.sqrt(jnp.sum(jnp.square(exact.scale_tril), axis=1))
    return model, x, Posterior(exact.loc + 0.5 * scales, jnp.diag(1.4 * scales))


@pytest.mark.slow
def test_with_a_wrong_q_the_elbo_is_below_by_the_divergence_from_the_posterior(wrong, key):
    model, x, q = wrong
    exact = ppca.posterior(model, x)
    gap = kl_full(q.loc, q.scale_tril, exact.loc, exact.scale_tril)
    assert gap.min() > 0.5
    d = jax.jit(lambda key: draw(lambda k, x: ppca.log_densities(model, k, x, q), key, x, 100))(key)
    below = np.asarray(ppca.log_likelihood(model, x) - gap)
    assert_within(np.asarray(monte_carlo_elbo(d)) - below, 0.0)
    assert_within(np.asarray(elbo(d)) - below, 0.0)


@pytest.mark.slow
def test_iwae_rises_with_k_to_the_known_log_likelihood(wrong):
    """Gaps to log p(x) over 400 data. E[exp(IWAE-K)] = p(x) exactly, and the gap falls as var(w) / 2K p(x)^2."""
    model, x, q = wrong
    exact = ppca.log_likelihood(model, x)
    evaluate = jax.jit(
        lambda key, k: iwae(draw(lambda k, x: ppca.log_densities(model, k, x, q), key, x, k, 250)), static_argnums=1
    )
    numbers = (1, 4, 16, 1000)
    gaps = [np.asarray(evaluate(jax.random.key(k), k) - exact, np.float64) for k in numbers]
    for lower, higher in pairwise(gaps[:3]):
        difference = higher.mean() - lower.mean()
        assert difference > 5 * np.sqrt((higher.var(ddof=1) + lower.var(ddof=1)) / 400)
    for gap in gaps:
        assert_within(np.exp(gap), 1.0)
        assert gap.mean() < 5 * gap.std(ddof=1) / np.sqrt(400)
    # the error of 1,000 draws: their relative variance over twice their number, a hundredth of the ELBO's
    variance = np.exp(2 * gaps[0]).mean() - 1
    assert abs(gaps[-1].mean() + variance / 2000) < 5 * gaps[-1].std(ddof=1) / np.sqrt(400)
    assert abs(gaps[-1].mean()) < abs(gaps[0].mean()) / 100


@pytest.mark.slow
def test_jit_and_vmap_over_models_change_nothing(digit_rows, key):
    models = [ppca.fit_em(digit_rows[:100], 3, 2, k).model for k in jax.random.split(key)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    together = jax.jit(jax.vmap(ppca.log_likelihood, in_axes=(0, None)))(stacked, digit_rows[:5])
    for model, row in zip(models, together, strict=True):
        np.testing.assert_allclose(ppca.log_likelihood(model, digit_rows[:5]), row, rtol=1e-4, atol=1e-3)


# refusals


@pytest.mark.parametrize("latent_dim", [-1, 0, 6, 7])
def test_a_latent_dim_outside_1_to_d_minus_1_is_refused(latent_dim, key):
    x = jnp.zeros((10, 6))
    for fit in (
        lambda: ppca.fit_closed_form(x, latent_dim),
        lambda: ppca.fit_em(x, latent_dim, 1, key),
        lambda: ppca.fit_gradient(x, latent_dim, 1, 0.1, key),
    ):
        with pytest.raises(ValueError, match=f"latent_dim is {latent_dim}: must be at least 1 and below .* 6 dim"):
            fit()


def test_data_that_do_not_vary_enough_have_no_maximum(digit_rows):
    """Three pixels of the digits never change: more than 61 directions leave nothing for sigma."""
    with pytest.raises(ValueError, match=r"latent_dim is 62: .* unbounded"):
        ppca.fit_closed_form(digit_rows, 62)


def test_what_is_no_array_of_finite_floats_is_refused():
    check_data = inspect.unwrap(ppca.check_data)
    for x, message in (
        (jnp.zeros((4, 5), int), r"x is int32: must be an array of floats \[n, d\]"),
        ([[1.0]], r"x is of the type list: must be an array of floats \[n, d\]"),
    ):
        with pytest.raises(ValueError, match=message):
            check_data(x)
    for bad in (jnp.nan, jnp.inf):
        with pytest.raises(ValueError, match="x has values that are not finite"):
            ppca.fit_closed_form(jnp.ones((4, 5)).at[0, 0].set(bad), 2)


def test_bad_shapes_and_steps_are_refused(key):
    model, x = random_model(), jnp.zeros((4, 5))
    for function in (ppca.log_likelihood, ppca.posterior, lambda model, x: ppca.log_densities(model, key, x)):
        with pytest.raises(ValueError, match=r"x has shape \(4, 5\): must be \[n, 6\]"):
            function(model, x)
    with pytest.raises(ValueError, match=r"x has shape \(4,\): must be \[n, d\]"):
        ppca.check_fit(jnp.zeros(4), 1)
    with pytest.raises(ValueError, match="n is 0: must be at least 1"):
        ppca.sample(model, key, 0)
    with pytest.raises(ValueError, match=r"q has loc \(4, 3\) .* must be \(4, 2\) and \(2, 2\)"):
        ppca.log_densities(model, key, jnp.zeros((4, 6)), Posterior(jnp.zeros((4, 3)), jnp.eye(3)))
    for fit in (
        lambda: ppca.fit_em(x, 2, 0, key),
        lambda: ppca.fit_gradient(x, 2, 0, 0.1, key),
    ):
        with pytest.raises(ValueError, match="steps is 0: must be at least 1"):
            fit()


@pytest.mark.slow
def test_the_experiment_prints_its_figures_and_draws_its_pictures(tmp_path):
    arguments = ["ppca", "--dataset", "digits", "--latent-dim", "2", "--steps", "20", "--output", str(tmp_path)]
    result = CliRunner().invoke(experiments, arguments)
    assert result.exit_code == 0, result.output
    assert "closed form" in result.output
    for name in ("convergence.png", "iwae.png"):
        assert (tmp_path / "ppca" / name).stat().st_size > 10_000
