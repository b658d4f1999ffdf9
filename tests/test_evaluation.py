import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import fake_model, random_model, rest_slow

from jvae import evaluation
from jvae.bounds import LogDensities, draw
from jvae.errors import DataError
from jvae.evaluation import evaluate
from jvae.runs import api
from jvae.runs.config import Config, build_recipe
from jvae.runs.importance import evaluate_iwae, weigh
from jvae.transforms import binarise, dequantise, stochastic_binarise


@fake_model
def densities(params, key, x):
    """Return densities with known moments: the reconstruction is the pixel count plus noise with sd 2; the KL is 3."""
    size = jnp.sum(x, axis=(1, 2, 3))
    value = size + 2 * jax.random.normal(key, size.shape)
    return LogDensities(value, value, value, jnp.full_like(size, 3.0))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (107, 4, 4, 1), np.uint8)


@pytest.mark.parametrize("batch_size", [10, 107, 500])
def test_every_image_counts_once_whatever_the_batch_size(images, batch_size, key):
    noiseless = fake_model(lambda p, k, x: densities.function(p, k, x)._replace(log_px_z=jnp.sum(x, axis=(1, 2, 3))))
    result = evaluate(noiseless, {}, key, images, binarise, 2, batch_size)[0]
    size = (images >= 128).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(result.reconstruction.value, size.mean(), rtol=1e-6)
    np.testing.assert_allclose(result.elbo.value, size.mean() - 3, rtol=1e-6)
    np.testing.assert_allclose(result.elbo.standard_error, size.std(ddof=1) / np.sqrt(107), rtol=1e-6)
    assert (result.num_images, result.num_samples) == (107, 2)


def test_monte_carlo_error_is_that_of_the_draws(images, key):
    k = 200
    result = evaluate(densities, {}, key, images, binarise, k)[0]
    np.testing.assert_allclose(result.elbo.monte_carlo_error, 2 / np.sqrt(k * 107), rtol=0.05)
    assert result.kl.monte_carlo_error == 0
    size = (images >= 128).sum(axis=(1, 2, 3)).mean()
    assert abs(result.elbo.value - (size - 3)) < 5 * result.elbo.monte_carlo_error


@fake_model
def brightness(params, key, x):
    """Return log-densities that depend only on the data that the model sees."""
    size = jnp.sum(x, axis=(1, 2, 3))
    return LogDensities(3 * size, 0 * size, 0 * size, size)


@pytest.mark.slow
def test_what_is_the_same_in_all_draws_has_no_monte_carlo_error(images, key):
    tenth = fake_model(lambda p, k, x: densities.function(p, k, x)._replace(kl=jnp.full(len(x), 0.1)))
    for at_a_time in (1, 2, 10):
        found = evaluate(tenth, {}, key, images, binarise, draws_at_a_time=at_a_time)[0]
        assert found.kl.monte_carlo_error == 0
        assert found.elbo.monte_carlo_error > 0


def test_monte_carlo_errors_count_dequantisations_noise(images, key):
    """16 pixels, each with noise U[0, 1)/256: new for each of the ELBO's 20 draws, and for both replicates of IWAE."""
    found = evaluate(brightness, {}, key, images, dequantise, 20)[0]
    one = np.sqrt(16 / 12 / 107) / 256
    errors = [part.monte_carlo_error * np.sqrt(20) / one for part in found[:3]]
    np.testing.assert_allclose(errors, [2, 3, 1], rtol=0.1)
    mean = images.sum(axis=(1, 2, 3)).mean() / 256 + 16 / 512
    assert abs(found.kl.value - mean) < 5 * found.kl.monte_carlo_error
    for num_samples in (1, 5):
        found = evaluate_iwae(brightness, {}, key, images, dequantise, num_samples)[0].iwae
        np.testing.assert_allclose(found.monte_carlo_error * np.sqrt(2) / one, 3, rtol=0.3)
        assert abs(found.value - 3 * mean) < 5 * found.monte_carlo_error


@pytest.mark.slow
def test_stochastically_binarised_data_are_the_same_for_every_key_batch_and_bound(images, key):
    values = [
        evaluate(brightness, {}, seed, images, stochastic_binarise, 2, size)[0].reconstruction
        for seed, size in ((key, 500), (jax.random.key(7), 500), (key, 10))
    ]
    values.append(evaluate_iwae(brightness, {}, key, images, stochastic_binarise, 3)[0].iwae)
    np.testing.assert_allclose([found.value for found in values], values[0].value, rtol=1e-5)
    np.testing.assert_allclose([found.monte_carlo_error for found in values], 0, atol=1e-5)


def test_different_keys_differ_by_about_the_monte_carlo_error(images):
    results = [evaluate(densities, {}, jax.random.key(i), images, binarise, 4)[0].elbo for i in range(40)]
    spread = np.std([r.value for r in results], ddof=1)
    assert 0.6 < spread / results[0].monte_carlo_error < 1.5


def test_one_draw_has_no_monte_carlo_error(images, key):
    assert np.isnan(evaluate(densities, {}, key, images, binarise, 1)[0].elbo.monte_carlo_error)


@pytest.mark.slow
def test_a_model_meets_only_the_data_it_was_trained_on(small, tiny):
    model = next(api.train_config_epochs(small, tiny))
    assert np.isfinite(api.evaluate(model, tiny)[0].elbo.value)
    with pytest.raises(DataError, match="fingerprint"):
        api.evaluate(model, tiny._replace(fingerprint="0" * 64))


@fake_model
def weighted(params, key, x):
    """Return log-weights from N(0, 1) for any image: E[w] = exp(1/2)."""
    w = jax.random.normal(key, (len(x),))
    return LogDensities(w, jnp.zeros_like(w), jnp.zeros_like(w), jnp.zeros_like(w))


@pytest.mark.parametrize("num_samples", rest_slow([7, 1, 100, 250]))
@pytest.mark.parametrize("batch_size", rest_slow([20, 107]))
def test_running_sums_are_the_bound_of_all_draws_at_once(images, num_samples, batch_size, key):
    """Chunks that do not divide K and batches that do not divide n change nothing, against the plain formula."""
    seen = []
    result = evaluate_iwae(weighted, {}, key, images, binarise, num_samples, batch_size, 100, seen.append)[0]
    assert seen[-1] == len(images)
    chunk = min(100, num_samples)
    logs = []
    for i in range(-(-len(images) // batch_size)):
        draw_key = jax.random.split(jax.random.fold_in(key, i))[1]
        x = jnp.zeros((batch_size, 4, 4, 1))
        parts = [
            draw(lambda k, x: weighted.function({}, k, x), jax.random.fold_in(draw_key, j), x, chunk).log_px_z
            for j in range(-(-num_samples // chunk))
        ]
        logs.append(np.concatenate(parts)[:num_samples])
    w = np.exp(np.concatenate(logs, axis=1)[:, : len(images)].astype(np.float64))
    ess = w.sum(axis=0) ** 2 / (w**2).sum(axis=0)
    np.testing.assert_allclose(result.iwae.value, np.log(w.mean(axis=0)).mean(), rtol=1e-5)
    np.testing.assert_allclose(result.median_effective_sample_size, np.median(ess), rtol=1e-4)
    np.testing.assert_allclose(result.least_effective_sample_size, ess.min(), rtol=1e-4)


def log_sums(w):
    """Return the sums of `importance_sums` for log weights [k, b]: all, their squares, and 100 blocks."""
    group = min(100, len(w))
    blocks = [np.logaddexp.reduce(w[i::group], axis=0) for i in range(group)]
    return np.stack([np.logaddexp.reduce(w, axis=0), np.logaddexp.reduce(2 * w, axis=0), *blocks])


@pytest.mark.parametrize("scale", [0.3, 2.0, 6.0])
@pytest.mark.parametrize("num_samples", [2, 7, 50, 250])
def test_the_importance_weighted_bounds_error_is_honest_where_few_draws_count(num_samples, scale):
    """Log weights from N(0, scale^2): with scale 6 fewer than two of 50 count, and the delta method gives half."""
    w = scale * np.random.default_rng(0).normal(size=(num_samples, 3000))
    found = weigh(log_sums(w), num_samples)
    ratio = found.bound.std(ddof=1) / np.sqrt(found.variance.mean())
    assert 0.85 < ratio < 1.18


def test_the_jackknife_leaves_out_one_draw_after_the_other():
    w = np.random.default_rng(0).normal(size=(9, 4)) * [[0.1, 1, 10, 100]]
    w[:, 3] = [0.0, -30, -2000, *[-3000] * 6]  # all but two too small for a number
    found = weigh(log_sums(w), 9)
    without = np.stack([np.logaddexp.reduce(np.delete(w, k, axis=0), axis=0) - np.log(8) for k in range(9)])
    np.testing.assert_allclose(found.variance, 8 * without.var(axis=0), rtol=1e-6)
    halves = [np.logaddexp.reduce(w[i::2], axis=0) - np.log(len(w[i::2])) for i in (0, 1)]
    np.testing.assert_allclose(found.rise[:3], (found.bound - np.mean(halves, axis=0))[:3], rtol=1e-6)
    assert np.isfinite(found.rise).all()
    alone = weigh(log_sums(w[:1]), 1)
    assert np.isnan([*alone.variance, *alone.rise]).all()


def test_iwae_reaches_a_known_evidence_within_its_own_error(images, key):
    result = evaluate_iwae(weighted, {}, key, images, binarise, 4000)[0]
    assert abs(result.iwae.value - 0.5) < 5 * result.iwae.monte_carlo_error + 1 / 4000  # the bound's own bias
    assert result.iwae.monte_carlo_error < 0.003


@fake_model
def far_below(params, key, x):
    """Return log-weights from N(-30000, 0.5^2), whose float32 neighbours are 0.002 apart: log E[w] = -30000 + 1/8."""
    w = 0.5 * jax.random.normal(key, (len(x),)) - 30_000
    return LogDensities(w, jnp.zeros_like(w), jnp.zeros_like(w), jnp.zeros_like(w))


def test_no_draw_is_lost_beside_the_sum_of_many_small_weights(images, key, monkeypatch):
    monkeypatch.setattr("jvae.runs.importance.ROUNDS_OF_SUMS", 64)
    found = evaluate_iwae(far_below, {}, key, images[:3], binarise, 100_000)[0]
    error = np.sqrt(np.expm1(0.25) / 100_000)
    assert abs(found.iwae.value + 30_000 - 0.125) < 5 * error / np.sqrt(3) + 5e-4
    assert found.iwae.monte_carlo_error == pytest.approx(error / np.sqrt(3), rel=0.5)
    assert found.median_effective_sample_size == pytest.approx(100_000 / np.exp(0.25), rel=0.05)


@pytest.mark.slow
def test_iwae_rises_from_the_elbo_with_the_number_of_draws(small, tiny):
    model = next(api.train_config_epochs(small, tiny))
    elbo = api.evaluate(model, tiny, 200)[0].elbo.value
    values = [api.evaluate(model, tiny, 1, iwae=k)[0].importance.iwae.value for k in (1, 10, 200)]
    assert abs(values[0] - elbo) < 3
    assert elbo < values[1] < values[2]


def test_iwae_needs_a_draw(images, key):
    with pytest.raises(ValueError, match="num_samples is 0: must be at least 1"):
        evaluate_iwae(weighted, {}, key, images, binarise, 0)[0]


@pytest.mark.slow
def test_evaluation_compiles_once_however_many_runs_epochs_and_calls(tiny):
    """Validation after five epochs, and evaluation of six runs: each is one program per model and shape."""
    compiled = evaluation.per_datum._cache_size
    config = Config(dataset="digits", latent_dim=7, epochs=5, batch_size=50, hidden=(8, 8), validation="test", runs=6)
    before = compiled()
    *_, model = api.train_config_epochs(config, tiny)
    assert compiled() == before + 1  # one draw per datum
    for run in range(6):
        api.evaluate(model, tiny)[run]
        api.diagnose(model, tiny)[run]
    again = build_recipe(config, (8, 8, 1))  # another object, equal by value
    api.evaluate(model._replace(recipe=again), tiny)
    assert compiled() == before + 2  # and ten


def test_one_draw_has_no_variance_and_raises_no_alarm(small, tiny):
    model = random_model(small, tiny)
    with jax.debug_nans(True):
        (found,) = api.evaluate(model, tiny, num_samples=1)
    assert np.isnan([getattr(found, name).monte_carlo_error for name in ("elbo", "reconstruction", "kl")]).all()
