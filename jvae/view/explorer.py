"""The latent explorer: a model and its test set -> one HTML page that needs nothing else, and decodes in the browser.

The page is written by hand in the folder `page`: `explorer.html` and the files it names. What a model adds is one JSON
value, whose arrays are compressed little-endian bytes in base64.
"""

import base64
import json
import re
import zlib
from importlib.resources import files
from typing import Any, SupportsIndex

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key

from jvae.data.dataset import Dataset
from jvae.errors import JvaeError
from jvae.latents import Projection, principal_projection, projected_prior_density
from jvae.nn.matmul import float32
from jvae.nn.networks import ACTIVATIONS, MLP, ConvDecoderNet, start_size
from jvae.runs.api import decode, select_run
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.given import AnyKey, at_least_one, key_or_zero
from jvae.view.classes import class_colours
from jvae.view.pictures import OUTPUTS, generator_of, latents_of_test_set, title
from jvae.view.plots import mass_levels

SHARES = (0.95, 0.8, 0.6, 0.4, 0.2)
"""Of the prior's mass: the bands that are drawn."""
GRID = {1: 401, 2: 97}
"""How many points the prior's density is computed at, along each axis of a line and of a plane."""
MARGIN = 0.06
PLAIN = {"$z_1$": "z₁", "$z_2$": "z₂"}


def explorer_page(
    model: TrainedModel,
    dataset: Dataset,
    key: AnyKey | None = None,
    run: SupportsIndex = 0,
    num_points: SupportsIndex = 2000,
) -> str:
    """Return the page of one run's model: HTML.

    Args:
        model: of a two-level one it is z1 that is explored, for it is z1 that is decoded.
        dataset: its test images are the points, each at one draw z ~ q(z|x).
        key: decides the draws, and which images are shown; by default `jax.random.key(0)`.
        run: which of several.
        num_points: how many, at most.

    Raises:
        JvaeError: the page cannot decode as the model does.
    """
    model = select_run(model, run)
    z = latents_of_test_set(model, dataset, key)
    projection = principal_projection(z, z.shape[1])
    count = at_least_one("num_points", num_points)
    shown = generator_of(key).permutation(len(z))[:count]  # in random order: no class covers the others
    coordinates = projection.project(z[shown])
    window = square_window(projection.plane().project(z))
    data = {
        "title": title(model),
        "level": model.recipe.model.num_levels > 1,
        "decoder": decoder_data(model),
        "check": reference(model, z[shown[:1]]),
        "projection": {
            "center": packed(projection.center),
            "axes": packed(projection.axes),
            "labels": [PLAIN.get(label, label) for label in projection.labels],
            "deviations": [float(deviation) for deviation in projection.project(z).std(axis=0)],
        },
        "window": window.tolist(),
        "prior": prior_data(model, projection.plane(), window, key_or_zero(key)),
        "coordinates": packed(coordinates.astype(np.float32)),
        "images": packed(dataset.test_images[shown]),
        **class_data(dataset.test_labels, shown),
    }
    return assembled_page(data)


def decoder_data(model: TrainedModel) -> dict[str, Any]:
    """Return the decoder's layers in the order in which they are applied, and what comes between and after them.

    A layer whose kernel has four axes is a transposed convolution; the first of these takes what comes before it as
    channels x rows x columns, with the rows and columns of `start`. The kernels of a model in bfloat16 are rounded.
    """
    decoder = model.recipe.model.decoder
    if type(decoder) not in OUTPUTS or type(decoder.net) not in (MLP, ConvDecoderNet):
        raise JvaeError(
            f"the page cannot decode with {type(decoder).__name__}: it knows jvae's own with MLP or ConvDecoderNet"
        )
    activations = [name for name, function in ACTIVATIONS.items() if function is decoder.net.activation]
    if not activations:
        raise JvaeError(f"the page cannot compute the decoder's activation: it knows {', '.join(ACTIVATIONS)}")
    net = model.run_params()["params"]["decoder"]["net"]
    rounded = decoder.net.matmul is not float32
    layers = [
        {"kernel": packed(bfloat16(kernel) if rounded else kernel), "bias": packed(bias)}
        for kernel, bias in ((layer["kernel"], layer["bias"]) for layer in in_order(net))
    ]
    doublings = sum(name.startswith("conv") for name in net)
    return {
        "layers": layers,
        "activation": activations[0],
        "start": start_size(model.data_shape, doublings),
        "shape": model.data_shape,
        "output": OUTPUTS[type(decoder)],
        "bf16": rounded,
    }


def in_order(net: dict[str, Any]) -> list[dict[str, Float[Array, "..."]]]:
    """Return the layers of a network, the fully connected ones first, each kind by its number."""
    return [net[name] for name in sorted(net, key=lambda name: (name.startswith("conv"), len(name), name))]


def bfloat16(kernel: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return a float32 array rounded to what bfloat16 can hold."""
    return kernel.astype(jnp.bfloat16).astype(jnp.float32)


def reference(model: TrainedModel, z: Float[np.ndarray, "1 m"]) -> dict[str, Any]:
    """Return a latent and the decoder's mean there, for the page to compare its own with."""
    return {"z": packed(z), "mean": packed(decode(model, z))}


def square_window(coordinates: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d 2"]:
    """Return the least and the largest coordinate to show on each axis: of one length for all, around all points."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    half = max(float(np.max(high - low)), 1e-6) * (0.5 + MARGIN)
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1)


def prior_data(
    model: TrainedModel, plane: Projection, window: Float[np.ndarray, "d 2"], key: Key[Array, ""]
) -> dict[str, Any]:
    """Return the prior's projected density over the window - rows follow the second axis, rising - and its levels."""
    ticks = [np.linspace(low, high, GRID[len(window)]) for low, high in window]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*ticks)], axis=1).astype(plane.axes.dtype)
    density, exact = projected_prior_density(model.recipe.model, model.run_params(), key, plane, grid)
    density = density.reshape([len(t) for t in ticks])
    levels = mass_levels(density, SHARES) if density.any() else []  # no mass where the points are: nothing to draw
    return {"density": packed(density.astype(np.float32)), "levels": levels, "exact": exact}


def class_data(labels: Integer[np.ndarray, " m"], shown: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """Return the classes with the colours they have in every picture, and the class's number of every point shown."""
    classes = np.unique(labels)
    entries = [
        {"name": str(name), "colour": colour} for name, colour in zip(classes, class_colours(classes), strict=True)
    ]
    return {"classes": entries, "labels": packed(np.searchsorted(classes, labels[shown]).astype(np.int32))}


def packed(array: Any) -> dict[str, Any]:
    """Return an array as JSON: its dtype, its shape, and its little-endian bytes, deflated, in base64."""
    array = np.asarray(array)
    content = zlib.compress(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(), 9)
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(content).decode()}


def assembled_page(data: dict[str, Any]) -> str:
    """Return the page with its style sheet, its scripts and the data in the places that name them."""
    folder = files("jvae.view") / "page"

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    # "<" may not stand in a script element, where "</script" would end it
    content = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    page = re.sub(
        r'<link rel="stylesheet" href="([\w.]+)">', lambda m: f"<style>\n{read(m[1])}</style>", read("explorer.html")
    )
    page = re.sub(r'<script src="([\w.]+)"></script>', lambda m: f"<script>\n{read(m[1])}</script>", page)
    return page.replace(
        '<script type="application/json" id="data">null</script>',
        f'<script type="application/json" id="data">{content}</script>',
    )
