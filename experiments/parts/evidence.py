"""The log-evidence of a model with two latent dimensions: the integral of p(z) p(x|z) over z, as a sum over a grid.

A grid over the whole plane finds where p(z|x) is; a finer one, over the box of each datum, is summed. Along each axis
the points are evenly spaced. For smooth integrands that vanish at the border such a sum converges faster than any power
of the spacing, so that the difference from a coarser grid exceeds its error.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.special import logsumexp

from jvae.vae import VAE

OUTSIDE = 1e-6
"""The share of p(z|x) that may lie beyond each side of a box."""
FRAME = 0.02
"""The share of each axis, at each end, that counts as the border."""


class Grid(NamedTuple):
    """Points of the latent plane, evenly spaced along each axis."""

    first: Float[np.ndarray, " n"]
    second: Float[np.ndarray, " m"]

    @property
    def spacing(self) -> tuple[float, float]:
        """The distance between neighbours along each axis."""
        return float(np.ptp(self.first)) / (len(self.first) - 1), float(np.ptp(self.second)) / (len(self.second) - 1)

    @property
    def log_area(self) -> float:
        """The logarithm of the area that a point stands for."""
        return float(np.sum(np.log(self.spacing)))

    def coarser(self) -> "Grid":
        """Return every second point along each axis."""
        return Grid(self.first[::2], self.second[::2])


def mass_boxes(
    model: VAE, params: PyTree, x: Float[Array, "n ..."], grid: Grid
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Return the lower and upper corners of boxes that hold each datum's p(z|x), up to a millionth on each side.

    Args:
        model: of one level, with two latent dimensions; compared by value.
        params: the model's parameters.
        x: the data, as the decoder models them.
        grid: covers all of p(z|x), with a spacing that resolves it; the boxes reach two points further.
    """
    marginals = [np.full((len(axis), len(x)), -np.inf) for axis in grid]
    for i, row in enumerate(log_joint_rows(model, params, x, grid)):
        marginals[0][i] = logsumexp(row, axis=0)
        marginals[1] = np.logaddexp(marginals[1], row)
    low, high = np.empty((2, len(x), 2))
    for j, (axis, marginal, step) in enumerate(zip(grid, marginals, grid.spacing, strict=True)):
        share = np.cumsum(np.exp(marginal - logsumexp(marginal, axis=0)), axis=0)
        low[:, j] = axis[np.argmax(share > OUTSIDE, axis=0)] - 2 * step
        high[:, j] = axis[np.argmax(share >= 1 - OUTSIDE, axis=0)] + 2 * step
    return low, high


class Evidence(NamedTuple):
    """log p(x) of n data, in nats, and how well it is known."""

    log_px: Float[np.ndarray, " n"]
    spacing_error: Float[np.ndarray, " n"]
    """The largest difference from it, in nats, of the four sums over every second point along each axis."""
    border: Float[np.ndarray, " n"]
    """The share of the sum that lies on the border: mass is lost there if the grid is too small."""

    @property
    def error(self) -> Float[np.ndarray, " n"]:
        """An upper estimate of the error of log_px, in nats: that of the coarser grids, and the border's mass."""
        return self.spacing_error - np.log1p(-self.border)


def grid_over(low: Float[np.ndarray, "2"], high: Float[np.ndarray, "2"], side: int) -> Grid:
    """Return a grid of side x side points over a rectangle."""
    return Grid(np.linspace(low[0], high[0], side), np.linspace(low[1], high[1], side))


def log_evidence(model: VAE, params: PyTree, x: Float[Array, "n ..."], grid: Grid) -> Evidence:
    """Return log p(x) of n data by a sum of p(z) p(x|z) over a grid, in float64 from densities in float32.

    Args:
        model: of one level, with two latent dimensions; compared by value.
        params: the model's parameters.
        x: the data, as the decoder models them.
        grid: the points to sum over; it must hold the mass of p(z|x), with a spacing that resolves it.
    """
    edge = [np.minimum(np.arange(len(a)), np.arange(len(a))[::-1]) < FRAME * len(a) for a in grid]
    sums, frame = np.full((2, 2, len(x)), -np.inf), np.full(len(x), -np.inf)
    for i, row in enumerate(log_joint_rows(model, params, x, grid)):
        for j in range(2):
            sums[i % 2, j] = np.logaddexp(sums[i % 2, j], logsumexp(row[j::2], axis=0))
        frame = np.logaddexp(frame, logsumexp(row if edge[0][i] else row[edge[1]], axis=0))
    lattices = sums.reshape(4, -1)
    total = logsumexp(lattices, axis=0)
    return Evidence(total + grid.log_area, np.max(np.abs(lattices + np.log(4) - total), axis=0), np.exp(frame - total))


def log_joint_rows(
    model: VAE, params: PyTree, x: Float[Array, "n ..."], grid: Grid
) -> Iterator[Float[np.ndarray, "m n"]]:
    """Yield log p(x, z) of n data, in nats, at the points of every row of a grid: one row for each of `grid.first`."""
    for first in grid.first:
        z = np.stack([np.full_like(grid.second, first), grid.second], axis=1)
        yield np.asarray(log_joint(model, params, jnp.asarray(z, jnp.float32), x), np.float64)


@partial(jax.jit, static_argnames="model")
def log_joint(model: VAE, params: PyTree, z: Float[Array, "m 2"], x: Float[Array, "n ..."]) -> Float[Array, "m n"]:
    """Return log p(x, z), in nats, of n data at m latents; what does not depend on x is computed once."""

    def of(vae: VAE) -> Float[Array, "m n"]:
        likelihood: Any = vae.decode(z)
        prior: Any = vae.marginal_priors()[0]
        return prior.log_prob(z)[:, None] + jax.vmap(likelihood.log_prob, out_axes=1)(x)

    return model.apply(params, method=of)
