"""The pictures of the exact log-evidence: bounds beside it, and true posteriors beside q(z|x)."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.parts.evidence import Grid

MARKERS = "osD^"
SHARES = (0.99, 0.9, 0.5)
"""The shares of a density's mass that contours are drawn around."""


class Panel(NamedTuple):
    """An image, and its two posteriors."""

    image: np.ndarray
    gap: float
    """log p(x) - ELBO, in nats: KL(q(z|x) || p(z|x))."""
    grid: "Grid"
    true: np.ndarray
    """p(z|x) at the grid's points, [second, first], up to a factor."""
    q: np.ndarray
    """q(z|x) there."""


def plot_bounds(draws: list[int], rows: list[dict[str, Any]], distances: list[np.ndarray], within: int) -> "Figure":
    """Plot bounds against draws beside log p(x), their distance below it, and every image's from others of it."""
    from matplotlib.ticker import FuncFormatter

    from jvae.view.plots import INK, figure, soften

    fig = figure(13, 4.4)
    left, middle, right = fig.subplots(1, 3)
    for i, row in enumerate(rows):
        exact, colour, style = float(np.mean(row["log_px"])), f"C{i}", f"{MARKERS[i % len(MARKERS)]}-"
        below = exact - np.array(row["bounds"])
        left.plot(draws, row["bounds"], style, color=colour, markersize=5, label=row["name"])
        left.axhline(exact, color=colour, linestyle="--", linewidth=1)
        middle.plot(np.array(draws)[below > 0], below[below > 0], style, color=colour, markersize=5)
        away = distances[i]
        spread = np.random.default_rng(0).uniform(-0.25, 0.25, len(away))
        right.plot(i + spread, away, style[0], color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
    left.set(xscale="log", xlabel="draws per image, K", ylabel="nats per image, mean")
    left.set_title("IWAE-K, whose K = 1 is the ELBO; log p(x) dashed", fontsize=11)
    middle.set(xscale="log", yscale="log", xlabel="draws per image, K", ylabel="nats below log p(x), mean")
    middle.set_title("log p(x) - IWAE-K", fontsize=11)
    for limit in (-within, within):
        right.axhline(limit, color=INK, linestyle=":", linewidth=1)
    right.set_xticks(range(len(rows)), [row["name"].replace(" of ", "\nof ") for row in rows], fontsize=9)
    right.set_ylabel("standard errors above the mean of others")
    right.set_title(f"IWAE-{draws[-1]}, image by image", fontsize=11)
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    for axis in (left.xaxis, middle.xaxis, middle.yaxis):
        axis.set_major_formatter(plain)
    middle.yaxis.set_minor_formatter(plain)
    for ax in (left, middle, right):
        soften(ax)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return fig


def plot_posteriors(panels: dict[str, list[Panel]]) -> "Figure":
    """Plot p(z|x) and q(z|x) of some images, one row per prior; both axes of a panel have the same scale."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from jvae.view.plots import INK, add_title, equal_ticks, figure, mass_levels, soften

    columns = len(next(iter(panels.values())))
    fig = figure(2.9 * columns, 3.0 * len(panels) + 0.8)
    axes = fig.subplots(len(panels), columns, squeeze=False)
    for row, (name, shown) in zip(axes, panels.items(), strict=True):
        for ax, panel in zip(row, shown, strict=True):
            levels = mass_levels(panel.true, SHARES)
            greys = [str(grey) for grey in np.linspace(0.9, 0.55, len(levels))]
            ax.contourf(*panel.grid, panel.true, levels=[*levels, panel.true.max() * 1.001], colors=greys)
            ax.contour(*panel.grid, panel.true, levels=levels, colors=INK, linewidths=0.6)
            style: dict[str, Any] = {"colors": "C3", "linewidths": 1.3, "linestyles": "--"}
            ax.contour(*panel.grid, panel.q, levels=mass_levels(panel.q, SHARES), **style)
            ax.set_aspect("equal")
            equal_ticks(ax, most=5)
            ax.tick_params(labelsize=10)
            ax.set_title(f"ELBO {panel.gap:.2f} nats below", fontsize=11)
            corner = ax.inset_axes((0.0, 0.77, 0.23, 0.23))
            corner.imshow(panel.image.mean(axis=-1), cmap="gray_r", interpolation="nearest")
            corner.set_xticks([])
            corner.set_yticks([])
            ax.set_xlabel("$z_1$", fontsize=11)
            soften(ax)
        row[0].set_ylabel(f"{name}\n$z_2$", fontsize=11)
    handles = [
        Patch(facecolor="0.7", edgecolor=INK, label="p(z|x)"),
        Line2D([], [], color="C3", linestyle="--", label="q(z|x)"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    add_title(fig, "the true posterior and q(z|x): 50, 90 and 99 % of the mass lie within their contours")
    return fig
