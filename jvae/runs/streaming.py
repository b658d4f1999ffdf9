"""Streaming: epochs over images that stay on the disk, read ahead in chunks while the steps before them are computed.

The batches are those of the resident path: the same images in the same order for the same key. Every process reads
only the images of its own runs and its own part of each batch.
"""

import math
import os
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from jvae.errors import JvaeError
from jvae.runs.ensemble import Chunk
from jvae.runs.loop import TakeSteps
from jvae.runs.mesh import DATA, RUNS, fetch, place
from jvae.runs.plan import RunNumbers
from jvae.training import Batch, StepMetrics, TrainState, epoch_rows, steps_per_epoch

SHARE_OF_MEMORY = 0.5
Block = tuple[slice, ...]


class Rows(NamedTuple):
    """Which images every batch of an epoch has."""

    indices: Int[np.ndarray, "r steps b"]
    weights: Float[np.ndarray, "r steps b"]


def fits_in_memory(num_bytes: int) -> bool:
    """Return True if that much data leaves enough of the first device's memory to train on it."""
    statistics = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    memory = statistics.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return num_bytes <= SHARE_OF_MEMORY * memory


def streamed(
    chunk: Chunk,
    numbers: RunNumbers,
    data: np.ndarray,
    kept: Int[np.ndarray, " n"],
    batch_size: int,
    mesh: Mesh | None,
    at_a_time: int,
) -> TakeSteps:
    """Return what takes steps while it reads the data of each from where they are.

    Args:
        chunk: of `make_chunk` with `streamed_batches`.
        numbers: what the runs have of their own.
        data: uint8[n, ...], such as a memory-mapped file.
        kept: which of them are trained on.
        batch_size: b.
        mesh: where the runs and the batches are spread, if they are.
        at_a_time: how many bytes of data are read at a time.
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
        whole = rows_of(int(fetch(states.step)[0]) // num_steps)
        rows = Rows(*(part[:, start:stop] for part in whole))
        for (first, last), batches in read_ahead(Chunks(data, rows, length, mesh)):
            begin, end = start + first, start + last
            states, step_metrics = compiled(states, placed, begin, batches, step_metrics, begin, end)
        return states, step_metrics

    return take


class Chunks:
    """Batches in chunks of so many steps each: a random-access source, as Grain's are.

    A chunk is a list of blocks, those that this process's devices need, in the order of `blocks_of`. All are of one
    size, so that one program serves them: the last chunk is filled up with zeros, which are no steps.
    """

    def __init__(self, images: np.ndarray, rows: Rows, length: int, mesh: Mesh | None) -> None:
        self.images, self.rows, self.length, self.mesh = images, rows, length, mesh

    def __len__(self) -> int:
        return -(-self.rows.weights.shape[1] // self.length)

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the first step of a chunk, and the one after its last."""
        return number * self.length, min((number + 1) * self.length, self.rows.weights.shape[1])

    def filled(self, block: np.ndarray) -> np.ndarray:
        """Return a block `[r, steps, b, ...]` with as many steps as every chunk has."""
        lacking = self.length - block.shape[1]
        return block if lacking == 0 else np.pad(block, [(0, 0), (0, lacking), *[(0, 0)] * (block.ndim - 2)])

    def weights(self, number: int) -> np.ndarray:
        """Return the weights of a chunk's images."""
        start, stop = self.bounds(number)
        return self.filled(self.rows.weights[:, start:stop])

    def __getitem__(self, number: int) -> list[np.ndarray]:
        start, stop = self.bounds(number)
        runs, _, batch_size = self.rows.indices.shape
        blocks = blocks_of(self.mesh, (runs, self.length, batch_size))
        indices = self.rows.indices[:, start:stop]
        return [self.filled(self.images[indices[block]]) for block in blocks]


def read_ahead(chunks: Chunks) -> Iterator[tuple[tuple[int, int], Batch]]:
    """Yield which steps a chunk has, and its batches on the devices; the next one is read while one is used.

    Raises:
        JvaeError: Grain is not installed.
    """
    try:
        import grain
    except ImportError as error:
        raise JvaeError("images that do not fit into memory are read with Grain: pip install 'jvae[stream]'") from error
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    for number, blocks in enumerate(grain.MapDataset.source(chunks).to_iter_dataset(ahead)):
        yield chunks.bounds(number), batches_of(blocks, chunks.weights(number), chunks.mesh)


def batches_of(blocks: list[np.ndarray], weights: np.ndarray, mesh: Mesh | None) -> Batch:
    """Return a chunk's batches `[r, steps, b, ...]`, on the devices that need them."""
    if mesh is None:
        return Batch(jnp.asarray(blocks[0]), jnp.asarray(weights))
    places = blocks_of(mesh, weights.shape)

    def images_at(index: Block | None) -> np.ndarray:
        return blocks[places.index((index or ())[:3])]

    shape = (*weights.shape, *blocks[0].shape[3:])
    images = jax.make_array_from_callback(shape, sharding_of(mesh), images_at)
    return Batch(images, place(weights, mesh, RUNS, None, DATA))


def sharding_of(mesh: Mesh) -> NamedSharding:
    """Return the sharding of batches `[r, steps, b, ...]`."""
    return NamedSharding(mesh, PartitionSpec(RUNS, None, DATA))


def blocks_of(mesh: Mesh | None, shape: tuple[int, ...]) -> list[Block]:
    """Return the parts of an array `[r, steps, b]` that this process's devices need, each once."""
    if mesh is None:
        return [(slice(None),) * 3]
    blocks: list[Block] = []
    for block in sharding_of(mesh).addressable_devices_indices_map(shape).values():
        if block is not None and block not in blocks:  # slices cannot be put into a set
            blocks.append(block)
    return blocks
