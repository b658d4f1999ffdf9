"""Mutations: random changes to a file's bytes, an archive's members and a state dict's tensors."""

import io
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.faults.model_files import Trap, npy, npy_header, zipped

Mutate = Callable[[bytes, random.Random], bytes]
HUGE = (b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"\0" * 4, b"\x80" + b"\0" * 3)


def mutated(content: bytes, numbers: random.Random) -> bytes:
    """Return the bytes with one change: flipped, cut, zeroed, repeated, inserted, removed, replaced or made huge."""
    place, size = numbers.randrange(len(content) or 1), numbers.choice((1, 4, 16, 64))
    start, end = content[:place], content[place + size :]
    match numbers.randrange(10):
        case 0:
            return start
        case 1:
            return start + bytes(size) + end
        case 2:
            return start + content[place : place + size] * 2 + end
        case 3:
            return start + numbers.randbytes(size) + content[place:]
        case 4:
            return start + end
        case 5:
            return start + numbers.randbytes(size) + end
        case 6:
            huge = numbers.choice(HUGE)
            near = numbers.randrange(min(len(content), 64) or 1)  # where headers are
            return content[:near] + huge + content[near + len(huge) :]
        case 7:
            return numbers.choice((b"", content + content, content + b"\0", b"PK\x03\x04" + content, content[::-1]))
        case _:
            bits = bytearray(content or b"\0")
            for _ in range(numbers.choice((1, 1, 8))):
                bits[numbers.randrange(len(bits))] ^= 1 << numbers.randrange(8)
            return bytes(bits)


def mutated_arrays(folder: Path, digest: bool) -> Mutate:
    """Return a function that changes one member of an `.npz`, or its name, and recomputes the checksums."""

    def change(content: bytes, numbers: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
        chosen = numbers.randrange(len(members))
        name, old = members[chosen]
        others = [member for i, member in enumerate(members) if i != chosen]
        traps = np.array([Trap(folder)] * 4)
        floats = np.array([np.nan, np.inf, 0.5])
        made = numbers.choice((
            [(name, mutated(old, numbers))], [(name, mutated(old, numbers))], [(name, mutated(old, numbers))],
            [], [(name, b"")], [(name, old), (name, old)], [(f"../{name}", old)], [(f"{name}\0x", old)],
            [(name, npy(traps, pickled=True))], [(name, npy(floats))], [(name, npy(np.array("text")))],
            [(name, npy(np.zeros((0, 3, 3), np.uint8)))], [(name, npy(np.zeros(3, [("a", "i4")])))],
            [(name, npy_header("(9999999999999,)"))], [(name, npy_header("(" + "9" * 400 + ",)"))],
            [(name, npy_header("(-3, 4)"))], [(name, npy_header("((((" * 30))], [(name, b"[" * 50_000)],
        ))  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of a duplicate name
            return zipped([*others[:chosen], *made, *others[chosen:]], digest=digest)

    return change


def mutated_tensors(folder: Path) -> Mutate:
    """Return a function that replaces, renames or drops a tensor of a state dict, or wraps the whole."""

    def change(content: bytes, numbers: random.Random) -> bytes:
        import torch

        tensors = torch.load(io.BytesIO(content), weights_only=True)
        name, tensor = numbers.choice(list(tensors.items()))
        others = (
            tensor.to(torch.float64), tensor.to(torch.complex64), tensor > 0, tensor[:0], tensor[..., None],
            tensor.sum(),
            torch.full_like(tensor, torch.nan), tensor.reshape(-1).to_sparse(), torch.zeros(1).expand(10**10), "text",
            None, Trap(folder), {"a": tensor}, tensor.to(torch.bfloat16), torch.tensor(3), tensor.new_empty((0,)),
            tensor.T if tensor.ndim == 2 else -tensor,
        )  # fmt: skip
        names = (name, name, name, f"module.{name}", name.upper(), "", "prior.logits", "prior.means", "decoder.std")
        changed = {**tensors, numbers.choice(names): numbers.choice(others)}
        if numbers.random() < 0.3:
            del changed[numbers.choice(list(changed))]
        if numbers.random() < 0.2:
            changed = {numbers.choice(("model", "state_dict", "other")): changed, "epoch": 3}
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(changed, file)
        return file.getvalue()

    return change
