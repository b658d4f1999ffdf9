"""Pictures: `plot_*` functions from arrays to a matplotlib Figure, which they neither show nor save."""

import textwrap
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from jvae.view.classes import add_key, class_colours

INK = "#222222"
SHARES = (0.99, 0.95, 0.8, 0.6, 0.4, 0.2)
"""The shares of a prior's mass inside the contours that are drawn."""


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, with a tight layout."""
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def add_title(fig: Figure, text: str, size: int = 11) -> None:
    """Set a figure's title, wrapped to its width; a $ in it is a $, as in the name of a user's file."""
    fig.suptitle(wrapped(drawable(text), fig.get_figwidth(), size), fontsize=size, parse_math=False)


def drawable(text: str) -> str:
    """Return a text with codes in place of what the font lacks, as in the name of a user's file."""
    known = get_font(findfont(FontProperties())).get_charmap()
    codes = (char.encode("ascii", "backslashreplace").decode() for char in text)
    return "".join(char if ord(char) in known or char == "\n" else code for char, code in zip(text, codes, strict=True))


def wrapped(text: str, width: float, size: int) -> str:
    """Return a text wrapped to about a width in inches, for a font size in points."""
    return "\n".join(textwrap.fill(line, int(120 * width / size)) for line in text.splitlines())


def plot_posterior(
    coordinates: Float[np.ndarray, "n d"], labels: Integer[np.ndarray, " n"], axis_labels: tuple[str, ...], title: str
) -> Figure:
    """Plot samples of the aggregate posterior coloured by class: a scatter for d = 2, stacked histograms for d = 1.

    Args:
        coordinates: the samples on d axes.
        labels: the class of each.
        axis_labels: the name of each axis.
        title: the title.
    """
    fig = figure(7.2, 6)
    ax = fig.subplots()
    if coordinates.shape[1] == 1:
        draw_histograms(ax, coordinates, labels)
        ax.set_ylabel("samples")
    else:
        draw_points(ax, coordinates, labels, size=float(np.clip(30_000 / len(labels), 5, 30)))
        ax.set_ylabel(axis_labels[1])
        ax.set_aspect("equal", adjustable="datalim")
        equal_ticks(ax)
    ax.set_xlabel(axis_labels[0])
    add_title(fig, title)
    add_key(fig, [ax], labels)
    soften(ax)
    return fig


def draw_histograms(
    ax: Axes, coordinates: Float[np.ndarray, "n 1"], labels: Integer[np.ndarray, " n"], density: bool = False
) -> None:
    """Draw the samples of every class, stacked; their counts, or with `density` their density."""
    classes = np.unique(labels)
    parts = [coordinates[labels == c, 0] for c in classes]
    ax.hist(parts, bins=histogram_bins(labels), stacked=True, density=density, color=class_colours(classes))


def histogram_bins(labels: Integer[np.ndarray, " n"]) -> int:
    """Return the number of bins for a histogram of samples with these labels."""
    return int(np.clip(2 * len(labels) ** 0.5, 10, 80))


def draw_points(
    ax: Axes, coordinates: Float[np.ndarray, "n 2"], labels: Integer[np.ndarray, " n"], size: float
) -> None:
    """Draw the samples coloured by class, in random order, so that no class is drawn over all the others.

    A thin white edge separates them from each other and from a dark background. The size is a point's area in pt^2.
    """
    classes, index = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = coordinates[order].T
    colours = np.array(class_colours(classes))[index[order]]
    ax.scatter(x, y, s=size, color=colours, alpha=0.85, linewidths=0.03 * size**0.5 + 0.1, edgecolors="white")


class PriorView(NamedTuple):
    """A prior's density and samples of the aggregate posterior, in d = 1 or 2 coordinates."""

    density: Float[np.ndarray, "rows columns"] | Float[np.ndarray, " columns"]
    """The density on the grid of the ticks; rows are in ascending order of the second axis."""
    ticks: list[Float[np.ndarray, " _"]]
    """The grid's coordinates along each axis."""
    coordinates: Float[np.ndarray, "n d"]
    """The samples."""
    labels: Integer[np.ndarray, " n"]
    """Their classes."""
    marks: Float[np.ndarray, "k d"] | None
    """The components' centres, if there are any."""
    mark_name: str
    """What the centres are, such as `component`, for the legend."""
    axis_labels: tuple[str, ...]
    """The name of each axis."""


def plot_prior(view: PriorView, title: str) -> Figure:
    """Plot a prior's density below samples of the aggregate posterior, with its components marked."""
    fig = figure(6.9 if len(view.ticks) == 2 else 7.6, 6)  # a plane is square
    ax = fig.subplots()
    draw_prior(ax, view)
    add_title(fig, title)
    add_key(fig, [ax], view.labels)
    return fig


def plot_priors(views: dict[str, PriorView], title: str) -> Figure:
    """Plot several priors in panels under one legend; every panel has the axes of its own model's latent space.

    Args:
        views: name -> prior, at least one.
        title: the title.
    """
    columns = 2 if len(views) == 4 else min(3, len(views))
    rows = -(-len(views) // columns)
    fig = figure(4.6 * columns + 0.6, 4.3 * rows + 0.9)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(views) :]:
        ax.set_axis_off()
    marks = ", ".join(dict.fromkeys(view.mark_name for view in views.values() if view.marks is not None))
    for ax, (name, view) in zip(axes, views.items(), strict=False):
        draw_prior(ax, view._replace(mark_name=marks))  # one legend entry for all marks
        ax.set_title(drawable(name), fontsize=13, parse_math=False)
        ax.tick_params(labelsize=11)
    add_title(fig, title, 12)
    add_key(fig, axes[: len(views)].tolist(), np.concatenate([view.labels for view in views.values()]))
    return fig


def draw_prior(ax: Axes, view: PriorView) -> None:
    """Draw a prior's density, the samples by class, and the components."""
    density, ticks, coordinates, labels, marks, mark_name, axis_labels = view
    if len(ticks) == 1:
        draw_histograms(ax, coordinates, labels, density=True)
        ax.plot(ticks[0], density, color=INK, linewidth=2, label="p(z)")
        if marks is not None:
            ax.plot(marks[:, 0], np.zeros(len(marks)), "x", color=INK, markersize=7, clip_on=False, label=mark_name)
        ax.set_ylabel("density")
    else:
        if density.any():
            levels = mass_levels(density, SHARES)
            greys = [str(grey) for grey in np.linspace(0.95, 0.6, len(levels))]
            ax.contourf(*ticks, density, levels=[*levels, density.max() * 1.001], colors=greys)
            ax.contour(*ticks, density, levels=levels, colors=INK, linewidths=0.5, alpha=0.6)
        draw_points(ax, coordinates, labels, size=float(np.clip(20_000 / len(labels), 4, 25)))
        if marks is not None:
            style: dict[str, Any] = {"marker": "X", "s": 45, "color": "white", "edgecolors": INK, "linewidths": 0.9}
            ax.scatter(marks[:, 0], marks[:, 1], label=mark_name, zorder=3, **style)
        ax.set_xlim(ticks[0][0], ticks[0][-1])
        ax.set_ylim(ticks[1][0], ticks[1][-1])
        ax.set_aspect("equal")
        equal_ticks(ax)
        ax.set_ylabel(axis_labels[1])
    ax.set_xlabel(axis_labels[0])
    soften(ax)


def mass_levels(density: Float[np.ndarray, "*grid"], shares: tuple[float, ...]) -> list[float]:
    """Return the density levels above which the given shares of the grid's mass lie, in ascending order.

    Args:
        density: on an even grid; not zero everywhere.
        shares: in (0, 1), of the mass on the grid.
    """
    falling = np.sort(density.ravel())[::-1]
    mass = np.cumsum(falling) / falling.sum()
    levels = [float(falling[np.searchsorted(mass, share)]) for share in shares]
    return sorted(set(levels))


def plot_history(history: list[dict[str, Any]], title: str) -> Figure:
    """Plot the bound and its two parts, in nats per image, by epoch, with one line per run until it stopped.

    The validation bound, if there is one, is a dashed line in the bound's panel.

    Args:
        history: that of a `TrainedModel`, with at least one epoch.
        title: the title, which follows the number of runs.
    """
    runs = np.size(history[0]["bound"])
    many = f" of {runs} runs, a line each" if runs > 1 else ""
    fig = figure(9, 3.4)
    epochs = [record["epoch"] for record in history]
    names = {"bound": "bound", "reconstruction": "reconstruction  log p(x|z)", "kl": "KL(q(z|x) || p(z))"}
    for ax, (name, label), colour in zip(fig.subplots(1, 3), names.items(), ("C0", "C2", "C3"), strict=True):
        style: dict[str, Any] = {"marker": "o" if len(epochs) <= 30 else None, "markersize": 3, "alpha": 0.8}
        ax.plot(epochs, values_of(history, name), color=colour, **style)
        if name == "bound" and "validation" in history[0]:
            ax.plot(epochs, values_of(history, "validation"), color="C1", **style, linestyle="--")
            ax.plot([], [], color=colour, label="training")
            ax.plot([], [], color="C1", linestyle="--", label="validation")
            ax.legend(frameon=False, fontsize=8)
        ax.set_title(label, fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        soften(ax)
    fig.axes[0].set_ylabel("nats per image")
    add_title(fig, f"training{many}: {title}")
    return fig


def plot_sweep(panels: dict[str, dict[str, list[float]]]) -> Figure:
    """Plot one row per cell: a dot for every run, and the mean ± standard deviation; one panel per unit.

    Args:
        panels: unit -> cell -> one value per run; at least one panel, and larger values are better.
    """
    rows = [len(cells) for cells in panels.values()]
    fig = figure(8, 0.9 * len(rows) + 0.42 * sum(rows) + 0.3)
    axes = fig.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0]
    for ax, (unit, cells) in zip(axes, panels.items(), strict=True):
        best = max(cells, key=lambda name: float(np.mean(cells[name])))
        for row, (name, values) in enumerate(cells.items()):
            colour = "C1" if name == best else "C0"
            ax.plot(values, [row] * len(values), "o", color=colour, markersize=5, alpha=0.35, markeredgewidth=0)
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            ax.errorbar(float(np.mean(values)), row, xerr=deviation, fmt="|", color=colour, capsize=4, markersize=14)
        ax.set_yticks(range(len(cells)), [drawable(name) for name in cells], parse_math=False)
        ax.set_ylim(len(cells) - 0.5, -0.5)
        ax.set_xlabel(drawable(unit), parse_math=False)
        soften(ax)
    fig.suptitle("test-set ELBO: runs, mean ± standard deviation; the best mean in orange", fontsize=10)
    return fig


def plot_roofline(
    names: list[str],
    shares: Float[np.ndarray, "n 2"],
    peaks: Float[np.ndarray, " n"],
    title: str,
) -> Figure:
    """Plot how near a step comes to the machine's peak, with a pair of bars per measurement.

    Args:
        names: the measurements' names.
        shares: the FLOP/s of its matrix products, over the whole step and over the products alone.
        peaks: the FLOP/s of a large product.
        title: the title.
    """
    fig = figure(8, 0.55 * len(names) + 1.5)
    ax = fig.subplots()
    rows = np.arange(len(names))
    ax.barh(rows - 0.18, shares[:, 1] / 1e9, 0.36, color="C0", alpha=0.45, label="the products alone, shape by shape")
    ax.barh(rows + 0.18, shares[:, 0] / 1e9, 0.36, color="C0", label="the whole step")
    for row, peak in zip(rows, peaks, strict=True):
        last = "a 2048 x 2048 product" if row == 0 else None
        ax.plot([peak / 1e9] * 2, [row - 0.42, row + 0.42], color=INK, linewidth=2, label=last)
    ax.set_yticks(rows, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.set_xlabel("GFLOP/s of matrix products")
    fig.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    add_title(fig, title, 10)
    soften(ax)
    return fig


def values_of(history: list[dict[str, Any]], name: str) -> Float[np.ndarray, "epochs *r"]:
    """Return a quantity of a history's records over the epochs, NaN for stopped runs."""
    return np.array([record[name] for record in history], np.float64)


def plot_scale(scale: Float[np.ndarray, "h w *c"], title: str) -> Figure:
    """Plot the output's standard deviation, pixel by pixel, in the unit of x; of several channels, their mean."""
    fig = figure(5.4, 4.8)
    ax = fig.subplots()
    drawn = ax.imshow(scale.reshape(*scale.shape[:2], -1).mean(axis=-1), cmap="magma", vmin=0, interpolation="nearest")
    fig.colorbar(drawn, ax=ax, label="standard deviation of a pixel in [0, 1]")
    ax.set_axis_off()
    add_title(fig, title, 9)
    return fig


def equal_ticks(ax: Axes, most: int = 8) -> None:
    """Set round ticks with the same spacing, at most so many of them, along both axes, which share one scale."""
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    limits = max(ax.get_xlim(), ax.get_ylim(), key=lambda limits: limits[1] - limits[0])
    first, second = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(*limits)[:2]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(second - first))


def soften(ax: Axes) -> None:
    """Draw a light grid, and no box."""
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
