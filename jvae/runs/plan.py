"""Plan: how long, on which batches and from which seeds a recipe is trained, and how its epochs are judged."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int

from jvae.errors import whole_number
from jvae.runs.config import Config

Validation = Literal["none", "held-out", "test"]
Keep = Literal["last", "best"]


class Plan(NamedTuple):
    """Everything that defines a training, apart from its recipe and its data."""

    epochs: int
    """Passes over the training data, including those of a model that is resumed."""
    batch_size: int
    """Data per step; the last step of an epoch may have fewer."""
    seeds: tuple[int, ...] = (0,)
    """One seed per run, which decides its initialisation, shuffles and noise."""
    validation: Validation = "none"
    """The data whose bound judges every epoch: none, a held-out part of the training data, or the test set."""
    held_out: float = 0.1
    """The share of the training data that validation `held-out` holds out."""
    keep: Keep = "last"
    """The epoch whose parameters are kept: the last, or the one with the best validation bound.

    An epoch that begins while the KL's weight still rises is never the best, for it maximises another bound; a training
    with no other epoch keeps the last."""
    patience: int = 0
    """A run stops after this many epochs that could be the best but have no better validation bound; 0 for never."""


def make_plan(
    epochs: SupportsIndex,
    batch_size: SupportsIndex,
    seeds: Iterable[SupportsIndex],
    validation: Validation,
    held_out: float,
    keep: Keep,
    patience: SupportsIndex,
) -> Plan:
    """Return the plan with these values; NumPy's and JAX's numbers become Python's.

    Raises:
        ValueError: a value breaks its rule.
    """
    try:
        whole = tuple(whole_number("seeds", seed) for seed in seeds)
    except TypeError as error:
        raise ValueError(f"seeds is {seeds!r}: must be a sequence, one seed per run") from error
    named = {"epochs": epochs, "batch_size": batch_size, "patience": patience}
    sizes = [whole_number(name, size) for name, size in named.items()]
    try:
        share = float(held_out)
    except (TypeError, ValueError) as error:
        raise ValueError(f"held_out is {held_out!r}: must be a number") from error
    plan = Plan(sizes[0], sizes[1], whole, validation, share, keep, sizes[2])
    check_plan(plan)
    if validation != "held-out" and share != Plan._field_defaults["held_out"]:
        raise ValueError(f"held_out is {share:g}: applies only with validation held-out, not {validation}")
    return plan


def plan_of(config: Config) -> Plan:
    """Return a configuration's plan."""
    seeds = tuple(range(config.seed, config.seed + config.runs))
    judged = (config.validation, config.held_out, config.keep, config.patience)
    return Plan(config.epochs, config.batch_size, seeds, *judged)


def check_plan(plan: Plan) -> None:
    """Raise a ValueError that names the field, its value and the rule unless the plan is valid."""
    for name in ("epochs", "batch_size", "patience"):
        value, least = getattr(plan, name), 0 if name == "patience" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}: must be a whole number, at least {least}")
    if not plan.seeds:
        raise ValueError("seeds is empty: must have one seed per run")
    for seed in plan.seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seeds has {seed!r}: must be whole numbers from 0 to 2^32 - 1")
    if repeated := [seed for seed, count in Counter(plan.seeds).items() if count > 1]:
        raise ValueError(f"seeds has {repeated[0]} more than once: must be different, or runs are the same")
    for name, choices in (("validation", ("none", "held-out", "test")), ("keep", ("last", "best"))):
        if getattr(plan, name) not in choices:
            raise ValueError(f"{name} is {getattr(plan, name)!r}: must be one of {', '.join(choices)}")
    if not (math.isfinite(plan.held_out) and 0 < plan.held_out <= 0.9):
        raise ValueError(f"held_out is {plan.held_out}: must be above 0 and at most 0.9")
    for name, default in (("keep", "last"), ("patience", 0)):
        if plan.validation == "none" and getattr(plan, name) != default:
            raise ValueError(f"{name} is {getattr(plan, name)}: applies only with validation held-out or test")


def split_rows(plan: Plan, num_data: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " v"] | None]:
    """Return the indices of the data to train on, and of those held out to judge the epochs, or None.

    Held-out data are chosen at random, the same for every seed and run.

    Raises:
        ValueError: the held-out share is no datum at all, or every datum.
    """
    if plan.validation != "held-out":
        return np.arange(num_data), None
    count = round(plan.held_out * num_data)
    if not 0 < count < num_data:
        raise ValueError(
            f"held_out is {plan.held_out:g}: is {count} of {num_data} training images, must be some but not all"
        )
    order = np.random.default_rng(0).permutation(num_data)
    return np.sort(order[count:]), np.sort(order[:count])
