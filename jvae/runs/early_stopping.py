"""Early stopping: which epoch's parameters a run keeps, and when it stops, judged by the bound of validation data.

While the KL's weight still rises, training maximises another bound. So an epoch of the warm-up is never the best, and
does not count towards `patience`; until the warm-up is over, the latest parameters are kept.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jvae.recipe import KlWeight
from jvae.runs.state import LoopState


def judge_epoch(
    loop: LoopState,
    bound: Float[np.ndarray, " r"],
    keep_best: bool,
    patience: int,
    warming_up: Bool[np.ndarray, " r"],
) -> LoopState:
    """Keep the runs' parameters, or only those with the best bound so far, and stop the runs whose patience is over.

    A stopped run keeps its parameters, whatever is computed for it later. A run in its warm-up keeps its latest
    parameters, unless it has a best epoch already, and its patience does not shrink.

    Args:
        loop: the state after an epoch.
        bound: the epoch's validation bounds, in nats per datum; larger is better.
        keep_best: keep only an improvement; otherwise every epoch until the run stops.
        patience: stop a run after this many epochs without an improvement; 0 for never.
        warming_up: the runs whose KL had not reached its full weight when the epoch began.
    """
    running = loop.running
    judged = running & ~warming_up
    better = judged & (bound > loop.best)
    waited = np.where(judged & ~better, loop.waited + 1, np.where(better, 0, loop.waited))
    kept = better | (running & warming_up & (loop.best == -np.inf)) if keep_best else running
    return loop._replace(
        kept=choose(jnp.asarray(kept), loop.runs.params, loop.kept),
        kept_epoch=np.where(kept, loop.epoch, loop.kept_epoch),
        best=np.where(better, bound, loop.best),
        waited=waited,
        running=running & ((patience == 0) | (waited < patience)),
    )


def is_warming_up(kl_weight: KlWeight | None, epoch: int, epochs: int, num_steps: int) -> bool:
    """Return True if the KL's weight at an epoch's first step is below that at the training's last step.

    Args:
        kl_weight: the recipe's.
        epoch: the epoch, from 1.
        epochs: the epochs of the training.
        num_steps: the steps of an epoch.
    """
    if kl_weight is None:
        return False
    first = (epoch - 1) * num_steps
    last = max(epochs * num_steps - 1, first + 1)  # an epoch of one step begins with the last
    return bool(kl_weight(jnp.int32(first)) < kl_weight(jnp.int32(last)))


def stop_runs(loop: LoopState, runs: slice) -> LoopState:
    """Stop some runs, regardless of their bounds."""
    running = loop.running.copy()
    running[runs] = False
    return loop._replace(running=running)


@jax.jit
def choose(kept: Bool[Array, " r"], new: PyTree, old: PyTree) -> PyTree:
    """Return the new parameters of every run in `kept`, and the old ones of the others."""
    return jax.tree.map(lambda a, b: jnp.where(kept.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
