"""Probabilistic PCA, a VAE whose integrals have closed forms: the oracle for the bounds and the gradient estimators.

    p(z) = N(z | 0, I_m)        p(x|z) = N(x | W z + b, sigma^2 I_d)        p(x) = N(x | b, C),  C = W W' + sigma^2 I_d

A model is a tuple of parameters, and everything else is a pure function of it. All d x d algebra is done through the
posterior covariance sigma^2 M^-1 with the m x m matrix M = W'W + sigma^2 I_m. Log-likelihoods are in nats.

Source:
    Tipping & Bishop 1999, Probabilistic principal component analysis, J. R. Statist. Soc. B 61, section 3.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from jvae.bounds import LogDensities
from jvae.divergences import kl_full
from jvae.errors import at_least_one, shown, whole_number

LOG_2PI = 1.8378770664093453
matmul = partial(jnp.matmul, precision="highest")  # an oracle: a GPU's default would round the factors to TF32


class PPCA(NamedTuple):
    """The parameters."""

    loc: Float[Array, " d"]
    """b, the mean of p(x)."""
    weights: Float[Array, "d m"]
    """W."""
    log_scale: Float[Array, ""]
    """log sigma."""


class Posterior(NamedTuple):
    """q(z|x) = N(loc, T T') for each of b data, with one T for all: the exact covariance does not depend on x."""

    loc: Float[Array, "b m"]
    """The mean for each datum."""
    scale_tril: Float[Array, "m m"]
    """T, lower triangular with a positive diagonal."""


class Moments(NamedTuple):
    """The sufficient statistics of the data for the likelihood of PPCA."""

    mean: Float[Array, " d"]
    """The mean of the data."""
    covariance: Float[Array, "d d"]
    """The population covariance: divided by n, not n - 1."""


class Fit(NamedTuple):
    """The result of an iterative fit, and its path."""

    model: PPCA
    """The last parameters."""
    log_likelihood: Float[Array, " steps"]
    """The mean log-likelihood, in nats per datum, after every step; the last one is the model's."""


@jax.jit
def log_likelihood(model: PPCA, x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Return the log-density log N(x | b, W W' + sigma^2 I) of every datum, in nats, at a cost of O(n d m).

    With r = x - b, the posterior's mean z and its covariance S = sigma^2 M^-1, the matrix lemmas give

        r' C^-1 r = |r - W z|^2 / sigma^2 + |z|^2        log|C| = d log sigma^2 - log|S|

    Raises:
        ValueError: x is not [n, d] for the model's d.
    """
    q = posterior(model, x)
    residual = x - model.loc - matmul(q.loc, model.weights.T)
    # a sum of squares: the textbook r'r - r' W M^-1 W' r is a difference of nearly equal numbers for a small sigma
    distance = _square(residual) * jnp.exp(-2 * model.log_scale) + _square(q.loc)
    return -(x.shape[1] * LOG_2PI + _log_det(model, q.scale_tril) + distance) / 2


@jax.jit
def mean_log_likelihood(model: PPCA, moments: Moments) -> Float[Array, ""]:
    """Return the mean of `log_likelihood` over data with these moments, in nats per datum, at a cost of O(d^2 m).

    The moments' own rounding is divided by sigma^2: in float32 use `log_likelihood` if sigma is below a hundredth of
    the data's largest standard deviation.
    """
    scale_tril = posterior_scale_tril(model)
    precision = jnp.exp(-2 * model.log_scale)
    away = moments.mean - model.loc
    # tr(C^-1 S) for the covariance S about b: C^-1 = (I - W T T' W' / sigma^2) / sigma^2
    v = matmul(model.weights, scale_tril)
    inside = jnp.sum(v * matmul(moments.covariance, v)) + _square(matmul(away, v))
    distance = precision * (jnp.trace(moments.covariance) + _square(away) - precision * inside)
    return -(len(model.loc) * LOG_2PI + _log_det(model, scale_tril) + distance) / 2


@jax.jit
def posterior(model: PPCA, x: Float[Array, "n d"]) -> Posterior:
    """Return the exact p(z|x) = N(M^-1 W'(x - b), sigma^2 M^-1) of every datum.

    Raises:
        ValueError: x is not [n, d] for the model's d.
    """
    check_data(x, len(model.loc))
    scale_tril = posterior_scale_tril(model)
    scores = matmul(x - model.loc, model.weights) * jnp.exp(-2 * model.log_scale)
    return Posterior(matmul(matmul(scores, scale_tril), scale_tril.T), scale_tril)


def posterior_scale_tril(model: PPCA) -> Float[Array, "m m"]:
    """Return the Cholesky factor T of the posterior's covariance: T T' = (I + W'W / sigma^2)^-1 = sigma^2 M^-1."""
    w = model.weights * jnp.exp(-model.log_scale)
    identity = jnp.eye(w.shape[1], dtype=w.dtype)
    precision = identity + matmul(w.T, w)
    # precision = U U' with U upper triangular (the Cholesky factor of the matrix turned by 180 degrees), so that
    # U'^-1 is the lower factor of the inverse, without forming the inverse
    upper = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    return jax.scipy.linalg.solve_triangular(upper.T, identity, lower=True)


@jax.jit
def log_densities(model: PPCA, key: Key[Array, ""], x: Float[Array, "b d"], q: Posterior | None = None) -> LogDensities:
    """Return the log-densities, in nats, at one reparametrised draw z ~ q(z|x) for each datum.

    With the exact posterior, the default, log_px_z + log_pz - log_qz_x is log p(x) at every draw, so every bound is
    tight. With another q the ELBO is below log p(x) by KL(q || p(z|x)), which `kl_full` computes.

    Raises:
        ValueError: x is not [b, d] for the model's d, or q's loc is not [b, m].
    """
    q = posterior(model, x) if q is None else q
    check_data(x, len(model.loc))
    m = model.weights.shape[1]
    if q.loc.shape != (len(x), m) or q.scale_tril.shape != (m, m):
        raise ValueError(
            f"q has loc {q.loc.shape} and scale_tril {q.scale_tril.shape}: must be {(len(x), m)} and {(m, m)}"
        )
    z = q.loc + matmul(jax.random.normal(key, q.loc.shape, q.loc.dtype), q.scale_tril.T)
    noise = jax.scipy.linalg.solve_triangular(q.scale_tril, (z - q.loc).T, lower=True).T
    residual = (x - model.loc - matmul(z, model.weights.T)) * jnp.exp(-model.log_scale)
    return LogDensities(
        log_px_z=_log_standard(residual) - len(model.loc) * model.log_scale,
        log_pz=_log_standard(z),
        log_qz_x=_log_standard(noise) - jnp.sum(jnp.log(jnp.diag(q.scale_tril))),
        kl=kl_full(q.loc, q.scale_tril, jnp.zeros_like(q.loc), jnp.eye(m, dtype=q.loc.dtype)),
    )


@partial(jax.jit, static_argnames="n")
def sample(model: PPCA, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
    """Draw n data from p(x): z ~ p(z), then x ~ p(x|z).

    Raises:
        ValueError: n is below 1.
    """
    at_least_one("n", n)
    z_key, x_key = jax.random.split(key)
    d, m = model.weights.shape
    z = jax.random.normal(z_key, (n, m), model.loc.dtype)
    noise = jax.random.normal(x_key, (n, d), model.loc.dtype)
    return model.loc + matmul(z, model.weights.T) + jnp.exp(model.log_scale) * noise


@jax.jit
def compute_moments(x: Float[Array, "n d"]) -> Moments:
    """Return the mean and the population covariance (1/n) of the data."""
    mean = jnp.mean(x, axis=0)
    centred = x - mean
    return Moments(mean, matmul(centred.T, centred) / len(x))


def fit_closed_form(x: Float[Array, "n d"], latent_dim: int) -> PPCA:
    """Return the maximum-likelihood model: b is the mean, W and sigma^2 follow from the covariance's spectrum.

    With eigenvalues l_1 >= ... >= l_d and eigenvectors u_i, sigma^2 is the mean of the last d - m eigenvalues and W's
    columns are sqrt(l_i - sigma^2) u_i, up to a rotation of the latents. The covariance is the population's, 1/n,
    which maximises the likelihood; scikit-learn's PCA uses 1/(n-1).

    Raises:
        ValueError: x is not [n, d] or not finite, latent_dim is not from 1 to d - 1, or the data vary in at most m
            directions: then sigma^2 is 0 and the likelihood has no maximum.

    Source:
        Tipping & Bishop 1999, section 3.2 and appendix A.
    """
    check_fit(x, latent_dim)
    model, floor = _maximum(x, latent_dim)
    variance = jnp.exp(2 * model.log_scale)
    if not isinstance(variance, jax.core.Tracer) and jnp.isnan(variance):
        raise ValueError("x has values that are not finite, or too large to be squared")
    if not isinstance(variance, jax.core.Tracer) and not variance > floor:
        raise ValueError(
            f"latent_dim is {latent_dim}: must be less than the number of directions in which the data vary, "
            f"or the likelihood is unbounded: sigma^2 would be {float(variance):.2g}, which is rounding error in "
            f"{x.dtype} beside the largest variance, {float(floor / (10 * jnp.finfo(x.dtype).eps)):.2g}"
        )
    return model


@partial(jax.jit, static_argnames="latent_dim")
def _maximum(x: Float[Array, "n d"], latent_dim: int) -> tuple[PPCA, Float[Array, ""]]:
    """Return the closed-form model, and the variance below which sigma^2 is rounding error."""
    moments = compute_moments(x)
    values, vectors = jnp.linalg.eigh(moments.covariance)  # in ascending order
    variance = jnp.maximum(jnp.mean(values[:-latent_dim]), 0)
    above = jnp.maximum(values[: -latent_dim - 1 : -1] - variance, 0)
    model = PPCA(moments.mean, vectors[:, : -latent_dim - 1 : -1] * jnp.sqrt(above), jnp.log(variance) / 2)
    return model, 10 * jnp.finfo(x.dtype).eps * values[-1]


@partial(jax.jit, static_argnames=("latent_dim", "steps"))
def fit_em(x: Float[Array, "n d"], latent_dim: int, steps: int, key: Key[Array, ""]) -> Fit:
    """Fit by expectation maximisation from random weights, with b at the mean. No step lowers the likelihood.

    Args:
        x: the data, which must vary in more than m directions.
        latent_dim: m, from 1 to d - 1.
        steps: the number of pairs of an E-step and an M-step, at least 1.
        key: decides where W starts.

    Raises:
        ValueError: latent_dim, steps or x's shape is not as above.

    Source:
        Tipping & Bishop 1999, section 3.3 and appendix B, both steps in one.
    """
    check_fit(x, latent_dim, steps)
    moments = compute_moments(x)

    def body(model: PPCA, _: None) -> tuple[PPCA, Float[Array, ""]]:
        model = em_step(model, moments)
        return model, mean_log_likelihood(model, moments)

    start = random_model(moments, latent_dim, key)._replace(loc=moments.mean)
    return Fit(*jax.lax.scan(body, start, length=steps))


@jax.jit
def em_step(model: PPCA, moments: Moments) -> PPCA:
    """Take one E-step (the posterior's moments, averaged over the data) and one M-step (a regression of x on z).

    E[x z'] = S W T T' / sigma^2 and E[z z'] = T T' + E[z] E[z]', with S the data's covariance and T T' the posterior's.
    """
    scale_tril = posterior_scale_tril(model)
    precision = jnp.exp(-2 * model.log_scale)
    gain = precision * matmul(matmul(model.weights, scale_tril), scale_tril.T)  # E[z|x] = gain' (x - b)
    xz = matmul(moments.covariance, gain)
    zz = matmul(scale_tril, scale_tril.T) + matmul(gain.T, xz)
    weights = jax.scipy.linalg.solve(zz, xz.T, assume_a="pos").T
    variance = (jnp.trace(moments.covariance) - jnp.sum(weights * xz)) / len(model.loc)
    return PPCA(moments.mean, weights, jnp.log(variance) / 2)


@partial(jax.jit, static_argnames=("latent_dim", "steps"))
def fit_gradient(
    x: Float[Array, "n d"], latent_dim: int, steps: int, learning_rate: float | Float[Array, ""], key: Key[Array, ""]
) -> Fit:
    """Fit by gradient ascent (Adam) on the mean log-likelihood in b, W and log sigma, from b = 0 and random weights.

    The learning rate falls to 0 along a cosine, so that the last steps settle. Every step uses the moments of all data.

    Args:
        x: the data, which must vary in more than m directions.
        latent_dim: m, from 1 to d - 1.
        steps: the number of steps, at least 1.
        learning_rate: Adam's initial step size, in the data's unit.
        key: decides where W starts.

    Raises:
        ValueError: latent_dim, steps or x's shape is not as above.
    """
    check_fit(x, latent_dim, steps)
    moments = compute_moments(x)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(model: PPCA) -> Float[Array, ""]:
        return -mean_log_likelihood(model, moments)

    def body(carry: tuple[PPCA, optax.OptState], _: None) -> tuple[tuple[PPCA, optax.OptState], Float[Array, ""]]:
        model, state = carry
        updates, state = optimizer.update(jax.grad(loss)(model), state, model)
        model = PPCA(*optax.apply_updates(model, updates))
        return (model, state), -loss(model)

    start = random_model(moments, latent_dim, key)
    (model, _), path = jax.lax.scan(body, (start, optimizer.init(start)), length=steps)
    return Fit(model, path)


def random_model(moments: Moments, latent_dim: int, key: Key[Array, ""]) -> PPCA:
    """Return the initial model: b = 0, W random, sigma^2 the mean variance of the data."""
    d = len(moments.mean)
    log_scale = jnp.log(jnp.trace(moments.covariance) / d) / 2
    weights = jnp.exp(log_scale) * jax.random.normal(key, (d, latent_dim), log_scale.dtype)
    return PPCA(jnp.zeros_like(moments.mean), weights, log_scale)


def check_data(x: Float[Array, "..."], dim: int | None = None) -> None:
    """Raise a ValueError unless x is an array of real numbers [n, d], with the given d."""
    if not jnp.issubdtype(getattr(x, "dtype", object), jnp.floating):
        raise ValueError(f"x is {x.dtype if hasattr(x, 'dtype') else shown(x)}: must be an array of floats [n, d]")
    if x.ndim != 2 or (dim is not None and x.shape[1] != dim):
        raise ValueError(f"x has shape {x.shape}: must be [n, {'d' if dim is None else dim}]")


def check_fit(x: Float[Array, "..."], latent_dim: int, steps: int = 1) -> None:
    """Raise a ValueError unless x is [n, d], latent_dim from 1 to d - 1, and steps at least 1."""
    check_data(x)
    if not 1 <= whole_number("latent_dim", latent_dim) < x.shape[1]:
        raise ValueError(f"latent_dim is {latent_dim}: must be at least 1 and below the data's {x.shape[1]} dimensions")
    at_least_one("steps", steps)


def _square(v: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    return jnp.sum(jnp.square(v), axis=-1)


def _log_standard(v: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    return -(v.shape[-1] * LOG_2PI + _square(v)) / 2


def _log_det(model: PPCA, scale_tril: Float[Array, "m m"]) -> Float[Array, ""]:
    """Return log|W W' + sigma^2 I| = d log sigma^2 - log|posterior covariance|, by the matrix determinant lemma."""
    return 2 * (len(model.loc) * model.log_scale - jnp.sum(jnp.log(jnp.diag(scale_tril))))
