"""The networks of the explorer's page: a model's decoder and encoder as layers of numbers, in JSON.

Weights are rounded to float16, which halves the page's size. The whole page is made with the rounded weights, so the
browser computes the same as JAX with these weights.
"""

import base64
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Shaped, UInt8

from jvae.encoders import GaussianEncoder
from jvae.errors import JvaeError
from jvae.nn.matmul import bfloat16, bfloat16_columns, float32
from jvae.nn.networks import ACTIVATIONS, MLP, ConvDecoderNet, ConvEncoderNet, start_size
from jvae.runs.checkpoint import TrainedModel
from jvae.transforms import Transform, binarise, dequantise, rescale, stochastic_binarise
from jvae.view.views import OUTPUTS

MATMULS = (float32, bfloat16, bfloat16_columns)
"""The matrix products that the page computes; the latter two round the kernels first."""
SEEN: dict[Transform, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    binarise: ("binary", lambda pixels: pixels >= 128),
    stochastic_binarise: ("binary", lambda pixels: pixels >= 128),
    rescale: ("rescaled", lambda pixels: pixels / 255),
    dequantise: ("dequantised", lambda pixels: (pixels + 0.5) / 256),
}
"""Transform -> the input of the page's encoder, as a word and as a function of an image's pixels.

For dequantisation it is the mean. For stochastic binarisation it is the most likely draw instead, because the encoder
was trained on zeros and ones only.
"""


def packed(array: Any) -> dict[str, Any]:
    """Return an array as JSON: its dtype, its shape, and its little-endian bytes, deflated, in base64."""
    array = np.asarray(array)
    content = zlib.compress(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(), 9)
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(content).decode()}


def image_shape(model: TrainedModel) -> tuple[int, int, int]:
    """Return the (h, w, c) of a model's images; c is 1 if they have no channel axis.

    Raises:
        JvaeError: the data are not images.
    """
    shape = model.data_shape
    if len(shape) not in (2, 3):
        raise JvaeError(f"data have the shape {list(shape)}: the page shows them as pictures, [h, w] or [h, w, c]")
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def with_page_weights(model: TrainedModel) -> TrainedModel:
    """Return a model of one run with the rounded weights of the page.

    Args:
        model: a model of one run that passes `check_decoder`.
    """
    params, vae = model.params["params"], model.recipe.model
    computed = ["decoder"] if encoder_obstacle(model) else ["decoder", "encoder"]
    rounded = {
        part: {**params[part], "net": rounded_net(params[part]["net"], getattr(vae, part).net)} for part in computed
    }
    return model._replace(params={**model.params, "params": {**params, **rounded}})


def rounded_net(weights: dict[str, Any], net: nn.Module) -> dict[str, Any]:
    """Return a network's weights rounded to float16, after bfloat16 for kernels that the network itself rounds so."""

    def rounded(name: str, weight: Shaped[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        array = np.asarray(weight)
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float16, or NaN
            if name == "kernel" and net.matmul is not float32:
                array = array.astype(jnp.bfloat16)
            half = array.astype(np.float16)
        return jnp.asarray((half if np.all(np.isfinite(half)) else array).astype(np.float32))

    return {layer: {name: rounded(name, part) for name, part in parts.items()} for layer, parts in weights.items()}


def net_data(weights: dict[str, Any], net: nn.Module) -> dict[str, Any]:
    """Return a network's layers in the order of application, and its activation.

    A layer whose kernel has four axes is a convolution of an encoder, or a transposed one of a decoder. Linear layers
    exchange data with it as channels x rows x columns.
    """
    (activation,) = (name for name, function in ACTIVATIONS.items() if function is net.activation)
    names = sorted(
        weights, key=lambda name: (name.startswith("conv") ^ isinstance(net, ConvEncoderNet), len(name), name)
    )
    layers = [{part: packed(half_if_exact(weights[name][part])) for part in ("kernel", "bias")} for name in names]
    return {"layers": layers, "activation": activation, "bf16": net.matmul is not float32}


def half_if_exact(weight: Shaped[Array | np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Return numbers as float16 if it represents all of them exactly, else unchanged."""
    weight = np.asarray(weight)
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    return half if np.array_equal(half, weight) else weight


def check_decoder(model: TrainedModel) -> None:
    """Raise a JvaeError if the page does not support a model's decoder, or its data are not images."""
    decoder = model.recipe.model.decoder
    if type(decoder) not in OUTPUTS or type(decoder.net) not in (MLP, ConvDecoderNet):
        raise JvaeError(
            f"the page cannot decode with {type(decoder).__name__}: it supports jvae's own with MLP or ConvDecoderNet"
        )
    if decoder.net.activation not in ACTIVATIONS.values():
        raise JvaeError(f"the page cannot compute the decoder's activation: it supports {', '.join(ACTIVATIONS)}")
    if decoder.net.matmul not in MATMULS:
        raise JvaeError(
            "the page cannot compute the decoder's matrix products: it supports jvae's float32 and bfloat16"
        )
    image_shape(model)


def decoder_data(model: TrainedModel) -> dict[str, Any]:
    """Return the decoder: its layers, the size that its convolutions start from, and its output function."""
    decoder, shape = model.recipe.model.decoder, image_shape(model)
    weights = model.run_params()["params"]["decoder"]["net"]
    start = start_size(shape, sum(name.startswith("conv") for name in weights))
    return {**net_data(weights, decoder.net), "start": start, "shape": shape, "output": OUTPUTS[type(decoder)]}


def encoder_obstacle(model: TrainedModel) -> str | None:
    """Return why the page cannot encode a drawing, or None if it can."""
    encoder, transform = model.recipe.model.encoder, model.recipe.transform
    if type(encoder) is not GaussianEncoder or type(encoder.net) not in (MLP, ConvEncoderNet):
        named = type(encoder.net if type(encoder) is GaussianEncoder else encoder).__name__
        return f"it cannot encode with {named}: it supports GaussianEncoder with MLP or ConvEncoderNet"
    if encoder.net.activation not in ACTIVATIONS.values():
        return "it cannot compute the encoder's activation"
    if encoder.net.matmul not in MATMULS:
        return "it cannot compute the encoder's matrix products"
    if transform not in SEEN:
        return "it does not support the model's transform"
    if image_shape(model)[2] != 1:
        return "the pad has one shade of ink, and these images have colours"
    return None


def encoder_data(model: TrainedModel) -> dict[str, Any]:
    """Return the encoder: its layers, and the name of its input."""
    weights = model.run_params()["params"]["encoder"]["net"]
    return {**net_data(weights, model.recipe.model.encoder.net), "seen": SEEN[model.recipe.transform][0]}


def page_posterior(
    model: TrainedModel, images: UInt8[np.ndarray, "n ..."]
) -> tuple[Float[Array, "n m"], Float[Array, "n m"]]:
    """Return the loc and scale of q(z|x) for the page's encoder input of images."""
    x = jnp.asarray(SEEN[model.recipe.transform][1](images), jnp.float32)
    q = jax.jit(lambda params, x: model.recipe.model.apply(params, x, method="posterior"))(model.run_params(), x)
    return q.mean(), q.stddev()


def frame_of(images: UInt8[np.ndarray, "n ..."]) -> dict[str, Any]:
    """Return the placement of images in their frame, in pixels, so that a drawing can be placed alike.

    `box` is the median of the longer side of the ink's bounding box, and `middle` the mean of the ink's centre of mass,
    x and y from the top left corner. For MNIST they are 20 pixels and the middle of 28 x 28.
    """
    ink = images.reshape(images.shape[:3]).astype(np.float64)
    ink = ink[ink.any(axis=(1, 2))]
    if not len(ink):
        return {"box": max(images.shape[1:3]), "middle": [images.shape[2] / 2, images.shape[1] / 2]}
    sides, middle = [], []
    for axis in (1, 2):  # sum over the rows, and then over the columns
        profile = ink.sum(axis=axis)
        inked = profile > 0
        sides.append(profile.shape[1] - inked.argmax(axis=1) - inked[:, ::-1].argmax(axis=1))
        middle.append(float(np.mean(profile @ (np.arange(profile.shape[1]) + 0.5) / profile.sum(axis=1))))
    return {"box": float(np.median(np.maximum(*sides))), "middle": middle}
