import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jvae.nn.networks import MLP, ConvDecoderNet, ConvEncoderNet


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


def test_kernels_and_biases_of_convolutions_start_as_in_pytorch(key):
    """Conv2d(c, f, 4) has a fan-in of 16 c; ConvTranspose2d(c, f, 4) of 16 f."""
    encoder = ConvEncoderNet((6,)).init(key, jnp.zeros((1, 28, 28, 1)))["params"]
    decoder = ConvDecoderNet((28, 28, 1)).init(key, jnp.zeros((1, 3)))["params"]
    expected = [(encoder["conv_0"], 16), (encoder["conv_1"], 16 * 32), (encoder["linear_0"], 64 * 49)]
    expected += [(decoder["linear_1"], 256)]
    expected += [(decoder["linear_0"], 3), (decoder["conv_transpose_0"], 16 * 32), (decoder["conv_transpose_1"], 16)]
    for layer, fan_in in expected:
        limit = 1 / np.sqrt(fan_in)
        values = np.concatenate([np.asarray(leaf).ravel() for leaf in layer.values()])
        assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (9, 14, 3), (11, 10, 2)])
def test_convolutional_networks_take_any_image_shape(shape, key):
    encoder, decoder = ConvEncoderNet((2, 3)), ConvDecoderNet(shape)
    x, z = jnp.ones((5, *shape)), jnp.ones((5, 4))
    assert encoder.apply(encoder.init(key, x), x).shape == (5, 2, 3)
    assert decoder.apply(decoder.init(key, z), z).shape == (5, *shape)


def test_convolutional_networks_treat_every_datum_alone(key):
    x, z = jax.random.normal(key, (5, 8, 8, 1)), jax.random.normal(key, (5, 4))
    for net, data in ((ConvEncoderNet((6,)), x), (ConvDecoderNet((8, 8, 1)), z)):
        params = net.init(key, data)
        alone = jnp.concatenate([net.apply(params, datum[None]) for datum in data])
        np.testing.assert_allclose(net.apply(params, data), alone, atol=1e-6)
