"""State dicts in PyTorch's `.pt` files: read without executing anything in them, unwrapped, and written."""

import io
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from jvae.errors import ModelFileError, first_line
from jvae.files import write_file
from jvae.runs.archive import MEMBER, ZIP_START

if TYPE_CHECKING:
    import torch

Weights = dict[str, np.ndarray]
Log = Callable[[str], None]
PARTS = ("encoder", "decoder", "prior")
WRAPPERS = ("module", "_orig_mod")
"""The prefixes that DataParallel and torch.compile add to names."""
HOW = "torch.save(model.state_dict(), PATH) writes one"


def load_state_dict(path: Path, log: Log = lambda line: None) -> Weights:
    """Load the arrays of the only state dict in a `.pt` file.

    Args:
        path: the file.
        log: called with a line for everything left out: other objects in the file, and prefixes of names.

    Raises:
        ModelFileError: it cannot be read, or does not hold exactly one state dict of finite numbers; nothing in it is
            executed.
    """
    try:
        tensors = strip_prefixes(find_state_dict(_load(path), log), log)
        return {name: _as_array(name, tensor) for name, tensor in tensors.items()}
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error


def save_state_dict(path: Path, weights: Weights) -> None:
    """Write a state dict for `model.load_state_dict(torch.load(path))`.

    Raises:
        JvaeError: the file cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, buffer)
    write_file(path, buffer.getvalue())


def find_state_dict(found: Any, log: Log) -> "dict[str, torch.Tensor]":
    """Return an object if it is a state dict, or else the only state dict in it, as in a training's checkpoint.

    Raises:
        ModelFileError: there is none, or there are several.
    """
    if _is_state_dict(found):
        return found
    if not isinstance(found, dict):
        raise ModelFileError(f"is not a state dict, but {_describe(found)}; {HOW}")
    inner = [key for key, value in found.items() if _is_state_dict(value)]
    if len(inner) == 1:
        others = ", ".join(str(key)[:50] for key in found if key != inner[0])
        log(f"the state dict is {inner[0]}" + (f"; left out: {others}" if others else ""))
        return found[inner[0]]
    if inner:
        raise ModelFileError(f"holds several state dicts, {', '.join(map(str, inner))[:200]}: save the model's alone")
    others = ", ".join(f"{str(key)[:50]} is {_describe(value)}" for key, value in list(found.items())[:3])
    raise ModelFileError(f"is not a state dict of names and tensors: {others or 'it is empty'}; {HOW}")


def strip_prefixes(tensors: dict[str, Any], log: Log) -> dict[str, Any]:
    """Return tensors without the prefixes of wrappers of the model, or of its parts.

    Raises:
        ModelFileError: two tensors would have the same name.
    """
    words = {name: name.split(".") for name in tensors}
    wrapped = [wrapper for wrapper in WRAPPERS if any(wrapper in each for each in words.values())]
    words = {name: [word for word in each if word not in WRAPPERS] for name, each in words.items()}
    before = {tuple(each[: next((i for i, word in enumerate(each) if word in PARTS), 0)]) for each in words.values()}
    if len(before) == 1:  # such as Lightning's `model.`
        (prefix,) = before
        wrapped += [".".join(prefix)] * bool(prefix)
        words = {name: each[len(prefix) :] for name, each in words.items()}
    stripped = {".".join(each): tensors[name] for name, each in words.items()}
    if len(stripped) < len(tensors):
        raise ModelFileError(f"has names that are equal without {' and '.join(wrapped)}")
    if wrapped:
        log(f"left out of the names: {', '.join(f'{each}.' for each in wrapped)}")
    return stripped


def count_weights(weights: Weights) -> int:
    """Return the number of weights."""
    return sum(array.size for array in weights.values())


def _load(path: Path) -> Any:
    """Return a file's content: tensors, and containers of them."""
    import torch

    try:
        zipped = _is_zipped(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of unusual pickles, which raise an error here
            # mapped: otherwise a file that announces more numbers than it holds is read beyond its end
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped or None)
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ModelFileError(f"is damaged: {first_line(error)}") from error
    except Exception as error:  # reading a file that is no pickle can raise anything
        said = str(error).rpartition("WeightsUnpickler error: ")[2]  # before it: how to execute the file
        reason = f"{first_line(ValueError(said))[:150].rstrip('.')}; {HOW}"
        if "Unsupported operand" in said:
            reason = f"its pickle is not PyTorch's, or not of protocol 2; {HOW}"
        if match := re.match(r"Unsupported global: GLOBAL ([\w.]+)", said):
            reason = f"it holds a pickled {match[1]}, which is not opened; {HOW}"
        raise ModelFileError(f"is not a state dict: {reason}") from error


def _is_zipped(path: Path) -> bool:
    """Return True for a PyTorch archive with right checksums, False for a PyTorch file of the older kind.

    Raises:
        ModelFileError: it is neither; the message says what it is.
    """
    with path.open("rb") as file:
        start = file.read(len(ZIP_START))
    if start == ZIP_START and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = {PurePath(name).name for name in archive.namelist()}
            if MEMBER in archive.namelist():
                raise ModelFileError("is a jvae model file, not a state dict: the other commands read it, with --model")
            if "data.pkl" not in members or "constants.pkl" in members:
                kind = "a TorchScript program" if "constants.pkl" in members else "a zip archive, but not PyTorch's"
                raise ModelFileError(f"is {kind}: a state dict is expected; {HOW}")
            if (member := archive.testzip()) is not None:
                raise ModelFileError(f"is damaged: the checksum of {member} is wrong")
        return True
    if start == ZIP_START:
        raise ModelFileError("is damaged: its end is missing")
    if start[:1] != pickle.PROTO:
        kind = "not a PyTorch file" if start else "empty"
        raise ModelFileError(f"is {kind}: a state dict is expected; {HOW}")
    return False


def _is_state_dict(found: Any) -> bool:
    """Return True for a dictionary of names and tensors that is not empty."""
    import torch

    return (
        isinstance(found, dict)
        and bool(found)
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items())
    )


def _describe(value: Any) -> str:
    """Return a description of a value in a word or two."""
    return f"a {type(value).__name__}"


def _as_array(name: str, tensor: "torch.Tensor") -> np.ndarray:
    """Return a tensor's numbers as float32.

    Raises:
        ModelFileError: they are not plain, finite numbers.
    """
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        raise ModelFileError(f"{name} is {tensor.dtype} of another kind: plain real numbers are expected")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelFileError(f"{name} claims {list(tensor.shape)}, more numbers than the file holds")
    array = np.array(tensor.detach().to(torch.float32).numpy())
    if not np.all(np.isfinite(array)):
        raise ModelFileError(f"{name} holds numbers that are not finite")
    return array
