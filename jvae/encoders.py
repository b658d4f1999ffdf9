"""Encoders, x -> q(z|x): modules that return the approximate posterior as a distribution."""

import distrax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class GaussianEncoder(nn.Module):
    """q(z|x) = N(z | loc(x), diag(scale(x)^2)).

    Attributes:
        net: a network x[b, ...] -> [b, 2m]; the first m outputs are the loc, the last m the log-scale.
    """

    net: nn.Module

    def __call__(self, x: Float[Array, "b ..."]) -> distrax.Independent:
        """Return the posterior: batch shape [b], event shape [m].

        Raises:
            ValueError: the network has an odd number of outputs.
        """
        outputs = self.net(x)
        if outputs.shape[-1] % 2:
            raise ValueError(f"the encoder's net has {outputs.shape[-1]} outputs: must be 2m, locs and log-scales")
        loc, log_scale = jnp.split(outputs, 2, axis=-1)
        # Independent(Normal), not MultivariateNormalDiag: the latter leaks tracers out of jit and breaks under vmap
        return distrax.Independent(distrax.Normal(loc, jnp.exp(log_scale)), reinterpreted_batch_ndims=1)
