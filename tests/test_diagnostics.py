"""Diagnostics of models whose latent space is known."""

from types import SimpleNamespace

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_model
from tensorflow_probability.substrates.jax import distributions as tfd

from jvae.decoders import LOG_SCALE_FLOOR, GaussianDecoder, bounded_scale
from jvae.diagnostics import diagnose, kl_by_dimension, level_statistics, perplexity
from jvae.divergences import kl_univariate
from jvae.priors import diagonal_gaussian
from jvae.runs import api
from jvae.runs.config import Config, build_model, build_transform
from jvae.transforms import dequantise, rescale
from jvae.vae import VAE, Level

QUICK = {"dataset": "digits", "epochs": 1, "batch_size": 50, "hidden": (8, 8)}


def with_leaf(params, value, *path):
    """Return the same tree with another leaf at the path."""
    head, *rest = path
    return {**params, head: with_leaf(params[head], value, *rest) if rest else value}


@pytest.mark.slow
def test_a_unit_that_ignores_the_data_is_not_active(tiny):
    config = Config(latent_dim=3, **QUICK)
    model = random_model(config, tiny)
    last = model.run_params()["params"]["encoder"]["net"]["linear_2"]
    kernel = np.asarray(last["kernel"]) * 100
    kernel[:, 1] = 0  # the mean of the second dimension: one value for every image
    params = with_leaf(model.run_params(), jnp.asarray(kernel), "params", "encoder", "net", "linear_2", "kernel")
    vae = build_model(config, (8, 8, 1))
    found = diagnose(vae, params, jax.random.key(0), tiny.test_images, build_transform(config), batch_size=7)
    assert found.levels[0].active_units == 2
    assert found.levels[0].effective_components is None
    assert found.pixels_at_floor is None


def test_kl_per_dimension_sums_to_the_kl(tiny):
    model = random_model(Config(latent_dim=3, **QUICK), tiny)
    kl = api.diagnose(model, tiny)[0].levels[0].kl_per_dimension
    np.testing.assert_allclose(np.sum(kl), api.evaluate(model, tiny)[0].kl.value, rtol=1e-5)


@pytest.mark.slow
def test_each_levels_kl_is_what_its_dimensions_sum_to(tiny):
    """And the model's KL is the sum over its levels, with the top level's in closed form."""
    model = random_model(Config(latent_dim=3, levels=2, upper_dim=2, **QUICK), tiny)
    levels = api.diagnose(model, tiny)[0].levels
    for level in levels:
        np.testing.assert_allclose(np.sum(level.kl_per_dimension), level.kl, rtol=1e-5)
    kl = api.evaluate(model, tiny)[0].kl
    assert abs(sum(level.kl for level in levels) - kl.value) < 5 * kl.monte_carlo_error * np.sqrt(1 + 10)


def test_a_lower_levels_kl_accounts_for_a_prior_that_depends_on_its_draw(key):
    """q = N(0, 1) and p = N(z, 1) at the draw z itself: log q - log p = -z^2/2, where KL(q || p) = z^2/2."""
    z = jax.random.normal(key, (5, 3))
    level = Level(*(distrax.Independent(distrax.Normal(loc, jnp.ones_like(z)), 1) for loc in (0 * z, z)), z)
    for top, sign in ((False, -1), (True, 1)):
        np.testing.assert_allclose(kl_by_dimension(level, top), sign * z**2 / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("posterior", "prior", "splits"),
    [
        (distrax.MultivariateNormalDiag, distrax.MultivariateNormalDiag, True),
        (distrax.MultivariateNormalDiag, tfd.MultivariateNormalDiag, True),
        (lambda loc, scale: tfd.Independent(tfd.Normal(loc, scale), 1), diagonal_gaussian, True),
        (distrax.MultivariateNormalDiag, diagonal_gaussian, True),
        (lambda loc, scale: distrax.MultivariateNormalTri(loc, scale[..., None] * jnp.eye(3)),) * 2 + (False,),
    ],
)
def test_a_kl_is_in_closed_form_wherever_one_is_known(posterior, prior, splits, key):
    """N(loc, scale^2) beside N(1, 2^2) in three dimensions, each in several classes of two libraries."""
    loc, scale = jax.random.normal(key, (5, 3)), jnp.exp(jax.random.normal(jax.random.fold_in(key, 1), (5, 3)))
    level = Level(posterior(loc, scale), prior(jnp.ones(3), jnp.full(3, 2.0)), jnp.zeros((5, 3)))
    found = level_statistics(level, jnp.stack([loc, loc]), top=True)
    expected = kl_univariate(loc, scale, 1.0, 2.0)
    np.testing.assert_allclose(found.kl, expected.sum(axis=1), rtol=1e-5)
    assert np.all(found.closed)
    if splits:
        np.testing.assert_allclose(found.kl_per_dimension, expected, rtol=1e-4, atol=1e-6)
    else:
        assert found.kl_per_dimension is None
    below = level_statistics(level, jnp.stack([loc, loc]), top=False)  # at the draw 0
    np.testing.assert_allclose(below.kl, level.posterior.log_prob(level.z) - level.prior.log_prob(level.z), rtol=1e-5)
    assert not np.any(below.closed)


class Chain(VAE):
    """A model of two levels with one unit per pixel: z1 ~ N(x/5, 1) and z2 ~ N(z1 + 100 x, 1)."""

    @property
    def num_levels(self):
        return 2

    def infer(self, key, x):
        x = x.reshape(len(x), -1)
        q1 = distrax.Independent(distrax.Normal(0.2 * x, jnp.ones_like(x)), 1)
        z1 = q1.sample(seed=key)
        q2 = distrax.Independent(distrax.Normal(z1 + 100 * x, jnp.ones_like(x)), 1)
        p = distrax.Independent(distrax.Normal(jnp.zeros_like(x), jnp.ones_like(x)), 1)
        return Level(q1, p, z1), Level(q2, p, q2.sample(seed=key))


def test_active_units_vary_with_the_data_and_not_with_draws():
    """E[z2|x] is constant for identical data, although z2's mean varies with z1, whose variance is 1, and the noise.

    Dequantised data have noise U[0, 1)/256: averaging leaves a hundredth of its contribution, 100^2/256^2/12.
    """
    model = Chain(None, None, None)
    alike, both = np.full((400, 2, 1, 1), 128, np.uint8), np.full((400, 2, 1, 1), 128, np.uint8)
    both[::2, 1] = 0
    for transform in (rescale, dequantise):
        for data, active in ((alike, 0), (both, 1)):
            levels = diagnose(model, {}, jax.random.key(0), data, transform).levels
            assert [level.active_units for level in levels] == [0, active]


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["mog", "vamp"])
def test_kl_per_dimension_is_the_gaussian_priors_alone(prior, tiny):
    model = random_model(Config(latent_dim=3, prior=prior, num_components=4, **QUICK), tiny)
    assert api.diagnose(model, tiny)[0].levels[0].kl_per_dimension is None


@pytest.mark.slow
def test_components_far_away_do_not_count(tiny):
    """Of four components, two are at the data and two are a hundred away."""
    config = Config(latent_dim=3, prior="mog", num_components=4, **QUICK)
    model = random_model(config, tiny)
    loc = jnp.array([[0.0] * 3, [0.0] * 3, [100.0] * 3, [-100.0] * 3])
    params = with_leaf(model.run_params(), loc, "params", "prior", "loc")
    params = with_leaf(params, jnp.zeros((4, 3)), "params", "prior", "log_scale")
    params = with_leaf(params, jnp.zeros(4), "params", "prior", "logits")
    vae = build_model(config, (8, 8, 1))
    found = diagnose(vae, params, jax.random.key(0), tiny.test_images, build_transform(config))
    np.testing.assert_allclose(found.levels[0].effective_components, 2, rtol=1e-4)


def test_perplexity_counts_equal_outcomes():
    np.testing.assert_allclose(perplexity(np.array([0.25, 0.25, 0.25, 0.25, 0.0])), 4)
    np.testing.assert_allclose(perplexity(np.array([1.0, 0.0])), 1)


@pytest.mark.slow
def test_pixels_at_the_floor_are_counted(tiny):
    config = Config(latent_dim=3, decoder="gaussian", variance="pixel", **QUICK)
    model = random_model(config, tiny)
    log_scale = np.zeros((8, 8, 1), np.float32)
    log_scale[:2] = -20
    params = with_leaf(model.run_params(), jnp.asarray(log_scale), "params", "decoder", "log_scale")
    vae = build_model(config, (8, 8, 1))
    found = diagnose(vae, params, jax.random.key(0), tiny.test_images, build_transform(config))
    assert found.pixels_at_floor == 16


def test_learned_scales_never_fall_below_the_floor():
    scale = np.asarray(bounded_scale(jnp.array([-1e4, -20.0, -6.0, 0.0, 3.0])))
    assert np.all(scale >= np.float32(np.exp(LOG_SCALE_FLOOR)) * (1 - 1e-6))
    np.testing.assert_allclose(scale[3:], np.exp([0.0, 3.0]), rtol=3e-3)  # far above the floor the scale is unchanged


@pytest.mark.slow
def test_pseudo_inputs_start_at_training_images(tiny):
    """With no steps taken, every pseudo-input is a binarised training image, and no two are the same."""
    config = Config(latent_dim=3, prior="vamp", num_components=20, pseudo_inputs="data", learning_rate=1e-30, **QUICK)
    model = next(api.train_config_epochs(config, tiny))
    pseudo = np.asarray(model.run_params()["params"]["prior"]["pseudo_inputs"]).reshape(20, -1)
    images = (tiny.train_images >= 128).reshape(100, -1)
    matches = [np.flatnonzero(np.isclose(images, p).all(axis=1)) for p in pseudo]
    assert all(len(match) for match in matches)
    assert len({match[0] for match in matches}) == 20


@pytest.mark.slow
def test_more_pseudo_inputs_than_images_are_refused(tiny):
    config = Config(latent_dim=3, prior="vamp", num_components=101, pseudo_inputs="data", **QUICK)
    with pytest.raises(ValueError, match=r"^num_components is 101: must be at most the number of training images, 100"):
        api.train_config_epochs(config, tiny)


def test_an_unknown_variance_is_refused():
    with pytest.raises(ValueError, match="variance is 'per-pixel': must be one of fixed, scalar, pixel"):
        GaussianDecoder.__post_init__(SimpleNamespace(variance="per-pixel"))  # the tests check types before
