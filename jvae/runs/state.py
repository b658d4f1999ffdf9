"""LoopState: everything that changes in a training, as one pytree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from jvae.training import StepMetrics, TrainState, init_step_metrics


class LoopState(NamedTuple):
    """Where r runs stand and what they have kept; saved as it is, and gone on from as it is.

    The counters are the host's, the rest the devices'.
    """

    runs: TrainState
    """Where the runs stand; a leading axis of runs on every array."""
    step_metrics: StepMetrics
    """Of the epoch's steps so far, [r, steps]."""
    kept: PyTree | None
    """The parameters that the runs keep, with an axis of runs; None without validation, where they are the last."""
    epoch: Int[np.ndarray, ""]
    """Which epoch, from 1."""
    done: Int[np.ndarray, ""]
    """How many of its steps are taken."""
    kept_epoch: Int[np.ndarray, " r"]
    """Whose parameters are kept."""
    best: Float[np.ndarray, " r"]
    """The highest validation bound so far, in nats per datum; minus infinity while the KL's weight rises at first."""
    waited: Int[np.ndarray, " r"]
    """Epochs since then."""
    running: Bool[np.ndarray, " r"]
    """Whether a run goes on."""

    @property
    def params(self) -> PyTree[Array]:
        """What the runs have learned: the parameters that they keep, or the last."""
        return self.runs.params if self.kept is None else self.kept

    @property
    def num_steps(self) -> int:
        """The steps of an epoch."""
        return self.step_metrics.sizes.shape[-1]

    @property
    def epoch_is_over(self) -> bool:
        """Whether all steps of the epoch are taken."""
        return int(self.done) == self.num_steps

    @property
    def steps_taken(self) -> int:
        """How many steps of the training are taken, if all of its epochs have as many as the present one."""
        return (int(self.epoch) - 1) * self.num_steps + int(self.done)


def init_loop_state(runs: TrainState, num_steps: int, validated: bool) -> LoopState:
    """Return the state before the first step: nothing is taken, and any bound is an improvement."""
    kept = jax.tree.map(jnp.copy, runs.params) if validated else None
    return LoopState(runs, init_step_metrics(runs, num_steps), kept, *make_counters(runs.step.shape[0]))


def make_counters(runs: int) -> tuple[Shaped[np.ndarray, "*r"], ...]:
    """Return the counters of so many runs before the first step."""
    zero, zeros = np.zeros((), np.int64), np.zeros(runs, np.int64)
    return np.ones_like(zero), zero, zeros, np.full(runs, -np.inf), zeros, np.ones(runs, bool)


def runs_of(loop: LoopState, rows: slice) -> LoopState:
    """Return the state of some of the runs."""
    return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, loop)
