"""Streaming: epochs over images on disk, which are read ahead in chunks while earlier steps are computed.

The batches are those of resident data: the same images in the same order for the same key. Every process reads
only the images of its own runs and its own part of each batch.
"""

import math
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, UInt8

from jvae.errors import JvaeError
from jvae.runs.ensemble import Chunk
from jvae.runs.loop import TakeSteps
from jvae.runs.mesh import DATA, RUNS, fetch, place
from jvae.runs.numbers import RunNumbers
from jvae.training import Batch, StepMetrics, TrainState, epoch_rows, steps_per_epoch

AXES = (RUNS, None, DATA)  # the mesh axes that batches [r, steps, b, ...] are split over


class Rows(NamedTuple):
    """The images of every batch of an epoch, and their weights."""

    indices: Int[np.ndarray, "r steps b"]
    """The images' indices in the whole training set."""
    weights: Float[np.ndarray, "r steps b"]
    """1, or 0 for the padding of the last batch."""


def streamed(
    chunk: Chunk,
    numbers: RunNumbers,
    data: UInt8[np.ndarray, "n ..."],
    kept: Int[np.ndarray, " k"],
    batch_size: int,
    mesh: Mesh | None,
    at_a_time: int,
) -> TakeSteps:
    """Return a function that takes steps while it reads their data from disk.

    Args:
        chunk: a chunk made by `make_chunk` with `streamed_batches`.
        numbers: the runs' own numbers.
        data: the images, such as a memory-mapped file.
        kept: the indices of the images to train on.
        batch_size: b.
        mesh: the mesh that the runs and the batches are split over, if any.
        at_a_time: the bytes of data to read at a time.
    """
    shuffle = jax.jit(jax.vmap(partial(epoch_rows, num_images=len(kept), batch_size=batch_size), in_axes=(0, None)))
    compiled = jax.jit(chunk, donate_argnums=0)
    placed = place(numbers, mesh, RUNS)
    num_steps = steps_per_epoch(len(kept), batch_size)
    step_bytes = len(numbers.learning_rate) * batch_size * math.prod(data.shape[1:])
    length = max(1, min(num_steps, at_a_time // step_bytes))

    @lru_cache(maxsize=1)
    def rows_of(epoch: int) -> Rows:
        indices, weights = map(np.asarray, shuffle(numbers.key, jnp.int32(epoch * num_steps)))
        return Rows(kept[indices], weights)

    def take(states: TrainState, step_metrics: StepMetrics, start: int, stop: int) -> tuple[TrainState, StepMetrics]:
        whole = rows_of((int(fetch(states.step)[0]) - start) // num_steps)
        # padded with steps that are not taken, so that all chunks have one size and share a program
        filled = [(0, 0), (0, (start - stop) % length), (0, 0)]
        rows = Rows(*(np.pad(part[:, start:stop], filled) for part in whole))
        for begin, batches in zip(range(start, stop, length), read_ahead(data, rows, length, mesh), strict=True):
            end = min(begin + length, stop)
            states, step_metrics = compiled(states, placed, begin, batches, step_metrics, begin, end)
        return states, step_metrics

    return take


def read_ahead(images: UInt8[np.ndarray, "n ..."], rows: Rows, length: int, mesh: Mesh | None) -> Iterator[Batch]:
    """Return the batches on the devices, in chunks of `length` steps; the next chunk is read while one is used.

    Raises:
        JvaeError: Grain is not installed.
    """
    try:
        import grain
    except ImportError as error:
        raise JvaeError("images that do not fit into memory are read with Grain: pip install 'jvae[stream]'") from error

    def read(start: int) -> Batch:
        """Return the batches `[r, steps, b, ...]` of a chunk, each part on the device that needs it."""
        indices, weights = (part[:, start : start + length] for part in rows)
        if mesh is None:
            return Batch(jnp.asarray(images[indices]), jnp.asarray(weights))
        shape, sharding = (*indices.shape, *images.shape[1:]), NamedSharding(mesh, PartitionSpec(*AXES))
        spread = jax.make_array_from_callback(shape, sharding, lambda part: images[indices[(part or ())[:3]]])
        return Batch(spread, place(weights, mesh, *AXES))

    chunks = grain.MapDataset.range(0, rows.weights.shape[1], length).map(read)
    return iter(chunks.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)))
