"""Gradient estimators of a bound: how to differentiate an expectation over z ~ q(z|x), whose q has parameters too.

Every estimator is a pure function `(model, params, key, x, num_samples) -> (bound, grads)`: the mean bound of the batch
in nats per datum, larger is better, and an estimate of its gradient, a tree like the parameters. They differ in which
ways from a parameter to the bound are differentiated, and which are cut by `stop_gradient`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Key, PyTree


class LatentModel(NamedTuple):
    """The parts of a latent variable model that an estimator handles one by one; densities in nats."""

    posterior: Callable
    """`(params, x) -> q(z|x)`, a distribution of batch shape [b] with reparametrised samples."""
    log_likelihood: Callable
    """`(params, z[b, m], x) -> log p(x|z)`, [b]."""
    log_prior: Callable
    """`(params, z[b, m]) -> log p(z)`, [b]."""
    kl: Callable | None
    """`(params, x) -> KL(q(z|x) || p(z))`, [b], in closed form; None where there is none."""


Estimate = tuple[Float[Array, ""], PyTree]
Estimator = Callable[[LatentModel, PyTree, Key[Array, ""], Float[Array, "b ..."], int], Estimate]


def from_vae(vae: nn.Module, closed_form_kl: bool) -> LatentModel:
    """Return the parts of a one-level `jvae.vae.VAE`; its params are those of `vae.init`.

    Args:
        vae: the model.
        closed_form_kl: whether KL(q(z|x) || p(z)) has a closed form: with a Gaussian prior it has.
    """
    return LatentModel(
        posterior=lambda params, x: vae.apply(params, x, method="posterior"),
        log_likelihood=lambda params, z, x: vae.apply(params, z, method="decode").log_prob(x),
        log_prior=lambda params, z: vae.apply(params, method=lambda v: v.latent_prior().log_prob(z)),
        kl=(lambda params, x: vae.apply(params, method=lambda v: v.posterior(x).kl_divergence(v.latent_prior())))
        if closed_form_kl
        else None,
    )


def sample(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Float[Array, "k b m"]:
    """Draw K times z ~ q(z|x), differentiable in the posterior's parameters: the reparametrisation trick."""
    keys = jax.random.split(key, num_samples)
    return jax.vmap(lambda k: model.posterior(params, x).sample(seed=k))(keys)


def log_likelihood(
    model: LatentModel, params: PyTree, z: Float[Array, "k b m"], x: Float[Array, "b ..."]
) -> Float[Array, "k b"]:
    """Log p(x|z) of every draw."""
    return jax.vmap(lambda z: model.log_likelihood(params, z, x))(z)


def log_joint(
    model: LatentModel, params: PyTree, z: Float[Array, "k b m"], x: Float[Array, "b ..."]
) -> Float[Array, "k b"]:
    """Log p(x, z) of every draw."""
    return log_likelihood(model, params, z, x) + jax.vmap(lambda z: model.log_prior(params, z))(z)


def log_posterior(
    model: LatentModel, params: PyTree, z: Float[Array, "k b m"], x: Float[Array, "b ..."]
) -> Float[Array, "k b"]:
    """Log q(z|x) of every draw."""
    return model.posterior(params, x).log_prob(z)


def pathwise(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate the ELBO's gradient by the reparametrisation trick, with the KL in closed form where there is one.

    Source:
        Kingma & Welling 2014, Auto-Encoding Variational Bayes, eq. 7; Rezende et al. 2014.
    """
    kl = model.kl
    if kl is None:
        return pathwise_monte_carlo(model, params, key, x, num_samples)

    def bound(params: PyTree) -> Float[Array, ""]:
        z = sample(model, params, key, x, num_samples)
        return jnp.mean(log_likelihood(model, params, z, x)) - jnp.mean(kl(params, x))

    return jax.value_and_grad(bound)(params)


def pathwise_monte_carlo(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate the ELBO's gradient by the reparametrisation trick, without closed form: of log p(x, z) - log q(z|x).

    Source:
        Kingma & Welling 2014, eq. 6.
    """

    def bound(params: PyTree) -> Float[Array, ""]:
        z = sample(model, params, key, x, num_samples)
        return jnp.mean(log_joint(model, params, z, x) - log_posterior(model, params, z, x))

    return jax.value_and_grad(bound)(params)


def sticking_the_landing(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate the ELBO's gradient by sticking the landing (STL): `pathwise_monte_carlo` without the score of q.

    At the exact posterior log p(x, z) - log q(z|x) does not depend on z: the encoder's gradient is zero at every draw.

    Source:
        Roeder, Wu & Duvenaud 2017, Sticking the Landing, eq. 8.
    """

    def bound(params: PyTree) -> Float[Array, ""]:
        z = sample(model, params, key, x, num_samples)
        return jnp.mean(log_joint(model, params, z, x) - log_posterior(model, stop_gradient(params), z, x))

    return jax.value_and_grad(bound)(params)


def score_function(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate the ELBO's gradient with no path through z (REINFORCE): E[f grad log q(z|x)] + E[grad log p(x, z)].

    The weight f is log p(x, z) - log q(z|x); the third term, E[grad log q(z|x)], is zero.

    Source:
        Williams 1992, REINFORCE; Ranganath, Gerrish & Blei 2014, Black Box Variational Inference, eq. 2.
    """
    return weighted_score(model, params, key, x, num_samples, lambda f: f)


def score_function_with_control_variate(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate as `score_function`, less the mean f of the datum's other draws: leave-one-out REINFORCE (RLOO).

    That mean is independent of the draw, so that subtracting it leaves the expectation alone.

    Raises:
        ValueError: num_samples is below 2.

    Source:
        Mnih & Rezende 2016, Variational inference for Monte Carlo objectives; Kool et al. 2019, eq. 8.
    """
    if num_samples < 2:
        raise ValueError(f"num_samples is {num_samples}: the control variate needs at least 2 draws a datum")
    return weighted_score(model, params, key, x, num_samples, lambda f: (f - f.mean(axis=0)) * len(f) / (len(f) - 1))


def weighted_score(
    model: LatentModel,
    params: PyTree,
    key: Key[Array, ""],
    x: Float[Array, "b ..."],
    num_samples: int,
    weight: Callable[[Float[Array, "k b"]], Float[Array, "k b"]],
) -> Estimate:
    """Estimate E[weight(f) grad log q(z|x)] + E[grad log p(x, z)] at draws z that do not depend on the parameters."""

    def surrogate(params: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z = stop_gradient(sample(model, params, key, x, num_samples))
        log_p, log_q = log_joint(model, params, z, x), log_posterior(model, params, z, x)
        f = stop_gradient(log_p - log_q)
        return jnp.mean(weight(f) * log_q + log_p), jnp.mean(f)

    grads, bound = jax.grad(surrogate, has_aux=True)(params)
    return bound, grads


def iwae_pathwise(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate the IWAE-K bound's gradient by the reparametrisation trick.

    Source:
        Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders, eq. 13.
    """

    def bound(params: PyTree) -> Float[Array, ""]:
        z = sample(model, params, key, x, num_samples)
        return importance_bound(log_joint(model, params, z, x) - log_posterior(model, params, z, x))

    return jax.value_and_grad(bound)(params)


def doubly_reparametrised(
    model: LatentModel, params: PyTree, key: Key[Array, ""], x: Float[Array, "b ..."], num_samples: int
) -> Estimate:
    """Estimate the IWAE-K bound's gradient with the score of q reparametrised too: DReG, clearer with every draw.

    With v_k the normalised weights, sum_k v_k grad log p(x, z_k) at fixed draws, plus
    sum_k v_k^2 (d log w_k / d z_k) grad z_k.

    Source:
        Tucker et al. 2018, Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, eq. 8.
    """

    def surrogate(params: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z = sample(model, params, key, x, num_samples)
        fixed = stop_gradient(params)
        log_w = log_joint(model, fixed, z, x) - log_posterior(model, fixed, z, x)  # depends on params through z alone
        v = stop_gradient(jax.nn.softmax(log_w, axis=0))
        direct = log_joint(model, params, stop_gradient(z), x)
        return jnp.mean(jnp.sum(v * direct + v**2 * log_w, axis=0)), importance_bound(log_w)

    grads, bound = jax.grad(surrogate, has_aux=True)(params)
    return bound, grads


def importance_bound(log_w: Float[Array, "k b"]) -> Float[Array, ""]:
    """Return the IWAE-K bound of log weights, mean over the batch."""
    return jnp.mean(jax.nn.logsumexp(log_w, axis=0) - jnp.log(len(log_w)))


ELBO_ESTIMATORS: dict[str, Estimator] = {
    "pathwise": pathwise,
    "pathwise, Monte Carlo KL": pathwise_monte_carlo,
    "sticking the landing": sticking_the_landing,
    "score function": score_function,
    "score function, control variate": score_function_with_control_variate,
}
IWAE_ESTIMATORS: dict[str, Estimator] = {"IWAE, pathwise": iwae_pathwise, "IWAE, doubly": doubly_reparametrised}


class Moments(NamedTuple):
    """Of an estimator's gradient over independent keys: trees like the parameters."""

    mean: PyTree
    variance: PyTree
    """Per parameter, n-1."""
    repeats: int
    """How many keys."""


def gradient_moments(
    estimator: Estimator,
    model: LatentModel,
    params: PyTree,
    key: Key[Array, ""],
    x: Float[Array, "b ..."],
    num_samples: int,
    repeats: int,
) -> Moments:
    """Return the gradient's mean and variance over at least 2 `repeats`, in the memory of a few (Welford 1962)."""
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
    """The expected gradient's norm over the square root of the total variance, of one estimate."""


def noise_by_group(
    moments: Moments, groups: tuple[str, ...] = ("encoder", "decoder", "prior")
) -> dict[str, GroupNoise]:
    """Return the noise in each of the model's modules that has parameters."""
    mean, variance = moments.mean["params"], moments.variance["params"]
    noise = {}
    for group in (name for name in groups if name in mean):
        total = jnp.sum(jnp.array([jnp.sum(leaf) for leaf in jax.tree.leaves(variance[group])]))
        square = jnp.sum(jnp.array([jnp.sum(leaf**2) for leaf in jax.tree.leaves(mean[group])]))
        signal = jnp.maximum(square - total / moments.repeats, 0.0)  # the mean of so many gradients carries noise too
        noise[group] = GroupNoise(total, jnp.sqrt(signal / total))
    return noise
