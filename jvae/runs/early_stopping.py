"""Which epoch's model a run keeps and when it stops, judged by the bound of images that it does not train on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jvae.training import TrainState


class EarlyStopping(NamedTuple):
    """What r runs have kept so far."""

    state: TrainState
    """Kept; every array has a leading axis of runs."""
    epoch: Int[np.ndarray, " r"]
    """Whose state it is, from 1."""
    best: Float[np.ndarray, " r"]
    """The highest validation bound so far, in nats per image."""
    waited: Int[np.ndarray, " r"]
    """Epochs since then."""
    running: Bool[np.ndarray, " r"]


def init_early_stopping(state: TrainState, runs: int) -> EarlyStopping:
    """Return what is kept before the first epoch: the untrained states, which any bound improves on."""
    zeros = np.zeros(runs, np.int64)
    return EarlyStopping(state, zeros, np.full(runs, -np.inf), zeros, np.ones(runs, bool))


def update_early_stopping(
    stopping: EarlyStopping,
    trained: TrainState,
    bound: Float[np.ndarray, " r"],
    epoch: int,
    keep_best: bool,
    patience: int,
) -> EarlyStopping:
    """Judge an epoch: keep the runs' trained states, or only the best so far, and stop who waited long.

    A run that has stopped keeps what it has, whatever is computed for it later.

    Args:
        stopping: before the epoch; its state's arrays are not changed.
        trained: the runs' states after the epoch; copied where they are kept.
        bound: their validation bounds, in nats per image.
        epoch: its number, from 1.
        keep_best: keep only an improvement; else every epoch of a run until it stops.
        patience: how many epochs without an improvement stop a run; 0 for never.
    """
    better = stopping.running & (bound > stopping.best)
    waited = np.where(stopping.running & ~better, stopping.waited + 1, np.where(better, 0, stopping.waited))
    kept = better if keep_best else stopping.running
    return EarlyStopping(
        choose(jnp.asarray(kept), trained, stopping.state),
        np.where(kept, epoch, stopping.epoch),
        np.where(better, bound, stopping.best),
        waited,
        stopping.running & ((patience == 0) | (waited < patience)),
    )


def stop_runs(stopping: EarlyStopping, runs: slice) -> EarlyStopping:
    """Stop some runs, whatever their bounds are."""
    running = stopping.running.copy()
    running[runs] = False
    return stopping._replace(running=running)


@jax.jit
def choose(kept: Bool[Array, " r"], new: TrainState, old: TrainState) -> TrainState:
    """Return the new state of every run that is kept, the old of the others."""
    return jax.tree.map(lambda a, b: jnp.where(kept.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
