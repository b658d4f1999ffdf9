"""Memory: how much a program needs and how much there is, so that what is computed at a time is chosen, or refused.

A program's need is read from its trace, before anything is compiled or computed: the most bytes that are alive at once
as it runs line by line. The compiler merges lines, so that it is some 0.9 to 3 times what the compiled program needs.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from jvae.errors import NotEnoughMemoryError

T = TypeVar("T")

SHARE_OF_MEMORY = 0.5
"""How much of the memory there is may be filled where less would do too."""
FAR_TOO_MUCH = 4
"""By so much the estimate must exceed the memory there is for the compiler's own figure not to be asked for."""


def available_bytes() -> int:
    """Return how many bytes more a program can have: of the first device's memory, or on a CPU of the host's."""
    statistics = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    return host_bytes()


def host_bytes(root: Path = Path("/")) -> int:
    """Return how many bytes more this process can have of the host's memory: the system's, its groups', its own limit.

    Args:
        root: of the file system that the system tells of itself in.
    """
    found = [*system_bytes(root), *group_bytes(root), *process_bytes(root)]
    if not found and hasattr(os, "sysconf"):  # no Linux
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found, default=2**63 - 1))


def system_bytes(root: Path) -> Iterator[int]:
    """Yield the memory that Linux says can be had without swapping."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])


def group_bytes(root: Path) -> Iterator[int]:
    """Yield what each control group that the process is in, of version 1 or 2, leaves of its limit."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, kinds, place = line.split(":", 2)
            if number == "0":
                top, limit, usage, idle = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
            elif "memory" in kinds.split(","):
                top, idle = root / "sys/fs/cgroup/memory", "total_inactive_file"
                limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
            else:
                continue
            inside = top / place.strip("/")
            for folder in (inside, *inside.parents):  # in a container the group may be mounted as the top
                if folder.is_relative_to(top):
                    yield from left_in_group(folder, limit, usage, idle)


def left_in_group(folder: Path, limit: str, usage: str, idle: str) -> Iterator[int]:
    """Yield what a control group leaves of its limit, if it has one; files that are only cached do not count."""
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        with contextlib.suppress(OSError, ValueError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used -= int(statistics.get(idle, 0))
        yield most - used


def process_bytes(root: Path) -> Iterator[int]:
    """Yield what the process's own limit (`ulimit -v`) leaves, if it has one."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            pages = int((root / "proc/self/statm").read_text().split()[0])
            yield most - pages * resource.getpagesize()


def fits_in_memory(num_bytes: int) -> bool:
    """Return True if that much data leaves enough of the memory to train on it."""
    return num_bytes <= SHARE_OF_MEMORY * available_bytes()


def tree_bytes(tree: Any) -> int:
    """Return how many bytes the arrays of a tree take, or would: their shapes and dtypes are enough."""
    return sum(array_bytes(leaf) for leaf in jax.tree.leaves(tree))


def array_bytes(array: Any) -> int:
    """Return how many bytes what has a shape and a dtype takes; 0 for what has none, as a token."""
    if not hasattr(array, "shape"):
        return 0
    return math.prod(array.shape) * getattr(array.dtype, "itemsize", 8)  # a key has no size of its own


def check_fits(num_bytes: float, what: str) -> None:
    """Raise a NotEnoughMemoryError that names what needs so many bytes, unless there are as many."""
    if num_bytes > (available := available_bytes()):
        raise NotEnoughMemoryError(f"{what} needs {gib(num_bytes)} of memory: {gib(available)} are available")


def choose(
    sizes: Sequence[T],
    trace: Callable[[T], Any],
    what: str,
    whole: Callable[[int], float] = float,
    agree: Callable[[int], int] = int,
    advice: Callable[[float], str] = lambda ratio: "",
) -> T:
    """Return the first of some sizes, the largest first, whose program leaves half of the memory free, or the last.

    Args:
        sizes: how much might be computed at a time, falling.
        trace: a size -> its program's trace, by `jax.jit(...).trace(...)`.
        what: what is computed, in words.
        whole: a program's bytes -> all bytes that are needed.
        agree: the place among the sizes -> the place that all processes take, the smallest size of any.
        advice: how many times the memory there is is needed -> what else could be done, in words.

    Raises:
        NotEnoughMemoryError: even the last needs more than there is.
    """
    available, needed, place = available_bytes(), 0.0, 0
    for place, size in enumerate(sizes):  # noqa: B007
        needed = whole(program_bytes(trace(size)))
        if needed <= SHARE_OF_MEMORY * available:
            break
    if available < needed <= FAR_TOO_MUCH * available:
        needed = whole(compiled_bytes(trace(sizes[-1])))
    place = agree(len(sizes) if needed > available else place)
    if place == len(sizes):
        raise NotEnoughMemoryError(
            f"{what} needs {gib(needed)} of memory: {gib(available)} are available{advice(needed / max(available, 1))}"
        )
    return sizes[place]


def falling(most: int) -> list[int]:
    """Return a size and the powers of ten below it, down to 1."""
    return [most, *(10**i for i in reversed(range(len(str(most)))) if 10**i < most)]


def halving(most: int) -> list[int]:
    """Return a number, its half, and so on, down to 1."""
    return [most >> i for i in range(most.bit_length())]


def gib(num_bytes: float) -> str:
    """Return a number of bytes as text."""
    return f"{num_bytes / 2**30:.3g} GiB" if num_bytes < 1e3 * 2**30 else f"{num_bytes / 2**30:,.0f} GiB"


def compiled_bytes(traced: Any) -> int:
    """Return how many bytes a program needs at once once it is compiled, arguments and results included."""
    found = traced.lower().compile().memory_analysis()
    if found is None:  # the backend does not say
        return program_bytes(traced)
    both = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return both + found.temp_size_in_bytes


def program_bytes(traced: Any) -> int:
    """Return how many bytes a traced program needs at once, about: arguments, results and what lies between."""
    program = traced.jaxpr.jaxpr
    given = sum(array_bytes(variable.aval) for variable in (*program.invars, *program.constvars))
    return given + peak_bytes(program, {})


def peak_bytes(program: Any, known: dict[int, int]) -> int:
    """Return the most bytes that are alive at once of what a program computes, without what it is given.

    Args:
        program: a jaxpr.
        known: the peaks of programs by their identity, which are asked for and added to: a program may be called often.
    """
    if id(program) in known:
        return known[id(program)]
    last = {variable: i for i, line in enumerate(program.eqns) for variable in variables(line.invars)}
    last |= dict.fromkeys(variables(program.outvars), len(program.eqns))
    peak, alive, ends = 0, 0, [0] * (len(program.eqns) + 1)
    for i, line in enumerate(program.eqns):
        results = sum(array_bytes(variable.aval) for variable in line.outvars)
        within = max((peak_bytes(inner, known) for inner in programs_in(line)), default=0)
        # a scan stacks what its body computes; any other program's results are its own
        peak = max(peak, alive + (results + within if line.primitive.name == "scan" else max(results, within)))
        for variable in line.outvars:
            if variable in last:
                size = array_bytes(variable.aval)
                alive += size
                ends[last[variable]] += size
        alive -= ends[i]
    known[id(program)] = peak
    return peak


def variables(atoms: Sequence[Any]) -> list[Any]:
    """Return the variables among a line's operands, without the literals."""
    return [atom for atom in atoms if not hasattr(atom, "val")]


def programs_in(line: Any) -> Iterator[Any]:
    """Yield the programs that a line of a program calls."""
    for value in line.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield inner
