"""The model file: one self-describing file that no later command needs a training flag beside.

A valid `.npz`: a zip of `.npy` arrays and a member `model.json` with the configuration, the history, the data's
fingerprint and the versions. Every array has the zip's CRC, and the archive's comment is the sha256 of all bytes
before it, so that no flipped bit goes unseen. No pickle is written or read.
"""

import hashlib
import io
import json
import platform
import zipfile
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jvae.config import Config, build_model, build_optimizer
from jvae.errors import ModelFileError
from jvae.files import write_atomically
from jvae.training import Steps, TrainState, init_state, no_steps

FORMAT = "jvae model file"
FORMAT_VERSION = 1
DIGEST_LENGTH = 64  # hex digits of a sha256: the archive's comment
MEMBER = "model.json"
UNFINISHED = "unfinished"
PACKAGES = ("jvae", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")


class Unfinished(NamedTuple):
    """What a training needs to go on, beside the state that is kept."""

    states: TrainState | None
    """Where the runs stand, with a leading axis of runs; None where that is the state that is kept."""
    taken: Steps | None
    """The record of the epoch that was begun, with a leading axis of runs; None at the end of one."""
    done: int
    """How many steps of it are taken."""


class ModelFile(NamedTuple):
    """All that is known of a trained model."""

    config: Config
    state: TrainState
    """Where there are several runs, every array has a leading axis of runs."""
    history: list[dict[str, Any]]
    """One record an epoch: bound, reconstruction and kl in nats per image (lists, of several runs), and seconds."""
    image_shape: tuple[int, ...]
    fingerprint: str
    """Of the data set it was trained on."""
    versions: dict[str, str]
    unfinished: Unfinished | None = None
    """For a training to go on; None where the state is all it needs."""


def current_versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def save_model(path: Path, model: ModelFile) -> None:
    """Write the file so that a reader, or a crash, ever meets the old file or the new one whole.

    Raises:
        ModelFileError: the file cannot be written; what stood at the path is left as it was.
    """
    arrays = named_arrays(model.state)
    if model.unfinished is not None:
        arrays |= named_arrays({UNFINISHED: {"states": model.unfinished.states, "taken": model.unfinished.taken}})
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": model.config.to_dict(),
        "history": model.history,
        "image_shape": list(model.image_shape),
        "fingerprint": model.fingerprint,
        "versions": model.versions,
        UNFINISHED: None if model.unfinished is None else describe_unfinished(model.unfinished),
    }
    data = pack(arrays, description)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def load_model(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: in one line, the file's name and what is wrong with it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        arrays, description = unpack(data)
        config = Config.from_dict(description["config"])
        image_shape = tuple(description["image_shape"])
        unfinished = description.get(UNFINISHED)  # which the first files of this format lack
        shapes = {"": state_shapes(config, image_shape)}
        if unfinished is not None:
            shapes[UNFINISHED] = unfinished_shapes(config, image_shape, unfinished)
        trees = restore(shapes, arrays)
        return ModelFile(
            config,
            trees[""],
            description["history"],
            image_shape,
            description["fingerprint"],
            description["versions"],
            None if unfinished is None else Unfinished(**trees[UNFINISHED], done=int(unfinished["done"])),
        )
    except KeyError as error:
        raise ModelFileError(f"{path}: {MEMBER} has no field {error}") from error
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: {error}") from error


def state_shapes(config: Config, image_shape: tuple[int, ...]) -> PyTree[jax.ShapeDtypeStruct]:
    """The shapes and dtypes of the state that a configuration builds, with nothing computed."""
    model, optimizer = build_model(config, image_shape), build_optimizer(config, steps_per_epoch=1)
    one = jax.eval_shape(lambda: init_state(model, optimizer, jax.random.key(0), image_shape))
    return one if config.runs == 1 else with_runs(one, config.runs)


def with_runs(shapes: PyTree[jax.ShapeDtypeStruct], runs: int) -> PyTree[jax.ShapeDtypeStruct]:
    """The shapes with a leading axis of runs."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((runs, *leaf.shape), leaf.dtype), shapes)


def describe_unfinished(unfinished: Unfinished) -> dict[str, Any]:
    """What the arrays of an unfinished training do not say themselves."""
    steps = None if unfinished.taken is None else unfinished.taken.sizes.shape[1]
    return {"states": unfinished.states is not None, "steps": steps, "done": unfinished.done}


def unfinished_shapes(config: Config, image_shape: tuple[int, ...], about: dict[str, Any]) -> dict[str, PyTree]:
    """The shapes and dtypes of an unfinished training's arrays, given what `describe_unfinished` says."""
    one = state_shapes(replace(config, runs=1), image_shape)
    states = with_runs(one, config.runs) if about["states"] else None
    if about["steps"] is None:
        return {"states": states, "taken": None}
    taken = jax.eval_shape(partial(no_steps, num_steps=int(about["steps"])), with_runs(one, config.runs))
    return {"states": states, "taken": taken}


def named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves of a tree, each under its path, such as `params/encoder/net/linear_0/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {leaf_name(path): np.asarray(leaf) for path, leaf in leaves}


def leaf_name(path: tuple[Any, ...]) -> str:
    """A leaf's path as a member's name; flax's collection "params" is not repeated inside the state's params."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return name.replace("params/params/", "params/").lstrip("/")


def restore(shapes: PyTree[jax.ShapeDtypeStruct], arrays: dict[str, np.ndarray]) -> PyTree[jax.Array]:
    """The tree of the given shapes with its leaves taken from named arrays.

    Raises:
        ValueError: an array is missing, unexpected, or of another shape or dtype.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    wanted = {leaf_name(path): leaf for path, leaf in leaves}
    problems = [f"{name} is missing" for name in wanted.keys() - arrays.keys()]
    problems += [f"{name} is not expected" for name in arrays.keys() - wanted.keys()]
    problems += [
        f"{name} is {array.dtype}{list(array.shape)}, not {wanted[name].dtype}{list(wanted[name].shape)}"
        for name, array in arrays.items()
        if name in wanted and (array.shape, array.dtype) != (wanted[name].shape, wanted[name].dtype)
    ]
    if problems:
        raise ValueError("does not fit its configuration: " + "; ".join(sorted(problems)))
    return jax.tree.unflatten(treedef, [jnp.asarray(arrays[name]) for name in wanted])


def pack(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = b"0" * DIGEST_LENGTH  # a place of the right length
        archive.writestr(MEMBER, json.dumps(description, indent=1))
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    body = buffer.getbuffer()[:-DIGEST_LENGTH]
    return b"".join((body, hashlib.sha256(body).hexdigest().encode()))


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the description in a file's bytes.

    Raises:
        ValueError: the bytes are no model file, are damaged, or are of a later format.
    """
    if not data.startswith(b"PK\x03\x04"):
        raise ValueError("is not a jvae model file")
    body, digest = memoryview(data)[:-DIGEST_LENGTH], data[-DIGEST_LENGTH:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("is damaged or not a jvae model file: its sha256 does not match its content")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        description = json.loads(archive.read(MEMBER))
        if description.get("format") != FORMAT:
            raise ValueError("is not a jvae model file")
        if description["format_version"] > FORMAT_VERSION:
            raise ValueError(
                f"has format version {description['format_version']}, this jvae reads up to {FORMAT_VERSION}"
            )
        arrays = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays, description
