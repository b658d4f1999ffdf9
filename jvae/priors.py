"""Priors p(z): modules that return the distribution of the latent variables.

Every prior is called with the model's encoder, `prior(encoder)`: a VampPrior is built from it, the others ignore it.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import distrax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from jvae.distributions import GaussianMixture, is_diagonal_gaussian
from jvae.errors import positive, take_sizes
from jvae.nn.networks import MLP

Posterior = Callable[[Float[Array, "b ..."]], distrax.DistributionLike]
"""An encoder, x[b, ...] -> q(z|x) with batch shape [b] and event shape [m]."""
LOG_SCALE_LIMIT = 5.0  # of learned log-scales: exp(5) is already far wider than any useful latent


def diagonal_gaussian(loc: Float[Array, "*k m"], scale: Float[Array, "*k m"]) -> distrax.Independent:
    """Return N(loc, diag(scale^2)): batch shape [*k], event shape [m]."""
    return distrax.Independent(distrax.Normal(loc, scale), reinterpreted_batch_ndims=1)


def bounded(log_scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the log-scale held within +-LOG_SCALE_LIMIT by a tanh, which hardly changes it near 0."""
    return LOG_SCALE_LIMIT * jnp.tanh(log_scale / LOG_SCALE_LIMIT)


class GaussianPrior(nn.Module):
    """p(z) = N(z | 0, I), with no parameters.

    Attributes:
        latent_dim: m, the dimension of z.
    """

    latent_dim: int

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        take_sizes(self, ["latent_dim"])
        super().__post_init__()

    def __call__(self, posterior: Posterior | None = None) -> distrax.Independent:
        """Return the prior: batch shape [], event shape [m]."""
        return diagonal_gaussian(jnp.zeros(self.latent_dim), jnp.ones(self.latent_dim))


class MoGPrior(nn.Module):
    """p(z) = sum_k pi_k N(z | m_k, diag(s_k^2)), with learned weights, means and scales.

    Each component is a product over dimensions, and the density is a sum over components.

    Attributes:
        latent_dim: m, the dimension of z.
        num_components: K.
    """

    latent_dim: int
    num_components: int

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        take_sizes(self, ["latent_dim", "num_components"])
        super().__post_init__()

    @nn.compact
    def __call__(self, posterior: Posterior | None = None) -> distrax.MixtureSameFamily:
        """Return the prior: batch shape [], event shape [m]."""
        shape = (self.num_components, self.latent_dim)
        logits = self.param("logits", nn.initializers.zeros, (self.num_components,))
        loc = self.param("loc", nn.initializers.normal(1.0), shape)  # distinct, or no gradient would tell them apart
        log_scale = self.param("log_scale", nn.initializers.zeros, shape)
        return distrax.MixtureSameFamily(
            distrax.Categorical(logits=logits), diagonal_gaussian(loc, jnp.exp(bounded(log_scale)))
        )


def near_black(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "k h w c"]:
    """Draw from N(0.05, 0.01^2)."""
    return 0.05 + 0.01 * jax.random.normal(key, shape)


class VampPrior(nn.Module):
    """p(z) = 1/K sum_k q(z | u_k): the mixture of the model's own posteriors at K learned pseudo-inputs.

    Attributes:
        data_shape: the shape of a pseudo-input.
        num_components: K.
        images: True if the data are images: the pseudo-inputs then start nearly black, as in the paper, and stay in
            [0, 1]. Otherwise the data are latents of a level below, and the pseudo-inputs start as draws from N(0, I).

    Source:
        Tomczak & Welling 2018, VAE with a VampPrior, eq. 9.
    """

    data_shape: Sequence[int]
    num_components: int
    images: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        take_sizes(self, ["num_components"], ["data_shape"])
        super().__post_init__()

    def setup(self) -> None:
        """Create the pseudo-inputs, which are not clipped yet."""
        start = near_black if self.images else nn.initializers.normal(1.0)
        self.free = self.param("pseudo_inputs", start, (self.num_components, *self.data_shape))

    def __call__(self, posterior: Posterior) -> distrax.MixtureSameFamily:
        """Return the prior: batch shape [], event shape [m]. Its gradients reach the encoder too."""
        components = posterior(self.pseudo_inputs())
        mixture = GaussianMixture if is_diagonal_gaussian(components) else distrax.MixtureSameFamily
        return mixture(distrax.Categorical(logits=jnp.zeros(self.num_components)), components)

    def pseudo_inputs(self) -> Float[Array, "k ..."]:
        """Return u_1, ..., u_K."""
        return jnp.clip(self.free, 0.0, 1.0) if self.images else self.free


def start_at_images(count: int, params: PyTree, key: Key[Array, ""], x: Float[Array, "n ..."]) -> PyTree:
    """Return the parameters with a VampPrior's pseudo-inputs set to `count` training images.

    Raises:
        ValueError: there are fewer images than pseudo-inputs.
    """
    if count > len(x):
        raise ValueError(f"num_components is {count}: must be at most the number of training images, {len(x)}")
    prior = {**params["params"]["prior"], "pseudo_inputs": x[:count]}
    return {"params": {**params["params"], "prior": prior}}


Coupling = Literal["affine", "spline"]


class Coupled(distrax.Transformed):
    """The distribution of z = f(e) for a chain f of coupling layers, which keep the shape: no trace has to tell it."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of a batch of e, []."""
        return self.distribution.batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of e, [m]."""
        return self.distribution.event_shape


class FlowPrior(nn.Module):
    """p(z) of z = f(e), e ~ N(0, I), for a chain f of coupling layers with alternating masks; starts as N(0, I).

    Attributes:
        latent_dim: m, the dimension of z. With m = 1 there is nothing to couple, and each layer is one learned map.
        coupling: `affine` (RealNVP) or `spline` (monotone rational-quadratic splines).
        num_layers: the number of coupling layers, at least 1.
        hidden: the widths of the hidden layers of every conditioner.
        num_bins: the number of bins of a spline, at least 1; affine layers do not use it.
        spline_limit: a spline maps [-spline_limit, spline_limit] onto itself, and is the identity outside; above 0.
            Affine layers do not use it.

    Raises:
        ValueError: on construction, if the coupling is neither of the two, or a number is out of range.

    Source:
        Dinh et al. 2017, Density estimation using Real NVP; Durkan et al. 2019, Neural Spline Flows.
    """

    latent_dim: int
    coupling: Coupling = "affine"
    num_layers: int = 6
    hidden: Sequence[int] = (64, 64)
    num_bins: int = 8
    spline_limit: float = 6.0

    def __post_init__(self) -> None:
        """Refuse another coupling, which would be taken for `spline`, and sizes that make no layer."""
        if self.coupling not in get_args(Coupling):
            raise ValueError(f"coupling is {self.coupling!r}: must be one of {', '.join(get_args(Coupling))}")
        take_sizes(self, ["latent_dim", "num_layers"], ["hidden"])
        if self.coupling == "spline":
            take_sizes(self, ["num_bins"])
            self.spline_limit = positive("spline_limit", self.spline_limit)
        super().__post_init__()

    def setup(self) -> None:
        """Create one conditioner per coupling layer; its output starts at zero."""
        per_dimension = 2 if self.coupling == "affine" else 3 * self.num_bins + 1
        out_shape = (self.latent_dim, per_dimension)
        self.conditioners = [MLP(self.hidden, out_shape, zero_output=True) for _ in range(self.num_layers)]

    def __call__(self, posterior: Posterior | None = None) -> "Coupled":
        """Return the prior: batch shape [], event shape [m]. Its conditioners have weights only inside `apply`."""
        base = diagonal_gaussian(jnp.zeros(self.latent_dim), jnp.ones(self.latent_dim))
        return Coupled(base, distrax.Chain([self.layer(i) for i in range(self.num_layers)]))

    def layer(self, i: int) -> distrax.MaskedCoupling:
        """Return coupling layer i: the dimensions of one parity pass unchanged, and determine the map of the others."""
        passes = jnp.arange(self.latent_dim) % 2 != i % 2 if self.latent_dim > 1 else jnp.array([False])
        conditioner = self.conditioners[i]

        def parameters(z: Float[Array, "*b m"]) -> Float[Array, "*b m p"]:
            flat = conditioner(z.reshape(-1, self.latent_dim))
            return flat.reshape(*z.shape, flat.shape[-1])

        return distrax.MaskedCoupling(passes, parameters, self.affine if self.coupling == "affine" else self.spline)

    def affine(self, parameters: Float[Array, "*b 2"]) -> distrax.ScalarAffine:
        """Return the map x -> shift + exp(log_scale) x, with |log_scale| below 2."""
        shift, log_scale = parameters[..., 0], parameters[..., 1]
        return distrax.ScalarAffine(shift=shift, log_scale=2 * jnp.tanh(log_scale / 2))

    def spline(self, parameters: Float[Array, "*b p"]) -> distrax.RationalQuadraticSpline:
        """Return a monotone spline that is the identity outside +-spline_limit."""
        limit = self.spline_limit
        return distrax.RationalQuadraticSpline(parameters, -limit, limit, boundary_slopes="identity")


def responsibilities(prior: distrax.MixtureSameFamily, z: Float[Array, "b m"]) -> Float[Array, "b k"]:
    """Return the probability p(k|z) of every mixture component k at every latent z."""
    log_weights = jax.nn.log_softmax(prior.mixture_distribution.logits)
    return jax.nn.softmax(log_weights + prior.components_distribution.log_prob(z[:, None, :]), axis=-1)
