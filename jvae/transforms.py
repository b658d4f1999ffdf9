"""Transforms, key, uint8 images -> what the output distribution models. They run inside the compiled step."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8


def binarise(key: Key[Array, ""], images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """1 where pixel / 255 exceeds 0.5 - a pixel of at least 128 - and 0 elsewhere. The key is not used."""
    return (images >= 128).astype(jnp.float32)
