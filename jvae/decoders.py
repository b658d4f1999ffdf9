"""Decoders, z -> p(x|z): modules that return the output distribution."""

from typing import Literal, get_args

import distrax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jvae.distributions import Bernoulli, ContinuousBernoulli, ImageDistribution
from jvae.errors import positive

LOG_SCALE_FLOOR = -6.0
START_LOG_SCALE = -1.0  # a scale of 0.37: about the spread of a pixel in [0, 1]


class BernoulliDecoder(nn.Module):
    """p(x|z) = prod_i Bernoulli(x_i | sigmoid(logits_i(z))), for x in {0, 1}.

    Attributes:
        net: a network z[b, m] -> logits[b, ...].
    """

    net: nn.Module

    def __call__(self, z: Float[Array, "b m"]) -> ImageDistribution:
        """Return the output distribution: batch shape [b], the datum's event shape."""
        return ImageDistribution(Bernoulli, self.net(z))


class ContinuousBernoulliDecoder(nn.Module):
    """p(x|z) = prod_i CB(x_i | logits_i(z)), a density on [0, 1].

    Attributes:
        net: a network z[b, m] -> logits[b, ...].

    Source:
        Loaiza-Ganem & Cunningham 2019, The continuous Bernoulli: fixing a pervasive error in variational autoencoders.
    """

    net: nn.Module

    def __call__(self, z: Float[Array, "b m"]) -> ImageDistribution:
        """Return the output distribution: batch shape [b], the datum's event shape."""
        return ImageDistribution(ContinuousBernoulli, self.net(z))


Variance = Literal["fixed", "scalar", "pixel"]


class GaussianDecoder(nn.Module):
    """p(x|z) = prod_i N(x_i | loc_i(z), scale_i^2), with a scale that does not depend on z.

    The maximum-likelihood scale of a pixel that never changes is zero, so a learned log-scale is held softly above
    LOG_SCALE_FLOOR.

    Attributes:
        net: a network z[b, m] -> loc[b, ...].
        variance: `fixed`, `scalar` (one learned scale) or `pixel` (one learned scale per pixel).
        fixed_scale: the scale if it is `fixed`, in the unit of x and above 0; not used otherwise.

    Raises:
        ValueError: on construction, if the variance is none of the three, or a fixed scale is not above 0.

    Source:
        Rybkin, Daniilidis & Levine 2021, Simple and effective VAE training with calibrated decoders (sigma-VAE).
    """

    net: nn.Module
    variance: Variance
    fixed_scale: float = 0.3

    def __post_init__(self) -> None:
        """Refuse another variance, which would be taken for `scalar`, and a scale that gives no density."""
        if self.variance not in get_args(Variance):
            raise ValueError(f"variance is {self.variance!r}: must be one of {', '.join(get_args(Variance))}")
        if self.variance == "fixed":
            self.fixed_scale = positive("fixed_scale", self.fixed_scale)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Float[Array, "b m"]) -> ImageDistribution:
        """Return the output distribution: batch shape [b], the datum's event shape."""
        loc = self.net(z)
        if self.variance == "fixed":
            scale = jnp.full(loc.shape[1:], self.fixed_scale)
        else:
            shape = loc.shape[1:] if self.variance == "pixel" else ()
            free = self.param("log_scale", nn.initializers.constant(START_LOG_SCALE), shape)
            scale = bounded_scale(free)
        return ImageDistribution(distrax.Normal, loc, scale)


def bounded_scale(log_scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the scale of a log-scale that is held softly above exp(LOG_SCALE_FLOOR)."""
    return jnp.exp(LOG_SCALE_FLOOR + jax.nn.softplus(log_scale - LOG_SCALE_FLOOR))
