"""RunNumbers: a run's own numbers as arrays, so that runs that differ only in them share a program."""

from typing import NamedTuple

from jaxtyping import Array, Float, Key


class RunNumbers(NamedTuple):
    """Everything that is a run's own, as numbers; with a leading axis of runs for several."""

    init_key: Key[Array, "*r"]
    """The key of the initialisation."""
    key: Key[Array, "*r"]
    """The key of the shuffles and the noise."""
    learning_rate: Float[Array, "*r"]
    """The step size of the optimizer, before any schedule."""
    beta: Float[Array, "*r"]
    """The weight of the KL, after any warm-up."""
