"""The two directions of the Kullback-Leibler divergence: the best Gaussian for a bimodal p in each, and a picture."""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEIGHTS, LOCS, SCALES = (0.4, 0.6), (-2.0, 1.8), (0.6, 0.8)  # of the bimodal p


class BestFit(NamedTuple):
    """A Gaussian q that minimises a divergence from or to the bimodal p, and both divergences there, in nats."""

    name: str
    loc: float
    scale: float
    q_from_p: float
    """KL(q‖p)."""
    p_from_q: float
    """KL(p‖q)."""


def log_mixture(x: Any) -> "jax.Array":
    """Return the log-density of the bimodal p."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def log_density(x: "jax.Array") -> "jax.Array":
        parts = jax.scipy.stats.norm.logpdf(x[..., None], jnp.array(LOCS), jnp.array(SCALES))
        return jax.nn.logsumexp(parts + jnp.log(jnp.array(WEIGHTS)), axis=-1)

    return log_density(jnp.asarray(x))


def moments() -> tuple[float, float]:
    """Return mean and standard deviation of the bimodal p."""
    weights, locs, scales = map(np.array, (WEIGHTS, LOCS, SCALES))
    mean = weights @ locs
    return float(mean), float(np.sqrt(weights @ (scales**2 + locs**2) - mean**2))


def best_fits() -> list[BestFit]:
    """Return the minima of KL(q‖p), from either mode, and of KL(p‖q): Adam on mu and log sigma, and quadrature."""
    import jax
    import jax.numpy as jnp
    import optax

    grid = jnp.linspace(-12, 12, 4801)
    log_p = log_mixture(grid)

    def divergence(log_a: "jax.Array", log_b: "jax.Array") -> "jax.Array":
        return jnp.sum(jnp.exp(log_a) * (log_a - log_b)) * (grid[1] - grid[0])

    def both(theta: "jax.Array") -> tuple["jax.Array", "jax.Array"]:
        log_q = jax.scipy.stats.norm.logpdf(grid, theta[0], jnp.exp(theta[1]))
        return divergence(log_q, log_p), divergence(log_p, log_q)

    @partial(jax.jit, static_argnums=0)
    def minimise(which: int, start: float) -> tuple["jax.Array", ...]:
        optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 1000))

        def step(carry: Any, _: None) -> tuple[Any, None]:
            theta, state = carry
            updates, state = optimizer.update(jax.grad(lambda t: both(t)[which])(theta), state)
            return (optax.apply_updates(theta, updates), state), None

        theta = jnp.array([start, 0.0])
        (theta, _), _ = jax.lax.scan(step, (theta, optimizer.init(theta)), length=1000)
        return theta[0], jnp.exp(theta[1]), *both(theta)

    starts = ("KL(q‖p), from the left", 0, -2.0), ("KL(q‖p), from the right", 0, 2.0), ("KL(p‖q)", 1, 0.0)
    return [BestFit(name, *map(float, minimise(which, start))) for name, which, start in starts]


def plot_directions(fits: list[BestFit]) -> "Figure":
    """Plot p and the q that minimises each direction; below, each direction between N(mu, sigma^2) and N(0, 1)."""
    import jax.numpy as jnp

    from jvae.divergences import kl_univariate
    from jvae.view.plots import figure

    fig = figure(10.5, 8)
    (left, right), (below_left, below_right) = fig.subplots(2, 2)
    *seeking, covering = fits
    draw_fits(left, seeking, "minimises KL(q‖p): seeks a mode")
    draw_fits(right, [covering], "minimises KL(p‖q): covers all modes")
    mu, sigma = np.meshgrid(np.linspace(-2, 2, 201), np.geomspace(0.2, 3.5, 201))
    mu, sigma = mu.astype(np.float32), sigma.astype(np.float32)
    q, standard = (mu, sigma), (np.zeros_like(mu), np.ones_like(mu))
    for ax, title, pair in (
        (below_left, "KL(N(μ, σ²)‖N(0, 1)), nats", (*q, *standard)),
        (below_right, "KL(N(0, 1)‖N(μ, σ²)), nats", (*standard, *q)),
    ):
        draw_contours(ax, mu, sigma, np.asarray(kl_univariate(*map(jnp.asarray, pair))), title)
    return fig


def draw_fits(ax: "Axes", fits: list[BestFit], title: str) -> None:
    """Draw the bimodal density and Gaussians."""
    from jvae.view.plots import INK, soften

    x = np.linspace(-6, 6, 601)
    ax.fill_between(x, np.exp(np.asarray(log_mixture(x))), color="0.85", label="p")
    styles = ("-", "--") if fits[0].q_from_p <= fits[-1].q_from_p else ("--", "-")
    for fit, style in zip(fits, styles, strict=False):
        q = np.exp(-(((x - fit.loc) / fit.scale) ** 2) / 2) / (fit.scale * np.sqrt(2 * np.pi))
        label = f"q: KL(q‖p) = {fit.q_from_p:.2f}, KL(p‖q) = {fit.p_from_q:.2f}"
        ax.plot(x, q, style, color="C3", linewidth=2, label=label)
    ax.set_ylim(0, 0.95)
    ax.set_xlabel("x")
    ax.set_ylabel("density")
    ax.set_title(title, fontsize=11, color=INK)
    ax.legend(frameon=False, loc="upper center", fontsize=9)
    soften(ax)


def draw_contours(ax: "Axes", mu: np.ndarray, sigma: np.ndarray, values: np.ndarray, title: str) -> None:
    """Draw the divergence as a function of mu and sigma."""
    from jvae.view.plots import INK, soften

    levels = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    lines = ax.contour(mu, sigma, values, levels=levels, cmap="viridis_r", norm="log")
    ax.clabel(lines, fmt="%g", fontsize=10, colors=INK)
    ax.plot(0, 1, "o", color=INK, markersize=4)
    ax.set_yscale("log")
    ticks = (0.25, 0.5, 1, 2, 3)
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks([], minor=True)
    ax.set_xlabel("μ")
    ax.set_ylabel("σ")
    ax.set_title(title, fontsize=11)
    soften(ax)
