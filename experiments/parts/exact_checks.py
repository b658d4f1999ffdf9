"""The checks of the exact log-evidence: of the bounds against others of their image, and of log p(x) itself."""

from typing import Any

import numpy as np

KNOWN = 0.01
"""The accuracy, in nats, to which log p(x) of every image must be known."""
WITHIN = 5
"""How many standard errors IWAE may be from the mean of others before it is compared with `RARE` bounds."""


def distances(row: dict[str, Any], own: str = "") -> np.ndarray:
    """Return how many standard errors each image's IWAE, less its bias, is above log p(x).

    Errors and biases are those of repeated bounds, so that this is the distance from their mean: `agree` is the check
    of log p(x). With `own_` they are the delta method's, from the bound's own draws.
    """
    error = np.hypot(row[f"{own or 'standard_'}error"], row["grid_error"])
    return (np.array(row["iwae"]) - row[f"{own}bias"] - row["log_px"]) / error


def mean_distance(row: dict[str, Any]) -> float:
    """Return how many standard errors the images' mean IWAE is above the mean of their repeated bounds."""
    error = np.hypot(np.linalg.norm(row["standard_error"]), np.sum(row["grid_error"]))
    return float(np.sum(np.array(row["iwae"]) - row["bias"] - row["log_px"]) / error)


def is_beyond(away: np.ndarray) -> np.ndarray:
    """Return for every distance whether it is larger than `WITHIN`, or undefined."""
    return ~(np.abs(away) <= WITHIN)


def refuted(row: dict[str, Any]) -> int:
    """Return how many images are beyond `WITHIN`, and not one of `RARE` other bounds of theirs is as far out."""
    return sum(count == 0 for count in row["rare"].values())


def confirmed(row: dict[str, Any]) -> int:
    """Return of how many images the integral over the reach of q(z|x) is log p(x), within `KNOWN`."""
    return int(np.sum(np.abs(np.subtract(row["share"], 1)) <= KNOWN))


def agree(row: dict[str, Any]) -> bool:
    """Return True if log p(x) and the integral over the reach of q(z|x) are equal where q(z|x) reaches p(z|x).

    No more than all of p(z|x) can be within reach, and at least of half of the images all must be.
    """
    return bool(np.max(row["share"]) <= 1 + KNOWN and np.median(row["share"]) >= 1 - KNOWN)
