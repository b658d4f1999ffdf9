"""Checks of arguments from Python: keys of either kind, and numbers and arrays from NumPy, JAX or Python."""

from typing import Any, SupportsIndex

import jax
import numpy as np
from jaxtyping import Array, Float, Key, Shaped, UInt8

from jvae.data.dataset import ArrayLike, as_pixels
from jvae.runs.plan import whole_number

AnyKey = Any
"""A key of `jax.random.key`, or of `jax.random.PRNGKey`: uint32[2]."""


def as_key(key: AnyKey) -> Key[Array, ""]:
    """Return a typed key.

    Raises:
        ValueError: the value is not a key, or is several.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
        return key
    if dtype == np.uint32 and isinstance(key, (jax.Array, np.ndarray)):
        wanted = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape
        if shape == wanted:
            return jax.random.wrap_key_data(jax.numpy.asarray(key))
    found = repr(key)[:40] if dtype is None else f"{dtype}{list(shape or ())}"
    raise ValueError(f"key is {found}: must be one key, such as jax.random.key(0)")


def key_or_zero(key: AnyKey | None) -> Key[Array, ""]:
    """Return the key, or `jax.random.key(0)` where none is given."""
    return jax.random.key(0) if key is None else as_key(key)


def at_least_one(name: str, number: SupportsIndex) -> int:
    """Return a whole number as an int, checked: raise a ValueError that names it unless it is above 0."""
    whole = whole_number(name, number)
    if whole < 1:
        raise ValueError(f"{name} is {whole}: must be at least 1")
    return whole


def pixels(name: str, values: ArrayLike) -> UInt8[np.ndarray, "n ..."]:
    """Return data uint8[n, ...]; lists may hold any whole numbers from 0 to 255.

    Raises:
        ValueError: they have another type, or are not an array.
    """
    as_array(name, values)
    array = as_pixels(values)
    if array.dtype != np.uint8 or not array.ndim:
        raise ValueError(f"{name} are {array.dtype}{list(array.shape)}: must be uint8[n, ...], from 0 to 255")
    return array


def numbers(name: str, values: ArrayLike) -> Float[np.ndarray, "..."]:
    """Return numbers as a float32 array.

    Raises:
        ValueError: they are not numbers, or not all finite.
    """
    array = as_array(name, values)
    if (
        not any(np.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer))
        and str(array.dtype) != "bfloat16"
    ):
        raise ValueError(f"{name} is {array.dtype}{list(array.shape)}: must be float32, or other real numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has the value {array[~np.isfinite(array)][0]}: must be finite numbers")
    return array


def as_array(name: str, values: ArrayLike) -> Shaped[np.ndarray, "..."]:
    """Return values as a NumPy array.

    Raises:
        ValueError: they are not an array, such as lists of different lengths.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} is not an array: {error}") from error
    if array.dtype == object:
        raise ValueError(f"{name} is {type(values).__name__}: must be an array of numbers")
    return array
