"""Decoders, z -> p(x|z): modules that return the output distribution."""

import distrax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class BernoulliDecoder(nn.Module):
    """p(x|z) = prod_i Bernoulli(x_i | sigmoid(logits_i(z))), for x in {0, 1}.

    Attributes:
        net: a network z[b, m] -> logits[b, h, w, c].
    """

    net: nn.Module

    def __call__(self, z: Float[Array, "b m"]) -> distrax.Independent:
        """The output distribution: batch shape [b], event shape [h, w, c]."""
        logits = self.net(z)
        pixels = distrax.Bernoulli(logits=logits, dtype=jnp.float32)
        return distrax.Independent(pixels, reinterpreted_batch_ndims=logits.ndim - 1)
