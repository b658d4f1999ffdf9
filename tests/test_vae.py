"""The model against independent computations: SciPy, PyTorch's stored numbers, and PyTorch itself."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_within
from scipy import stats

from jvae.bounds import draw, elbo, monte_carlo_elbo
from jvae.runs.config import Config, build_model

STORED = Path(__file__).parent / "stored" / "pytorch_elbo.npz"


@pytest.fixture
def vae(small):
    return build_model(small, (8, 8, 1))


@pytest.fixture
def x(digits):
    return (jnp.asarray(digits.test_images[:6]) >= 128).astype(jnp.float32)


@pytest.fixture
def params(vae, key, x):
    return vae.init(key, key, x)


def mlp(layers, x):
    """Compute the network in NumPy, in float64."""
    h = np.asarray(x, np.float64).reshape(len(x), -1)
    for i in range(len(layers)):
        h = h @ np.asarray(layers[f"linear_{i}"]["kernel"], np.float64) + np.asarray(layers[f"linear_{i}"]["bias"])
        h = np.maximum(h, 0) if i < len(layers) - 1 else h
    return h


def test_log_densities_are_scipys(vae, params, x):
    key = jax.random.key(3)
    d = vae.apply(params, key, x)
    weights = params["params"]
    loc, log_scale = np.split(mlp(weights["encoder"]["net"], x), 2, axis=1)
    scale = np.exp(log_scale)
    z = np.asarray(vae.apply(params, x, method="posterior").sample(seed=key), np.float64)
    logits = mlp(weights["decoder"]["net"], z)
    pixels = np.asarray(x).reshape(len(x), -1).astype(int)
    kl = 0.5 * np.sum(scale**2 + loc**2 - 1 - 2 * log_scale, axis=1)
    np.testing.assert_allclose(d.log_px_z, stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(pixels).sum(1), rtol=1e-5)
    np.testing.assert_allclose(d.log_pz, stats.norm.logpdf(z).sum(1), rtol=1e-5)
    np.testing.assert_allclose(d.log_qz_x, stats.norm(loc, scale).logpdf(z).sum(1), rtol=1e-4)
    np.testing.assert_allclose(d.kl, kl, rtol=1e-4)


@pytest.mark.slow
def test_both_forms_of_the_elbo_agree_in_value_and_gradient(vae, params, x):
    """Closed form against Monte Carlo, within 5 computed standard errors."""
    keys = jax.random.split(jax.random.key(1), 4000)

    def mean_bound(bound):
        return lambda params, key: jnp.mean(bound(draw(lambda k, x: vae.apply(params, k, x), key, x)))

    def value_and_bias_gradient(bound):
        value, grads = jax.lax.map(lambda k: jax.value_and_grad(mean_bound(bound))(params, k), keys, batch_size=200)
        return np.concatenate([value[:, None], grads["params"]["encoder"]["net"]["linear_2"]["bias"]], axis=1)

    difference = value_and_bias_gradient(monte_carlo_elbo) - value_and_bias_gradient(elbo)
    assert_within(difference, np.zeros(difference.shape[1]))


@pytest.mark.slow
def test_jit_equals_eager_and_vmap_over_parameters_equals_each(vae, params, x, key):
    eager = vae.apply(params, key, x)
    for a, b in zip(jax.jit(vae.apply)(params, key, x), eager, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    other = jax.tree.map(lambda p: p + 0.1, params)
    both = jax.tree.map(lambda *p: jnp.stack(p), params, other)
    vmapped = jax.vmap(vae.apply, in_axes=(0, None, None))(both, key, x)
    np.testing.assert_allclose(vmapped.kl[1], vae.apply(other, key, x).kl, rtol=1e-4)


def test_samples_are_binary_and_means_are_not(vae, params):
    samples = vae.apply(params, jax.random.key(0), 9, method="sample")
    means = vae.apply(params, jax.random.key(0), 9, True, method="sample")
    assert samples.shape == means.shape == (9, 8, 8, 1)
    assert set(np.unique(samples)) == {0, 1}
    assert np.all((means > 0) & (means < 1))


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [2, 1, 10, 32])
@pytest.mark.parametrize("image_shape", [(8, 8, 1), (9, 13, 3)])
def test_any_latent_dimension_and_image_shape(latent_dim, image_shape, key):
    vae = build_model(Config(latent_dim=latent_dim, hidden=(8, 8)), image_shape)
    x = jnp.zeros((2, *image_shape))
    params = vae.init(key, key, x)
    assert vae.apply(params, key, x).kl.shape == (2,)
    assert vae.apply(params, x, method="posterior").event_shape == (latent_dim,)
    assert vae.apply(params, key, 3, method="sample").shape == (3, *image_shape)


def with_weights(stored) -> tuple:
    """Return our model with the weights that PyTorch's model had, and its data and noise."""
    hidden = (int(stored["hidden_dim"]),) * 2
    vae = build_model(Config(latent_dim=int(stored["latent_dim"]), hidden=hidden), (8, 8, 1))
    params = {
        "params": {
            part: {
                "net": {
                    f"linear_{i}": {
                        "kernel": jnp.asarray(stored[f"{part}_{i}_weight"].T),
                        "bias": jnp.asarray(stored[f"{part}_{i}_bias"]),
                    }
                    for i in range(3)
                }
            }
            for part in ("encoder", "decoder")
        }
    }
    return vae, params, jnp.asarray(stored["x"])[..., None], stored["noise"]


def our_numbers(stored, monkeypatch) -> dict[str, np.ndarray]:
    """Return our log-densities at PyTorch's weights, data and noise."""
    vae, params, x, noise = with_weights(stored)
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, *_, **__: jnp.asarray(noise).reshape(shape))
    with jax.disable_jit():
        return vae.apply(params, jax.random.key(0), x)._asdict()


def test_the_densities_are_the_ones_that_pytorch_computed(monkeypatch):
    with np.load(STORED) as stored:
        ours = our_numbers(stored, monkeypatch)
        for name, value in ours.items():
            np.testing.assert_allclose(value, stored[name], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(np.mean(ours["log_px_z"] - ours["kl"]), stored["elbo"], rtol=1e-5)


def test_the_densities_are_the_ones_that_pytorch_computes_now(monkeypatch):
    pytest.importorskip("torch")
    from pytorch_reference import reference

    fresh = reference(seed=1)
    ours = our_numbers(fresh, monkeypatch)
    for name, value in ours.items():
        np.testing.assert_allclose(value, fresh[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(np.mean(ours["log_px_z"] - ours["kl"]), fresh["elbo"], rtol=1e-5)
