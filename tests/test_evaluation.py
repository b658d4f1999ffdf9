import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae import run
from jvae.bounds import LogDensities
from jvae.errors import DataError
from jvae.evaluation import evaluate
from jvae.transforms import binarise


def densities(params, key, x):
    """Known moments: the reconstruction is the number of pixels plus noise of standard deviation 2; the KL is 3."""
    size = jnp.sum(x, axis=(1, 2, 3))
    value = size + 2 * jax.random.normal(key, size.shape)
    return LogDensities(value, value, value, jnp.full_like(size, 3.0))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (107, 4, 4, 1), np.uint8)


@pytest.mark.parametrize("batch_size", [10, 107, 500])
def test_every_image_counts_once_whatever_the_batch_size(images, batch_size, key):
    result = evaluate(lambda p, k, x: densities(p, k, x)._replace(log_px_z=jnp.sum(x, axis=(1, 2, 3))), {}, key, images,
                      binarise, 2, batch_size)  # fmt: skip
    size = (images >= 128).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(result.reconstruction.value, size.mean(), rtol=1e-6)
    np.testing.assert_allclose(result.elbo.value, size.mean() - 3, rtol=1e-6)
    np.testing.assert_allclose(result.elbo.standard_error, size.std(ddof=1) / np.sqrt(107), rtol=1e-6)
    assert (result.num_images, result.num_samples) == (107, 2)


def test_monte_carlo_error_is_that_of_the_draws(images, key):
    k = 200
    result = evaluate(densities, {}, key, images, binarise, k)
    np.testing.assert_allclose(result.elbo.monte_carlo_error, 2 / np.sqrt(k * 107), rtol=0.05)
    assert result.kl.monte_carlo_error == 0
    size = (images >= 128).sum(axis=(1, 2, 3)).mean()
    assert abs(result.elbo.value - (size - 3)) < 5 * result.elbo.monte_carlo_error


def test_different_keys_differ_by_about_the_monte_carlo_error(images):
    results = [evaluate(densities, {}, jax.random.key(i), images, binarise, 4).elbo for i in range(40)]
    spread = np.std([r.value for r in results], ddof=1)
    assert 0.6 < spread / results[0].monte_carlo_error < 1.5


def test_one_draw_has_no_monte_carlo_error(images, key):
    assert np.isnan(evaluate(densities, {}, key, images, binarise, 1).elbo.monte_carlo_error)


def test_a_model_meets_only_the_data_it_was_trained_on(small, tiny):
    model = next(run.train(small, tiny))
    assert np.isfinite(run.evaluate_model(model, tiny).elbo.value)
    with pytest.raises(DataError, match="fingerprint"):
        run.evaluate_model(model, tiny._replace(fingerprint="0" * 64))
