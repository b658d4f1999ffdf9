"""Dataset: images and labels, with the fingerprint that identifies a model's data."""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from jvae.data.idx import idx_sha256

ArrayLike = Any
"""A NumPy or JAX array, or nested lists of numbers."""
MAX_SIDE = 2**14
"""The longest axis of a datum."""


class Dataset(NamedTuple):
    """Images, or other uint8 data, and labels; data sets with equal fingerprints hold the same data."""

    train_images: UInt8[np.ndarray, "n ..."]
    """The training data, from 0 to 255; images are [n, h, w, c]."""
    train_labels: Integer[np.ndarray, " n"]
    """Their classes: uint8, or int32 if a label does not fit; zeros if there are none."""
    test_images: UInt8[np.ndarray, "m ..."]
    """As `train_images`, of the same shape per datum."""
    test_labels: Integer[np.ndarray, " m"]
    """As `train_labels`."""
    name: str
    """The set's name in titles and messages, such as `mnist`."""
    fingerprint: str
    """The sha256, in hex, over the sha256 of the four arrays' IDX encodings."""


def fingerprint_of(sha256: Iterable[str]) -> str:
    """Return the fingerprint of a data set: the sha256, in hex, over those of its four arrays' IDX encodings."""
    return hashlib.sha256("".join(sha256).encode()).hexdigest()


def make_dataset(
    train_images: ArrayLike,
    test_images: ArrayLike,
    train_labels: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    name: str = "mine",
) -> Dataset:
    """Return a data set of NumPy or JAX arrays or lists, of any rank, and compute its fingerprint.

    Args:
        train_images: uint8, or lists of whole numbers, from 0 to 255; images are [n, h, w, c], and [n, h, w] is data of
            two axes like any other.
        test_images: as train_images, with data of the same shape.
        train_labels: whole numbers [n]; zeros by default.
        test_labels: as train_labels.
        name: the set's name in titles.

    Raises:
        ValueError: an array has another type or shape.
    """
    arrays: list[np.ndarray] = []
    pairs = (("train", train_images, train_labels), ("test", test_images, test_labels))
    for split, given, given_labels in pairs:
        images = as_pixels(f"{split}_images", given)
        found = f"{split}_images are {images.dtype}{list(images.shape)}"
        if images.dtype != np.uint8:
            raise ValueError(f"{found}: must be uint8, from 0 to 255")
        if not 2 <= images.ndim <= 5 or 0 in images.shape or max(images.shape[1:]) > MAX_SIDE:
            raise ValueError(f"{found}: must be [n, ...] with 1 to 4 axes per datum, each from 1 to {MAX_SIDE}")
        if arrays and images.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(f"{found}: must be [m, {', '.join(map(str, arrays[0].shape[1:]))}], as train_images")
        zeros = np.zeros(len(images), np.uint8)
        labels = zeros if given_labels is None else as_array(f"{split}_labels", given_labels)
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{split}_labels are {labels.dtype}{list(labels.shape)}: must be whole numbers [{len(images)}]"
            )
        if labels.min() < -(2**31) or labels.max() >= 2**31:
            raise ValueError(f"{split}_labels are from {labels.min()} to {labels.max()}: must be 32 bits each")
        arrays += [images, labels.astype(np.uint8 if labels.min() >= 0 and labels.max() < 256 else np.int32)]
    fingerprint = fingerprint_of(idx_sha256(as_idx(array)) for array in arrays)
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(train_images, train_labels, test_images, test_labels, name, fingerprint)


def as_idx(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Return an array as an IDX file holds it: grey images without their channel, and at most four axes."""
    if array.ndim == 4 and array.shape[-1] == 1:
        return array[..., 0]
    return array.reshape(*array.shape[:3], -1) if array.ndim == 5 else array


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


def as_pixels(name: str, values: ArrayLike) -> Shaped[np.ndarray, "..."]:
    """Return an array unchanged, and lists of whole numbers from 0 to 255 as uint8; errors as `as_array`."""
    array = as_array(name, values)
    whole = not hasattr(values, "dtype") and np.issubdtype(array.dtype, np.integer) and array.size
    return array.astype(np.uint8) if whole and array.min() >= 0 and array.max() <= 255 else array


def draw_test_set(dataset: Dataset) -> Dataset:
    """Return the data with a binary test set, x ~ Bernoulli(pixel / 255) drawn once, as pixels 0 or 255.

    NumPy's legacy generator draws it, because its numbers never change.
    """
    generator, images = np.random.RandomState(0), dataset.test_images
    drawn = np.empty(images.shape, np.uint8)
    for i in range(0, len(images), 1000):
        part = images[i : i + 1000]
        drawn[i : i + 1000] = 255 * (255 * generator.random_sample(part.shape) < part)
    return make_dataset(dataset.train_images, drawn, dataset.train_labels, dataset.test_labels, dataset.name)
