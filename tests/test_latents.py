import jax
import numpy as np
import pytest

from jvae import run
from jvae.config import build_model, build_transform
from jvae.latents import aggregate_posterior, latent_grid, principal_projection


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


def test_the_aggregate_posterior_has_the_posteriors_moments(small, tiny):
    model = next(run.train(small, tiny))
    vae, transform = build_model(small, (8, 8, 1)), build_transform(small)
    image = tiny.test_images[:1]
    images = np.repeat(image, 5000, axis=0)
    z = aggregate_posterior(vae, model.state.params, jax.random.key(0), images, transform, batch_size=999)
    q = vae.apply(model.state.params, transform(jax.random.key(0), jax.numpy.asarray(image)), method="posterior")
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
    line, ticks = latent_grid(coordinates[:, :1], 5)
    np.testing.assert_array_equal(line[:, 0], ticks[0])
