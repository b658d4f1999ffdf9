"""Profiles: the share of a training step's time that each of its parts takes, by JAX's profiler.

The compiler fuses operations, and each of its instructions keeps the name of one of them: the module, the direction,
and the scopes of `jvae.training`.
"""

import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import jax
from jax.profiler import ProfileData

from jvae.tools.benchmark import Training, compile_chunk

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name=\"([^\"]*)\"", re.MULTILINE)
CONTAINERS = ("while", "call", "conditional")
REST = "all else"


class Share(NamedTuple):
    """A part of a training step."""

    part: str
    """A module's path with its direction, a scope of the step, or `all else`."""
    seconds: float
    """The seconds per step, summed over threads or streams."""


def profile_step(training: Training, steps: int = 50) -> list[Share]:
    """Measure the parts of a training step's time, the largest first.

    Raises:
        ValueError: the recipe does not fit the data.
    """
    chunk = compile_chunk(training)
    sources, steps = dict(INSTRUCTION.findall(chunk.program)), min(steps, chunk.most)
    chunk.take(1)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            chunk.take(steps)
        (path,) = Path(folder).rglob("*.xplane.pb")
        seconds: dict[str, float] = defaultdict(float)
        lines = (line for plane in ProfileData.from_file(str(path)).planes for line in plane.lines)
        for event in (event for line in lines for event in line.events):
            if event.name in sources and not event.name.startswith(CONTAINERS):
                seconds[part_of(sources[event.name])] += event.duration_ns / 1e9 / steps
    return sorted((Share(*found) for found in seconds.items()), key=lambda share: -share.seconds)


def part_of(source: str) -> str:
    """Return the part of a step of an operation, by its name, such as `.../transpose(jvp(VAE))/encoder/dot`.

    Only modules that hold weights are distinguished; an operation of the model itself counts as the model's.
    """
    words = source.split("/")
    for scope in ("optimizer", "data"):
        if scope in words:
            return scope
    model = next((i for i, word in enumerate(words) if "jvp(" in word), None)
    if model is None:
        return REST
    direction = "backward" if words[model].startswith("transpose(") else "forward"
    path = [word for word in words[model + 1 : -1] if not re.search(r"[().]", word)]
    modules = path[: next((i for i, word in enumerate(path) if word in ("while", "body", "closed_call")), None)]
    return f"{'/'.join(modules) or 'densities and noise'}, {direction}"
