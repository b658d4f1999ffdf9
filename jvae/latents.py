"""What a trained model's latent space holds: the aggregate posterior and its projection onto a plane."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, UInt8

from jvae.training import Transform
from jvae.vae import VAE


class Projection(NamedTuple):
    """An affine map from the latent space onto d = min(m, 2) axes: coordinates = (z - center) @ axes.T."""

    center: Float[np.ndarray, " m"]
    axes: Float[np.ndarray, "d m"]
    """Orthonormal rows."""
    labels: tuple[str, ...]

    def project(self, z: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n d"]:
        """The coordinates of latents."""
        return (z - self.center) @ self.axes.T

    def lift(self, coordinates: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n m"]:
        """The points of the latent space that lie in the plane at the coordinates."""
        return coordinates @ self.axes + self.center


def principal_projection(z: Float[np.ndarray, "n m"]) -> Projection:
    """The latent axes themselves for m <= 2, else the first two principal components of the latents z."""
    m = z.shape[1]
    if m <= 2:
        return Projection(np.zeros(m, z.dtype), np.eye(m, dtype=z.dtype), tuple(f"$z_{i + 1}$" for i in range(m)))
    from sklearn.decomposition import PCA

    pca = PCA(2).fit(z)
    shares = pca.explained_variance_ratio_
    labels = tuple(f"principal component {i + 1} ({share:.1%} of the variance)" for i, share in enumerate(shares))
    return Projection(pca.mean_, pca.components_, labels)


def aggregate_posterior(
    model: VAE,
    params: PyTree,
    key: Key[Array, ""],
    images: UInt8[np.ndarray, "n h w c"],
    transform: Transform,
    batch_size: int = 1000,
) -> Float[np.ndarray, "n m"]:
    """One sample z ~ q(z|x) for every image: n samples of the aggregate posterior."""
    starts = range(0, len(images), batch_size)
    keys = jax.random.split(key, len(starts))
    samples = [
        posterior_sample(model, params, k, jnp.asarray(images[i : i + batch_size]), transform)
        for k, i in zip(keys, starts, strict=True)
    ]
    return np.concatenate(samples)


@partial(jax.jit, static_argnames=("model", "transform"))
def posterior_sample(
    model: VAE, params: PyTree, key: Key[Array, ""], images: UInt8[Array, "b h w c"], transform: Transform
) -> Float[Array, "b m"]:
    """One draw z ~ q(z|x) for every image of a batch."""
    transform_key, z_key = jax.random.split(key)
    return model.apply(params, transform(transform_key, images), method="posterior").sample(seed=z_key)


def latent_grid(
    coordinates: Float[np.ndarray, "n d"], side: int
) -> tuple[Float[np.ndarray, "k d"], list[Float[np.ndarray, " side"]]]:
    """An even grid over the central 98 % of the coordinates along each axis, and the axes' ticks.

    The k = side^d points run row by row from the top left, as a picture is read: the second axis falls from row to row.
    """
    low, high = np.quantile(coordinates, [0.01, 0.99], axis=0)
    ticks = [np.linspace(a, b, side).astype(coordinates.dtype) for a, b in zip(low, high, strict=True)]
    if len(ticks) == 1:
        return ticks[0][:, None], ticks
    first, second = np.meshgrid(ticks[0], ticks[1][::-1])
    return np.stack([first.ravel(), second.ravel()], axis=1), ticks
