"""Conditions: how a training is computed, and what is told meanwhile. The results do not depend on them."""

import math
from collections.abc import Callable
from typing import NamedTuple, SupportsIndex

import jax
from jax.sharding import Mesh

from jvae.errors import at_least_one, shown
from jvae.runs.ensemble import Together, block_of


class Chunking(NamedTuple):
    """How an epoch is cut into chunks of steps. The results do not depend on it."""

    first_steps: int = 1
    """The length of the first chunk, which compiles and is timed: a step may take long."""
    seconds: float = 5.0
    """Roughly how long a later chunk takes."""


class Progress(NamedTuple):
    """The progress of a training after a chunk of steps."""

    epoch: int
    """The epoch, from 1."""
    step: int
    """The number of its steps that are taken."""
    num_steps: int
    """The number of its steps."""
    running: int
    """The number of runs that have not stopped."""

    @property
    def epochs(self) -> float:
        """The number of epochs taken, including the current one in part."""
        return self.epoch - 1 + self.step / self.num_steps


class Conditions(NamedTuple):
    """How a training is computed; the results do not depend on it, except for rounding on different devices."""

    mesh: Mesh | None = None
    """The devices to split runs and batches over; None for a single device."""
    stream: bool | None = None
    """True to read the training data while they are used; None: only if they do not fit in the devices' memory."""
    interrupted: Callable[[], bool] = lambda: False
    """Called after every chunk of steps; once it returns True, the model so far is yielded and the training ends."""
    chunking: Chunking = Chunking()
    """How an epoch is cut into chunks of steps."""
    runs_together: int | None = None
    """The runs that a device computes at a time; None: one on a CPU, on an accelerator as many as fit in memory."""
    block: int | None = None
    """The steps in one loop of static length; None: one on a CPU, 32 on an accelerator."""
    streamed_bytes: int = 2**26
    """The bytes that a streamed training reads at a time."""
    chosen: Callable[[Together], None] = lambda at_a_time: None
    """Called once, before the training, with how much is computed at a time."""
    progress: Callable[[Progress], None] = lambda at: None
    """Called after every chunk of steps, before the epoch is summarised and yielded if the chunk ends it."""
    snapshots: SupportsIndex | None = None
    """The number of small copies of the parameters over the training, including the initial and the last ones.

    None for none, or for as many as the model to resume has.
    """

    @property
    def steps_in_block(self) -> int:
        """The steps of one loop of static length on the current backend."""
        return self.block or block_of(jax.default_backend())


DEFAULT = Conditions()


def check_conditions(how: Conditions) -> None:
    """Raise a ValueError that names the first condition that is not what it must be; the snapshots are not checked."""
    for name, kind in (("mesh", Mesh), ("stream", bool), ("chunking", Chunking)):
        value = getattr(how, name)
        if not isinstance(value, kind) and (value is not None or kind is Chunking):
            raise ValueError(f"{name} is {shown(value)}: must be a {kind.__name__}")
    for name in ("interrupted", "chosen", "progress"):
        if not callable(value := getattr(how, name)):
            raise ValueError(f"{name} is {shown(value)}: must be a function")
    for name in ("runs_together", "block", "streamed_bytes"):
        if (value := getattr(how, name)) is not None:
            at_least_one(name, value)
    at_least_one("chunking.first_steps", how.chunking.first_steps)
    if not 0 <= how.chunking.seconds < math.inf:
        raise ValueError(f"chunking.seconds is {how.chunking.seconds}: must be at least 0 and finite")
