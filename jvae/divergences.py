"""Closed-form Kullback-Leibler divergences between Gaussians, in nats, as pure array math.

Every KL(q || p) here is the sum of two non-negative parts: one of the scales, whose univariate form is `scale_part`,
and half the squared distance between the locs in units of p's scales.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def scale_part(log_ratio: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Return KL(N(m, (r s)^2) || N(m, s^2)) in nats, given log r: (r^2 - 1)/2 - log r, which is 0 only at r = 1."""
    # expm1 and one small difference: r^2 - 1 - 2 log r, computed as written, is mere rounding error for r near 1
    return (jnp.expm1(2 * log_ratio) - 2 * log_ratio) / 2


def kl_univariate(
    loc_q: Float[Array, "*#b"] | float,
    scale_q: Float[Array, "*#b"] | float,
    loc_p: Float[Array, "*#b"] | float = 0.0,
    scale_p: Float[Array, "*#b"] | float = 1.0,
) -> Float[Array, "*b"]:
    """Return KL(N(loc_q, scale_q^2) || N(loc_p, scale_p^2)) in nats, element by element; p is N(0, 1) by default.

    It is log(scale_p / scale_q) + (scale_q^2 + (loc_q - loc_p)^2) / (2 scale_p^2) - 1/2, for scales above 0.

    Source:
        Kingma & Welling 2014, Auto-Encoding Variational Bayes, appendix B, for p = N(0, 1).
    """
    loc_q, scale_q, loc_p, scale_p = map(jnp.asarray, (loc_q, scale_q, loc_p, scale_p))
    return scale_part(jnp.log(scale_q / scale_p)) + jnp.square((loc_q - loc_p) / scale_p) / 2


def kl_diagonal(
    loc_q: Float[Array, "*#b #m"],
    scale_q: Float[Array, "*#b #m"],
    loc_p: Float[Array, "*#b #m"] | float = 0.0,
    scale_p: Float[Array, "*#b #m"] | float = 1.0,
) -> Float[Array, "*b"]:
    """Return KL(N(loc_q, diag(scale_q^2)) || N(loc_p, diag(scale_p^2))) in nats, summed over the last axis.

    The KL of independent variables is the sum of their KLs. p is N(0, I) by default.
    """
    return jnp.sum(kl_univariate(loc_q, scale_q, loc_p, scale_p), axis=-1)


@jax.jit
def kl_full(
    loc_q: Float[Array, "*#b m"],
    scale_tril_q: Float[Array, "*#b m m"],
    loc_p: Float[Array, "*#b m"],
    scale_tril_p: Float[Array, "*#b m m"],
) -> Float[Array, "*b"]:
    """Return KL(N(loc_q, L_q L_q') || N(loc_p, L_p L_p')) in nats, for Cholesky factors L.

    Each factor is lower triangular with a positive diagonal; entries above the diagonal are ignored.

    With A = L_p^-1 L_q and y = L_p^-1 (loc_q - loc_p), it is (|A|^2 - m + |y|^2)/2 - log|det A|. A is triangular, and
    so this is the sum of `scale_part` over its diagonal, plus half the squares below the diagonal, plus |y|^2 / 2.
    """
    return jnp.vectorize(_kl_full, signature="(m),(m,m),(m),(m,m)->()")(loc_q, scale_tril_q, loc_p, scale_tril_p)


def _kl_full(
    loc_q: Float[Array, " m"], tril_q: Float[Array, "m m"], loc_p: Float[Array, " m"], tril_p: Float[Array, "m m"]
) -> Float[Array, ""]:
    ratio = jnp.diag(tril_q) / jnp.diag(tril_p)  # A's diagonal, without the rounding of the solve
    a = jax.scipy.linalg.solve_triangular(tril_p, jnp.tril(tril_q), lower=True)
    y = jax.scipy.linalg.solve_triangular(tril_p, loc_q - loc_p, lower=True)
    return jnp.sum(scale_part(jnp.log(ratio))) + (jnp.sum(jnp.square(jnp.tril(a, -1))) + jnp.sum(jnp.square(y))) / 2
