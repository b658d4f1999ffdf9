import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jvae.runs.config import Config, build_transform
from jvae.transforms import binarise, dequantise, is_noisy, observe, rescale, stochastic_binarise

LEVELS = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)


def test_binarise_is_the_exercises_threshold(key):
    expected = (np.arange(256) / 255 > 0.5).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(binarise(key, LEVELS), expected)


def test_rescale_reaches_both_ends(key):
    np.testing.assert_allclose(rescale(key, LEVELS).ravel(), np.arange(256) / 255, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_dequantised_pixels_fill_their_own_bin(seed):
    images = jnp.repeat(LEVELS, 4000, axis=0)  # enough for noise just below the next bin, where rounding shows
    x = np.asarray(dequantise(jax.random.key(seed), images), np.float64)
    np.testing.assert_array_equal(np.floor(x * 256), images)
    assert x.min() >= 0
    assert x.max() < 1
    assert stats.kstest((x * 256 - np.asarray(images))[::50].ravel(), "uniform").pvalue > 1e-3
    assert not np.array_equal(x, dequantise(jax.random.key(seed + 1), images))


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


def test_stochastically_binarised_data_are_drawn_once(key):
    """For any key and batch: a datum's draw depends only on its index and its pixels' probabilities."""
    data = jnp.tile(LEVELS, (400, 1, 1, 1))
    x = observe(stochastic_binarise, key, data)
    np.testing.assert_array_equal(x, observe(stochastic_binarise, jax.random.key(7), data))
    np.testing.assert_array_equal(x[10:13], observe(stochastic_binarise, key, data[10:13], 10))
    off = np.asarray(x.mean(axis=0)).ravel() - np.arange(256) / 255  # of 400 draws for each of 256 probabilities
    assert np.abs(off).max() < 5 * 0.5 / np.sqrt(400)


def twice(key, images):
    """Split the key without drawing, as a user's transform may."""
    return rescale(jax.random.split(key)[0], images)


def test_only_a_transform_that_draws_is_noisy(key):
    for transform in (binarise, rescale, stochastic_binarise, twice, jax.jit(twice)):
        assert not is_noisy(transform, (16, 16, 1))
    for transform in (dequantise, jax.jit(dequantise), lambda key, images: dequantise(key, images) + 1):
        assert is_noisy(transform, (16, 16, 1))
        np.testing.assert_array_equal(observe(transform, key, LEVELS, 5), transform(key, LEVELS))
