"""The latent explorer: a model and its test set as one self-contained HTML page that decodes and encodes.

The page itself is in the folder `page`: `explorer.html` and the files it names. A model adds one JSON value, whose
arrays are compressed little-endian bytes in base64.
"""

import json
from importlib.resources import files
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key, UInt8

from jvae.data.dataset import Dataset
from jvae.errors import at_least_one
from jvae.latents import Projection, principal_projection, projected_prior_density
from jvae.runs.api import decode, encode
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.given import AnyKey, key_or_zero
from jvae.runs.selection import select_run
from jvae.view.classes import class_colours
from jvae.view.one_page import one_page
from jvae.view.pictures import generator_of
from jvae.view.plots import mass_levels
from jvae.view.views import title
from jvae.view.weights import (
    check_decoder,
    decoder_data,
    encoder_data,
    encoder_obstacle,
    frame_of,
    packed,
    page_posterior,
    with_page_weights,
)

SHARES = (0.95, 0.8, 0.6, 0.4, 0.2)
"""The shares of the prior's mass in the bands that are drawn."""
GRID = {1: 401, 2: 97}
"""Dimension -> the grid points of the prior's density along each axis."""
MARGIN = 0.06
CHECKED = 100
"""The number of images whose decoded means show the effect of rounding the weights to float16."""
PLAIN = {"$z_1$": "z₁", "$z_2$": "z₂"}


def explorer_page(
    model: TrainedModel,
    dataset: Dataset,
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    num_points: SupportsIndex = 2000,
) -> str:
    """Return the HTML page of one run's model.

    The weights of its networks are rounded to float16, and everything on the page is computed with the rounded weights.

    Args:
        model: the model; of a two-level model the page explores z1, from which x is decoded.
        dataset: the data set, whose test images are the points, each at one draw z ~ q(z|x).
        key: decides the draws, and which images are shown; by default `jax.random.key(0)`.
        run: the index of the run.
        num_points: the most points to show, at least 1.

    Raises:
        ValueError: num_points is below 1, there are no test images, they have another shape than the model's data, the
            key is not a key, or there is no such run.
        JvaeError: the page does not support the model's decoder, or the data are not images.
    """
    own, heading = select_run(model, run), title(model, run)
    check_decoder(own)
    model = with_page_weights(own)
    encoding = encode(model, dataset.test_images, key_or_zero(key))
    z = encoding.z
    projection = principal_projection(z, z.shape[1])
    count = at_least_one("num_points", num_points)
    shown = generator_of(key).permutation(len(z))[:count]  # in random order, so that no class covers the others
    coordinates = projection.project(z[shown])
    means = decode(model, z[shown[:CHECKED]])
    window = square_window(projection.plane().project(z))
    data = {
        "title": heading,
        "level": model.recipe.model.num_levels > 1,
        "decoder": decoder_data(model),
        "check": {"z": packed(z[shown[0]]), "mean": packed(means[0])},
        "rounding": float(np.max(np.abs(means - decode(own, z[shown[:CHECKED]])))),
        "projection": {
            "center": packed(projection.center),
            "axes": packed(projection.axes),
            "labels": [PLAIN.get(label, label) for label in projection.labels],
            "deviations": [float(deviation) for deviation in projection.project(z).std(axis=0)],
        },
        "window": window.tolist(),
        "prior": prior_data(model, projection.plane(), window, key_or_zero(key)),
        "coordinates": packed(coordinates.astype(np.float32)),
        "means": packed(projection.project(encoding.loc[shown]).astype(np.float32)),
        "images": packed(dataset.test_images[shown]),
        "drawing": drawing_data(model, dataset.test_images[shown]),
        **class_data(dataset.test_labels, shown),
    }
    return assembled_page(data)


def drawing_data(model: TrainedModel, images: UInt8[np.ndarray, "n ..."]) -> dict[str, Any]:
    """Return the data for drawing (encoder, image frame, JAX's q(z|x) of the first image), or why it is unavailable."""
    if obstacle := encoder_obstacle(model):
        return {"obstacle": obstacle}
    loc, scale = page_posterior(model, images[:1])
    return {"encoder": encoder_data(model), **frame_of(images), "loc": packed(loc[0]), "scale": packed(scale[0])}


def square_window(coordinates: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d 2"]:
    """Return the lowest and highest coordinate to show on each axis: around all points, equally long for all axes."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    half = max(float(np.max(high - low)), 1e-6) * (0.5 + MARGIN)
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1)


def prior_data(
    model: TrainedModel, plane: Projection, window: Float[np.ndarray, "d 2"], key: Key[Array, ""]
) -> dict[str, Any]:
    """Return the prior's projected density over the window, and its levels; rows ascend along the second axis."""
    ticks = [np.linspace(low, high, GRID[len(window)]) for low, high in window]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*ticks)], axis=1).astype(plane.axes.dtype)
    density, exact = projected_prior_density(model.recipe.model, model.run_params(), key, plane, grid)
    density = density.reshape([len(t) for t in ticks])
    levels = mass_levels(density, SHARES) if density.any() else []  # no mass in the window: nothing to draw
    return {"density": packed(density.astype(np.float32)), "levels": levels, "exact": exact}


def class_data(labels: Integer[np.ndarray, " m"], shown: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """Return the classes with their colours, which all pictures share, and the class index of every shown point.

    A single class, which data without labels have, has no name.
    """
    classes = np.unique(labels)
    names = [str(name) for name in classes] if len(classes) > 1 else [""]
    entries = [{"name": name, "colour": colour} for name, colour in zip(names, class_colours(classes), strict=True)]
    return {"classes": entries, "labels": packed(np.searchsorted(classes, labels[shown]).astype(np.int32))}


def page_file(name: str) -> str:
    """Return the text of one of the page's files."""
    return (files("jvae.view") / "page" / name).read_text(encoding="utf-8")


def assembled_page(data: dict[str, Any]) -> str:
    """Return the page with its style sheets, scripts and data inserted at their references."""
    # "<" must be escaped in a script element, which "</script" would end
    content = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return one_page("explorer.html", page_file).replace(
        '<script type="application/json" id="data">null</script>',
        f'<script type="application/json" id="data">{content}</script>',
    )
