"""Checks of arguments from Python: jvae's own types, keys of either kind, and arrays of NumPy, JAX or Python."""

import inspect
import os
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from jvae.data.dataset import ArrayLike, as_array, as_pixels
from jvae.errors import shown

P = ParamSpec("P")
R = TypeVar("R")
AnyKey = Any
"""A key of `jax.random.key`, or of `jax.random.PRNGKey`: uint32[2]."""


def own_types(function: Callable[P, R]) -> Callable[P, R]:
    """Return a public function that checks first that what must be of a type of jvae's is: a Recipe, a Dataset, ...

    Raises:
        ValueError: by the function, if an argument is of another type.
    """

    @cache
    def wanted() -> tuple[inspect.Signature, dict[str, tuple[type, ...]]]:
        signature = inspect.signature(function)
        kinds = {name: kinds_of(parameter.annotation) for name, parameter in signature.parameters.items()}
        return signature, {name: kind for name, kind in kinds.items() if kind}

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        signature, kinds = wanted()
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in kinds and not isinstance(value, kinds[name]):
                raise ValueError(f"{name} is {shown(value)}: must be a {kinds[name][0].__name__}")
        return function(*args, **kwargs)

    return checked


def kinds_of(annotation: Any) -> tuple[type, ...]:
    """Return the classes that an annotation allows if they are jvae's, or jvae's and None; else nothing."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    ours = [kind for kind in kinds if isinstance(kind, type) and kind.__module__.startswith("jvae.")]
    return kinds if ours and {*kinds} <= {*ours, NoneType} else ()


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
    found = shown(key) if dtype is None else f"{dtype}{list(shape or ())}"
    raise ValueError(f"key is {found}: must be one key, such as jax.random.key(0)")


def key_or_zero(key: AnyKey | None) -> Key[Array, ""]:
    """Return the key, or `jax.random.key(0)` where none is given."""
    return jax.random.key(0) if key is None else as_key(key)


def generator_of(key: AnyKey | None) -> np.random.Generator:
    """Return a NumPy generator for choices among data; for `key(seed)` it is `default_rng(seed)`.

    Raises:
        ValueError: the key is not a key.
    """
    return np.random.default_rng(int(np.asarray(jax.random.key_data(key_or_zero(key)))[-1]))


def as_path(name: str, value: str | os.PathLike[str]) -> Path:
    """Return a path; raise a ValueError that names the argument unless it is text or path-like."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} is {shown(value)}: must be a path")
    return Path(value)


def pixels(name: str, values: ArrayLike) -> UInt8[np.ndarray, "n ..."]:
    """Return data uint8[n, ...]; lists may hold any whole numbers from 0 to 255.

    Raises:
        ValueError: they have another type, or are not an array.
    """
    array = as_pixels(name, values)
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
