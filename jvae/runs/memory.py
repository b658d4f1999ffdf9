"""Memory: how much a program needs and how much is available, to choose how much is computed at a time.

A program's need is estimated from its trace, before anything is compiled or computed, as the most bytes that are alive
at once if it runs line by line. The compiler fuses lines, so the estimate is 0.9 to 3 times what the compiled program
needs.
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
"""The share of the available memory that may be filled if computing less at a time is possible."""
FAR_TOO_MUCH = 4
"""If the estimate exceeds the available memory by this factor, the compiler's own figure is not asked for."""


def available_bytes() -> int:
    """Return the bytes that are available to a program: of the first device's memory, or on a CPU of the host's."""
    statistics = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    return host_bytes()


def host_bytes(root: Path = Path("/")) -> int:
    """Return the bytes of host memory available to this process: within the system's, its groups' and its own limits.

    Args:
        root: the root of the file system with /proc and /sys.
    """
    found = [*system_bytes(root), *group_bytes(root), *process_bytes(root)]
    if not found and hasattr(os, "sysconf"):  # not Linux
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found, default=2**63 - 1))


def system_bytes(root: Path) -> Iterator[int]:
    """Yield the bytes that Linux reports as available without swapping."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])


def group_bytes(root: Path) -> Iterator[int]:
    """Yield the bytes left below the limit of each control group (version 1 or 2) of the process."""
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
    """Yield the bytes left below a control group's limit, if it has one; cached files count as free."""
    with contextlib.suppress(OSError, ValueError):  # the limit may be "max"
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        with contextlib.suppress(OSError, ValueError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used -= int(statistics.get(idle, 0))
        yield most - used


def process_bytes(root: Path) -> Iterator[int]:
    """Yield the bytes left below the process's own limit (`ulimit -v`), if it has one."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            pages = int((root / "proc/self/statm").read_text().split()[0])
            yield most - pages * resource.getpagesize()


def fits_in_memory(num_bytes: int) -> bool:
    """Return True if data of this size leave enough memory to train on them."""
    return num_bytes <= SHARE_OF_MEMORY * available_bytes()


def tree_bytes(tree: Any) -> int:
    """Return the bytes of a tree's arrays, or of its shapes and dtypes."""
    return sum(array_bytes(leaf) for leaf in jax.tree.leaves(tree))


def array_bytes(array: Any) -> int:
    """Return the bytes of an array, or of a shape and dtype; 0 for a value that has none, such as a token."""
    if not hasattr(array, "shape"):
        return 0
    return math.prod(array.shape) * getattr(array.dtype, "itemsize", 8)  # a key's dtype has no itemsize


def check_fits(num_bytes: float, what: str) -> None:
    """Raise a NotEnoughMemoryError that names `what` unless this many bytes are available."""
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
    """Return the first of some sizes, the largest first, whose program leaves half of the memory free; else the last.

    Args:
        sizes: the options for how much to compute at a time, in decreasing order.
        trace: a size -> its program's trace, by `jax.jit(...).trace(...)`.
        what: the computation, in words.
        whole: a program's bytes -> all bytes that are needed.
        agree: a size's place in the list -> the place that all processes use, that of the smallest size of any.
        advice: the needed memory divided by the available memory -> advice in words, for the error.

    Raises:
        NotEnoughMemoryError: even the last size needs more than is available.
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
    """Return the bytes that a traced program needs at once when it is compiled, including arguments and results."""
    found = used_bytes(traced.lower().compile())
    return program_bytes(traced) if found is None else found


def used_bytes(compiled: Any) -> int | None:
    """Return the bytes that a compiled program needs at once; None if the backend does not report them.

    A result in the memory of a donated argument counts once.
    """
    found = compiled.memory_analysis()
    if found is None:
        return None
    both = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return both + found.temp_size_in_bytes


def program_bytes(traced: Any) -> int:
    """Return an estimate of the bytes that a traced program needs at once: arguments, intermediates and results."""
    program = traced.jaxpr.jaxpr
    given = sum(array_bytes(variable.aval) for variable in (*program.invars, *program.constvars))
    return given + peak_bytes(program, {})


def peak_bytes(program: Any, known: dict[int, int]) -> int:
    """Return the most bytes of a program's values that are alive at once, without its arguments.

    Args:
        program: a jaxpr.
        known: a cache of peaks by a program's identity, which is updated, for a program may be called often.
    """
    if id(program) in known:
        return known[id(program)]
    last = {variable: i for i, line in enumerate(program.eqns) for variable in variables(line.invars)}
    last |= dict.fromkeys(variables(program.outvars), len(program.eqns))
    peak, alive, ends = 0, 0, [0] * (len(program.eqns) + 1)
    for i, line in enumerate(program.eqns):
        results = sum(array_bytes(variable.aval) for variable in line.outvars)
        within = max((peak_bytes(inner, known) for inner in programs_in(line)), default=0)
        # a scan's stacked results come on top of its body's values; another inner program's results are the line's own
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
    """Return a line's operands without the literals."""
    return [atom for atom in atoms if not hasattr(atom, "val")]


def programs_in(line: Any) -> Iterator[Any]:
    """Yield the programs that a line calls."""
    for value in line.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield inner
