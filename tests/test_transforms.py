import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jvae.config import Config, build_transform
from jvae.transforms import binarise, dequantise, rescale

LEVELS = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)


def test_binarise_is_the_exercises_threshold(key):
    expected = (np.arange(256) / 255 > 0.5).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(binarise(key, LEVELS), expected)


def test_rescale_reaches_both_ends(key):
    np.testing.assert_allclose(rescale(key, LEVELS).ravel(), np.arange(256) / 255, rtol=1e-6)


def test_dequantised_pixels_fill_their_own_bin(key):
    images = jnp.repeat(LEVELS, 500, axis=0)
    x = np.asarray(dequantise(key, images), np.float64)
    np.testing.assert_array_equal(np.minimum(np.floor(x * 256), 255), images)
    assert x.min() >= 0
    assert x.max() <= 1
    noise = (x * 256 - np.asarray(images))[:, :8].ravel()  # the darker half, where float32 resolves the noise well
    assert stats.kstest(noise, "uniform").pvalue > 1e-3
    assert not np.array_equal(x, dequantise(jax.random.key(1), images))


@pytest.mark.parametrize(
    ("fields", "transform"),
    [
        ({}, binarise),
        ({"decoder": "gaussian"}, dequantise),
        ({"decoder": "continuous-bernoulli"}, dequantise),
        ({"decoder": "gaussian", "dequantise": False}, rescale),
    ],
)
def test_data_follow_the_decoder(fields, transform):
    assert build_transform(Config(**fields)) is transform
