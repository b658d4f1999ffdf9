"""The variational autoencoder: key, x -> LogDensities."""

import distrax
import jax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from jvae.bounds import LogDensities


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

    def __call__(self, key: Key[Array, ""], x: Float[Array, "b ..."]) -> LogDensities:
        """The log-densities, in nats, at one reparametrised draw z ~ q(z|x) for each datum."""
        q = self.encoder(x)
        p = self.latent_prior()
        z = q.sample(seed=key)
        log_px_z = self.decoder(z).log_prob(x)
        log_pz = p.log_prob(z)
        log_qz_x = q.log_prob(z)
        try:
            kl = q.kl_divergence(p)
        except NotImplementedError:  # no closed form for this pair: the one-draw estimate
            kl = log_qz_x - log_pz
        return LogDensities(log_px_z, log_pz, log_qz_x, kl)

    def posterior(self, x: Float[Array, "b ..."]) -> distrax.Distribution:
        """q(z|x): batch shape [b], event shape [m]."""
        return self.encoder(x)

    def latent_prior(self) -> distrax.Distribution:
        """p(z): batch shape [], event shape [m]. To be used inside `apply`, where a flow's networks have weights."""
        return self.prior(self.encoder)

    def decode(self, z: Float[Array, "b m"]) -> distrax.Distribution:
        """p(x|z): batch shape [b], event shape [h, w, c]."""
        return self.decoder(z)

    def sample(self, key: Key[Array, ""], n: int, mean: bool = False) -> Float[Array, "n ..."]:
        """N data from the model: z ~ p(z), then x ~ p(x|z), or x's mean E[x|z] if `mean`."""
        z_key, x_key = jax.random.split(key)
        z = self.latent_prior().sample(seed=z_key, sample_shape=(n,))
        p = self.decoder(z)
        return p.mean() if mean else p.sample(seed=x_key)
