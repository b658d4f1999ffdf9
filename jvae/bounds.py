"""Bounds on the log-evidence: pure functions of the log-densities of K draws, in nats per datum, larger is better.

`LogDensities` is the one currency between models and everything else: a model draws z ~ q(z|x) and returns the
log-densities it met there. `draw` repeats that K times, and a bound turns the K rows into one number per datum.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Shaped


class LogDensities(NamedTuple):
    """Log-densities, in nats, of one draw z ~ q(z|x) for each of b data (or of k draws each, with a leading axis)."""

    log_px_z: Float[Array, "*k b"]
    """log p(x|z), summed over the pixels."""
    log_pz: Float[Array, "*k b"]
    """log p(z)."""
    log_qz_x: Float[Array, "*k b"]
    """log q(z|x)."""
    kl: Float[Array, "*k b"]
    """KL(q(z|x) || p(z)): the closed form where there is one, else its one-draw estimate log_qz_x - log_pz."""


def draw(
    log_densities: Callable[[PyTree[Key[Array, ""]], Shaped[Array, "b ..."]], LogDensities],
    key: PyTree[Key[Array, ""]],
    x: Shaped[Array, "b ..."],
    num_samples: int = 1,
    draws_at_a_time: int | None = None,
) -> LogDensities:
    """Draw K = num_samples times for every datum, independently: LogDensities of shape [k, b].

    It is a `vmap` over K keys, in which whatever does not depend on the key (the encoder) runs once.

    Args:
        log_densities: the model at fixed parameters, `(key, x) -> LogDensities`.
        key: split into one key per draw; a tree of keys is split leaf by leaf.
        x: the batch.
        num_samples: K, at least 1.
        draws_at_a_time: the most draws to compute together, to bound the memory; all by default.

    Raises:
        ValueError: num_samples is below 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}: must be at least 1")
    keys = jax.tree.map(lambda key: jax.random.split(key, num_samples), key)
    if num_samples == 1:  # a vmap over one key would leave an axis of length 1 inside, and XLA copies around it
        return jax.tree.map(lambda v: v[None], log_densities(jax.tree.map(lambda k: k[0], keys), x))
    if draws_at_a_time is None or draws_at_a_time >= num_samples:
        return jax.vmap(lambda k: log_densities(k, x))(keys)
    return jax.lax.map(lambda k: log_densities(k, x), keys, batch_size=draws_at_a_time)


def of_draws(d: LogDensities) -> LogDensities:
    """Return log-densities that have an axis of draws; raise a ValueError if they have none."""
    if d.log_px_z.ndim < 2:
        raise ValueError(f"log-densities have the shape {list(d.log_px_z.shape)}: must be [k, b], k draws of b data")
    return d


Bound = Callable[[LogDensities], Float[Array, " b"]]
"""Log-densities [k, b] -> the bound per datum, in nats; larger is better."""


def elbo(d: LogDensities, *, beta: float | Float[Array, ""] = 1.0) -> Float[Array, " b"]:
    """Return the ELBO per datum, in nats: the mean over draws of log p(x|z) - beta * KL(q(z|x) || p(z)).

    Args:
        d: log-densities of shape [k, b].
        beta: the weight of the KL term. beta = 1 is the ELBO proper; any beta >= 1 gives a lower bound of log p(x).

    Source:
        Kingma & Welling 2014, Auto-Encoding Variational Bayes, eq. 3 and 7; beta: Higgins et al. 2017, beta-VAE, eq. 4.
    """
    return jnp.mean(elbo_terms(of_draws(d), beta=beta), axis=0)


def elbo_terms(d: LogDensities, *, beta: float | Float[Array, ""] = 1.0) -> Float[Array, "*k b"]:
    """Return log p(x|z) - beta * KL(q(z|x) || p(z)) at each draw, in nats; the mean over draws is the ELBO."""
    return d.log_px_z - beta * d.kl


def monte_carlo_elbo(d: LogDensities) -> Float[Array, " b"]:
    """Return the ELBO per datum, in nats, without a closed-form KL: the mean of log p(x|z) + log p(z) - log q(z|x).

    Source:
        Kingma & Welling 2014, eq. 6. The same expectation as `elbo`; which of them has more variance depends on q(z|x).
    """
    return jnp.mean(log_weights(of_draws(d)), axis=0)


def log_weights(d: LogDensities) -> Float[Array, "k b *r"]:
    """Return the log importance weight log p(x, z) - log q(z|x) of every draw, in nats."""
    return d.log_px_z + d.log_pz - d.log_qz_x


def iwae(d: LogDensities) -> Float[Array, " b"]:
    """Return the importance-weighted bound per datum, in nats: the log of the mean over K draws of p(x, z) / q(z|x).

    In expectation it never exceeds log p(x), and it rises with K. K = 1 is the one-draw ELBO.

    Source:
        Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders, eq. 8.
    """
    w = log_weights(of_draws(d))
    return jax.nn.logsumexp(w, axis=0) - jnp.log(w.shape[0])


def mean_over_draws(d: PyTree[Float[Array, "k b"]]) -> PyTree[Float[Array, " b"]]:
    """Return the mean of every field over the draws."""
    return jax.tree.map(lambda v: jnp.mean(v, axis=0), d)
