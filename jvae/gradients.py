"""Gradient estimators of a bound: ways to differentiate an expectation over z ~ q(z|x), where q has parameters too.

Every estimator is a pure function `(model, params, key, x, num_samples, weights=None) -> (bound, grads)`: the mean
bound of the batch in nats per datum, larger is better, and an estimate of its gradient, a tree like the parameters.
The weights [b] of the data are equal by default. The estimators differ in which paths from a parameter to the bound are
differentiated, and which `stop_gradient` cuts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Key, PyTree

from jvae.distributions import closed_form_kl
from jvae.errors import at_least_one, shown, whole_number


class LatentModel(NamedTuple):
    """The parts of a latent variable model that an estimator treats separately; densities in nats."""

    posterior: Callable[[PyTree, Array], Any]
    """`(params, x) -> q(z|x)`, a distribution of batch shape [b] with reparametrised samples."""
    log_likelihood: Callable[[PyTree, Array, Array], Array]
    """`(params, z[b, m], x) -> log p(x|z)`, [b]."""
    log_prior: Callable[[PyTree, Array], Array]
    """`(params, z[b, m]) -> log p(z)`, [b]."""
    kl: Callable[[PyTree, Array], Array | None]
    """`(params, x) -> KL(q(z|x) || p(z))`, [b], in closed form, or None where there is none."""


Data = Float[Array, "b ..."]
Draws = Float[Array, "k b m"]
PerDraw = Float[Array, "k b"]
Weights = Float[Array, " b"] | None
BoundAndGradient = tuple[Float[Array, ""], PyTree]
SurrogateAndBound = tuple[Float[Array, ""], Float[Array, ""]]
"""The surrogate, which is differentiated, and the bound, which is reported."""
Estimator = Callable[..., BoundAndGradient]
"""`(model, params, key, x, num_samples, weights=None) -> (bound, grads)`."""


def from_vae(vae: nn.Module) -> LatentModel:
    """Return the parts of a one-level `jvae.vae.VAE`; its params are those of `vae.init`.

    Raises:
        ValueError: it is no such model, or has more than one level.
    """
    if not hasattr(vae, "num_levels"):
        raise ValueError(f"vae is {shown(vae)}: must be a jvae.VAE")
    if vae.num_levels != 1:
        raise ValueError(f"the model has {vae.num_levels} levels: the estimators take one")

    return LatentModel(
        posterior=lambda params, x: vae.apply(params, x, method="posterior"),
        log_likelihood=lambda params, z, x: vae.apply(params, z, method="decode").log_prob(x),
        log_prior=lambda params, z: vae.apply(params, method=lambda v: v.marginal_priors()[0].log_prob(z)),
        kl=lambda params, x: vae.apply(
            params, x, method=lambda v, x: closed_form_kl(v.posterior(x), v.marginal_priors()[0])
        ),
    )


def sample(model: LatentModel, params: PyTree, key: Key[Array, ""], x: Data, num_samples: int) -> Draws:
    """Draw z ~ q(z|x) K times, differentiable in the posterior's parameters (the reparametrisation trick).

    Raises:
        ValueError: num_samples is below 1.
    """
    keys = jax.random.split(key, at_least_one("num_samples", num_samples))
    return jax.vmap(lambda k: model.posterior(params, x).sample(seed=k))(keys)


def log_likelihood(model: LatentModel, params: PyTree, z: Draws, x: Data) -> PerDraw:
    """Return log p(x|z) of every draw, in nats."""
    return jax.vmap(lambda z: model.log_likelihood(params, z, x))(z)


def log_joint(model: LatentModel, params: PyTree, z: Draws, x: Data) -> PerDraw:
    """Return log p(x, z) of every draw, in nats."""
    return log_likelihood(model, params, z, x) + jax.vmap(lambda z: model.log_prior(params, z))(z)


def log_posterior(model: LatentModel, params: PyTree, z: Draws, x: Data) -> PerDraw:
    """Return log q(z|x) of every draw, in nats."""
    return model.posterior(params, x).log_prob(z)


def estimator(objective: Callable[..., SurrogateAndBound]) -> Estimator:
    """Return the estimator of an objective `(model, params, z, x, weights)`, differentiated through the draws z too.

    The estimator raises a ValueError if the model is no `LatentModel`, or num_samples is below 1.
    """

    def estimate(
        model: LatentModel, params: PyTree, key: Key[Array, ""], x: Data, num_samples: int, weights: Weights = None
    ) -> BoundAndGradient:
        if not isinstance(model, LatentModel):
            raise ValueError(f"model is {shown(model)}: must be a LatentModel, such as gradients.from_vae(vae)")

        def of_params(params: PyTree) -> SurrogateAndBound:
            return objective(model, params, sample(model, params, key, x, num_samples), x, weights)

        grads, bound = jax.grad(of_params, has_aux=True)(params)
        return bound, grads

    estimate.__name__, estimate.__doc__ = objective.__name__, objective.__doc__
    return estimate


@estimator
def pathwise(model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights) -> SurrogateAndBound:
    """Estimate the ELBO's gradient by the reparametrisation trick, with the KL in closed form where there is one.

    Source:
        Kingma & Welling 2014, Auto-Encoding Variational Bayes, eq. 7; Rezende et al. 2014.
    """
    kl = model.kl(params, x)
    if kl is None:
        kl = log_posterior(model, params, z, x) - jax.vmap(lambda z: model.log_prior(params, z))(z)
    bound = mean(log_likelihood(model, params, z, x), weights) - mean(kl, weights)
    return bound, bound


@estimator
def pathwise_monte_carlo(model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights) -> SurrogateAndBound:
    """Estimate the ELBO's gradient by the reparametrisation trick, with the KL by Monte Carlo.

    It is the gradient of the mean of log p(x, z) - log q(z|x) over draws.

    Source:
        Kingma & Welling 2014, eq. 6.
    """
    bound = mean(log_joint(model, params, z, x) - log_posterior(model, params, z, x), weights)
    return bound, bound


@estimator
def sticking_the_landing(model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights) -> SurrogateAndBound:
    """Estimate the ELBO's gradient by sticking the landing (STL): `pathwise_monte_carlo` without the score of q.

    At the exact posterior log p(x, z) - log q(z|x) does not depend on z, so the encoder's gradient is 0 at every draw.

    Source:
        Roeder, Wu & Duvenaud 2017, Sticking the Landing, eq. 8.
    """
    bound = mean(log_joint(model, params, z, x) - log_posterior(model, stop_gradient(params), z, x), weights)
    return bound, bound


@estimator
def score_function(model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights) -> SurrogateAndBound:
    """Estimate the ELBO's gradient with no path through z (REINFORCE): E[f grad log q(z|x)] + E[grad log p(x, z)].

    The weight f is log p(x, z) - log q(z|x); the third term, E[grad log q(z|x)], is zero.

    Source:
        Williams 1992, REINFORCE; Ranganath, Gerrish & Blei 2014, Black Box Variational Inference, eq. 2.
    """
    return weighted_score(model, params, z, x, weights, lambda f: f)


@estimator
def score_function_with_control_variate(
    model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights
) -> SurrogateAndBound:
    """Estimate as `score_function`, with f minus the mean f of the datum's other draws: leave-one-out REINFORCE (RLOO).

    That mean is independent of the draw, so subtracting it does not change the expectation.

    Raises:
        ValueError: num_samples is below 2.

    Source:
        Mnih & Rezende 2016, Variational inference for Monte Carlo objectives; Kool et al. 2019, eq. 8.
    """
    if len(z) < 2:
        raise ValueError(f"num_samples is {len(z)}: the control variate needs at least 2 draws a datum")
    return weighted_score(model, params, z, x, weights, lambda f: (f - f.mean(axis=0)) * len(f) / (len(f) - 1))


def weighted_score(
    model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights, scale: Callable[[PerDraw], PerDraw]
) -> SurrogateAndBound:
    """Return the surrogate of E[scale(f) grad log q(z|x)] + E[grad log p(x, z)] at fixed draws."""
    z = stop_gradient(z)
    log_p, log_q = log_joint(model, params, z, x), log_posterior(model, params, z, x)
    f = stop_gradient(log_p - log_q)
    return mean(scale(f) * log_q + log_p, weights), mean(f, weights)


@estimator
def iwae_pathwise(model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights) -> SurrogateAndBound:
    """Estimate the IWAE-K bound's gradient by the reparametrisation trick.

    Source:
        Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders, eq. 13.
    """
    bound = importance_bound(log_joint(model, params, z, x) - log_posterior(model, params, z, x), weights)
    return bound, bound


@estimator
def doubly_reparametrised(model: LatentModel, params: PyTree, z: Draws, x: Data, weights: Weights) -> SurrogateAndBound:
    """Estimate the IWAE-K bound's gradient with the score of q reparametrised too (DReG); its SNR grows with K.

    It is sum_k v_k grad log p(x, z_k) at fixed draws, plus sum_k v_k^2 (d log w_k / d z_k) grad z_k, where v_k are the
    normalised weights.

    Source:
        Tucker et al. 2018, Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, eq. 8.
    """
    fixed = stop_gradient(params)
    log_w = log_joint(model, fixed, z, x) - log_posterior(model, fixed, z, x)  # depends on params through z alone
    v = stop_gradient(jax.nn.softmax(log_w, axis=0))
    direct = log_joint(model, params, stop_gradient(z), x)
    return mean(jnp.sum(v * direct + v**2 * log_w, axis=0), weights), importance_bound(log_w, weights)


def importance_bound(log_w: PerDraw, weights: Weights) -> Float[Array, ""]:
    """Return the IWAE-K bound from log importance weights, averaged over the batch."""
    return mean(jax.nn.logsumexp(log_w, axis=0) - jnp.log(len(log_w)), weights)


def mean(values: Float[Array, "*k b"], weights: Weights) -> Float[Array, ""]:
    """Return the mean over draws, if there is an axis of them, and the weighted mean over the batch."""
    return jnp.mean(values) if weights is None else jnp.mean(values @ weights) / jnp.sum(weights)


ELBO_ESTIMATORS: dict[str, Estimator] = {
    "pathwise": pathwise,
    "pathwise, Monte Carlo KL": pathwise_monte_carlo,
    "sticking the landing": sticking_the_landing,
    "score function": score_function,
    "score function, control variate": score_function_with_control_variate,
}
IWAE_ESTIMATORS: dict[str, Estimator] = {"IWAE, pathwise": iwae_pathwise, "IWAE, doubly": doubly_reparametrised}


class Moments(NamedTuple):
    """The moments of an estimator's gradient over independent keys, as trees like the parameters."""

    mean: PyTree
    """The mean per parameter."""
    variance: PyTree
    """The sample variance (n - 1) per parameter."""
    repeats: int
    """The number of keys."""


def gradient_moments(
    estimator: Estimator,
    model: LatentModel,
    params: PyTree,
    key: Key[Array, ""],
    x: Data,
    num_samples: int,
    repeats: int,
) -> Moments:
    """Return the gradient's mean and variance over the keys of `repeats` estimates, in constant memory (Welford 1962).

    Raises:
        ValueError: repeats is below 2, or as the estimator.
    """
    if whole_number("repeats", repeats) < 2:
        raise ValueError(f"repeats is {repeats}: must be at least 2, for a variance")
    zeros = jax.tree.map(jnp.zeros_like, params)

    def update(sums: tuple[PyTree, PyTree], step: tuple[Array, Array]) -> tuple[tuple[PyTree, PyTree], None]:
        n, k = step
        _, grads = estimator(model, params, k, x, num_samples)
        off = jax.tree.map(lambda g, mean: g - mean, grads, sums[0])
        mean = jax.tree.map(lambda mean, d: mean + d / n, sums[0], off)
        squares = jax.tree.map(lambda s, d, g, mean: s + d * (g - mean), sums[1], off, grads, mean)
        return (mean, squares), None

    counts = jnp.arange(1, repeats + 1, dtype=jnp.float32)
    mean, squares = jax.lax.scan(update, (zeros, zeros), (counts, jax.random.split(key, repeats)))[0]
    return Moments(mean, jax.tree.map(lambda s: s / (repeats - 1), squares), repeats)


class GroupNoise(NamedTuple):
    """An estimator's noise in one group of parameters."""

    total_variance: Float[Array, ""]
    """The trace of the gradient's covariance."""
    signal_to_noise: Float[Array, ""]
    """The norm of the expected gradient divided by the square root of the total variance of one estimate."""


def noise_by_group(
    moments: Moments, groups: tuple[str, ...] = ("encoder", "decoder", "prior")
) -> dict[str, GroupNoise]:
    """Return the estimator's noise in each module of the model that has parameters."""
    mean, variance = moments.mean["params"], moments.variance["params"]
    noise = {}
    for group in (name for name in groups if name in mean):
        total = jnp.sum(jnp.array([jnp.sum(leaf) for leaf in jax.tree.leaves(variance[group])]))
        square = jnp.sum(jnp.array([jnp.sum(leaf**2) for leaf in jax.tree.leaves(mean[group])]))
        signal = jnp.maximum(square - total / moments.repeats, 0.0)  # the mean over repeats is noisy too
        noise[group] = GroupNoise(total, jnp.sqrt(signal / total))
    return noise
