import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tensorflow_probability.substrates.jax import distributions as tfd

from jvae.decoders import BernoulliDecoder
from jvae.latents import (
    encode,
    encoded_data,
    latent_grid,
    principal_projection,
    prior_sample,
    projected_prior_density,
)
from jvae.nn.networks import MLP
from jvae.priors import GaussianPrior
from jvae.runs import api
from jvae.runs.config import Config, build_model, build_transform
from jvae.transforms import stochastic_binarise
from jvae.vae import VAE


@pytest.mark.parametrize("m", [1, 2])
def test_up_to_two_axes_are_left_alone(m):
    z = np.random.default_rng(0).normal(size=(50, m)).astype(np.float32)
    projection = principal_projection(z)
    np.testing.assert_array_equal(projection.project(z), z)
    np.testing.assert_array_equal(projection.lift(z), z)
    assert projection.labels == ("$z_1$", "$z_2$")[:m]


def test_the_principal_plane_is_the_one_of_the_covariance():
    z = np.random.default_rng(0).normal(size=(4000, 5)) * [1, 5, 2, 0.1, 3] + 7
    projection = principal_projection(z)
    values, vectors = np.linalg.eigh(np.cov(z.T))
    np.testing.assert_allclose(np.abs(projection.axes @ vectors[:, ::-1][:, :2]), np.eye(2), atol=1e-8)
    np.testing.assert_allclose(projection.project(z).var(axis=0, ddof=1), values[::-1][:2])
    np.testing.assert_allclose(projection.project(projection.lift(np.array([[1.0, 2.0]]))), [[1, 2]])
    assert f"{values[-1] / values.sum():.1%}" in projection.labels[0]


class Copy(nn.Module):
    """q(z|x) around the first two numbers of x: it shows what is encoded."""

    def __call__(self, x):
        return distrax.Independent(distrax.Normal(x.reshape(len(x), -1)[:, :2], 1.0), 1)


@pytest.mark.parametrize("batch_size", [4, 50])
def test_the_data_beside_an_encoding_are_those_that_were_encoded(tiny, batch_size):
    model = VAE(GaussianPrior(2), BernoulliDecoder(MLP((4,), (8, 8, 1))), Copy())
    images, key = tiny.test_images[:10], jax.random.key(3)
    params = model.init(key, key, jnp.zeros((1, 8, 8, 1)))
    for transform in (lambda key, data: jax.random.uniform(key, data.shape), stochastic_binarise):
        x = encoded_data(key, images, transform, batch_size)
        encoding = encode(model, params, key, images, transform, 0, batch_size)
        np.testing.assert_array_equal(encoding.loc, x.reshape(10, -1)[:, :2])


@pytest.mark.slow
def test_the_aggregate_posterior_has_the_posteriors_moments(small, tiny):
    model = next(api.train_config_epochs(small, tiny))
    vae, transform = build_model(small, (8, 8, 1)), build_transform(small)
    image = tiny.test_images[:1]
    images = np.repeat(image, 5000, axis=0)
    z = encode(vae, model.run_params(), jax.random.key(0), images, transform, batch_size=999).z
    q = vae.apply(model.run_params(), transform(jax.random.key(0), jax.numpy.asarray(image)), method="posterior")
    assert z.shape == (5000, 3)
    assert np.all(np.abs(z.mean(axis=0) - q.mean()[0]) < 5 * q.stddev()[0] / np.sqrt(5000))
    np.testing.assert_allclose(z.std(axis=0), q.stddev()[0], rtol=0.06)


def test_the_grid_reads_like_a_picture():
    coordinates = np.random.default_rng(0).normal(size=(1000, 2))
    points, ticks = latent_grid(coordinates, 5)
    assert points.shape == (25, 2)
    np.testing.assert_array_equal(points[0], [ticks[0][0], ticks[1][-1]])  # top left: left, and high
    np.testing.assert_array_equal(points[4], [ticks[0][-1], ticks[1][-1]])
    np.testing.assert_array_equal(points[-1], [ticks[0][-1], ticks[1][0]])
    wide, ticks = latent_grid(coordinates * [1, 3], 9, aspect=2.0)
    assert len(wide) == len(ticks[0]) * len(ticks[1])
    assert len(ticks[1]) == 9
    np.testing.assert_allclose(
        np.diff(ticks[1]), 2 * (ticks[0][1] - ticks[0][0])
    )  # the same scale, for images of 2 : 1
    for axis, values in zip(ticks, (coordinates * [1, 3]).T, strict=True):
        assert axis[0] <= np.quantile(values, 0.0101)
        assert axis[-1] >= np.quantile(values, 0.9899)
    line, ticks = latent_grid(coordinates[:, :1], 5)
    np.testing.assert_array_equal(line[:, 0], ticks[0])


class PositivePrior(nn.Module):
    """A prior whose log-density is NaN where a latent is negative."""

    def __call__(self, posterior):
        return tfd.Independent(tfd.LogNormal(jnp.zeros(2), 1.0), 1)


def test_a_prior_has_no_mass_outside_its_support():
    model = VAE(PositivePrior(), BernoulliDecoder(MLP((4,), (8, 8, 1))), Copy())
    points = np.array([[-1.0, 1.0], [1.0, 1.0]], np.float32)
    density, exact = projected_prior_density(model, {}, jax.random.key(0), principal_projection(points), points)
    assert exact
    np.testing.assert_allclose(density, [0, 1 / (2 * np.pi)], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "m", "exact"),
    [
        ({"prior": "gaussian"}, 4, True),
        ({"prior": "mog", "num_components": 3}, 4, True),
        ({"prior": "vamp", "num_components": 3}, 4, True),
        ({"prior": "flow"}, 2, True),
        ({"prior": "flow"}, 4, False),
        ({"levels": 2, "upper_dim": 2}, 2, False),
    ],
)
def test_the_projected_prior_is_the_density_of_projected_draws(fields, m, exact):
    """Its mass in the cells of a grid against the shares of 20,000 draws, all within 5 standard errors."""
    vae = build_model(Config(latent_dim=m, hidden=(8, 8), **fields), (8, 8, 1))
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    params = jax.tree.map(lambda p: p + 0.05 * jax.random.normal(jax.random.key(p.size), p.shape), params)
    plane = principal_projection(np.random.default_rng(0).normal(size=(500, m)).astype(np.float32))
    n, cells, fine = 20_000, 6, 8
    drawn = plane.project(prior_sample(vae, params, jax.random.key(1), n))
    low, high = np.quantile(drawn, [0.02, 0.98], axis=0)
    edges = [np.linspace(a, b, cells + 1) for a, b in zip(low, high, strict=True)]
    middles = [a + (b - a) * (np.arange(cells * fine) + 0.5) / (cells * fine) for a, b in zip(low, high, strict=True)]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*middles, indexing="ij")], axis=1).astype(np.float32)
    density, is_exact = projected_prior_density(vae, params, jax.random.key(2), plane, grid)
    assert is_exact == exact
    area = np.prod((high - low) / (cells * fine))
    mass = density.reshape(cells, fine, cells, fine).sum(axis=(1, 3)) * area
    share = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=edges)[0] / n
    error = np.sqrt(mass * (1 - mass) / n) + (0 if exact else 0.1 * mass + 2e-3)  # a kernel density estimate is smooth
    assert np.all(np.abs(share - mass) < 5 * error + 1e-4)
