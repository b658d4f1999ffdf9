"""bfloat16 matmuls: rounded operands, exact sums, and gradients that are bfloat16 matmuls too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.nn.matmul import bfloat16, bfloat16_columns, float32
from jvae.runs import api
from jvae.runs.config import Config


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16), np.float64)


@pytest.fixture
def operands(key):
    keys = jax.random.split(key, 3)
    return jax.random.normal(keys[0], (5, 7)), jax.random.normal(keys[1], (7, 4)), jax.random.normal(keys[2], (5, 4))


@pytest.mark.parametrize("product", [bfloat16, bfloat16_columns])
def test_only_the_operands_are_rounded(product, operands):
    a, b, _ = operands
    np.testing.assert_allclose(product(a, b), rounded(a) @ rounded(b), rtol=1e-5, atol=1e-5)
    assert product(a, b).dtype == jnp.float32
    assert not np.allclose(product(a, b), float32(a, b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("product", [bfloat16, bfloat16_columns])
def test_the_gradients_are_products_of_the_same_kind(product, operands):
    a, b, weights = operands
    da, db = jax.grad(lambda a, b: jnp.sum(weights * product(a, b)), (0, 1))(a, b)
    np.testing.assert_allclose(da, rounded(weights) @ rounded(b).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(db, rounded(a).T @ rounded(weights), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", [{"hidden": (16, 16)}, {"network": "cnn"}], ids=str)
def test_a_training_in_bfloat16_follows_that_in_float32(network, tiny):
    config = Config(dataset="digits", latent_dim=3, epochs=2, batch_size=32, **network)
    full, half = (
        list(api.train_config_epochs(Config(**{**config.to_dict(), "precision": precision}), tiny))[-1]
        for precision in ("float32", "bfloat16")
    )
    assert half.history[-1]["bound"] == pytest.approx(full.history[-1]["bound"], rel=0.02)
    assert half.history[-1]["bound"] != full.history[-1]["bound"]
    assert {leaf.dtype for leaf in jax.tree.leaves(half.state.params)} == {np.dtype(np.float32)}
