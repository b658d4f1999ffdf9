"""Snapshots: small copies of the parameters over a training, from the initial ones on, to show its progress.

Their times depend on the training's length alone, and they hold the current parameters, whichever epoch is kept: a
resumed training has the same snapshots as an uninterrupted one. The training does not depend on them.
"""

import math
from typing import Any, NamedTuple, SupportsIndex

import jax
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from jvae.errors import NotEnoughMemoryError, whole_number
from jvae.runs.fields import FEWEST_SNAPSHOTS, MOST_SNAPSHOTS
from jvae.runs.memory import gib, host_bytes, tree_bytes
from jvae.runs.mesh import agree, fetch

FIRST_STEPS = 32
"""The spacing is even over about this many steps, in which a network begins to learn, and then geometric."""
COPIES = 3
"""The number of copies of the snapshots in memory while a file is written."""


class Snapshot(NamedTuple):
    """The parameters of all runs at one step of their training."""

    step: int
    """The number of steps taken."""
    epochs: float
    """The same in epochs."""
    params: PyTree
    """The parameters as float16, with an axis of runs."""


class Snapshots(NamedTuple):
    """The snapshots of a training."""

    asked: int
    """The number of snapshots over the whole training; a training with fewer steps has one per step."""
    taken: tuple[Snapshot, ...] = ()
    """The snapshots so far, in order."""


def start_snapshots(asked: SupportsIndex | None, known: Snapshots | None, goes_on: bool) -> Snapshots | None:
    """Return the snapshots that a training starts with: those of the model to resume, or none yet.

    Args:
        asked: the number over the training; None for none, or for as many as the model to resume has.
        known: the snapshots of the model to resume, if it has any.
        goes_on: True if there is a model to resume.

    Raises:
        ValueError: the number is out of range, or differs from that of the model to resume.
    """
    if asked is None:
        return known
    number = whole_number("snapshots", asked)
    if not FEWEST_SNAPSHOTS <= number <= MOST_SNAPSHOTS:
        raise ValueError(f"snapshots is {number}: must be from {FEWEST_SNAPSHOTS} to {MOST_SNAPSHOTS}")
    if goes_on and (known is None or known.asked != number):
        theirs = "it has none, and they begin with the initial network" if known is None else f"it has {known.asked}"
        raise ValueError(f"snapshots is {number}: must be as in the model to resume: {theirs}")
    return known or Snapshots(number)


def planned_steps(asked: int, total: int) -> list[int]:
    """Return the steps of a training after which its snapshots are taken, from 0 to the last.

    The i-th of n is at s ((1 + total / s)^(i / (n - 1)) - 1) with s = 32 steps, rounded. The spacing is even at first
    and then geometric, because most of the change happens within the first epoch of any training.
    """
    steps = FIRST_STEPS * np.expm1(np.linspace(0, math.log1p(total / FIRST_STEPS), asked))
    return sorted({min(total, round(step)) for step in steps.tolist()})


def take_snapshot(snapshots: Snapshots, step: int, epochs: float, params: PyTree) -> Snapshots:
    """Return the snapshots with one more: all runs' parameters after `step` steps, which are `epochs` epochs."""
    small = jax.tree.map(halved, jax.device_get(fetch(params)))
    return snapshots._replace(taken=(*snapshots.taken, Snapshot(step, epochs, small)))


def halved(leaf: Shaped[Array | np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Return floats as float16, clipped to its range, and integers unchanged."""
    array = np.asarray(leaf)
    if half_dtype(array.dtype) == array.dtype:
        return array
    most = float(np.finfo(np.float16).max)
    return np.clip(array.astype(np.float32), -most, most).astype(np.float16)


def half_dtype(dtype: Any) -> np.dtype:
    """Return the dtype in a snapshot of parameters of a dtype."""
    return np.dtype(np.float16) if jax.numpy.issubdtype(dtype, np.floating) else np.dtype(dtype)


def half_shapes(shapes: PyTree) -> PyTree:
    """Return the shapes and dtypes of a snapshot of parameters with these shapes and dtypes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, half_dtype(leaf.dtype)), shapes)


def params_of(snapshot: Snapshot, like: PyTree) -> PyTree:
    """Return a snapshot's parameters in the dtypes of the tree `like`."""
    return jax.tree.map(lambda small, leaf: jax.numpy.asarray(small, leaf.dtype), snapshot.params, like)


def rows_of(snapshots: Snapshots, rows: slice, epochs: float = math.inf) -> Snapshots:
    """Return the snapshots of some of the runs, up to an epoch."""
    taken = [
        snapshot._replace(params=jax.tree.map(lambda leaf: leaf[rows], snapshot.params))
        for snapshot in snapshots.taken
        if snapshot.epochs <= epochs
    ]
    return snapshots._replace(taken=tuple(taken))


def check_room(snapshots: Snapshots, shapes: PyTree) -> None:
    """Raise a NotEnoughMemoryError, in all processes, unless the snapshots fit in the host's memory."""
    need, available = COPIES * snapshots.asked * tree_bytes(half_shapes(shapes)), host_bytes()
    if agree(int(need > available)):
        what = f"{snapshots.asked} snapshots of the parameters"
        raise NotEnoughMemoryError(f"{what} need {gib(need)} of memory: {gib(available)} are available")
