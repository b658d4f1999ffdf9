"""Diagnostics of models whose latent space is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.decoders import LOG_SCALE_FLOOR, bounded_scale
from jvae.diagnostics import diagnose, perplexity
from jvae.runs import api
from jvae.runs.config import Config, build_model, build_transform

QUICK = {"dataset": "digits", "epochs": 1, "batch_size": 50, "hidden": (8, 8)}


def with_leaf(params, value, *path):
    """The same tree with another leaf at the path."""
    head, *rest = path
    return {**params, head: with_leaf(params[head], value, *rest) if rest else value}


def test_a_unit_that_ignores_the_data_is_not_active(tiny):
    config = Config(latent_dim=3, **QUICK)
    model = next(api.train_config_epochs(config, tiny))
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
    model = next(api.train_config_epochs(Config(latent_dim=3, **QUICK), tiny))
    kl = api.diagnose(model, tiny)[0].levels[0].kl_per_dimension
    np.testing.assert_allclose(np.sum(kl), api.evaluate(model, tiny)[0].kl.value, rtol=1e-5)


@pytest.mark.parametrize("prior", ["mog", "vamp"])
def test_kl_per_dimension_is_the_gaussian_priors_alone(prior, tiny):
    model = next(api.train_config_epochs(Config(latent_dim=3, prior=prior, num_components=4, **QUICK), tiny))
    assert api.diagnose(model, tiny)[0].levels[0].kl_per_dimension is None


def test_components_far_away_do_not_count(tiny):
    """Of four components, two stand at the data and two a hundred away."""
    config = Config(latent_dim=3, prior="mog", num_components=4, **QUICK)
    model = next(api.train_config_epochs(config, tiny))
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


def test_pixels_at_the_floor_are_counted(tiny):
    config = Config(latent_dim=3, decoder="gaussian", variance="pixel", **QUICK)
    model = next(api.train_config_epochs(config, tiny))
    log_scale = np.zeros((8, 8, 1), np.float32)
    log_scale[:2] = -20
    params = with_leaf(model.run_params(), jnp.asarray(log_scale), "params", "decoder", "log_scale")
    vae = build_model(config, (8, 8, 1))
    found = diagnose(vae, params, jax.random.key(0), tiny.test_images, build_transform(config))
    assert found.pixels_at_floor == 16


def test_learned_scales_never_fall_below_the_floor():
    scale = np.asarray(bounded_scale(jnp.array([-1e4, -20.0, -6.0, 0.0, 3.0])))
    assert np.all(scale >= np.float32(np.exp(LOG_SCALE_FLOOR)) * (1 - 1e-6))
    np.testing.assert_allclose(scale[3:], np.exp([0.0, 3.0]), rtol=3e-3)  # far above it, the scale is left alone


def test_pseudo_inputs_start_at_training_images(tiny):
    """With no steps taken, every pseudo-input is a binarised training image, and no two are the same one."""
    config = Config(latent_dim=3, prior="vamp", num_components=20, pseudo_inputs="data", learning_rate=1e-30, **QUICK)
    model = next(api.train_config_epochs(config, tiny))
    pseudo = np.asarray(model.run_params()["params"]["prior"]["pseudo_inputs"]).reshape(20, -1)
    images = (tiny.train_images >= 128).reshape(100, -1)
    matches = [np.flatnonzero(np.isclose(images, p).all(axis=1)) for p in pseudo]
    assert all(len(match) for match in matches)
    assert len({match[0] for match in matches}) == 20


def test_more_pseudo_inputs_than_images_are_refused(tiny):
    config = Config(latent_dim=3, prior="vamp", num_components=101, pseudo_inputs="data", **QUICK)
    with pytest.raises(ValueError, match=r"^num_components is 101: must be at most the number of training images, 100"):
        api.train_config_epochs(config, tiny)
