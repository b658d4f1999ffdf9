"""Archives: named arrays and a JSON description in one checksummed `.npz`; reading trusts nothing in it.

The file is a valid `.npz`: a zip of `.npy` arrays and a member `model.json`. Every array has the zip's CRC, and the
archive's comment is the sha256 of all bytes before it, so that any flipped bit is detected. No pickle is written or
read. Only the functions on PyTrees import JAX, so that a description is read quickly.
"""

import contextlib
import hashlib
import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jvae.errors import NPY_ERRORS, ModelFileError, RecipeNeededError, first_line

ZIP_START = b"PK\x03\x04"
READ_BYTES = 2**20
DIGEST_LENGTH = 64  # hex digits of a sha256: the archive's comment
MEMBER = "model.json"
FAR_BELOW_ZIP64 = 2**30
"""The bytes from which on a member is announced as a large one: from 2 GiB on it must be."""
PYTORCH_BYTES = 256
"""The bytes at the start of a PyTorch archive that name its first member, `NAME/data.pkl`."""

Header = tuple[tuple[int, ...], Any]
"""The shape and dtype of an array."""


def named_arrays(tree: Any) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return the leaves of a PyTree by their paths, such as `params/encoder/net/linear_0/kernel`."""
    import jax

    plain = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(plain))
    return {leaf_name(path): np.asarray(leaf) for path, leaf in leaves}


def is_key(leaf: Any) -> bool:
    """Return True for a typed key, as in the state of an optimizer that draws noise; its data are stored."""
    import jax

    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def leaf_name(path: tuple[Any, ...]) -> str:
    """Return a leaf's path as a member's name; inside the state's params, flax's collection "params" is left out."""
    import jax

    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return name.replace("params/params/", "params/").lstrip("/")


def restore(shapes: Any, archive: zipfile.ZipFile, only: bool = True) -> Any:
    """Return a PyTree of given shapes and dtypes with its leaves read from an archive, after checking their headers.

    With `only`, the archive must hold no other arrays.

    Raises:
        ValueError: an array is missing, unexpected, or of another shape or dtype.
    """
    import jax

    wanted = headers_of(shapes)
    there = {name.removesuffix(".npy") for name in archive.namelist() if name != MEMBER}
    found = {name: as_wanted(read_header(archive, name), wanted[name][1]) for name in there & wanted.keys()}
    if only:
        found |= dict.fromkeys(there - wanted.keys(), ((), None))
    if problems := misfits(wanted, found):
        raise ValueError(f"does not fit its recipe: {problems}")
    leaves = [read_array(archive, name).view(dtype) for name, (_, dtype) in wanted.items()]
    found = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return jax.tree.map(lambda leaf, shape: wrapped(leaf, shape) if is_key(shape) else leaf, found, shapes)


def wrapped(data: Shaped[np.ndarray, "..."], shape: Any) -> Any:
    """Return the typed key with these data, of the implementation of another, which may be a shape."""
    import jax

    kinds: list[Any] = []
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), shape)
    return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=kinds[0])


def as_wanted(header: Header, dtype: Any) -> Header:
    """Return a header with the wanted dtype if it has that dtype's name in a file: bfloat16 is stored as raw bytes."""
    shape, stored = header
    return shape, dtype if stored == np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) else stored


def headers_of(tree: Any) -> dict[str, Header]:
    """Return the shapes and dtypes of a PyTree's leaves, by their names, in order."""
    import jax

    plain = jax.tree.map(lambda leaf: jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf, tree)
    leaves, _ = jax.tree_util.tree_flatten_with_path(plain)
    return {leaf_name(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def misfits(wanted: dict[str, Header], found: dict[str, Header]) -> str:
    """Return how arrays differ from those that are wanted, by name; empty if they do not."""
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    problems += [f"{name} is not expected" for name in found.keys() - wanted.keys()]
    for name in found.keys() & wanted.keys():
        (shape, dtype), (other, kind) = found[name], wanted[name]
        if (shape, dtype) != (other, kind):
            problems.append(f"{name} is {dtype}{list(shape)}, not {kind}{list(other)}")
    problems.sort(key=lambda problem: ("opt_state" in problem, problem))  # an optimizer's arrays follow parameters
    return "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")


def check_arrays(wanted: Any, found: Any) -> None:
    """Raise a ValueError unless a PyTree has the arrays of another, by names, shapes and dtypes."""
    if problems := misfits(headers_of(wanted), headers_of(found)):
        raise ValueError(f"the model to resume does not fit the recipe: {problems}")


def read_header(archive: zipfile.ZipFile, name: str) -> Header:
    """Read the shape and dtype in an array's header.

    Raises:
        ValueError: it has no header of this format.
    """
    with archive.open(f"{name}.npy") as member:
        try:
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError("another version of the npy format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        except NPY_ERRORS as error:
            raise ValueError(f"{name} is not an array: {first_line(error)}") from error
    return shape, dtype


def read_array(archive: zipfile.ZipFile, name: str) -> Shaped[np.ndarray, "..."]:
    """Read an array whose header was checked.

    Raises:
        ValueError: it does not hold what its header says.
    """
    with archive.open(f"{name}.npy") as member:
        try:
            array = np.lib.format.read_array(member, allow_pickle=False)
        except NPY_ERRORS as error:
            raise ValueError(f"{name} is not an array: {first_line(error)}") from error
        if member.read(1):
            raise ValueError(f"{name} has more bytes than its header announces")
    return array


def pack(arrays: dict[str, Shaped[np.ndarray, "..."]], description: dict[str, Any]) -> bytes:
    """Return the file's bytes. They depend on the content only, for no member has a timestamp."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = b"0" * DIGEST_LENGTH  # a placeholder of the right length
        archive.writestr(zipfile.ZipInfo(MEMBER), json.dumps(description, indent=1))
        for name, array in arrays.items():
            large = array.nbytes > FAR_BELOW_ZIP64
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=large) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    body = buffer.getbuffer()[:-DIGEST_LENGTH]
    return b"".join((body, hashlib.sha256(body).hexdigest().encode()))


@contextlib.contextmanager
def open_model_file(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """Open a model file for reading, as a context; an error inside it becomes one line that names the file.

    Raises:
        RecipeNeededError: a recipe is missing, or not allowed.
        ModelFileError: the file cannot be read, or reading it raised a ValueError.
    """
    path = Path(path)
    try:
        if not path.is_file() and path.exists():  # opening a pipe would block
            raise ModelFileError(f"{path}: cannot be read: is a directory or device, not a file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RecipeNeededError as error:
        raise RecipeNeededError(f"{path}: {error}") from error
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error


@contextlib.contextmanager
def open_archive(file: io.BufferedIOBase) -> Iterator[zipfile.ZipFile]:
    """Open the archive in a file, after checking its digest and that its members are as `pack` writes them.

    Only small chunks are read into memory, and no member can be larger than the file.

    Raises:
        ValueError: the file is not a model file, or is damaged.
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
        file.seek(0)
        if b"/data.pkl" in file.read(PYTORCH_BYTES):
            raise ValueError("is a PyTorch file, not a jvae model file: `jvae import-pytorch` may make one from it")
        raise ValueError("is damaged, or was not written by jvae: its sha256 does not match its content")
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(file) as archive:
            warnings.simplefilter("ignore")  # NumPy warns of unusual headers
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
                raise ValueError("is not a jvae model file: a member is compressed")
            if len({m.filename for m in members}) < len(members):
                raise ValueError("is not a jvae model file: two members have one name")
            yield archive
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, struct.error) as error:
        raise ValueError(f"is not a jvae model file: {first_line(error)}") from error


def read_json(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the description in an archive.

    Raises:
        ValueError: it is missing, or not a JSON object.
    """
    if MEMBER not in archive.namelist():
        raise ValueError(f"is not a jvae model file: it holds no {MEMBER}")
    try:
        description = json.loads(archive.read(MEMBER))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MEMBER} is not JSON: {first_line(error)}") from error
    if not isinstance(description, dict):
        raise ValueError("is not a jvae model file")
    return description
