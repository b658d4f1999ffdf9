"""The exercise's VAE in one file of JAX, to read, copy and change: comments mark where exercises 1.5 to 1.8 begin.

python experiments/vae_bernoulli.py train --latent-dim 10 --epochs 5 --batch-size 128 --model model.npz
python experiments/vae_bernoulli.py sample --model model.npz --samples samples.png
"""

import gzip
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import BinaryIO

import click
import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from matplotlib.image import imsave

SHAPE, SEEDS = (28, 28, 1), click.IntRange(0, 2**32 - 1)


class GaussianPrior(nn.Module):
    """p(z) = N(z | 0, I), for z of dimension M = latent_dim."""

    latent_dim: int

    # Exercise 1.6 begins here: under @nn.compact, a distrax.MixtureSameFamily; weights, means, scales: self.param(...)
    def __call__(self) -> distrax.Distribution:
        """Return the prior: batch shape [], event shape [M]."""
        return distrax.Independent(distrax.Normal(jnp.zeros(self.latent_dim), jnp.ones(self.latent_dim)), 1)


class GaussianEncoder(nn.Module):
    """q(z|x) = N(z | loc(x), diag(scale(x)^2)), from a network x -> 2M numbers."""

    net: nn.Module

    def __call__(self, x: jax.Array) -> distrax.Distribution:
        """Return the posterior of images x[b, 28, 28, 1]: batch shape [b], event shape [M]."""
        loc, log_scale = jnp.split(self.net(x), 2, axis=-1)
        return distrax.Independent(distrax.Normal(loc, jnp.exp(log_scale)), 1)


class BernoulliDecoder(nn.Module):
    """p(x|z), a Bernoulli for every pixel, from a network z -> logits."""

    net: nn.Module

    # Exercise 1.7 begins here: a distrax.Normal of fixed or learned scale, of pixels that `elbo` no longer binarises.
    def __call__(self, z: jax.Array) -> distrax.Distribution:
        """Return the output distribution of latents z[b, M]: batch shape [b], event shape [28, 28, 1]."""
        return distrax.Independent(distrax.Bernoulli(logits=self.net(z)), 3)


class VAE(nn.Module):
    """p(x, z) = p(z) p(x|z), and q(z|x): functions of parameters, and of the key that decides everything random."""

    prior: nn.Module
    decoder: nn.Module
    encoder: nn.Module

    def __call__(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """Return the ELBO of every image of a batch, in nats, estimated with one draw of z: [b]."""
        q = self.encoder(x)
        z = q.sample(seed=key)  # loc + scale * noise: the reparametrisation trick
        # Exercise 1.6: a mixture has no closed-form KL: use q.log_prob(z) - self.prior().log_prob(z)
        return self.decoder(z).log_prob(x) - q.kl_divergence(self.prior())

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Draw n images' pixel probabilities: z ~ p(z), then E[x|z]."""
        return self.decoder(self.prior().sample(seed=key, sample_shape=(n,))).mean()


class MLP(nn.Module):
    """Fully connected layers with ReLU between them, initialised as PyTorch's nn.Linear."""

    hidden: Sequence[int]
    out_shape: Sequence[int]

    # Exercise 1.8 begins here: nn.Conv and nn.ConvTranspose in place of nn.Dense.
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs of a batch: [b, *out_shape]."""
        h = x.reshape(len(x), -1)
        for i, width in enumerate([*self.hidden, int(np.prod(self.out_shape))]):
            init = partial(jax.random.uniform, minval=-(h.shape[1] ** -0.5), maxval=h.shape[1] ** -0.5)
            h = nn.Dense(width, kernel_init=init, bias_init=init, name=f"linear_{i}")(nn.relu(h) if i > 0 else h)
        return h.reshape(len(x), *self.out_shape)


def make_vae(latent_dim: int) -> VAE:
    """Return the exercise's model."""
    networks = MLP((512, 512), SHAPE), MLP((512, 512), (2 * latent_dim,))
    return VAE(GaussianPrior(latent_dim), BernoulliDecoder(networks[0]), GaussianEncoder(networks[1]))


def elbo(model: VAE, params: dict, key: jax.Array, images: jax.Array) -> jax.Array:
    """Return each ELBO, in nats: larger is better. x is 1 where pixel / 255 exceeds 0.5, as in the exercise."""
    return model.apply(params, key, (images >= 128).astype(jnp.float32))


def make_train_step(model: VAE, optimizer: optax.GradientTransformation) -> Callable:
    """Return a pure function (params, opt_state, key, images) -> (params, opt_state, elbo): one step up the ELBO."""

    @jax.jit
    def train_step(params: dict, opt_state: tuple, key: jax.Array, images: jax.Array) -> tuple:
        loss, grads = jax.value_and_grad(lambda p: -jnp.mean(elbo(model, p, key, images)))(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, -loss

    return train_step


def make_epoch(train_step: Callable, batch_size: int) -> Callable:
    """Return a pure function that takes a step for every batch of the images, in an order drawn from the key."""

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: tuple, key: jax.Array, images: jax.Array) -> tuple[tuple, jax.Array]:
        order, whole = jax.random.permutation(key, len(images)), len(images) // batch_size
        keys = jax.random.split(jax.random.fold_in(key, 0), whole + 1)

        def step(state: tuple, batch: tuple) -> tuple[tuple, jax.Array]:
            *state, bound = train_step(*state, batch[0], images[batch[1]])
            return tuple(state), bound

        state, bounds = jax.lax.scan(step, state, (keys[:-1], order[: whole * batch_size].reshape(whole, batch_size)))
        if len(images) % batch_size:  # the last batch is smaller
            state, last = step(state, (keys[-1], order[whole * batch_size :]))
        return state, jnp.mean(bounds) if whole else last

    return epoch


def evaluate(model: VAE, params: dict, key: jax.Array, images: np.ndarray) -> float:
    """Return the mean ELBO of all images, in nats per image: exercise 1.5 asks for that of the test set."""
    # Exercise 1.5 begins here; its picture, x as in elbo: q = model.apply(params, x, method=lambda v, x: v.encoder(x))
    each = jax.jit(partial(elbo, model, params))
    bounds = [each(jax.random.fold_in(key, i), images[i : i + 500]) for i in range(0, len(images), 500)]
    return float(np.concatenate(bounds).mean())


def use_device(context: click.Context, option: click.Parameter, name: str) -> None:
    """Compute on the first device of a kind."""
    with suppress(RuntimeError):
        return jax.config.update("jax_default_device", jax.devices(name)[0])
    raise click.ClickException(f"--device is {name}: there is no such device here")


def read_images(data_dir: str | None, split: str) -> np.ndarray:
    """Return MNIST's train or t10k images, uint8[n, 28, 28, 1], from IDX files in a folder, gzipped or not."""
    caches = os.environ.get("JVAE_CACHE_DIR") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "jvae")
    folder = data_dir or os.path.expanduser(os.path.join(caches, "datasets", "mnist"))
    for path in (os.path.join(folder, f"{split}-images-idx3-ubyte{end}") for end in ("", ".gz")):
        with suppress(Exception), (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:  # if it is one
            return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, *SHAPE)
    raise click.ClickException(f"{folder}: holds no {split} images; `jvae datasets fetch mnist` or --data-dir FOLDER")


def read_params(path: str) -> dict:
    """Return the parameters in a file that train wrote."""
    with suppress(Exception), open(path, "rb") as file:
        return {"params": unflatten_dict(dict(np.load(file)), sep="/")["params"]}
    raise click.ClickException(f"{path}: is no model that this program wrote; name another with --model")


main = click.Group(help=str(__doc__).replace("\n\n", "\n\n\b\n"), context_settings={"show_default": True})


@main.command()
@click.option("--model", "path", default="model.npz", type=click.Path(dir_okay=False, writable=True), help="to write")
@click.option("--latent-dim", default=32, type=click.IntRange(1), help="M, the dimension of z")
@click.option("--epochs", default=10, type=click.IntRange(1), help="passes over the images")
@click.option("--batch-size", default=32, type=click.IntRange(1, 60_000), help="images per step")
@click.option("--seed", default=0, type=SEEDS, help="decides the initial weights, the order and the noise")
@click.option("--data-dir", help="folder with MNIST's IDX files; jvae's cache by default")
@click.option("--device", default="cpu", callback=use_device, expose_value=False, help="cpu, gpu or tpu")
def train(path: str, latent_dim: int, epochs: int, batch_size: int, seed: int, data_dir: str) -> None:
    """Train a model, save and evaluate it."""
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
        raise click.ClickException(f"{path}: its folder does not exist or cannot be written to")
    if os.path.exists(path):
        read_params(path)  # an earlier model is replaced, another file is not
    images, test_images = (read_images(data_dir, split) for split in ("train", "t10k"))
    model, optimizer, data = make_vae(latent_dim), optax.adam(1e-3), jnp.asarray(images)
    init_key, key, test_key = jax.random.split(jax.random.key(seed), 3)
    params = jax.jit(model.init)(init_key, key, jnp.zeros((1, *SHAPE)))
    state, epoch = (params, optimizer.init(params)), make_epoch(make_train_step(model, optimizer), batch_size)
    for i in range(epochs):
        began = time.perf_counter()
        state, bound = epoch(state, jax.random.fold_in(key, i), data)
        click.echo(f"epoch {i + 1}/{epochs}  elbo {float(bound):.3f}  {time.perf_counter() - began:.2f} s")
    with open(path, "wb") as file:
        np.savez(file, **flatten_dict(state[0], sep="/"))
    click.echo(f"test-set elbo {evaluate(model, state[0], test_key, test_images):.3f} nats per image")


@main.command()
@click.option("--model", "path", default="model.npz", type=click.Path(exists=True), help="file that train wrote")
@click.option("--samples", default="samples.png", type=click.File("wb"), help="picture to write")
@click.option("--seed", default=0, type=SEEDS, help="decides the draws")
@click.option("--latent-dim", type=int, help="M, as in training; by default the model's")
@click.option("--device", default="cpu", callback=use_device, expose_value=False, help="cpu, gpu or tpu")
def sample(path: str, samples: BinaryIO, seed: int, latent_dim: int | None) -> None:
    """Draw the means of 64 samples."""
    params = read_params(path)
    size = len(params["params"]["decoder"]["net"]["linear_0"]["kernel"])
    if latent_dim not in (None, size) or not samples.name.endswith(".png"):
        raise click.ClickException(f"--latent-dim must be {size}, as in {path}; {samples.name} must end in .png")
    x = np.asarray(make_vae(size).apply(params, jax.random.key(seed), 64, method="sample")).reshape(8, 8, *SHAPE[:2])
    imsave(samples, x.swapaxes(1, 2).reshape(8 * SHAPE[0], -1).repeat(2, 0).repeat(2, 1), cmap="gray", vmin=0, vmax=1)


if __name__ == "__main__":
    main()
