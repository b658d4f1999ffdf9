"""Priors, -> p(z): modules that return the distribution of the latent variables.

Every prior is called with the model's own encoder, `prior(encoder)`: a prior may be made from it or ignore it.
"""

from collections.abc import Callable

import distrax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

Posterior = Callable[[Float[Array, "b ..."]], distrax.Distribution]


class GaussianPrior(nn.Module):
    """p(z) = N(z | 0, I), with no parameters.

    Attributes:
        latent_dim: m, the dimension of z.
    """

    latent_dim: int

    def __call__(self, posterior: Posterior | None = None) -> distrax.Independent:
        """The prior: batch shape [], event shape [m]."""
        zeros = jnp.zeros(self.latent_dim)
        return distrax.Independent(distrax.Normal(zeros, jnp.ones_like(zeros)), reinterpreted_batch_ndims=1)
