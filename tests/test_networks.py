import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jvae.networks import MLP


def test_mlp_is_the_composition_of_its_layers(key):
    net = MLP((5, 4), (2, 3))
    x = jax.random.normal(key, (7, 3, 2))
    params = net.init(key, x)
    layers = [params["params"][f"linear_{i}"] for i in range(3)]
    h = np.asarray(x).reshape(7, 6)
    for i, layer in enumerate(layers):
        h = h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        h = np.maximum(h, 0) if i < 2 else h
    np.testing.assert_allclose(net.apply(params, x), h.reshape(7, 2, 3), rtol=1e-5, atol=1e-6)


def test_weights_and_biases_start_uniform_in_one_over_root_fan_in(key):
    params = MLP((400,), (300,)).init(key, jnp.zeros((1, 100)))["params"]
    for layer, fan_in in (("linear_0", 100), ("linear_1", 400)):
        limit = 1 / np.sqrt(fan_in)
        for name in ("kernel", "bias"):
            values = np.asarray(params[layer][name]).ravel()
            assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3, (layer, name)
