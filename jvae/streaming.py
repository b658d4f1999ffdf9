"""Streaming: epochs over images that stay on the disk, read ahead in pieces while the steps before them are computed.

The batches are those of the resident path: the same images in the same order for the same key. Every process reads
only the images of its own runs and its own part of each batch.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from jvae.errors import JvaeError
from jvae.lanes import Lane
from jvae.parallel import DATA, RUNS, fetch, place
from jvae.training import Batch, EpochResult, Steps, TrainState, epoch_rows, summarise

PIECE_BYTES = 2**26
SHARE_OF_MEMORY = 0.5
Block = tuple[slice, ...]


class Rows(NamedTuple):
    """Which images every batch of an epoch has."""

    indices: Int[np.ndarray, "r steps b"]
    weights: Float[np.ndarray, "r steps b"]


def fits_in_memory(num_bytes: int) -> bool:
    """Whether that much data leaves enough of the first device's memory to train on it."""
    statistics = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    memory = statistics.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return num_bytes <= SHARE_OF_MEMORY * memory


def fit_streamed(
    take_steps: Callable[[TrainState, Lane, Batch], tuple[TrainState, Steps]],
    states: TrainState,
    lanes: Lane,
    images: np.ndarray,
    kept: Int[np.ndarray, " n"] | None,
    epochs: int,
    batch_size: int,
    mesh: Mesh | None,
) -> Iterator[tuple[TrainState, EpochResult]]:
    """Run the epochs and yield `(states, results)` after each, as `training.fit` does for images in memory.

    The states that were yielded are donated to the next epoch.

    Args:
        take_steps: of `make_steps_of_lanes`.
        states: of all lanes.
        lanes: what the runs have of their own.
        images: uint8[n, h, w, c], such as a memory-mapped file.
        kept: the images that are trained on; all of them for None.
        epochs: how many.
        batch_size: b.
        mesh: where the lanes and the batches are spread, if they are.

    Raises:
        JvaeError: Grain, which reads ahead, is not installed.
    """
    num_images = len(images) if kept is None else len(kept)
    states, placed = place(states, mesh, RUNS), place(lanes, mesh, RUNS)
    rows_of = jax.jit(jax.vmap(partial(epoch_rows, num_images=num_images, batch_size=batch_size)))
    compiled = jax.jit(take_steps, donate_argnums=0)
    for _ in range(epochs):
        indices, weights = map(np.asarray, rows_of(lanes.key, fetch(states.step)))
        rows = Rows(indices if kept is None else kept[indices], weights)
        taken: list[Steps] = []
        for batches in read_ahead(images, rows, mesh):
            states, steps = compiled(states, placed, batches)
            jax.block_until_ready(taken[-1:])  # so that only one piece waits on the device
            taken.append(steps)
        yield states, joined(jax.device_get(fetch(taken)))


def joined(taken: Sequence[Steps]) -> EpochResult:
    """The result of an epoch, run by run, whose steps were taken in pieces."""
    metrics, sizes = jax.tree.map(
        lambda *parts: jnp.concatenate(parts, axis=1), *((steps.metrics, steps.sizes) for steps in taken)
    )
    return jax.jit(jax.vmap(summarise))(Steps(metrics, sizes, taken[-1].params_finite))


class Pieces:
    """An epoch's batches in pieces of some steps each: a random-access source, as Grain's are.

    A piece is a list of blocks, those that this process's devices need, in the order of `blocks_of`.
    """

    def __init__(self, images: np.ndarray, rows: Rows, mesh: Mesh | None) -> None:
        runs, steps, batch_size = rows.indices.shape
        step_bytes = runs * batch_size * int(np.prod(images.shape[1:]))
        length = max(1, min(steps, PIECE_BYTES // max(1, step_bytes)))
        self.bounds = [(start, min(start + length, steps)) for start in range(0, steps, length)]
        self.images, self.rows, self.mesh = images, rows, mesh

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, number: int) -> list[np.ndarray]:
        start, stop = self.bounds[number]
        indices = self.rows.indices[:, start:stop]
        return [self.images[indices[block]] for block in blocks_of(self.mesh, indices.shape)]


def read_ahead(images: np.ndarray, rows: Rows, mesh: Mesh | None) -> Iterator[Batch]:
    """The pieces of an epoch as batches `[r, steps, b, ...]` on the devices; the next is read while one is used.

    Raises:
        JvaeError: Grain is not installed.
    """
    try:
        import grain
    except ImportError as error:
        raise JvaeError("images that do not fit into memory are read with Grain: pip install 'jvae[stream]'") from error
    pieces = Pieces(images, rows, mesh)
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    for number, blocks in enumerate(grain.MapDataset.source(pieces).to_iter_dataset(ahead)):
        start, stop = pieces.bounds[number]
        weights = rows.weights[:, start:stop]
        if mesh is None:
            yield Batch(jnp.asarray(blocks[0]), jnp.asarray(weights))
            continue
        places, sharding = blocks_of(mesh, weights.shape), sharding_of(mesh)

        def images_at(index: Block | None) -> np.ndarray:
            return blocks[places.index((index or ())[:3])]  # noqa: B023  called at once

        shape = (*weights.shape, *images.shape[1:])
        yield Batch(jax.make_array_from_callback(shape, sharding, images_at), place(weights, mesh, RUNS, None, DATA))


def sharding_of(mesh: Mesh) -> NamedSharding:
    """Of batches `[r, steps, b, ...]`."""
    return NamedSharding(mesh, PartitionSpec(RUNS, None, DATA))


def blocks_of(mesh: Mesh | None, shape: tuple[int, ...]) -> list[Block]:
    """The parts of an array `[r, steps, b]` that this process's devices need, each once."""
    if mesh is None:
        return [(slice(None),) * 3]
    blocks: list[Block] = []
    for block in sharding_of(mesh).addressable_devices_indices_map(shape).values():
        if block is not None and block not in blocks:  # slices cannot be put into a set
            blocks.append(block)
    return blocks
