import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rest_slow
from scipy import stats

from jvae.nn.networks import ACTIVATIONS, MLP, ConvDecoderNet, ConvEncoderNet, check_depth, describe_network
from jvae.runs.config import Config, build_networks


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


@pytest.mark.slow
def test_kernels_and_biases_of_convolutions_start_as_in_pytorch(key):
    """Conv2d(c, f, 4) has a fan-in of 16 c; ConvTranspose2d(c, f, 4) of 16 f."""
    encoder = jax.jit(ConvEncoderNet((6,)).init)(key, jnp.zeros((1, 28, 28, 1)))["params"]
    decoder = jax.jit(ConvDecoderNet((28, 28, 1)).init)(key, jnp.zeros((1, 3)))["params"]
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
    assert jax.eval_shape(encoder.init_with_output, key, x)[0].shape == (5, 2, 3)
    assert jax.eval_shape(decoder.init_with_output, key, z)[0].shape == (5, *shape)


@pytest.mark.slow
def test_convolutional_networks_treat_every_datum_alone(key):
    x, z = jax.random.normal(key, (5, 8, 8, 1)), jax.random.normal(key, (5, 4))
    for net, data in ((ConvEncoderNet((6,)), x), (ConvDecoderNet((8, 8, 1)), z)):
        params, apply = jax.jit(net.init)(key, data), jax.jit(net.apply)
        alone = jnp.concatenate([apply(params, datum[None]) for datum in data])
        np.testing.assert_allclose(apply(params, data), alone, atol=1e-6)


def test_networks_have_the_layers_of_their_widths_and_channels(key):
    """Under the names of older model files, and with the decoder's in reverse."""
    encoder, decoder = build_networks(Config(latent_dim=2, hidden=(5, 4, 3)), (8, 8, 1))
    narrowing, widening = [(64, 5), (5, 4), (4, 3), (3, 4)], [(2, 3), (3, 4), (4, 5), (5, 64)]
    assert shapes(encoder, key, (8, 8, 1)) == {f"linear_{i}": shape for i, shape in enumerate(narrowing)}
    assert shapes(decoder, key, (2,)) == {f"linear_{i}": shape for i, shape in enumerate(widening)}
    encoder, decoder = build_networks(Config(latent_dim=2, network="cnn", channels=(5, 4, 3)), (9, 14, 2))
    convolutions = {"conv_0": (4, 4, 2, 5), "conv_1": (4, 4, 5, 4), "conv_2": (4, 4, 4, 3)}
    assert shapes(encoder, key, (9, 14, 2)) == {**convolutions, "linear_0": (3, 256), "linear_1": (256, 4)}
    doubling = {"conv_transpose_0": (4, 4, 3, 4), "conv_transpose_1": (4, 4, 4, 5), "conv_transpose_2": (4, 4, 5, 2)}
    assert shapes(decoder, key, (2,)) == {"linear_0": (2, 256), "linear_1": (256, 12), **doubling}


def shapes(net, key, in_shape: tuple[int, ...]) -> dict:
    params = jax.eval_shape(net.init, key, jnp.zeros((1, *in_shape)))["params"]
    return {name: layer["kernel"].shape for name, layer in params.items()}


REFERENCES = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "leaky-relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", rest_slow(ACTIVATIONS))
@pytest.mark.parametrize("fields", [{"hidden": (6, 5)}, {"network": "cnn", "channels": (3,)}], ids=["mlp", "cnn"])
def test_activations_are_what_their_names_say(name, fields, key):
    """Between the layers, not after the last one."""
    x, calls = 3 * jax.random.normal(key, (3, 4, 4, 1)), []

    def reference(h):
        calls.append(h.shape)
        return jnp.asarray(REFERENCES[name](np.asarray(h)))

    net = build_networks(Config(activation=name, **fields), (4, 4, 1))[0]
    params = jax.jit(net.init)(key, x)
    expected = net.clone(activation=reference).apply(params, x)
    np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == 2


def test_the_depth_is_what_the_image_allows():
    check_depth((1,) * 4, (28, 30, 1))
    check_depth((1,) * 3, (8, 8, 1))
    with pytest.raises(ValueError, match=r"channels is 1,2,3,4: images of 15x20 can be halved 3 times at most"):
        build_networks(Config(network="cnn", channels=(1, 2, 3, 4)), (15, 20, 1))


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 14, 3), (28, 28, 1)])
def test_the_deepest_networks_keep_the_images_shape(shape, key):
    channels = (2,) * (min(shape[:2]).bit_length() - 1)
    encoder, decoder = build_networks(Config(latent_dim=3, network="cnn", channels=channels), shape)
    x, z = jnp.ones((5, *shape)), jnp.ones((5, 3))
    assert jax.eval_shape(encoder.apply, jax.eval_shape(encoder.init, key, x), x).shape == (5, 6)
    assert jax.eval_shape(decoder.apply, jax.eval_shape(decoder.init, key, z), z).shape == (5, *shape)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "mlp"),
        ({"hidden": (200, 200), "activation": "tanh"}, "mlp 200-200, tanh"),
        ({"hidden": (64,)}, "mlp 64"),
        ({"network": "cnn"}, "cnn"),
        ({"network": "cnn", "channels": (8, 16, 32), "activation": "leaky-relu"}, "cnn 8-16-32, leaky-relu"),
    ],
)
def test_a_description_names_what_differs_from_the_exercise(fields, said):
    assert [describe_network(net) for net in build_networks(Config(**fields), (28, 28, 1))] == [said] * 2


def test_a_convolutional_network_checks_its_depth(key):
    with pytest.raises(ValueError, match="8x8 can be halved 3 times at most"):
        ConvEncoderNet((4,), channels=(4, 4, 4, 4)).init(key, jnp.zeros((2, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"data have the shape \[64\]: a convolutional network needs"):
        check_depth((4,), (64,))
    with pytest.raises(ValueError, match="channels is empty"):
        ConvDecoderNet((8, 8, 1), channels=()).init(key, jnp.zeros((2, 3)))
