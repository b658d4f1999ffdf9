"""Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders: table 1, MNIST, one stochastic layer.

Rows:      VAE (--bound elbo) and IWAE (--bound iwae) with k = 1, 5 and 50 (--num-samples).
Model:     784-200-200-50, tanh; Bernoulli outputs, whose biases start at the mean of the data.
Data:      all 60,000 training images, binarised anew for every batch.
Training:  batches of 20; Adam with eps 1e-4; stages i = 0 ... 7 of 3^i epochs with the step size 1e-3 * 10^(-i/7),
           3,280 epochs in all (section 5 and the authors' code).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import jvae

LATENT_DIM, HIDDEN = 50, (200, 200)
EPOCHS = tuple(3**i for i in range(8))
RATES = tuple(1e-3 * 10 ** (-i / 7) for i in range(8))


class Net(nn.Module):
    """Fully connected layers with tanh between them, which start as Glorot & Bengio 2010 say."""

    out_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map a batch."""
        dense = partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
        h = x.reshape(len(x), -1)
        for i, width in enumerate(HIDDEN):
            h = nn.tanh(dense(width, name=f"hidden_{i}")(h))
        return dense(math.prod(self.out_shape), name="output")(h).reshape(len(x), *self.out_shape)


def start_at_mean(params: dict, key: jax.Array, x: jax.Array) -> dict:
    """Return the parameters with the outputs' biases at the logits of the data's mean, held within 0.001 and 0.999."""
    mean = jnp.clip(x.mean(axis=0).ravel(), 0.001, 0.999)
    params = jax.tree.map(lambda leaf: leaf, params)  # nothing of the caller's is changed
    params["params"]["decoder"]["net"]["output"]["bias"] = jnp.log(mean) - jnp.log1p(-mean)
    return params


def step_size(steps_per_epoch: int) -> optax.Schedule:
    """Return the step size, of one stage after the other."""
    ends = [steps_per_epoch * sum(EPOCHS[: i + 1]) for i in range(len(EPOCHS) - 1)]
    return optax.join_schedules([optax.constant_schedule(rate) for rate in RATES], ends)


def recipe(config: jvae.Config, data_shape: tuple[int, ...], steps_per_epoch: int) -> jvae.Recipe:
    """Return what the paper trains; `config` says the bound and k."""
    return jvae.Recipe(
        jvae.VAE(
            jvae.GaussianPrior(LATENT_DIM),
            jvae.BernoulliDecoder(Net(data_shape)),
            jvae.GaussianEncoder(Net((2 * LATENT_DIM,))),
        ),
        jvae.stochastic_binarise,
        {"elbo": jvae.elbo, "iwae": jvae.iwae}[config.bound],
        optax.adam(step_size(steps_per_epoch), eps=1e-4),
        num_samples=config.num_samples,
        start=start_at_mean,
        unit="nats per image, log-probability of binary pixels, drawn from the grey values",
    )
