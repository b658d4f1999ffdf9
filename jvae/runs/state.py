"""LoopState: everything that changes in a training, as one PyTree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from jvae.training import StepMetrics, TrainState, init_step_metrics


class LoopState(NamedTuple):
    """The state of r runs and the parameters that they keep; saved and restored unchanged.

    The counters are on the host, the rest on the devices.
    """

    runs: TrainState
    """The runs' states, with a leading axis of runs on every array."""
    step_metrics: StepMetrics
    """The metrics of the epoch's steps so far, [r, steps]."""
    kept: PyTree | None
    """The parameters that the runs keep, with an axis of runs; None without validation, as they are then the last."""
    epoch: Int[np.ndarray, ""]
    """The epoch, from 1."""
    done: Int[np.ndarray, ""]
    """The number of its steps that are taken."""
    kept_epoch: Int[np.ndarray, " r"]
    """The epoch whose parameters are kept."""
    best: Float[np.ndarray, " r"]
    """The highest validation bound so far, in nats per datum; minus infinity during the KL's warm-up."""
    waited: Int[np.ndarray, " r"]
    """The number of epochs since `best`."""
    running: Bool[np.ndarray, " r"]
    """True for the runs that have not stopped."""

    @property
    def params(self) -> PyTree[Array]:
        """The learned parameters: those that the runs keep, or the last."""
        return self.runs.params if self.kept is None else self.kept

    @property
    def num_steps(self) -> int:
        """The number of steps in an epoch."""
        return self.step_metrics.sizes.shape[-1]

    @property
    def in_part(self) -> str:
        """The words after a number of epochs that say if the last of them is not over."""
        return "" if self.epoch_is_over else ", the last of them in part"

    @property
    def epoch_is_over(self) -> bool:
        """True if all steps of the epoch are taken."""
        return int(self.done) == self.num_steps

    @property
    def steps_taken(self) -> int:
        """The number of steps of the training that are taken, if all its epochs are as long as the current one."""
        return (int(self.epoch) - 1) * self.num_steps + int(self.done)


def init_loop_state(runs: TrainState, num_steps: int, validated: bool) -> LoopState:
    """Return the state before the first step, for which any bound is an improvement."""
    kept = jax.tree.map(jnp.copy, runs.params) if validated else None
    return LoopState(runs, init_step_metrics(runs, num_steps), kept, *make_counters(runs.step.shape[0]))


def make_counters(runs: int) -> tuple[Shaped[np.ndarray, "*r"], ...]:
    """Return the counters of `runs` runs before the first step."""
    zero, zeros = np.zeros((), np.int64), np.zeros(runs, np.int64)
    return np.ones_like(zero), zero, zeros, np.full(runs, -np.inf), zeros, np.ones(runs, bool)


def runs_of(loop: LoopState, rows: slice) -> LoopState:
    """Return the state of some of the runs."""
    return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, loop)
