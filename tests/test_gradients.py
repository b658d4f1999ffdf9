"""Gradient estimators against exact gradients, in a linear-Gaussian model whose bounds have closed-form integrals."""

import inspect
from functools import partial

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_within, rest_slow

from jvae.bounds import draw, elbo
from jvae.gradients import (
    ELBO_ESTIMATORS,
    IWAE_ESTIMATORS,
    LatentModel,
    Moments,
    doubly_reparametrised,
    from_vae,
    gradient_moments,
    iwae_pathwise,
    noise_by_group,
    pathwise,
    pathwise_monte_carlo,
    score_function,
    score_function_with_control_variate,
    sticking_the_landing,
)
from jvae.runs.config import Config, build_model

X = jnp.array([[-1.0, 0.5, 2.0], [0.3, -0.7, 0.1]])


def posterior(params, x):
    """Return q(z|x) = N(z | A x + c, diag(s^2)), with m = 2."""
    q = params["encoder"]
    loc = x @ q["weights"].T + q["loc"]
    return distrax.Independent(distrax.Normal(loc, jnp.broadcast_to(jnp.exp(q["log_scale"]), loc.shape)), 1)


def log_likelihood(params, z, x):
    """Return p(x|z) = N(x | W z + b, s^2 I), with d = 3."""
    p = params["decoder"]
    return distrax.Normal(z @ p["weights"].T + p["loc"], jnp.exp(p["log_scale"])).log_prob(x).sum(axis=-1)


def log_prior(params, z):
    return distrax.Normal(0.0, 1.0).log_prob(z).sum(axis=-1)


def kl(params, x):
    return posterior(params, x).kl_divergence(
        distrax.Independent(distrax.Normal(jnp.zeros((len(x), 2)), jnp.ones((len(x), 2))), 1)
    )


MODEL = LatentModel(posterior, log_likelihood, log_prior, kl)
DECODER = {
    "weights": jnp.array([[1.0, 0.5], [-1.0, 0.5], [0.0, 1.0]]),  # orthogonal columns: a diagonal exact posterior
    "loc": jnp.array([0.2, -0.1, 0.0]),
    "log_scale": jnp.array(-0.3),
}
WRONG = {
    "encoder": {
        "weights": jnp.array([[0.5, -0.2, 0.1], [0.1, 0.3, 0.4]]),
        "loc": jnp.array([0.1, -0.2]),
        "log_scale": jnp.array([-0.5, -0.9]),
    },
    "decoder": DECODER,
}


def exact_posterior():
    """Return the encoder that is the exact posterior of DECODER."""
    w, variance = DECODER["weights"], jnp.exp(2 * DECODER["log_scale"])
    precision = jnp.sum(w**2, axis=0) / variance + 1
    weights = (w / variance / precision).T
    encoder = {"weights": weights, "loc": -weights @ DECODER["loc"], "log_scale": -0.5 * jnp.log(precision)}
    return {"encoder": encoder, "decoder": DECODER}


def exact_elbo(params):
    """Return E_q[log p(x|z)] - KL, with every expectation integrated by hand."""
    p, q = params["decoder"], posterior(params, X)
    residual = X - q.mean() @ p["weights"].T - p["loc"]
    spread = jnp.sum(p["weights"] ** 2 @ jnp.exp(2 * params["encoder"]["log_scale"])[:, None])
    squares = jnp.sum(residual**2, axis=1) + spread
    log_p = -squares / (2 * jnp.exp(2 * p["log_scale"])) - 3 * (p["log_scale"] + 0.5 * jnp.log(2 * jnp.pi))
    return jnp.mean(log_p - kl(params, X))


def flat(tree):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


@partial(jax.jit, static_argnums=(0, 2, 3))
def many(estimator, params, num_samples, repeats):
    """Return bound and gradient for each of many keys: [repeats, 1 + number of parameters]."""

    def one(key):
        bound, grads = estimator(MODEL, params, key, X, num_samples)
        return jnp.append(flat(grads), bound)

    return jax.lax.map(one, jax.random.split(jax.random.key(0), repeats), batch_size=1000)


@pytest.mark.parametrize("name", rest_slow(ELBO_ESTIMATORS))
@pytest.mark.parametrize("num_samples", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_every_elbo_estimator_is_unbiased(name, num_samples):
    value, grads = jax.value_and_grad(exact_elbo)(WRONG)
    estimates = many(ELBO_ESTIMATORS[name], WRONG, num_samples, 40_000)
    assert_within(estimates, np.append(flat(grads), value))


@pytest.mark.slow
def test_one_draw_is_enough_where_no_other_draw_is_needed():
    value, grads = jax.value_and_grad(exact_elbo)(WRONG)
    for estimator in (pathwise, pathwise_monte_carlo, sticking_the_landing, score_function, iwae_pathwise):
        assert_within(many(estimator, WRONG, 1, 40_000), np.append(flat(grads), value))


def test_the_control_variate_needs_two_draws():
    with pytest.raises(ValueError, match="num_samples is 1: the control variate needs at least 2"):
        score_function_with_control_variate(MODEL, WRONG, jax.random.key(0), X, 1)


def test_wrong_arguments_are_named(key):
    for num_samples in (0, -1):
        with pytest.raises(ValueError, match=f"num_samples is {num_samples}: must be at least 1"):
            pathwise(MODEL, WRONG, key, X, num_samples)
    with pytest.raises(ValueError, match="repeats is 1: must be at least 2, for a variance"):
        gradient_moments(pathwise, MODEL, WRONG, key, X, 1, 1)
    vae = build_model(Config(latent_dim=2, hidden=(4,)), (8, 8, 1))
    with pytest.raises(ValueError, match="model is of the type VAE: must be a LatentModel"):
        inspect.unwrap(pathwise)(vae, {}, key, X, 1)
    with pytest.raises(ValueError, match=r"vae is 3: must be a jvae\.VAE"):
        inspect.unwrap(from_vae)(3)


# a model of one dimension, whose IWAE-2 bound is a two-dimensional integral
SCALAR = {"encoder": {"loc": jnp.array(0.3), "log_scale": jnp.array(-0.2)}, "decoder": {"weight": jnp.array(1.2)}}
SCALAR_X = jnp.array([[0.7]])
SCALAR_MODEL = LatentModel(
    lambda params, x: distrax.Independent(
        distrax.Normal(params["encoder"]["loc"] * x, jnp.exp(params["encoder"]["log_scale"]) * jnp.ones_like(x)), 1
    ),
    lambda params, z, x: distrax.Normal(params["decoder"]["weight"] * z, 0.6).log_prob(x).sum(axis=-1),
    log_prior,
    None,
)


def exact_iwae(params):
    """Return IWAE-2 by Gauss-Hermite quadrature over both draws."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    q = params["encoder"]
    z = (q["loc"] * SCALAR_X[0, 0] + jnp.exp(q["log_scale"]) * jnp.asarray(nodes, jnp.float32))[:, None, None]
    log_q = jax.vmap(lambda z: SCALAR_MODEL.posterior(params, SCALAR_X).log_prob(z))(z)
    log_p = jax.vmap(lambda z: SCALAR_MODEL.log_likelihood(params, z, SCALAR_X) + log_prior(params, z))(z)
    log_w = (log_p - log_q)[:, 0]
    pair = jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)
    return jnp.asarray(weights, jnp.float32) @ pair @ jnp.asarray(weights, jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", IWAE_ESTIMATORS)
def test_iwae_estimators_are_unbiased(name):
    value, grads = jax.value_and_grad(exact_iwae)(SCALAR)

    @jax.jit
    def estimates(keys):
        def one(key):
            bound, grads = IWAE_ESTIMATORS[name](SCALAR_MODEL, SCALAR, key, SCALAR_X, 2)
            return jnp.append(flat(grads), bound)

        return jax.lax.map(one, keys, batch_size=1000)

    assert_within(estimates(jax.random.split(jax.random.key(3), 100_000)), np.append(flat(grads), value))


@pytest.mark.slow
def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    params = exact_posterior()
    estimates = {e: many(e, params, 1, 500)[:, :-1] for e in (sticking_the_landing, pathwise_monte_carlo, pathwise)}
    encoder = slice(flat(params["decoder"]).size, None)  # the decoder's leaves come first
    assert np.max(np.abs(estimates[sticking_the_landing][:, encoder])) < 2e-5
    assert np.min(np.std(estimates[pathwise_monte_carlo][:, encoder], axis=0)) > 0.01
    assert np.min(np.std(estimates[pathwise][:, encoder], axis=0)) > 0.01


@pytest.mark.slow
def test_the_score_function_is_noisier_than_the_path_and_the_control_variate_helps():
    variance = {e: np.var(many(e, WRONG, 8, 4000)[:, 6 + 3 + 1 :-1], axis=0).sum() for e in (
        pathwise, score_function, score_function_with_control_variate)}  # fmt: skip
    assert variance[score_function] > 5 * variance[score_function_with_control_variate]
    assert variance[score_function_with_control_variate] > 2 * variance[pathwise]


@pytest.mark.slow
def test_double_reparametrisation_keeps_its_signal_as_draws_are_added():
    """Tucker et al. 2018, figure 1: the signal of IWAE's encoder gradient falls, of the doubly reparametrised rises."""

    exact = exact_posterior()
    encoder = {
        **exact["encoder"],
        "log_scale": exact["encoder"]["log_scale"] + 0.3,
    }  # wider: weights of finite variance
    wide = {"encoder": {**encoder, "loc": encoder["loc"] + 0.2}, "decoder": DECODER}

    def signal_to_noise(estimator, num_samples):
        estimates = np.asarray(many(estimator, wide, num_samples, 20_000)[:, 6 + 3 + 1 : -1], np.float64)
        return np.linalg.norm(estimates.mean(axis=0)) / np.sqrt(estimates.var(axis=0).sum())

    assert signal_to_noise(iwae_pathwise, 64) < 0.7 * signal_to_noise(iwae_pathwise, 4)
    assert signal_to_noise(doubly_reparametrised, 64) > 1.5 * signal_to_noise(doubly_reparametrised, 4)


@pytest.mark.slow
def test_moments_are_those_of_the_gradients_themselves():
    wrapped = LatentModel(*(lambda p, *rest, f=f: f(p["params"], *rest) for f in MODEL))
    params, repeats, key = {"params": WRONG}, 50, jax.random.key(2)
    found = jax.jit(lambda: gradient_moments(score_function, wrapped, params, key, X, 3, repeats)[:2])()
    grads = jax.vmap(lambda k: flat(score_function(MODEL, WRONG, k, X, 3)[1]))(jax.random.split(key, repeats))
    np.testing.assert_allclose(flat(found[0]), grads.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(flat(found[1]), grads.var(axis=0, ddof=1), rtol=1e-3)
    noise = noise_by_group(Moments(*found, repeats))
    assert set(noise) == {"encoder", "decoder"}
    encoder = np.asarray(grads[:, 6 + 3 + 1 :])
    np.testing.assert_allclose(noise["encoder"].total_variance, encoder.var(axis=0, ddof=1).sum(), rtol=1e-3)


PRIORS = ("gaussian", "mog", "vamp", "flow")


@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS)
def test_every_estimator_runs_on_a_vae_and_pathwise_is_the_gradient_of_the_bound(prior, digits):
    vae = build_model(Config(latent_dim=3, hidden=(8, 8), prior=prior), (8, 8, 1))
    x = (jnp.asarray(digits.test_images[:4]) >= 128).astype(jnp.float32)
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), x)
    model, key = from_vae(vae), jax.random.key(5)
    estimators = {**ELBO_ESTIMATORS, **IWAE_ESTIMATORS}

    @jax.jit
    def everything(params):
        direct = jax.value_and_grad(
            lambda params: jnp.mean(elbo(draw(lambda k, x: vae.apply(params, k, x), key, x, 4)))
        )(params)
        return direct, {name: e(model, params, key, x, 4) for name, e in estimators.items()}

    direct, found = everything(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
    for mine, theirs in zip(jax.tree.leaves(found["pathwise"]), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5)
