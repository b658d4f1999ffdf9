"""Variational autoencoders with one or two levels of latents: (key, x) -> LogDensities."""

from typing import Any, NamedTuple

import distrax
import jax
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from jvae.bounds import LogDensities
from jvae.distributions import closed_form_kl


class Level(NamedTuple):
    """One level of latents: the posterior of each of b data, a draw z from it, and the prior."""

    posterior: distrax.DistributionLike
    """q of this level given the level below: batch shape [b]."""
    prior: distrax.DistributionLike
    """p of this level: batch shape [b], given the level above, or [] at the top."""
    z: Float[Array, "b m"]
    """A draw from the posterior for each datum."""


def distribution(name: str, p: Any) -> distrax.DistributionLike:
    """Return what a module returned; raise a ValueError that names the module unless it is a distribution."""
    if not hasattr(p, "log_prob"):
        raise ValueError(f"{name} returned {type(p).__name__}: must return a distribution")
    return p


def event_shape(p: distrax.DistributionLike) -> tuple[int, ...] | None:
    """Return the shape of one draw; None where it is unknown, or only a trace of a bijector would tell."""
    part = p
    while part is not None:
        if getattr(type(part), "event_shape", None) in (None, distrax.Transformed.event_shape):
            return None
        part = getattr(part, "distribution", getattr(part, "components_distribution", None))
    return tuple(p.event_shape)


def one_each(name: str, log_density: Float[Array, "..."], count: int) -> Float[Array, " b"]:
    """Return log-densities [b] of `count` data.

    Raises:
        ValueError: they have another shape.
    """
    if log_density.shape != (count,):
        rule = f"must be [{count}], one for each datum; `distrax.Independent` sums over dimensions"
        raise ValueError(f"log {name} has the shape {list(log_density.shape)}: {rule}")
    return log_density


def log_densities(log_px_z: Float[Array, " b"], levels: tuple[Level, ...]) -> LogDensities:
    """Return the log-densities summed over levels; the KL of the top level is in closed form where there is one.

    Raises:
        ValueError: a level's two distributions are not over the same latents, or one does not have one log-density for
            each datum.
    """
    for level in levels:
        dim, shape = level.z.shape[1:], event_shape(level.prior)
        if shape not in (None, (), dim):
            raise ValueError(f"p(z) is over latents of the shape {list(shape)}: must be {list(dim)}, as q(z|x)")
    log_p = [one_each("p(z)", level.prior.log_prob(level.z), len(level.z)) for level in levels]
    if shape is not None and tuple(levels[-1].prior.batch_shape):
        raise ValueError(f"p(z) has the batch shape {list(levels[-1].prior.batch_shape)}: must be one distribution, []")
    log_q = [one_each("q(z|x)", level.posterior.log_prob(level.z), len(level.z)) for level in levels]
    kl = closed_form_kl(levels[-1].posterior, levels[-1].prior)
    if kl is None:  # the one-draw estimate
        kl = log_q[-1] - log_p[-1]
    for q, p in zip(log_q[:-1], log_p[:-1], strict=True):  # a lower level's prior depends on a draw from the one above
        kl += q - p
    return LogDensities(log_px_z, sum(log_p[1:], log_p[0]), sum(log_q[1:], log_q[0]), kl)


class VAE(nn.Module):
    """p(x, z) = p(z) p(x|z), with the approximate posterior q(z|x).

    Attributes:
        prior: a module -> p(z).
        decoder: a module z -> p(x|z).
        encoder: a module x -> q(z|x).
    """

    prior: nn.Module
    decoder: nn.Module
    encoder: nn.Module

    @property
    def num_levels(self) -> int:
        """How many levels of latents there are."""
        return 1

    def __call__(self, key: Key[Array, ""], x: Float[Array, "b ..."]) -> LogDensities:
        """Return the log-densities, in nats, at one reparametrised draw z ~ q(z|x) for each datum.

        Raises:
            ValueError: a distribution does not have one log-density for each datum, is over data of another shape than
                x's, or p(z) over other latents than q(z|x).
        """
        levels, data_shape = self.infer(key, x), x.shape[1:]
        p = distribution("the decoder", self.decoder(levels[0].z))
        if (shape := event_shape(p)) not in (None, (), data_shape):
            raise ValueError(f"p(x|z) is over data of the shape {list(shape)}: the data have {list(data_shape)}")
        return log_densities(one_each("p(x|z)", p.log_prob(x), len(x)), levels)

    def infer(self, key: Key[Array, ""], x: Float[Array, "b ..."]) -> tuple[Level, ...]:
        """Return the one level, with a reparametrised draw."""
        q = distribution("the encoder", self.encoder(x))
        return (Level(q, distribution("the prior", self.prior(self.encoder)), q.sample(seed=key)),)

    def posterior(self, x: Float[Array, "b ..."]) -> distrax.DistributionLike:
        """Return q(z|x): batch shape [b], event shape [m]."""
        return self.encoder(x)

    def marginal_priors(self) -> tuple[distrax.DistributionLike | None, ...]:
        """Return the marginal p(z) of every level, with batch shape [] and event shape [m]; None without a closed form.

        Call it inside `apply`, where a flow's networks have weights.
        """
        return (self.prior(self.encoder),)

    def decode(self, z: Float[Array, "b m"]) -> distrax.DistributionLike:
        """Return p(x|z): batch shape [b], the datum's event shape."""
        return self.decoder(z)

    def sample_latents(self, key: Key[Array, ""], n: int) -> tuple[Float[Array, "n _"], ...]:
        """Draw n times from the prior; return the latents of every level."""
        return (self.prior(self.encoder).sample(seed=key, sample_shape=(n,)),)

    def sample(self, key: Key[Array, ""], n: int, mean: bool = False) -> Float[Array, "n ..."]:
        """Draw n data from the model: z ~ p(z), then x ~ p(x|z), or x's mean E[x|z] if `mean`."""
        z_key, x_key = jax.random.split(key)
        p = self.decoder(self.sample_latents(z_key, n)[0])
        return p.mean() if mean else p.sample(seed=x_key)


class HierarchicalVAE(VAE):
    """p(x, z1, z2) = p(z2) p(z1|z2) p(x|z1), with the bottom-up posterior q(z1|x) q(z2|z1).

    A VAE whose prior p(z1) is another VAE, of z1. Its log-densities are those of (z1, z2): `monte_carlo_elbo` is then

        log p(x|z1) + log p(z1|z2) + log p(z2) - log q(z1|x) - log q(z2|z1)

    and `elbo` has KL[q(z2|z1) || p(z2)] in closed form where there is one.

    Attributes:
        prior: a VAE whose data are z1: its prior is p(z2), its decoder p(z1|z2), its encoder q(z2|z1).
        decoder: a module z1 -> p(x|z1).
        encoder: a module x -> q(z1|x).
    """

    prior: VAE

    @property
    def num_levels(self) -> int:
        """How many levels of latents there are."""
        return 1 + self.prior.num_levels

    def infer(self, key: Key[Array, ""], x: Float[Array, "b ..."]) -> tuple[Level, ...]:
        """Return both levels, z1's first, with reparametrised draws z1 ~ q(z1|x) and z2 ~ q(z2|z1)."""
        z1_key, z2_key = jax.random.split(key)
        q = distribution("the encoder", self.encoder(x))
        z1 = q.sample(seed=z1_key)
        above = self.prior.infer(z2_key, z1)
        return (Level(q, self.prior.decode(above[0].z), z1), *above)

    def marginal_priors(self) -> tuple[distrax.DistributionLike | None, ...]:
        """Return None for p(z1), an integral over z2 with no closed form, and p(z2)."""
        return (None, *self.prior.marginal_priors())

    def sample_latents(self, key: Key[Array, ""], n: int) -> tuple[Float[Array, "n _"], ...]:
        """Draw n times z2 ~ p(z2), z1 ~ p(z1|z2); return (z1, z2)."""
        z2_key, z1_key = jax.random.split(key)
        above = self.prior.sample_latents(z2_key, n)
        return (self.prior.decode(above[0]).sample(seed=z1_key), *above)


def latent_dims(model: VAE, params: PyTree, data_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the latent dimension m of every level, the lowest first, of a model of data with this shape."""
    x = jax.ShapeDtypeStruct((1, *data_shape), jax.numpy.float32)

    def draws(params: PyTree, x: Float[Array, "1 ..."]) -> list[Float[Array, "1 _"]]:
        return model.apply(params, x, method=lambda vae, x: [level.z for level in vae.infer(jax.random.key(0), x)])

    return tuple(z.shape[-1] for z in jax.eval_shape(draws, params, x))
