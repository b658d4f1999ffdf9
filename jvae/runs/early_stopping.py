"""Early stopping: which epoch's parameters a run keeps and when it stops, judged by the bound of other data."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jvae.runs.state import LoopState


def judge_epoch(loop: LoopState, bound: Float[np.ndarray, " r"], keep_best: bool, patience: int) -> LoopState:
    """Keep the runs' parameters, or only those that are the best so far, and stop the runs that have waited long.

    A run that has stopped keeps what it has, whatever is computed for it later.

    Args:
        loop: after an epoch.
        bound: its validation bounds, in nats per datum; larger is better.
        keep_best: keep only an improvement; else every epoch of a run until it stops.
        patience: how many epochs without an improvement stop a run; 0 for never.
    """
    running = loop.running
    better = running & (bound > loop.best)
    waited = np.where(running & ~better, loop.waited + 1, np.where(better, 0, loop.waited))
    kept = better if keep_best else running
    return loop._replace(
        kept=choose(jnp.asarray(kept), loop.runs.params, loop.kept),
        kept_epoch=np.where(kept, loop.epoch, loop.kept_epoch),
        best=np.where(better, bound, loop.best),
        waited=waited,
        running=running & ((patience == 0) | (waited < patience)),
    )


def stop_runs(loop: LoopState, runs: slice) -> LoopState:
    """Stop some runs, whatever their bounds are."""
    running = loop.running.copy()
    running[runs] = False
    return loop._replace(running=running)


@jax.jit
def choose(kept: Bool[Array, " r"], new: PyTree, old: PyTree) -> PyTree:
    """Return the new parameters of every run that keeps them, the old of the others."""
    return jax.tree.map(lambda a, b: jnp.where(kept.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
