"""Transforms `(key, uint8 data) -> x`, the data that the output distribution models. They run in the compiled step.

In training, their noise is new at every step. In evaluation, `observe` separates noise from data.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped, UInt8, UInt32

from jvae.errors import shown

AnyKey = Key[Array, ""] | UInt32[Array | np.ndarray, "2"]
"""A key of `jax.random.key`, or one of `jax.random.PRNGKey`."""
BINARISATION_SEED = 2008
"""The seed of the key that stochastically binarised test data are drawn with."""
Transform = Callable[[Key[Array, ""], UInt8[Array, "b ..."]], Float[Array, "b ..."]]
"""`(key, uint8[b, ...]) -> x[b, ...]`, data of any rank."""


def as_uint8(images: Shaped[Array | np.ndarray, "b ..."]) -> UInt8[Array, "b ..."]:
    """Return images as a JAX array; raise a ValueError unless they are uint8, from 0 to 255."""
    if getattr(images, "dtype", None) != np.uint8:
        found = f"{images.dtype}{list(images.shape)}" if hasattr(images, "dtype") else shown(images)
        raise ValueError(f"images are {found}: must be a uint8 array, from 0 to 255")
    return jnp.asarray(images)


def binarise(key: AnyKey, images: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
    """Return 1 where pixel / 255 exceeds 0.5, that is from 128 on, and 0 elsewhere. The key is not used.

    Raises:
        ValueError: the images are not uint8.
    """
    return (as_uint8(images) >= 128).astype(jnp.float32)


def stochastic_binarise(key: AnyKey, images: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
    """Draw x ~ Bernoulli(pixel / 255) for every pixel; 0 and 255 always become 0 and 1.

    Raises:
        ValueError: the images are not uint8.

    Source:
        Salakhutdinov & Murray 2008, On the quantitative analysis of deep belief networks ("dynamic binarisation").
    """
    pixels = as_uint8(images)
    return (255 * jax.random.uniform(key, pixels.shape) < pixels).astype(jnp.float32)


def rescale(key: AnyKey, images: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
    """Return pixel / 255, in [0, 1]. The key is not used.

    Raises:
        ValueError: the images are not uint8.
    """
    return as_uint8(images).astype(jnp.float32) / 255


def dequantise(key: AnyKey, images: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
    """Return (pixel + u) / 256 with u ~ U[0, 1), whose density bounds the log-probability of the 256-valued image.

    log P(image) >= E_u[log p(x)] - d log 256 for d pixels.
    u has 16 bits, so that pixel + u is exact in float32 and never rounds up into the next pixel's bin.

    Raises:
        ValueError: the images are not uint8.

    Source:
        Theis, van den Oord & Bethge 2016, A note on the evaluation of generative models, section 3.1.
    """
    pixels = as_uint8(images)
    noise = jax.random.bits(key, pixels.shape, jnp.uint16).astype(jnp.float32) / 2**16
    return (pixels.astype(jnp.float32) + noise) / 256


def observe(
    transform: Transform, key: Key[Array, ""], data: UInt8[Array, "b ..."], first: Int[Array, ""] | int = 0
) -> Float[Array, "b ..."]:
    """Return what a model sees in evaluation of b data, those with indices `first`, `first` + 1, ... in their set.

    Stochastic binarisation is part of the data: it depends on a datum's index and a fixed key only, and so is the same
    for every key, batch, draw and bound. The noise of any other transform, such as dequantisation, depends on the key.
    """
    if transform is not stochastic_binarise:
        return transform(key, data)
    fixed = jax.random.key(BINARISATION_SEED, impl="threefry2x32")  # whichever generator the user's keys have
    keys = jax.vmap(lambda i: jax.random.fold_in(fixed, i))(first + jnp.arange(len(data)))
    return jax.vmap(transform)(keys, data)


@lru_cache
def is_noisy(transform: Transform, data_shape: tuple[int, ...]) -> bool:
    """Return True if the result of `observe` for data of this shape depends on the key. It is traced, not computed."""

    def without_key(data: UInt8[Array, "b ..."]) -> Float[Array, "b ..."]:
        keys = jax.random.split(jax.random.key(0), 2)
        return jax.vmap(lambda key: observe(transform, key, data), out_axes=None)(keys)

    try:
        jax.eval_shape(without_key, jax.ShapeDtypeStruct((1, *data_shape), np.uint8))
    except ValueError:  # the output depends on the key
        return True
    return False
