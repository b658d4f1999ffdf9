"""Importance-weighted bounds of single images: one of each, and as many others as their distribution takes.

IWAE-K is the logarithm of a mean of K weights w = p(x, z) / q(z|x). How it is distributed follows from how the weights
are, and with two latent dimensions q(z|x) is a sum over cells of the plane: what a bound draws is how many of its K
draws fall into each cell. So a million bounds cost little, and a weight that one of thousands of bounds meets is met.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from scipy.special import logsumexp

from experiments.parts.evidence import grid_over, log_joint_rows
from jvae.bounds import draw, elbo, log_weights
from jvae.vae import VAE

DRAWS_AT_A_TIME = 50
REPEATS_AT_A_TIME = 1000
"""The number of bounds whose counts are drawn together, so that they fit in memory."""
WIDTH = 7
"""How many standard deviations draws of q(z|x) are from its mean, at most."""
STEP = 0.02
"""The range of log-weights, in nats, whose cells are one: the error of a bound is some thousandths of its spread."""


class Importance(NamedTuple):
    """Bounds of n images from K draws each, in nats, with error and bias of the log of the mean weight."""

    elbo: Float[np.ndarray, " n"]
    log_weights: Float[np.ndarray, "k n"]
    """log p(x, z) - log q(z|x)."""

    def bound(self, num_samples: int) -> Float[np.ndarray, " n"]:
        """Return the IWAE bound of each image: its mean over groups of num_samples draws."""
        groups = len(self.log_weights) // num_samples
        draws = self.log_weights[: groups * num_samples].reshape(groups, num_samples, -1)
        return np.mean([logsumexp(group, axis=0) for group in draws], axis=0) - np.log(num_samples)

    def relative_variance(self) -> Float[np.ndarray, " n"]:
        """Return the variance of each image's weights over their squared mean."""
        return np.var(np.exp(self.log_weights - self.bound(len(self.log_weights))), axis=0, ddof=1)

    def effective_sample_size(self) -> Float[np.ndarray, " n"]:
        """Return how many draws of p(z|x) each image's weighted draws are worth."""
        return len(self.log_weights) / (1 + self.relative_variance())

    def standard_error(self) -> Float[np.ndarray, " n"]:
        """Return the standard error of the log of each image's mean weight, by the delta method."""
        return np.sqrt(self.relative_variance() / len(self.log_weights))

    def bias(self) -> Float[np.ndarray, " n"]:
        """Return the bias of the log of each image's mean weight, to second order: the logarithm is concave."""
        return -self.relative_variance() / (2 * len(self.log_weights))


def importance(model: VAE, params: PyTree, key: PRNGKeyArray, x: Float[Array, "n ..."], num_samples: int) -> Importance:
    """Draw K times from q(z|x) of each datum, as the decoder models it, and return its bounds."""

    @jax.jit
    def bounds(params: PyTree, key: PRNGKeyArray) -> tuple[Any, Any]:
        d = draw(lambda k, x: model.apply(params, k, x), key, x, num_samples, DRAWS_AT_A_TIME)
        return elbo(d), log_weights(d)

    return Importance(*(np.asarray(v, np.float64) for v in bounds(params, key)))


class Cells(NamedTuple):
    """The weights that draws of a datum's q(z|x) may have, and how often each is drawn."""

    share: Float[np.ndarray, " c"]
    """The probability of each weight; they sum to one."""
    log_weight: Float[np.ndarray, " c"]
    """In nats."""
    log_held: float
    """The logarithm, in nats, of the integral of p(x, z) over the cells' part of the plane."""

    def bounds(self, num_samples: int, repeats: int, seed: int = 0) -> Float[np.ndarray, " r"]:
        """Return `repeats` bounds IWAE-K, in nats.

        How many of the K draws meet each weight are Poisson variables, and their sum, near K, is divided by.
        """
        rng, found = np.random.default_rng(seed), np.empty(repeats)
        for start in range(0, repeats, REPEATS_AT_A_TIME):
            part = found[start : start + REPEATS_AT_A_TIME]
            counts = rng.poisson(num_samples * self.share, (len(part), len(self.share)))
            largest = np.max(np.where(counts > 0, self.log_weight, -np.inf), axis=1, keepdims=True)
            sums = np.sum(counts * np.exp(np.minimum(self.log_weight - largest, 0)), axis=1)
            part[:] = largest[:, 0] + np.log(sums / counts.sum(axis=1))
        return found


def cells_of(
    model: VAE,
    params: PyTree,
    x: Float[Array, "1 ..."],
    loc: Float[np.ndarray, "2"],
    scale: Float[np.ndarray, "2"],
    side: int = 100,
) -> Cells:
    """Return a datum's weights on side x side cells over seven standard deviations of q(z|x).

    A cell's weight is that at its middle; cells whose weights differ by at most `STEP` are one, with their mean weight.

    Args:
        model: of one level, with two latent dimensions; compared by value.
        params: the model's parameters.
        x: the datum, as the decoder models it.
        loc: the mean of q(z|x).
        scale: the standard deviations of q(z|x).
        side: the number of cells along each axis.
    """
    grid = grid_over(loc - WIDTH * scale, loc + WIDTH * scale, side)
    joint = np.stack([row[:, 0] for row in log_joint_rows(model, params, x, grid)])
    axis = np.linspace(-WIDTH, WIDTH, side)
    log_q = -0.5 * (axis[:, None] ** 2 + axis**2)
    log_weight = (joint - log_q + np.log(2 * np.pi) + np.sum(np.log(scale))).ravel()
    share = np.exp(log_q - logsumexp(log_q)).ravel()
    lowest, alike = np.unique(np.floor(log_weight / STEP), return_inverse=True)
    shares = np.bincount(alike, share)
    mean = np.bincount(alike, share * np.exp(log_weight - STEP * lowest[alike])) / shares
    return Cells(shares, STEP * lowest + np.log(mean), float(logsumexp(joint) + grid.log_area))


def as_far(bounds: Float[np.ndarray, " r"], found: float, error: float = 0.0) -> int:
    """Return how many bounds are as far from their mean as one that was found, on its side, or within `error` of it."""
    mean = bounds.mean()
    side = 1.0 if found >= mean else -1.0
    return int(np.sum(side * (bounds - mean) >= side * (found - mean) - error))
