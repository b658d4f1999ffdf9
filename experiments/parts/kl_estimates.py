"""Estimates for exercise 1.2: divergences in closed form and by Monte Carlo, and the two expressions of the ELBO."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax

NUM_IMAGES = 20


class DrawnMean(NamedTuple):
    """A mean over independent draws."""

    value: float
    error: float
    """Standard error."""


def estimate(draws: "jax.Array | np.ndarray") -> DrawnMean:
    """Return mean and standard error of independent values."""
    from scipy.stats import sem

    values = np.asarray(draws, np.float64)
    return DrawnMean(float(values.mean()), float(sem(values)))


def divergences(key: "jax.Array", draws: int) -> list[tuple[str, float, DrawnMean, float]]:
    """Return the KL of pairs of Gaussians, both ways: name, closed form, Monte Carlo estimate, distrax's value."""
    import distrax
    import jax
    import jax.numpy as jnp

    from jvae.divergences import kl_diagonal, kl_full, kl_univariate

    @jax.jit
    def gaussian(key: "jax.Array") -> tuple["jax.Array", "jax.Array"]:
        keys = jax.random.split(key, 3)
        below = jnp.tril(jax.random.normal(keys[0], (10, 10)), -1) / 4
        diagonal = jnp.exp(jax.random.normal(keys[1], (10,)) / 3)
        return jax.random.normal(keys[2], (10,)), below + jnp.diag(diagonal)

    def diagonal(loc: "jax.Array", scale: "jax.Array") -> Any:
        return distrax.Independent(distrax.Normal(loc, scale), 1)

    loc_key, other_key, draw_key = jax.random.split(key, 3)
    a, b = gaussian(loc_key), gaussian(other_key)
    narrow, standard = (jnp.array(1.0), jnp.array(0.5)), (jnp.array(0.0), jnp.array(1.0))
    forms: dict[str, tuple[Callable, Callable, tuple, tuple]] = {
        "N(1, 0.5^2) and N(0, 1)": (kl_univariate, distrax.Normal, narrow, standard),
        "diagonal, m = 10": (kl_diagonal, diagonal, (a[0], jnp.diag(a[1])), (b[0], jnp.diag(b[1]))),
        "full, m = 10": (kl_full, distrax.MultivariateNormalTri, a, b),
    }
    rows = []
    for name, (closed, build, first, second) in forms.items():

        @jax.jit
        def three_ways(q: tuple, p: tuple, closed: Callable = closed, build: Callable = build) -> tuple:
            ours, theirs = build(*q), build(*p)
            z = ours.sample(seed=draw_key, sample_shape=draws)
            return closed(*q, *p), ours.log_prob(z) - theirs.log_prob(z), ours.kl_divergence(theirs)

        for direction, q, p in (("KL(first‖second)", first, second), ("KL(second‖first)", second, first)):
            value, ratios, theirs = three_ways(q, p)
            rows.append((f"{direction}, {name}", float(value), estimate(ratios), float(theirs)))
    return rows


class Comparison(NamedTuple):
    """The sheet's expressions (8) and (9) of one ELBO."""

    name: str
    exact: float | None
    values: tuple[DrawnMean, DrawnMean]
    variances: tuple[float, float]
    gradient_variances: tuple[float, float]
    changes: tuple[DrawnMean, DrawnMean]
    """What (9) adds to the variance of (8), and to that of its gradient: both see the same draws."""


Draws = list[tuple["jax.Array", "jax.Array"]]


def expressions(
    log_px_z: Callable[["jax.Array"], "jax.Array"], draws: int
) -> Callable[["jax.Array", "jax.Array", "jax.Array"], Draws]:
    """Return a compiled function of a key and of q = N(loc, diag(scale^2)), [b, m] each, with the prior N(0, I).

    It draws z ~ q `draws` times and returns, for (8) and for (9), their values [draws, b] and their gradients in q's
    loc [draws, b, m]. Both expressions see the same draws.

    Args:
        log_px_z: z [b, m] -> log p(x|z) of each of the b images.
        draws: the number of draws.
    """
    import jax
    import jax.numpy as jnp

    from jvae.bounds import LogDensities, elbo, monte_carlo_elbo
    from jvae.divergences import kl_diagonal

    log_normal = jax.scipy.stats.norm.logpdf

    def one(key: "jax.Array", loc: "jax.Array", scale: "jax.Array") -> Draws:
        noise = jax.random.normal(key, loc.shape)

        def densities(loc: "jax.Array") -> LogDensities:
            z = loc + scale * noise
            log_qz_x = jnp.sum(log_normal(z, loc, scale), axis=-1)
            d = LogDensities(log_px_z(z), jnp.sum(log_normal(z), axis=-1), log_qz_x, kl_diagonal(loc, scale))
            return jax.tree.map(lambda v: v[None], d)

        results = []
        for bound in (monte_carlo_elbo, elbo):  # (8), (9)
            value, back = jax.vjp(lambda loc, bound=bound: bound(densities(loc)), loc)
            results.append((value, back(jnp.ones_like(value))[0]))
        return results

    @jax.jit
    def every(key: "jax.Array", loc: "jax.Array", scale: "jax.Array") -> Draws:
        keys = jax.random.split(key, draws)
        return jax.lax.map(lambda key: one(key, loc, scale), keys, batch_size=min(draws, 100))

    return every


def compare(name: str, results: Draws, exact: float | None) -> Comparison:
    """Return the row for what `expressions` drew."""
    values = [np.asarray(v, np.float64) for v, _ in results]
    gradients = [np.asarray(g, np.float64) for _, g in results]
    means = [estimate(v.mean(axis=1)) for v in values]
    spreads, steep = [scatter(v) for v in values], [scatter(g).sum(axis=-1) for g in gradients]
    return Comparison(
        name,
        exact,
        values=(means[0], means[1]),
        variances=(float(spreads[0].mean()), float(spreads[1].mean())),
        gradient_variances=(float(steep[0].mean()), float(steep[1].mean())),
        changes=(estimate((spreads[1] - spreads[0]).mean(axis=1)), estimate((steep[1] - steep[0]).mean(axis=1))),
    )


def scatter(draws: np.ndarray) -> np.ndarray:
    """Return the squared distances of the draws [n, ...] from their mean, of which the mean is the variance."""
    return np.square(draws - draws.mean(axis=0)) * len(draws) / (len(draws) - 1)


def linear_rows(key: "jax.Array", draws: int) -> list[Comparison]:
    """Compare (8) and (9) on PPCA of the digits; q is the exact, diagonal posterior, that made wrong, or the prior."""
    import jax.numpy as jnp

    from jvae.data.datasets import load_dataset
    from jvae.divergences import kl_full
    from jvae.ppca import fit_closed_form, log_likelihood, matmul, posterior

    data = load_dataset("digits")
    train, test = (jnp.asarray(i.reshape(len(i), -1) / 255, jnp.float32) for i in (data.train_images, data.test_images))
    model, x = fit_closed_form(train, 10), test[:NUM_IMAGES]
    p = posterior(model, x)
    scale = jnp.broadcast_to(jnp.diag(p.scale_tril), p.loc.shape)

    def log_px_z(z: "jax.Array") -> "jax.Array":
        residual = (x - model.loc - matmul(z, model.weights.T)) * jnp.exp(-model.log_scale)
        return -jnp.sum(jnp.square(residual) / 2 + model.log_scale + jnp.log(2 * jnp.pi) / 2, axis=-1)

    choices = {
        "exact posterior": (p.loc, scale),
        "1.5 times too wide": (p.loc, 1.5 * scale),
        "off by one standard deviation": (p.loc + scale, scale),
        "the prior": (0 * p.loc, jnp.ones_like(scale)),
    }
    rows, drawn = [], expressions(log_px_z, draws)
    for name, (loc, wide) in choices.items():
        gap = kl_full(loc, jnp.diag(wide[0]), p.loc, p.scale_tril)
        exact = float(jnp.mean(log_likelihood(model, x) - gap))
        rows.append(compare(f"PPCA, {name}", drawn(key, loc, wide), exact))
    return rows


def network_row(key: "jax.Array", draws: int, epochs: int) -> Comparison:
    """Compare (8) and (9) on the exercise's VAE, trained on the digits, with its own encoder as q."""
    import jax
    import jax.numpy as jnp

    from jvae.data.datasets import load_dataset
    from jvae.runs import api
    from jvae.runs.config import Config

    data = load_dataset("digits")
    *_, trained = api.train_config_epochs(Config(dataset="digits", latent_dim=10, epochs=epochs), data)
    vae, params = trained.recipe.model, trained.run_params()
    x = (jnp.asarray(data.test_images[:NUM_IMAGES]) >= 128).astype(jnp.float32)

    @jax.jit
    def encode(x: "jax.Array") -> tuple["jax.Array", "jax.Array"]:
        q = vae.apply(params, x, method="posterior")
        return q.mean(), q.stddev()

    def log_px_z(z: "jax.Array") -> "jax.Array":
        return vae.apply(params, z, method="decode").log_prob(x)

    return compare("VAE, its encoder", expressions(log_px_z, draws)(key, *encode(x)), None)
