"""Where a training stands, and its advance: epochs in chunks that take seconds, with a safe point after every one."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jvae.runs.mesh import agree
from jvae.training import StepMetrics, TrainState

CHUNK_SECONDS = 5.0
FIRST_STEPS = 20


class LoopState(NamedTuple):
    """Where the lanes of a training stand; with a leading axis of runs."""

    states: TrainState
    epoch: int
    """Which epoch, from 1."""
    done: int
    """How many of its steps are taken."""
    taken: StepMetrics
    """Their record."""


TakeChunk = Callable[[TrainState, StepMetrics, int, int], tuple[TrainState, StepMetrics]]


def advance(take: TakeChunk, progress: LoopState, epochs: int) -> Iterator[LoopState]:
    """Go on to the end of the last epoch, and yield the progress after every chunk.

    The first chunk is short, and the later ones take about CHUNK_SECONDS: nothing that a training does depends on where
    it is cut. What was yielded is donated to the next chunk: read or save it before asking for the next.

    Args:
        take: `(states, taken, start, stop) -> (states, taken)`: an epoch's steps start, ..., stop - 1.
        progress: where to begin.
        epochs: the number of the last one.
    """
    states, epoch, done, taken = progress
    num_steps, length = taken.sizes.shape[-1], FIRST_STEPS
    while epoch < epochs or done < num_steps:
        if done == num_steps:
            epoch, done, taken = epoch + 1, 0, jax.tree.map(jnp.zeros_like, taken)
        stop = min(num_steps, done + length)
        began = time.perf_counter()
        states, taken = jax.block_until_ready(take(states, taken, done, stop))
        length = agree(max(1, round((stop - done) * CHUNK_SECONDS / (time.perf_counter() - began))))
        done = stop
        yield LoopState(states, epoch, done, taken)
