"""The latent space of a trained model: encoding, decoding, sampling, and projections onto a plane."""

from functools import partial
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jvae.distributions import is_diagonal_gaussian
from jvae.evaluation import over_batches
from jvae.transforms import Transform, observe
from jvae.vae import VAE

KDE_DRAWS = 20_000
"""Draws for the kernel density estimate of a prior whose projected density has no closed form."""


class Projection(NamedTuple):
    """An affine map from the latent space onto d <= m axes: coordinates = (z - center) @ axes.T."""

    center: Float[np.ndarray, " m"]
    """The point with coordinates 0."""
    axes: Float[np.ndarray, "d m"]
    """Orthonormal rows."""
    labels: tuple[str, ...]
    """The name of every axis."""

    def project(self, z: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n d"]:
        """Return the coordinates of latents."""
        return (z - self.center) @ self.axes.T

    def lift(self, coordinates: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n m"]:
        """Return the points of the latent space at these coordinates of the plane."""
        return coordinates @ self.axes + self.center

    def plane(self) -> "Projection":
        """Return the projection onto the first two axes, or onto the only one."""
        return Projection(self.center, self.axes[:2], self.labels[:2])


def principal_projection(z: Float[np.ndarray, "n m"], dimensions: int = 2) -> Projection:
    """Return the projection onto the latent axes if m <= 2, else onto the first principal components of the latents."""
    m = z.shape[1]
    if m <= 2:
        return Projection(np.zeros(m, z.dtype), np.eye(m, dtype=z.dtype), tuple(f"$z_{i + 1}$" for i in range(m)))
    if len(z) == 1:  # one point has no variance
        center, axes, shares = z[0], np.eye(m, dtype=z.dtype)[:dimensions], np.zeros(dimensions)
    else:
        from sklearn.decomposition import PCA

        pca = PCA(min(dimensions, *z.shape)).fit(z)
        center, axes, shares = pca.mean_, pca.components_, pca.explained_variance_ratio_
    labels = tuple(f"principal component {i + 1} ({share:.1%} of the variance)" for i, share in enumerate(shares))
    return Projection(center, axes, labels)


class Mixture(NamedTuple):
    """A mixture of k diagonal Gaussians."""

    weights: Float[np.ndarray, " k"]
    """The probability of every component."""
    loc: Float[np.ndarray, "k m"]
    """The means."""
    scale: Float[np.ndarray, "k m"]
    """The standard deviations."""


def prior_mixture(model: VAE, params: PyTree, level: int = 0) -> Mixture | None:
    """Return a level's prior as a mixture of diagonal Gaussians (k = 1 for a Gaussian), or None if it is not one."""

    def parameters(vae: VAE) -> tuple[Array, Array, Array] | None:
        p = vae.marginal_priors()[level]
        if is_diagonal_gaussian(p):
            return jnp.ones(1), p.mean()[None], p.stddev()[None]
        if isinstance(p, distrax.MixtureSameFamily) and is_diagonal_gaussian(p.components_distribution):
            components = p.components_distribution
            return p.mixture_distribution.probs, components.mean(), components.stddev()
        return None

    found = model.apply(params, method=parameters)
    return None if found is None else Mixture(*map(np.asarray, found))


def projected_prior_density(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    projection: Projection,
    coordinates: Float[np.ndarray, "n d"],
    level: int = 0,
) -> tuple[Float[np.ndarray, " n"], bool]:
    """Return the density of a level's prior, *projected* onto the plane, at coordinates; and whether it is exact.

    The projection is the density of (z - center) @ axes.T, and never a slice, which would be the density at the plane's
    own points. It is exact if the axes span the latent space (m <= 2), and for mixtures of Gaussians, whose projection
    is a mixture of Gaussians with means A (m_k - c) and covariances A diag(s_k^2) A'. Otherwise - for a flow, or a
    lower level - it is a kernel density estimate from KDE_DRAWS draws.
    """
    mixture = prior_mixture(model, params, level)
    if mixture is not None:
        from scipy.stats import multivariate_normal

        a = projection.axes
        means = projection.project(mixture.loc)
        density = np.zeros(len(coordinates))
        for weight, mean, scale in zip(mixture.weights, means, mixture.scale, strict=True):
            density += weight * multivariate_normal(mean, (a * scale**2) @ a.T).pdf(coordinates)
        return density, True
    has_density = level == model.num_levels - 1
    if has_density and len(projection.axes) == len(projection.center):
        density = np.exp(np.asarray(prior_log_prob(model, params, projection.lift(coordinates), level)))
        return np.where(np.isnan(density), 0, density), True  # outside their support some densities are NaN
    from scipy.stats import gaussian_kde

    draws = projection.project(prior_sample(model, params, key, KDE_DRAWS, level))
    return gaussian_kde(draws.T)(coordinates.T), False


@partial(jax.jit, static_argnames=("model", "level"))
def prior_log_prob(model: VAE, params: PyTree, z: Float[Array, "n m"], level: int) -> Float[Array, " n"]:
    """Return log p(z) of a level, whose density must be known, for every latent."""
    return model.apply(params, z, method=lambda vae, z: vae.marginal_priors()[level].log_prob(z))


def prior_sample(model: VAE, params: PyTree, key: Key[Array, ""], n: int, level: int = 0) -> Float[np.ndarray, "n m"]:
    """Draw n latents z ~ p(z) of a level."""
    return np.asarray(draw_latents(model, params, key, n)[level])


@partial(jax.jit, static_argnames=("model", "n"))
def draw_latents(model: VAE, params: PyTree, key: Key[Array, ""], n: int) -> tuple[Float[Array, "n m"], ...]:
    """Draw n latents of every level in one program."""
    return model.apply(params, key, n, method="sample_latents")


def sample(
    model: VAE, params: PyTree, key: Key[Array, ""], n: int, mean: bool = False, at_a_time: int | None = None
) -> Float[np.ndarray, "n ..."]:
    """Draw n data: z ~ p(z), then x ~ p(x|z); with `mean`, return E[x|z] at the same z instead.

    If they are drawn in several batches, a later batch that starts at datum i has the key `fold_in(key, i)`.
    """
    at_a_time = at_a_time or n
    starts = range(0, n, at_a_time)
    keys = [key, *(jax.random.fold_in(key, start) for start in starts[1:])]
    parts = [
        np.asarray(sample_batch(model, params, key, min(at_a_time, n - start), mean))
        for key, start in zip(keys, starts, strict=True)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@partial(jax.jit, static_argnames=("model", "n", "mean"))
def sample_batch(model: VAE, params: PyTree, key: Key[Array, ""], n: int, mean: bool) -> Float[Array, "n ..."]:
    """Draw n data in one program."""
    return model.apply(params, key, n, mean, method="sample")


class Encoding(NamedTuple):
    """q(z|x) of n data, at one level of latents."""

    loc: Float[np.ndarray, "n m"]
    """The mean."""
    scale: Float[np.ndarray, "n m"]
    """The standard deviation."""
    z: Float[np.ndarray, "n m"]
    """One draw for each datum."""


def encode(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[np.ndarray, "n ..."],
    transform: Transform,
    level: int = 0,
    batch_size: int = 1000,
) -> Encoding:
    """Return q(z|x) of a level for every datum, with one draw each: the z are n samples of the aggregate posterior.

    The key decides the draws and the dequantisation noise. Stochastic binarisation is part of the data: it depends on a
    datum's index only.

    Raises:
        ValueError: there are no data.
    """
    program = partial(encode_batch, model, params, transform=transform, level=level)
    return Encoding(*over_batches(program, data, partial(jax.random.split, key), batch_size))


def encoded_data(
    key: Key[Array, ""], data: UInt8[np.ndarray, "n ..."], transform: Transform, batch_size: int = 1000
) -> Float[np.ndarray, "n ..."]:
    """Return the x that `encode` encodes with this key and batch size: the data, transformed with the same noise."""

    def program(key: Key[Array, ""], batch: UInt8[Array, "b ..."], first: int) -> Float[Array, "b ..."]:
        return observe(transform, jax.random.split(key)[0], batch, first)

    return over_batches(program, data, partial(jax.random.split, key), batch_size)


@partial(jax.jit, static_argnames=("model", "transform", "level"))
def encode_batch(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    data: UInt8[Array, "b ..."],
    first: Int[Array, ""] | int,
    transform: Transform,
    level: int,
) -> tuple[Float[Array, "b m"], Float[Array, "b m"], Float[Array, "b m"]]:
    """Return loc, scale and a draw of q(z|x) of a level for every datum of a batch."""
    transform_key, z_key = jax.random.split(key)
    x = observe(transform, transform_key, data, first)

    def encoding(vae: VAE) -> tuple[Array, Array, Array]:
        q, _, z = vae.infer(z_key, x)[level]
        return q.mean(), q.stddev(), z

    return model.apply(params, method=encoding)


def decode(
    model: VAE, params: PyTree, z: Float[np.ndarray, "n m"], batch_size: int = 1000
) -> Float[np.ndarray, "n ..."]:
    """Return E[x|z] at n latents."""
    program = lambda key, batch, first: decode_batch(model, params, batch)  # noqa: E731
    return over_batches(program, z, partial(jax.random.split, jax.random.key(0)), batch_size)


@partial(jax.jit, static_argnames="model")
def decode_batch(model: VAE, params: PyTree, z: Float[Array, "b m"]) -> Float[Array, "b ..."]:
    """Return E[x|z] of a batch."""
    return model.apply(params, z, method="decode").mean()


def latent_grid(
    coordinates: Float[np.ndarray, "n d"], side: int, aspect: float = 1.0
) -> tuple[Float[np.ndarray, "k d"], list[Float[np.ndarray, " _"]]]:
    """Return an even grid over the central 98 % of the coordinates along each axis, and the ticks of the axes.

    The k points run row by row from the top left, so the second coordinate falls from row to row.

    Args:
        coordinates: of points on d <= 2 axes.
        side: points along the longer axis; the other axis has as many as its range needs.
        aspect: the grid's step along the second axis divided by its step along the first.
    """
    low, high = np.quantile(coordinates, [0.01, 0.99], axis=0)
    shape = np.array([1.0, aspect])[: len(low)]
    steps = shape * (float(np.max((high - low) / shape)) or 1.0) / max(side - 1, 1)
    counts = np.ceil((high - low) / steps - 1e-6).astype(int) + 1
    ticks = [
        (middle + step * (np.arange(count) - (count - 1) / 2)).astype(coordinates.dtype)
        for middle, step, count in zip((low + high) / 2, steps, counts, strict=True)
    ]
    if len(ticks) == 1:
        return ticks[0][:, None], ticks
    first, second = np.meshgrid(ticks[0], ticks[1][::-1])
    return np.stack([first.ravel(), second.ravel()], axis=1), ticks
