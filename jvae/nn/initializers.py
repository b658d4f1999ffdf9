"""Weight initialisers."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Key


def uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
    """Return an initialiser that draws uniformly from +-1/sqrt(fan_in), for weights and biases alike.

    Args:
        fan_in: the number of inputs that an output sums, at least 1.

    Source:
        The default of PyTorch's `nn.Linear` and `nn.Conv2d` (He et al. 2015's uniform rule with a = sqrt(5)).
    """
    limit = 1 / math.sqrt(fan_in)

    def init(key: Key[Array, ""], shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
