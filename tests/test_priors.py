"""Each prior is a density, and its samples come from it."""

from functools import cache
from types import SimpleNamespace

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_within
from scipy import stats

from jvae.priors import FlowPrior, GaussianPrior, MoGPrior, VampPrior, responsibilities
from jvae.runs.config import Config, build_model

KINDS = ["gaussian", "mog", "vamp", "affine flow", "spline flow"]


@cache
def make(kind: str, latent_dim: int):
    """Return a VAE with the prior, and parameters moved from their initial values, so that none is standard."""
    extra = {
        "gaussian": {},
        "mog": {"prior": "mog", "num_components": 3},
        "vamp": {"prior": "vamp", "num_components": 3},
        "affine flow": {"prior": "flow"},
        "spline flow": {"prior": "flow", "coupling": "spline"},
    }[kind]
    vae = build_model(Config(latent_dim=latent_dim, hidden=(8, 8), **extra), (8, 8, 1))
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    pushed = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return vae, jax.tree.unflatten(treedef, pushed)


def log_prob(vae, params, z):
    return jax.jit(lambda params, z: vae.apply(params, z, method=lambda v, z: v.marginal_priors()[0].log_prob(z)))(
        params, z
    )


def sample(vae, params, n):
    draw = lambda v: v.marginal_priors()[0].sample(seed=jax.random.key(5), sample_shape=(n,))  # noqa: E731
    return jax.jit(lambda params: vae.apply(params, method=draw))(params)


@cache
def forty_thousand(kind):
    """Return that many draws from the prior over two latent dimensions."""
    return np.asarray(sample(*make(kind, 2), 40_000))


@cache
def on_a_grid(kind):
    """Return log p(z) on a fine grid that holds nearly all of the prior's mass, and the area of a cell."""
    vae, params = make(kind, 2)
    ticks = np.linspace(-16, 16, 641, dtype=np.float32)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    return np.asarray(log_prob(vae, params, jnp.asarray(grid)), np.float64), (ticks[1] - ticks[0]) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one(kind):
    log_p, cell = on_a_grid(kind)
    assert abs(np.exp(log_p).sum() * cell - 1) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_samples_come_from_the_density(kind):
    """A chi-squared test of 40,000 draws against the mass of the cells of a grid, at a false alarm rate of 1e-4."""
    vae, params = make(kind, 2)
    z, edges = forty_thousand(kind), np.linspace(-3, 3, 9)
    n = len(z)
    counts = np.histogram2d(z[:, 0], z[:, 1], bins=[edges, edges])[0]
    fine = 24  # midpoints a cell along each axis
    step = (edges[1] - edges[0]) / fine
    middles = edges[0] + step * (np.arange(8 * fine) + 0.5)
    grid = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
    density = np.exp(np.asarray(log_prob(vae, params, jnp.asarray(grid)), np.float64))
    mass = density.reshape(8, fine, 8, fine).sum(axis=(1, 3)) * step**2
    expected, observed = np.append(mass, 1 - mass.sum()) * n, np.append(counts, n - counts.sum())
    large = expected > 5
    statistic = np.sum((observed[large] - expected[large]) ** 2 / expected[large])
    assert statistic < stats.chi2(large.sum()).ppf(1 - 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_monte_carlo_entropy_agrees_with_the_grid(kind):
    """The mean of -log p over samples, within 5 standard errors of the integral of -p log p."""
    log_p, cell = on_a_grid(kind)
    entropy = -np.sum(np.exp(log_p) * log_p) * cell
    assert_within(-np.asarray(log_prob(*make(kind, 2), forty_thousand(kind))), entropy)


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_a_flow_starts_as_the_standard_normal(latent_dim, coupling):
    vae = build_model(Config(latent_dim=latent_dim, hidden=(8, 8), prior="flow", coupling=coupling), (8, 8, 1))
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    z = jax.random.normal(jax.random.key(2), (50, latent_dim)) * 2
    np.testing.assert_allclose(log_prob(vae, params, z), stats.norm.logpdf(z).sum(axis=1), rtol=2e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_every_dimension_is_changed_by_a_flow(coupling):
    vae, params = make(f"{coupling} flow", 5)
    z = np.asarray(sample(vae, params, 4000))
    assert np.all([stats.kstest(z[:, i], "norm").pvalue < 1e-3 for i in range(5)])


def test_the_mixtures_sum_over_components_stands_outside_the_product_over_dimensions():
    prior = MoGPrior(2, 2)
    params = {"params": {"logits": jnp.log(jnp.array([0.3, 0.7])), "loc": jnp.array([[0.0, 0.0], [3.0, 4.0]]),
                         "log_scale": jnp.array([[0.0, 0.5], [-0.5, 0.2]])}}  # fmt: skip
    z = np.random.default_rng(0).normal(size=(20, 2)) * 3
    scales = np.exp(5 * np.tanh(np.asarray(params["params"]["log_scale"]) / 5))
    parts = [
        np.log(weight) + stats.norm(loc, scale).logpdf(z).sum(axis=1)
        for weight, loc, scale in zip((0.3, 0.7), params["params"]["loc"], scales, strict=True)
    ]
    np.testing.assert_allclose(prior.apply(params).log_prob(jnp.asarray(z)), np.logaddexp(*parts), rtol=1e-5)
    shares = responsibilities(prior.apply(params), jnp.asarray(z))
    np.testing.assert_allclose(shares[:, 0], np.exp(parts[0] - np.logaddexp(*parts)), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_a_vamp_prior_is_the_average_posterior_of_its_pseudo_inputs():
    vae, params = make("vamp", 3)
    weights = params["params"]["prior"]["pseudo_inputs"].at[0, 0, 0, 0].set(7.0)  # above the clip
    params = {"params": {**params["params"], "prior": {"pseudo_inputs": weights}}}
    q = vae.apply(params, jnp.clip(weights, 0, 1), method="posterior")
    z = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    each = np.stack([stats.norm(q.mean()[k], q.stddev()[k]).logpdf(z).sum(axis=1) for k in range(3)])
    expected = np.log(np.mean(np.exp(each), axis=0))
    np.testing.assert_allclose(log_prob(vae, params, jnp.asarray(z)), expected, rtol=1e-4)


@pytest.mark.slow
def test_the_closed_form_is_used_where_there_is_one_and_the_draw_elsewhere():
    x = jnp.zeros((4, 8, 8, 1))
    for kind in KINDS:
        vae, params = make(kind, 2)
        d = jax.jit(vae.apply)(params, jax.random.key(3), x)
        same = np.allclose(d.kl, d.log_qz_x - d.log_pz, rtol=1e-5)
        assert same == (kind != "gaussian")


def test_priors_are_distributions_over_one_latent():
    for prior in (GaussianPrior(3), MoGPrior(3, 2), FlowPrior(3)):
        p = prior.init_with_output(jax.random.key(0))[0]
        assert isinstance(p, distrax.Distribution)
        assert (p.batch_shape, p.event_shape) == ((), (3,))
    assert VampPrior((8, 8, 1), 2).num_components == 2


def test_an_unknown_coupling_is_refused():
    with pytest.raises(ValueError, match="coupling is 'Affine': must be one of affine, spline"):
        FlowPrior.__post_init__(SimpleNamespace(coupling="Affine"))  # the tests check types before
