"""Snapshots: small copies of the parameters over a training, from the untrained ones on, to show how it went.

Planned from the training's length alone, and of the parameters as they stand there, whatever epoch is kept: a training
that was stopped and went on has those of one that was not. Nothing that is trained depends on them.
"""

import math
from typing import Any, NamedTuple, SupportsIndex

import jax
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from jvae.errors import NotEnoughMemoryError
from jvae.runs.fields import FEWEST_SNAPSHOTS, MOST_SNAPSHOTS
from jvae.runs.memory import gib, host_bytes, tree_bytes
from jvae.runs.mesh import agree, fetch
from jvae.runs.plan import whole_number

FIRST_STEPS = 32
"""The spacing is even over about so many steps, in which a network begins to learn, and then geometric."""
COPIES = 3
"""How often the snapshots are in memory while a file is written."""


class Snapshot(NamedTuple):
    """The parameters of all runs at one time of their training."""

    step: int
    """How many steps were taken."""
    epochs: float
    """How many epochs that is."""
    params: PyTree
    """As float16, with an axis of runs."""


class Snapshots(NamedTuple):
    """The snapshots of a training."""

    asked: int
    """How many are taken over the whole training; of one with fewer steps, as many as it has."""
    taken: tuple[Snapshot, ...] = ()
    """Those of the training so far, in order."""


def start_snapshots(asked: SupportsIndex | None, known: Snapshots | None, goes_on: bool) -> Snapshots | None:
    """Return the snapshots that a training begins with: those of the model to go on from, or none yet of so many.

    Args:
        asked: how many over the training; None for none, or as many as the model to go on from has.
        known: the snapshots of that model, if it has any.
        goes_on: whether there is such a model.

    Raises:
        ValueError: the number breaks its rule, or is another than that of the model to go on from.
    """
    if asked is None:
        return known
    number = whole_number("snapshots", asked)
    if not FEWEST_SNAPSHOTS <= number <= MOST_SNAPSHOTS:
        raise ValueError(f"snapshots is {number}: must be from {FEWEST_SNAPSHOTS} to {MOST_SNAPSHOTS}")
    if goes_on and (known is None or known.asked != number):
        theirs = "it has none, and they begin with the untrained network" if known is None else f"it has {known.asked}"
        raise ValueError(f"snapshots is {number}: must be as of the model to go on from: {theirs}")
    return known or Snapshots(number)


def planned_steps(asked: int, total: int) -> list[int]:
    """Return after how many of a training's steps its snapshots are taken, from 0 to the last.

    The i-th of n is at s ((1 + total / s)^(i / (n - 1)) - 1) with s = 32 steps, rounded: even at first, then geometric,
    for what there is to see happens within the first epoch, however many there are.
    """
    steps = FIRST_STEPS * np.expm1(np.linspace(0, math.log1p(total / FIRST_STEPS), asked))
    return sorted({min(total, round(step)) for step in steps.tolist()})


def take_snapshot(snapshots: Snapshots, step: int, epochs: float, params: PyTree) -> Snapshots:
    """Return the snapshots with another one, of all runs' parameters after so many steps, which are so many epochs."""
    small = jax.tree.map(halved, jax.device_get(fetch(params)))
    return snapshots._replace(taken=(*snapshots.taken, Snapshot(step, epochs, small)))


def halved(leaf: Shaped[Array | np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Return numbers as float16, those beyond its range at its ends; whole numbers as they are."""
    array = np.asarray(leaf)
    if half_dtype(array.dtype) == array.dtype:
        return array
    most = float(np.finfo(np.float16).max)
    return np.clip(array.astype(np.float32), -most, most).astype(np.float16)


def half_dtype(dtype: Any) -> np.dtype:
    """Return the type of a snapshot's numbers, of parameters of a type."""
    return np.dtype(np.float16) if jax.numpy.issubdtype(dtype, np.floating) else np.dtype(dtype)


def half_shapes(shapes: PyTree) -> PyTree:
    """Return the shapes and dtypes of a snapshot of parameters with these."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, half_dtype(leaf.dtype)), shapes)


def params_of(snapshot: Snapshot, like: PyTree) -> PyTree:
    """Return a snapshot's parameters in the types of others."""
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
    """Raise a NotEnoughMemoryError, in all processes, unless the host's memory takes the snapshots."""
    need, available = COPIES * snapshots.asked * tree_bytes(half_shapes(shapes)), host_bytes()
    if agree(int(need > available)):
        what = f"{snapshots.asked} snapshots of the parameters"
        raise NotEnoughMemoryError(f"{what} need {gib(need)} of memory: {gib(available)} are available")
