"""The claims of exercise 1.4 about the code, each checked on the code itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax

SHAPE, LATENT = (8, 8, 1), 3


class Check(NamedTuple):
    """A claim, and what was found."""

    question: int
    """Of exercise 1.4."""
    claim: str
    measured: str
    holds: bool


def draw_is_loc_plus_scale_times_noise() -> Check:
    """Check that a draw is loc + scale * noise, and that its Jacobians in loc and scale are I and diag(noise)."""
    import distrax
    import jax
    import jax.numpy as jnp

    key, loc, scale = jax.random.key(0), jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    noise = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1).sample(seed=key)

    def z(loc: "jax.Array", scale: "jax.Array") -> "jax.Array":
        return distrax.Independent(distrax.Normal(loc, scale), 1).sample(seed=key)

    d_loc, d_scale = jax.jacobian(z, argnums=(0, 1))(loc, scale)
    off = max(
        largest(z(loc, scale) - (loc + scale * noise)), largest(d_loc - np.eye(2)), largest(d_scale - np.diag(noise))
    )
    claim = "a draw is loc + scale · ε, with Jacobians I and diag(ε)"
    return Check(1, claim, f"off by {off:.0e} at most", off < 1e-5)


def encoder_learns_through_the_draw() -> Check:
    """Cut the path through z, and check that the reconstruction has no gradient in the encoder."""
    import jax
    import jax.numpy as jnp

    vae, params, x, key = small_vae()

    def reconstruction(params: Any, cut: bool) -> "jax.Array":
        z = vae.apply(params, x, method="posterior").sample(seed=key)
        z = jax.lax.stop_gradient(z) if cut else z
        return jnp.mean(vae.apply(params, z, method="decode").log_prob(x))

    gradient = jax.jit(jax.grad(reconstruction), static_argnums=1)
    kept, cut = (
        float(sum(jnp.sum(jnp.abs(g)) for g in jax.tree.leaves(gradient(params, c)["params"]["encoder"])))
        for c in (False, True)
    )
    claim = "the reconstruction's gradient reaches the encoder through z, and no longer after `stop_gradient(z)`"
    return Check(1, claim, f"sum of absolute gradients {kept:.3g}, then {cut:.3g}", kept > 0 and cut == 0)


def gradient_is_that_of_the_expectation() -> Check:
    """Check that for f(z) = z^2 and z ~ N(loc, scale^2), E f = loc^2 + scale^2, with gradient (2 loc, 2 scale)."""
    import distrax
    import jax
    import jax.numpy as jnp

    def f(theta: "jax.Array", key: "jax.Array") -> "jax.Array":
        return jnp.square(distrax.Normal(theta[0], theta[1]).sample(seed=key))

    keys, theta = jax.random.split(jax.random.key(0), 20_000), jnp.array([1.5, 0.7])
    grads = np.asarray(jax.jit(jax.vmap(jax.grad(f), in_axes=(None, 0)))(theta, keys), np.float64)
    error = grads.std(axis=0, ddof=1) / np.sqrt(len(grads)) + 1e-12
    off = float(np.max(np.abs(grads.mean(axis=0) - 2 * np.asarray(theta)) / error))
    claim = "the average of the draws' gradients is the gradient of the average: of z², in loc and scale"
    return Check(1, claim, f"{off:.1f} standard errors off over 20,000 draws", off < 5)


def terms_are_one_number_per_datum() -> Check:
    """Check that log p(x|z) and KL have shape [b]; K draws put a k before it; elbo is the mean over k."""
    from jvae.bounds import draw, elbo

    vae, params, x, key = small_vae()
    one = vae.apply(params, key, x)
    many = draw(lambda k, x: vae.apply(params, k, x), key, x, 7)
    shapes = one.log_px_z.shape, one.kl.shape, many.log_px_z.shape, elbo(many).shape
    b = len(x)
    claim = f"of {b} images, log p(x|z) and KL have shape [{b}]; with 7 draws [7, {b}]; their ELBO [{b}]"
    return Check(2, claim, ", ".join(map(text_of, shapes)), shapes == ((b,), (b,), (7, b), (b,)))


def independent_sums_over_the_event() -> Check:
    """Check that there is one log-density per pixel without Independent, and with it one per image, their sum."""
    import distrax
    import jax

    vae, params, x, _ = small_vae()
    z = jax.random.normal(jax.random.key(1), (len(x), LATENT))
    images = vae.apply(params, z, method="decode")
    logits = vae.apply(params, z, method=lambda vae, z: vae.decoder.net(z))
    pixels = np.asarray(distrax.Bernoulli(logits=logits).log_prob(x))
    off = largest(images.log_prob(x) - pixels.reshape(len(x), -1).sum(axis=1))
    right = images.batch_shape == (len(x),) and images.event_shape == SHAPE and pixels.shape == (len(x), *SHAPE)
    claim = "without `Independent` one log-density a pixel; with it one an image, their sum"
    measured = f"{text_of(pixels.shape)}; batch {text_of(images.batch_shape)}, event {text_of(images.event_shape)}"
    return Check(3, claim, f"{measured}, off by {off:.0e}", right and off < 1e-3)


def independent_sums_the_kl() -> Check:
    """Check that Independent also sums the KL over the latent dimensions."""
    import distrax
    import jax
    import jax.numpy as jnp

    loc = jax.random.normal(jax.random.key(0), (4, LATENT))
    q, p = distrax.Normal(loc, jnp.ones_like(loc)), distrax.Normal(jnp.zeros(LATENT), jnp.ones(LATENT))
    each = q.kl_divergence(p)
    summed = distrax.Independent(q, 1).kl_divergence(distrax.Independent(p, 1))
    off = largest(summed - each.sum(axis=1))
    claim = "without `Independent` the KL is one number a latent dimension; with it one a datum, their sum"
    right = (each.shape, summed.shape) == ((4, LATENT), (4,)) and off < 1e-5
    return Check(3, claim, f"{text_of(each.shape)}, then {text_of(summed.shape)}, off by {off:.0e}", right)


def split_gives_loc_and_log_scale() -> Check:
    """Check that the network's 2m outputs are m locs and m log-scales; exp makes every scale positive."""
    import jax

    from jvae.encoders import GaussianEncoder
    from jvae.nn.networks import MLP

    _, _, x, key = small_vae()
    encoder = GaussianEncoder(MLP((16,), (2 * LATENT,)))
    params = encoder.init(key, x)
    outputs = np.asarray(MLP((16,), (2 * LATENT,)).apply({"params": params["params"]["net"]}, x))
    q = encoder.apply(params, x)
    off = max(largest(q.mean() - outputs[:, :LATENT]), largest(q.stddev() / np.exp(outputs[:, LATENT:]) - 1))
    low = jax.tree.map(lambda p: p - 5.0, params)  # outputs far below zero
    least = float(np.min(encoder.apply(low, x).stddev()))
    claim = "the first m of the 2m outputs are loc, the exponentials of the last m are scale, positive for any output"
    right = q.event_shape == (LATENT,) and off < 1e-5 and least > 0
    return Check(4, claim, f"event {text_of(q.event_shape)}, off by {off:.0e}, least scale {least:.1e}", right)


CHECKS: tuple[Callable[[], Check], ...] = (
    draw_is_loc_plus_scale_times_noise,
    encoder_learns_through_the_draw,
    gradient_is_that_of_the_expectation,
    terms_are_one_number_per_datum,
    independent_sums_over_the_event,
    independent_sums_the_kl,
    split_gives_loc_and_log_scale,
)


def small_vae() -> tuple[Any, Any, "jax.Array", "jax.Array"]:
    """Return a VAE of 8x8 images with its first parameters, four binary images and a key."""
    import jax
    import jax.numpy as jnp

    from jvae.data.datasets import load_dataset
    from jvae.runs.config import Config, build_model

    key = jax.random.key(0)
    vae = build_model(Config(dataset="digits", latent_dim=LATENT, hidden=(16, 16)), SHAPE)
    x = (jnp.asarray(load_dataset("digits").test_images[:4]) >= 128).astype(jnp.float32)
    return vae, vae.init(key, key, x), x, key


def largest(values: Any) -> float:
    """Return the largest absolute value."""
    return float(np.max(np.abs(np.asarray(values))))


def text_of(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as [4, 3]."""
    return "[" + ", ".join(map(str, shape)) + "]"
