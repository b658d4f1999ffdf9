"""The numbers that the explorer's page computes with, read without a browser."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_model, rest_slow, unpacked

from jvae.encoders import GaussianEncoder
from jvae.errors import JvaeError
from jvae.nn.matmul import bfloat16
from jvae.nn.networks import MLP, ConvDecoderNet, ConvEncoderNet
from jvae.runs.api import encode
from jvae.runs.config import Config
from jvae.transforms import dequantise
from jvae.view.weights import (
    SEEN,
    check_decoder,
    decoder_data,
    encoder_data,
    encoder_obstacle,
    frame_of,
    net_data,
    packed,
    page_posterior,
    rounded_net,
    with_page_weights,
)


def weights_of(model, part: str) -> dict:
    return model.run_params()["params"][part]["net"]


def with_parts(trained, **parts):
    return trained._replace(recipe=trained.recipe._replace(**parts))


@pytest.fixture(scope="module")
def model(tiny):
    return random_model(Config(dataset="digits", latent_dim=3, hidden=(9, 7)), tiny)


@pytest.fixture(scope="module")
def cnn(tiny):
    config = Config(dataset="digits", latent_dim=3, network="cnn", channels=(4, 3, 2), activation="leaky-relu")
    return random_model(config, tiny)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64"])
def test_arrays_are_packed_to_the_bit(dtype):
    array = (np.random.default_rng(0).normal(size=(3, 4, 5)) * 50).astype(dtype)[:, ::2].swapaxes(0, 2)
    there = unpacked(json.loads(json.dumps(packed(array))))
    assert there.dtype == array.dtype
    np.testing.assert_array_equal(there, array)


@pytest.mark.slow
def test_the_page_holds_the_models_weights_to_16_bits(model, cnn):
    linear, convs = [f"linear_{i}" for i in range(3)], [f"conv_{i}" for i in range(3)]
    transposed = [f"conv_transpose_{i}" for i in range(3)]
    for trained, names in (
        (model, {"decoder": linear, "encoder": linear}),
        (cnn, {"decoder": [*linear[:2], *transposed], "encoder": [*convs, *linear[:2]]}),
    ):
        rounded = with_page_weights(trained)
        for part, data in (("decoder", decoder_data(rounded)), ("encoder", encoder_data(rounded))):
            own, new = weights_of(trained, part), weights_of(rounded, part)
            for name, layer in zip(names[part], unpacked(data)["layers"], strict=True):
                for which in ("kernel", "bias"):
                    assert layer[which].dtype == np.float16
                    np.testing.assert_array_equal(layer[which], np.asarray(own[name][which]).astype(np.float16))
                    np.testing.assert_array_equal(layer[which], new[name][which])


@pytest.mark.slow
def test_a_weight_beyond_16_bits_keeps_its_own(model):
    net = {"linear_0": {"kernel": jnp.ones((2, 1)), "bias": jnp.full(1, 1e5)}}
    rounded = rounded_net(net, model.recipe.model.decoder.net)
    (layer,) = unpacked(net_data(rounded, model.recipe.model.decoder.net))["layers"]
    assert (layer["kernel"].dtype, layer["bias"].dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(layer["bias"], np.float32([1e5]))


def test_a_bfloat16_models_kernels_are_those_that_it_multiplies_by():
    """What JAX rounds to bfloat16 in a matmul is not rounded twice."""
    kernel = jnp.exp(
        jax.random.normal(jax.random.key(0), (8, 99)) * 5 - 5
    )  # down to numbers for which float16 has few bits
    rounded = rounded_net({"linear_0": {"kernel": kernel}}, MLP((), (99,), matmul=bfloat16))["linear_0"]["kernel"]
    np.testing.assert_array_equal(rounded, rounded.astype(jnp.bfloat16).astype(jnp.float32))
    own = np.asarray(kernel.astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_allclose(rounded, own, rtol=1e-3, atol=2**-25)


def test_layers_come_in_the_order_of_their_numbers():
    layer = {"kernel": np.zeros((1, 1)), "bias": np.zeros(1)}
    for net, kinds in (
        (ConvEncoderNet((2,)), ("conv", "linear")),
        (ConvDecoderNet((8, 8, 1)), ("linear", "conv_transpose")),
    ):
        names = [f"{kind}_{i}" for kind in kinds for i in range(12)]
        weights = {name: {**layer, "bias": np.array([names.index(name)])} for name in sorted(names)}
        assert [int(layer["bias"][0]) for layer in unpacked(net_data(weights, net))["layers"]] == list(range(24))


@pytest.mark.slow
def test_the_page_names_the_activation_and_where_the_convolutions_start(cnn):
    decoder = decoder_data(cnn)
    assert (decoder["activation"], decoder["start"], len(decoder["layers"])) == ("leaky-relu", (1, 1), 5)


@pytest.mark.slow
def test_data_that_are_no_images_are_refused(model):
    with pytest.raises(JvaeError, match=r"shape \[64\]: the page shows"):
        check_decoder(model._replace(data_shape=(64,)))


def foreign_encoder(model):
    return with_parts(model, model=model.recipe.model.clone(encoder=MLP((4,), (6,))))


def foreign_net(model):
    return with_parts(model, model=model.recipe.model.clone(encoder=GaussianEncoder(GaussianEncoder(MLP((4,), (6,))))))


def foreign_activation(model):
    net = model.recipe.model.encoder.net.clone(activation=jax.nn.softplus)
    return with_parts(model, model=model.recipe.model.clone(encoder=GaussianEncoder(net)))


def foreign_transform(model):
    return with_parts(model, transform=lambda key, images: images / 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (foreign_encoder, "encode with MLP"),
        (foreign_net, "encode with GaussianEncoder"),
        (foreign_activation, "activation"),
        (foreign_transform, "transform"),
        (lambda model: model._replace(data_shape=(8, 8, 3)), "colours"),
    ],
)
def test_what_the_page_cannot_encode_has_a_reason(model, change, said):
    assert encoder_obstacle(model) is None
    assert said in encoder_obstacle(change(model))


@pytest.mark.parametrize("transform", rest_slow(SEEN))
def test_the_pages_encoder_sees_what_the_model_sees_on_average(model, tiny, transform):
    trained = with_parts(model, transform=transform)
    images = np.where(tiny.test_images >= 128, 255, 0).astype(np.uint8)  # binarisation draws nothing else from them
    loc, scale = page_posterior(trained, images)
    noisy = transform is dequantise
    theirs = [encode(trained, images, jax.random.key(i)) for i in range(40 if noisy else 1)]
    for ours, q in ((loc, "loc"), (scale, "scale")):
        expected = np.mean([getattr(encoding, q) for encoding in theirs], axis=0)
        np.testing.assert_allclose(ours, expected, atol=1e-3 if noisy else 1e-6)


def test_images_lie_in_their_frame_as_measured():
    images = np.zeros((3, 10, 12, 1), np.uint8)
    images[0, 2:6, 3:9] = 200  # a box of 6, its middle at x = 6, y = 4
    images[1, 1:9, 5:7] = 90  # of 8, at 6, 5
    found = frame_of(images)  # the third has no ink
    assert found["box"] == 7
    np.testing.assert_allclose(found["middle"], [6, 4.5])
    assert frame_of(images[2:]) == {"box": 12, "middle": [6.0, 5.0]}
