"""RunNumbers: what a run has of its own, as arrays, so that runs that differ in nothing else share a program."""

from typing import NamedTuple

from jaxtyping import Array, Float, Key


class RunNumbers(NamedTuple):
    """The numbers of a run, all it has of its own; with a leading axis of runs where there are several."""

    init_key: Key[Array, "*r"]
    """Decides the initialisation."""
    key: Key[Array, "*r"]
    """Decides the shuffles and the noise."""
    learning_rate: Float[Array, "*r"]
    beta: Float[Array, "*r"]
