"""Profiles: which part of a training step takes which share of its time, as jax's profiler saw it.

The compiler merges operations, and each of its instructions remembers the name of one that it came from: the module,
the direction, and the scopes of `jvae.training`.
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
    """A step, summed over the threads or streams that worked on it."""


def profile_step(training: Training, steps: int = 50) -> list[Share]:
    """Measure where the time of a training step goes; the largest part first.

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
    """Return the part of a step that an operation belongs to, by its name, as `.../transpose(jvp(VAE))/encoder/dot`.

    Only the modules that hold weights are told apart: an operation of a model itself counts as the model's.
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
