"""Schedules: how the step size and the KL's weight change over a training."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jvae.recipe import KlWeight

MOST_STEPS = 2**31 - 1
Rate = float | Float[Array, ""]
FALLING: dict[str, Callable[[Rate, int], optax.Schedule]] = {
    "constant": lambda rate, steps: optax.constant_schedule(rate),
    "linear": lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
    "cosine": lambda rate, steps: optax.cosine_decay_schedule(rate, steps),
}
"""The schedules by their names on the command line: (learning rate, steps) -> schedule."""


def rounded_steps(epochs: float, steps_per_epoch: int) -> int:
    """Return a number of epochs as whole steps, at least one unless it is zero, and at most what a step can count."""
    return 0 if epochs == 0 else max(1, min(round(epochs * steps_per_epoch), MOST_STEPS))


def kl_weight(beta: Rate, rising: int) -> KlWeight:
    """Return the KL's weight as a function of the step: beta, or a linear rise from 0 to it over `rising` steps."""
    if rising == 0:
        return lambda step: jnp.asarray(beta)
    return optax.linear_schedule(0.0, beta, rising)


def step_size(rate: Rate, schedule: str, rising: int, steps: int) -> Rate | optax.Schedule:
    """Return the step size over `steps` steps: a linear rise from 0 over `rising` steps, then a schedule of FALLING."""
    if schedule == "constant" and rising == 0:
        return rate
    later = FALLING[schedule](rate, max(1, steps - rising))
    if rising == 0:
        return later
    return optax.join_schedules([optax.linear_schedule(0.0, rate, rising), later], [rising])
