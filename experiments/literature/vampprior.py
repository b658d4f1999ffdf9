"""Tomczak & Welling 2018, VAE with a VampPrior: table 1, dynamic MNIST, one level of latents.

Rows:      VAE with the standard prior (--prior gaussian) and with the VampPrior (--prior vamp).
Model:     784-300-300-40, gated layers; log-variance of q(z|x) held in [-6, 2]; K = 500 pseudo-inputs.
Data:      50,000 images to train on and 10,000 to validate (--validation held-out --held-out 0.16667), binarised anew
           for every batch.
Training:  batches of 100; Adam, 5e-4; the KL's weight rises for 100 epochs; then it ends after 50 epochs without a
           better validation bound, 2,000 at most, and the best is kept (--keep best --patience 50).
           (Section 5.1, the appendix and the authors' code.)
"""

import math

import distrax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import jvae

LATENT_DIM, HIDDEN, PSEUDO_INPUTS, WARMUP = 40, (300, 300), 500, 100
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Gated(nn.Module):
    """Gated layers, (A x + a) * sigmoid(B x + b)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map a batch of data, or of latents, to features [b, 300]."""
        h = x.reshape(len(x), -1)
        for i, width in enumerate(HIDDEN):
            values, gates = jnp.split(nn.Dense(2 * width, kernel_init=he_normal, name=f"gated_{i}")(h), 2, axis=-1)
            h = values * nn.sigmoid(gates)
        return h


class Encoder(nn.Module):
    """q(z|x), whose log-variance is held in [-6, 2]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> distrax.Independent:
        """Return the posterior: batch shape [b], event shape [m]."""
        h = Gated(name="features")(x)
        loc = nn.Dense(LATENT_DIM, kernel_init=he_normal, name="loc")(h)
        log_variance = jnp.clip(nn.Dense(LATENT_DIM, kernel_init=he_normal, name="log_variance")(h), -6.0, 2.0)
        return distrax.Independent(distrax.Normal(loc, jnp.exp(log_variance / 2)), 1)


class Logits(nn.Module):
    """The decoder's network, z -> logits."""

    data_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Map a batch of latents."""
        logits = nn.Dense(math.prod(self.data_shape), kernel_init=he_normal, name="output")(Gated(name="features")(z))
        return logits.reshape(len(z), *self.data_shape)


def recipe(config: jvae.Config, data_shape: tuple[int, ...], steps_per_epoch: int) -> jvae.Recipe:
    """Return what the paper trains; `config` says the prior."""
    priors = {"gaussian": jvae.GaussianPrior(LATENT_DIM), "vamp": jvae.VampPrior(data_shape, PSEUDO_INPUTS)}
    return jvae.Recipe(
        jvae.VAE(priors[config.prior], jvae.BernoulliDecoder(Logits(data_shape)), Encoder()),
        jvae.stochastic_binarise,
        jvae.elbo,
        optax.adam(5e-4),
        kl_weight=optax.linear_schedule(0.0, 1.0, WARMUP * steps_per_epoch),
        unit="nats per image, log-probability of binary pixels, drawn from the grey values",
    )
