import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import assert_within

from experiments.__main__ import experiments
from experiments.parts.kl_directions import LOCS, SCALES, WEIGHTS, best_fits, moments
from jvae.bounds import draw, elbo, monte_carlo_elbo
from jvae.divergences import kl_diagonal, kl_full, kl_univariate
from jvae.ppca import PPCA, Posterior, log_densities, log_likelihood, posterior
from jvae.runs.config import build_model

DRAWS = 20_000


def random_gaussian(key, m, batch=()):
    """Return a random loc and a Cholesky factor with a diagonal of about 1, both with a batch shape."""
    loc_key, tril_key, diagonal_key = jax.random.split(key, 3)
    lower = jnp.tril(jax.random.normal(tril_key, (*batch, m, m)), -1) / 2
    diagonal = jnp.exp(0.4 * jax.random.normal(diagonal_key, (*batch, m)))
    return jax.random.normal(loc_key, (*batch, m)), lower + diagonal[..., None] * jnp.eye(m)


def pair(m, batch=()):
    return (*random_gaussian(jax.random.key(1), m, batch), *random_gaussian(jax.random.key(2), m, batch))


def log_ratio(key, loc_q, tril_q, loc_p, tril_p):
    """Return log q(z) - log p(z) at a reparametrised z ~ q: its mean is KL(q || p), its mean gradient the KL's."""
    z = loc_q + tril_q @ jax.random.normal(key, loc_q.shape)
    log_density = jax.scipy.stats.multivariate_normal.logpdf
    return log_density(z, loc_q, tril_q @ tril_q.T) - log_density(z, loc_p, tril_p @ tril_p.T)


@pytest.mark.slow
@pytest.mark.parametrize("m", [4, 1])
def test_value_and_gradient_are_those_of_monte_carlo(m):
    """For the full form, which contains the others as special cases, and its gradient in all four parameters."""
    arguments = pair(m)
    keys = jax.random.split(jax.random.key(3), DRAWS)

    @jax.jit
    def estimates(keys):
        return jax.vmap(lambda k: jax.value_and_grad(log_ratio, argnums=(1, 2, 3, 4))(k, *arguments))(keys)

    values, gradients = estimates(keys)
    value, gradient = jax.value_and_grad(kl_full, argnums=(0, 1, 2, 3))(*arguments)
    assert_within(values, value)
    for estimate, exact in zip(gradients, gradient, strict=True):
        below = jnp.tril if exact.ndim == 2 else jnp.asarray  # a factor's upper triangle is not read
        assert_within(below(estimate), below(exact))


@pytest.mark.slow
def test_univariate_value_and_gradient_are_those_of_monte_carlo():
    parameters = jnp.array([0.7, 0.4, -0.3, 1.6])

    def one(parameters, key):
        loc_q, scale_q, loc_p, scale_p = parameters
        z = loc_q + scale_q * jax.random.normal(key)
        return jax.scipy.stats.norm.logpdf(z, loc_q, scale_q) - jax.scipy.stats.norm.logpdf(z, loc_p, scale_p)

    keys = jax.random.split(jax.random.key(0), DRAWS)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(one), in_axes=(None, 0)))(parameters, keys)
    value, gradient = jax.value_and_grad(lambda p: kl_univariate(*p))(parameters)
    assert_within(values, value)
    assert_within(gradients, gradient)


def test_the_standard_normal_form_is_equation_11():
    """KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - 1) / 2 - log sigma, the default p."""
    mu, sigma = jnp.linspace(-3, 3, 7)[:, None], jnp.linspace(0.1, 3, 8)
    expected = (np.square(mu) + np.square(sigma) - 1) / 2 - np.log(sigma)
    np.testing.assert_allclose(kl_univariate(mu, sigma), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kl_univariate(mu, sigma, 0.0, 1.0), expected, rtol=1e-5, atol=1e-6)


def test_every_form_agrees_with_distrax():
    loc_q, tril_q, loc_p, tril_p = pair(5, (3,))
    scale_q, scale_p = (jnp.diagonal(tril, axis1=-2, axis2=-1) for tril in (tril_q, tril_p))
    univariate = distrax.Normal(loc_q, scale_q).kl_divergence(distrax.Normal(loc_p, scale_p))
    np.testing.assert_allclose(kl_univariate(loc_q, scale_q, loc_p, scale_p), univariate, rtol=1e-4)
    diagonal = distrax.Independent(distrax.Normal(loc_q, scale_q), 1).kl_divergence(
        distrax.Independent(distrax.Normal(loc_p, scale_p), 1)
    )
    np.testing.assert_allclose(kl_diagonal(loc_q, scale_q, loc_p, scale_p), diagonal, rtol=1e-5)
    full = distrax.MultivariateNormalTri(loc_q, tril_q).kl_divergence(distrax.MultivariateNormalTri(loc_p, tril_p))
    np.testing.assert_allclose(kl_full(loc_q, tril_q, loc_p, tril_p), full, rtol=1e-5)


def test_the_full_form_is_the_textbooks():
    """Half of tr(P^-1 Q) + d' P^-1 d - m + log|P| - log|Q|, with the covariances themselves in float64."""
    loc_q, tril_q, loc_p, tril_p = (np.asarray(a, np.float64) for a in pair(6))
    q, p, away = tril_q @ tril_q.T, tril_p @ tril_p.T, loc_p - loc_q
    expected = (
        np.trace(np.linalg.solve(p, q))
        + away @ np.linalg.solve(p, away)
        - 6
        + np.linalg.slogdet(p)[1]
        - np.linalg.slogdet(q)[1]
    ) / 2
    np.testing.assert_allclose(kl_full(*pair(6)), expected, rtol=1e-5)


@pytest.mark.slow
def test_the_forms_are_special_cases_of_each_other():
    loc_q, tril_q, loc_p, tril_p = pair(4, (2,))
    scale_q, scale_p = (jnp.diagonal(tril, axis1=-2, axis2=-1) for tril in (tril_q, tril_p))
    diagonal = kl_diagonal(loc_q, scale_q, loc_p, scale_p)
    assert diagonal.shape == (2,)
    full = kl_full(loc_q, scale_q[..., None] * jnp.eye(4), loc_p, scale_p[..., None] * jnp.eye(4))
    np.testing.assert_allclose(full, diagonal, rtol=1e-5)
    np.testing.assert_allclose(diagonal, kl_univariate(loc_q, scale_q, loc_p, scale_p).sum(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(kl_diagonal(loc_q, scale_q), kl_diagonal(loc_q, scale_q, 0.0, 1.0), rtol=1e-6)
    # one axis, broadcast against many means
    np.testing.assert_allclose(
        kl_full(loc_q[..., :1], tril_q[0, :1, :1], jnp.zeros(1), jnp.eye(1)),
        kl_univariate(loc_q[..., 0], tril_q[0, 0, 0]),
        rtol=1e-5,
    )


def test_what_stands_above_the_diagonal_is_not_read():
    loc_q, tril_q, loc_p, tril_p = pair(4)
    noise = jnp.triu(jnp.full((4, 4), 7.0), 1)
    assert kl_full(loc_q, tril_q + noise, loc_p, tril_p + noise) == kl_full(loc_q, tril_q, loc_p, tril_p)


@pytest.mark.slow
def test_zero_if_and_only_if_equal():
    loc, tril, *_ = pair(5)
    assert kl_full(loc, tril, loc, tril) == 0
    assert kl_univariate(0.3, 0.2, 0.3, 0.2) == 0
    assert kl_diagonal(loc, jnp.exp(loc), loc, jnp.exp(loc)) == 0
    for i in range(5):
        assert kl_full(loc.at[i].add(0.01), tril, loc, tril) > 0
        for j in range(i + 1):
            assert kl_full(loc, tril.at[i, j].multiply(1.01), loc, tril) > 0
    assert kl_univariate(0.3, 0.21, 0.3, 0.2) > 0
    assert kl_univariate(0.31, 0.2, 0.3, 0.2) > 0


def test_small_differences_survive_float32():
    """Near equality KL(N(0, (1 + e)^2) || N(0, 1)) is e^2 - e^3 / 3 + ...; e^2 is below float32's rounding of 1."""
    for e in (1e-2, 1e-3, 2.0**-12):
        np.testing.assert_allclose(kl_univariate(0.0, 1 + e), e**2 - e**3 / 3, rtol=1e-3)


def test_the_two_directions_differ():
    forward, backward = kl_univariate(0.0, 1.0, 1.0, 3.0), kl_univariate(1.0, 3.0, 0.0, 1.0)
    np.testing.assert_allclose(forward, np.log(3) + 2 / 18 - 0.5, rtol=1e-6)
    np.testing.assert_allclose(backward, -np.log(3) + 10 / 2 - 0.5, rtol=1e-6)


# the sheet's expressions of the ELBO: (8) E_q[log p(x, z) - log q(z|x)] and (9) E_q[log p(x|z)] - KL(q(z|x) || p(z))


def test_both_expressions_of_the_elbo_have_the_known_value_and_gradient():
    """On PPCA the ELBO is log p(x) - KL(q || p(z|x)), and so its gradient in q is known too."""
    keys = jax.random.split(jax.random.key(4), 4)
    model = PPCA(jnp.ones(5), jax.random.normal(keys[0], (5, 2)), jnp.log(0.8))
    x = jax.random.normal(keys[1], (3, 5))
    q = Posterior(jax.random.normal(keys[2], (3, 2)), jnp.array([[0.7, 0.0], [0.3, 0.5]]))

    def exact(q):
        p = posterior(model, x)
        return jnp.sum(log_likelihood(model, x) - kl_full(q.loc, q.scale_tril, p.loc, p.scale_tril))

    value, gradient = jax.value_and_grad(exact)(q)
    for bound in (monte_carlo_elbo, elbo):  # (8), (9)

        def one(q, key, bound=bound):
            return jnp.sum(bound(draw(lambda k, x: log_densities(model, k, x, q), key, x)))

        many = jax.jit(jax.vmap(jax.value_and_grad(one), in_axes=(None, 0)))
        values, gradients = many(q, jax.random.split(keys[3], DRAWS))
        assert_within(values, value)
        assert_within(gradients.loc, gradient.loc)
        assert_within(jnp.tril(gradients.scale_tril), jnp.tril(gradient.scale_tril))


@pytest.mark.slow
def test_both_expressions_of_a_networks_elbo_are_equal_in_expectation(small, digits, key):
    """At the same draws their difference has mean zero, and so has its gradient in every parameter."""
    vae = build_model(small, (8, 8, 1))
    x = (jnp.asarray(digits.test_images[:4]) >= 128).astype(jnp.float32)
    params = jax.jit(vae.init)(key, key, x)

    @jax.jit
    def estimates(params, keys):
        def difference(params, key):
            d = draw(lambda k, x: vae.apply(params, k, x), key, x)
            return jnp.sum(monte_carlo_elbo(d) - elbo(d))

        return jax.vmap(jax.value_and_grad(difference), in_axes=(None, 0))(params, keys)

    values, gradients = estimates(params, jax.random.split(jax.random.key(5), 400))
    assert np.std(values) > 0.1
    assert_within(values, 0.0)
    for leaf in jax.tree.leaves(gradients):
        direction = np.sign(np.random.default_rng(0).normal(size=leaf.shape[1:]))  # one number per array of parameters
        assert_within(np.sum(np.asarray(leaf) * direction, axis=tuple(range(1, leaf.ndim))), 0.0)


@pytest.mark.slow
def test_the_best_gaussian_covers_all_modes_in_one_direction_and_seeks_one_in_the_other():
    """The q of the least KL(p || q) has p's mean and variance; a q of the least KL(q || p) nearly one component's."""
    left, right, covering = best_fits()
    np.testing.assert_allclose([covering.loc, covering.scale], moments(), rtol=1e-3)
    np.testing.assert_allclose([left.loc, right.loc], LOCS, atol=0.1)
    np.testing.assert_allclose([left.scale, right.scale], SCALES, atol=0.1)
    assert right.q_from_p < min(left.q_from_p, covering.q_from_p)
    assert covering.p_from_q < min(left.p_from_q, right.p_from_q)
    # were the components apart, all of q in one of weight w would give KL(q || p) = -log w
    np.testing.assert_allclose([left.q_from_p, right.q_from_p], -np.log(WEIGHTS), atol=0.02)


@pytest.mark.slow
def test_the_experiment_prints_its_tables_and_draws_its_picture(tmp_path):
    result = CliRunner().invoke(experiments, ["kl", "--draws", "500", "--vae-epochs", "1", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "closed form" in result.output
    assert (tmp_path / "kl" / "directions.png").stat().st_size > 10_000
