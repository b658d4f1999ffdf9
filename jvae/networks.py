"""Networks, array -> array: what stands between x and the parameters of q(z|x), and between z and those of p(x|z)."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key


def uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
    """An initialiser that draws uniformly from +-1/sqrt(fan_in), for weights and biases alike.

    Source:
        The default of PyTorch's `nn.Linear` (He et al. 2015's uniform rule with a = sqrt(5)).
    """
    limit = 1 / math.sqrt(fan_in)

    def init(key: Key[Array, ""], shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def linear(features: int, fan_in: int, name: str) -> nn.Dense:
    """The affine layer x @ kernel + bias, from fan_in to `features`, started as PyTorch starts `nn.Linear`."""
    init = uniform_fan_in(fan_in)
    return nn.Dense(features, kernel_init=init, bias_init=init, name=name)


class MLP(nn.Module):
    """A fully connected network with ReLUs: flattens each datum, and shapes its output.

    Attributes:
        hidden: the widths of the hidden layers.
        out_shape: the shape of one output datum.
    """

    hidden: Sequence[int]
    out_shape: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "b *in_shape"]) -> Float[Array, "b *out_shape"]:
        """Map a batch of data to a batch of outputs."""
        h = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            h = nn.relu(linear(width, h.shape[-1], f"linear_{i}")(h))
        h = linear(math.prod(self.out_shape), h.shape[-1], f"linear_{len(self.hidden)}")(h)
        return h.reshape(x.shape[0], *self.out_shape)
