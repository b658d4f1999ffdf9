"""The model file: one self-describing file that no later command needs a training flag beside.

A valid `.npz`: a zip of `.npy` arrays and a member `model.json` with the configuration, the history, the data's
fingerprint and the versions. Every array has the zip's CRC, and the archive's comment is the sha256 of all bytes
before it, so that no flipped bit goes unseen. No pickle is written or read.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jvae.errors import ModelFileError
from jvae.files import write_atomically
from jvae.runs.config import Config, build_model, build_optimizer
from jvae.training import StepMetrics, TrainState, init_state, init_step_metrics

FORMAT = "jvae model file"
FORMAT_VERSION = 1
ZIP_START = b"PK\x03\x04"
READ_BYTES = 2**20
MAX_SIDE = 2**14
DIGEST_LENGTH = 64  # hex digits of a sha256: the archive's comment
MEMBER = "model.json"
FIELDS = {"config": dict, "history": list, "image_shape": list, "fingerprint": str, "versions": dict}
RECORD = {"epoch", "bound", "reconstruction", "kl", "seconds"}
UNFINISHED = "unfinished"
PACKAGES = ("jvae", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")


class ResumePoint(NamedTuple):
    """What a training needs to go on, beside the state that is kept; in the file it is called `unfinished`."""

    states: TrainState | None
    """Where the runs stand, with a leading axis of runs; None where that is the state that is kept."""
    step_metrics: StepMetrics | None
    """Of the epoch that was begun, with a leading axis of runs; None at the end of one."""
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
    resume_point: ResumePoint | None = None
    """For a training to go on; None where the state is all it needs."""


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def save_model(path: Path, model: ModelFile) -> None:
    """Write the file so that a reader, or a crash, ever meets the old file or the new one whole.

    Raises:
        ModelFileError: the file cannot be written; what stood at the path is left as it was.
    """
    arrays = named_arrays(model.state)
    if model.resume_point is not None:
        arrays |= named_arrays(
            {UNFINISHED: {"states": model.resume_point.states, "taken": model.resume_point.step_metrics}}
        )
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": model.config.to_dict(),
        "history": model.history,
        "image_shape": list(model.image_shape),
        "fingerprint": model.fingerprint,
        "versions": model.versions,
        UNFINISHED: None if model.resume_point is None else describe_resume_point(model.resume_point),
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
        if not path.is_file() and path.exists():  # opening a pipe would wait for ever
            raise ModelFileError(f"{path}: cannot be read: is a directory or device, not a file")
        with path.open("rb") as file:
            return read_model(file)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error


def read_model(file: io.BufferedIOBase) -> ModelFile:
    """Read the model in an open file.

    Raises:
        ValueError: it is no model file, is damaged, or does not fit the configuration that it carries.
    """
    with open_archive(file) as archive:
        description = read_description(archive)
        config, image_shape = Config.from_dict(description["config"]), tuple(description["image_shape"])
        unfinished = description.get(UNFINISHED)  # which the first files of this format lack
        shapes = {"": state_shapes(config, image_shape)}
        if unfinished is not None:
            shapes[UNFINISHED] = resume_point_shapes(config, image_shape, unfinished)
        trees = restore(shapes, archive)
    return ModelFile(
        config,
        trees[""],
        description["history"],
        image_shape,
        description["fingerprint"],
        description["versions"],
        None
        if unfinished is None
        else ResumePoint(trees[UNFINISHED]["states"], trees[UNFINISHED]["taken"], unfinished["done"]),
    )


def state_shapes(config: Config, image_shape: tuple[int, ...]) -> PyTree[jax.ShapeDtypeStruct]:
    """Return the shapes and dtypes of the state that a configuration builds, with nothing computed."""
    model, optimizer = build_model(config, image_shape), build_optimizer(config, steps_per_epoch=1)
    one = jax.eval_shape(lambda: init_state(model, optimizer, jax.random.key(0), image_shape))
    return one if config.runs == 1 else with_runs(one, config.runs)


def with_runs(shapes: PyTree[jax.ShapeDtypeStruct], runs: int) -> PyTree[jax.ShapeDtypeStruct]:
    """Return the shapes with a leading axis of runs."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((runs, *leaf.shape), leaf.dtype), shapes)


def describe_resume_point(point: ResumePoint) -> dict[str, Any]:
    """Return what the arrays of a resume point do not say themselves."""
    steps = None if point.step_metrics is None else point.step_metrics.sizes.shape[1]
    return {"states": point.states is not None, "steps": steps, "done": point.done}


def is_resume_point(about: Any) -> bool:
    """Return True if this is what `describe_resume_point` could have said."""
    if not isinstance(about, dict) or about.keys() != {"states", "steps", "done"} or type(about["states"]) is not bool:
        return False
    steps, done = about["steps"], about["done"]
    return done == 0 if steps is None else type(steps) is type(done) is int and 0 < done < steps < 2**31


def resume_point_shapes(config: Config, image_shape: tuple[int, ...], about: dict[str, Any]) -> dict[str, PyTree]:
    """Return the shapes and dtypes of a resume point's arrays, given what `describe_resume_point` says."""
    one = state_shapes(replace(config, runs=1), image_shape)
    states = with_runs(one, config.runs) if about["states"] else None
    if about["steps"] is None:
        return {"states": states, "taken": None}
    taken = jax.eval_shape(partial(init_step_metrics, num_steps=int(about["steps"])), with_runs(one, config.runs))
    return {"states": states, "taken": taken}


def named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """Return the leaves of a tree, each under its path, such as `params/encoder/net/linear_0/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {leaf_name(path): np.asarray(leaf) for path, leaf in leaves}


def leaf_name(path: tuple[Any, ...]) -> str:
    """Return a leaf's path as a member's name; flax's collection "params" is not repeated inside the state's params."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return name.replace("params/params/", "params/").lstrip("/")


def restore(shapes: PyTree[jax.ShapeDtypeStruct], archive: zipfile.ZipFile) -> PyTree[jax.Array]:
    """Restore the tree of the given shapes with its leaves taken from an archive, once all of their headers fit.

    Raises:
        ValueError: an array is missing, unexpected, or of another shape or dtype.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    wanted = {leaf_name(path): leaf for path, leaf in leaves}
    there = {name.removesuffix(".npy") for name in archive.namelist() if name != MEMBER}
    problems = [f"{name} is missing" for name in wanted.keys() - there]
    problems += [f"{name} is not expected" for name in there - wanted.keys()]
    for name in there & wanted.keys():
        shape, dtype = read_header(archive, name)
        if (shape, dtype) != (wanted[name].shape, wanted[name].dtype):
            problems.append(f"{name} is {dtype}{list(shape)}, not {wanted[name].dtype}{list(wanted[name].shape)}")
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError("does not fit its configuration: " + "; ".join(sorted(problems)[:5]) + more)
    return jax.tree.unflatten(treedef, [jnp.asarray(read_array(archive, name)) for name in wanted])


def read_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and dtype that an array claims to have.

    Raises:
        ValueError: it has no header of this format.
    """
    with archive.open(f"{name}.npy") as member:
        try:
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError("another version of the npy format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        except (ValueError, TypeError, SyntaxError, EOFError, MemoryError) as error:
            raise ValueError(f"{name} is not an array: {str(error).splitlines()[0]}") from error
    return shape, dtype


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array whose header was checked.

    Raises:
        ValueError: it does not hold what its header says.
    """
    with archive.open(f"{name}.npy") as member:
        try:
            array = np.lib.format.read_array(member, allow_pickle=False)
        except (ValueError, TypeError, SyntaxError, EOFError, MemoryError) as error:
            raise ValueError(f"{name} is not an array: {str(error).splitlines()[0]}") from error
        if member.read(1):
            raise ValueError(f"{name} has more bytes than its header announces")
    return array


def pack(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> bytes:
    """Return the file's bytes: the same for the same content, for no member has a time of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = b"0" * DIGEST_LENGTH  # a place of the right length
        archive.writestr(zipfile.ZipInfo(MEMBER), json.dumps(description, indent=1))
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    body = buffer.getbuffer()[:-DIGEST_LENGTH]
    return b"".join((body, hashlib.sha256(body).hexdigest().encode()))


@contextlib.contextmanager
def open_archive(file: io.BufferedIOBase) -> Iterator[zipfile.ZipFile]:
    """Open the archive in a file whose bytes are those that were written, and whose members are as `pack` writes them.

    Nothing is read into memory here but small chunks, and no member can be larger than the file.

    Raises:
        ValueError: the bytes are no model file, or are damaged.
    """
    if file.read(len(ZIP_START)) != ZIP_START:
        raise ValueError("is not a jvae model file" if file.tell() else "is empty")
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    digest, left = hashlib.sha256(), size - DIGEST_LENGTH
    while left > 0 and (part := file.read(min(left, READ_BYTES))):
        digest.update(part)
        left -= len(part)
    if file.read() != digest.hexdigest().encode():
        raise ValueError("is damaged or not a jvae model file: its sha256 does not match its content")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
                raise ValueError("is not a jvae model file: a member is compressed")
            if len({m.filename for m in members}) < len(members):
                raise ValueError("is not a jvae model file: two members have one name")
            yield archive
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, struct.error) as error:
        raise ValueError(f"is not a jvae model file: {str(error).splitlines()[0]}") from error


def read_description(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the description in a model file, every field of which has the type that it must have.

    Raises:
        ValueError: it is absent, of a later format, or a field is missing or wrong.
    """
    if MEMBER not in archive.namelist():
        raise ValueError(f"is not a jvae model file: it holds no {MEMBER}")
    try:
        description = json.loads(archive.read(MEMBER))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MEMBER} is not JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError("is not a jvae model file")
    version = description.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(f"has format version {version}, this jvae reads up to {FORMAT_VERSION}")
    for name, kind in FIELDS.items():
        if name not in description:
            raise ValueError(f"{MEMBER} has no field {name!r}")
        if not isinstance(description[name], kind):
            raise ValueError(f"{MEMBER}: {name} is {type(description[name]).__name__}, not {kind.__name__}")
    shape = description["image_shape"]
    if len(shape) != 3 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in shape):
        raise ValueError(f"{MEMBER}: image_shape is {str(shape)[:50]}: must be 3 numbers from 1 to {MAX_SIDE}")
    if not all(isinstance(record, dict) and record.keys() >= RECORD for record in description["history"]):
        raise ValueError(f"{MEMBER}: history must be records with {', '.join(sorted(RECORD))}")
    unfinished = description.get(UNFINISHED)
    if unfinished is not None and not is_resume_point(unfinished):
        raise ValueError(
            f"{MEMBER}: {UNFINISHED} must say of the epoch that was begun its steps, and how many are done"
        )
    return description
