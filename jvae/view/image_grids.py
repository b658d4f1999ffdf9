"""Image grids: `plot_*` functions, images -> matplotlib Figure. They neither show nor save."""

import math

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jvae.view.plots import figure


def plot_images(images: Float[np.ndarray, "n h w c"], columns: int | None = None, title: str = "") -> Figure:
    """Plot images with values in [0, 1] as a grid, row by row; by default without gaps if it is nearly square."""
    columns = columns or fitting_columns(len(images))
    grid = montage(images, columns)
    scale = 7 / max(grid.shape[:2])
    fig = figure(grid.shape[1] * scale + 0.2, grid.shape[0] * scale + (0.5 if title else 0.2))
    ax = fig.subplots()
    show_image(ax, grid)
    ax.set_axis_off()
    if title:
        ax.set_title(title, fontsize=11)
    return fig


def fitting_columns(n: int) -> int:
    """Return the least number of columns from sqrt(n) to twice that whose rows are all full, or else sqrt(n)."""
    square = math.isqrt(n - 1) + 1
    return next((columns for columns in range(square, 2 * square + 1) if n % columns == 0), square)


def plot_reconstructions(
    originals: Float[np.ndarray, "n h w c"], means: Float[np.ndarray, "n h w c"], title: str
) -> Figure:
    """Plot each image, and beneath it the mean of p(x|z) at one draw z ~ q(z|x), in pairs of rows."""
    columns = min(10, len(originals))
    rows = -(-len(originals) // columns)
    fig = figure(8, 1.75 * rows + 0.6)
    axes = np.atleast_1d(fig.subplots(rows, 1))
    for i, ax in enumerate(axes):
        part = slice(i * columns, (i + 1) * columns)
        pair = np.concatenate([pad_to(originals[part], columns), pad_to(means[part], columns)])
        grid = montage(pair, columns)
        show_image(ax, grid)
        ax.set_xticks([])
        ax.set_yticks([grid.shape[0] * 0.25, grid.shape[0] * 0.75], ["data", "mean"])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    fig.suptitle(title, fontsize=11)
    return fig


def plot_manifold(
    images: Float[np.ndarray, "k h w c"],
    ticks: list[Float[np.ndarray, " side"]],
    axis_labels: tuple[str, ...],
    title: str,
) -> Figure:
    """Plot the decoder's means over an even grid of latents: a strip for one axis, a square for two."""
    columns = len(ticks[0])
    grid = montage(images, columns, gap=0)
    rows = len(images) // columns
    fig = figure(8, 7.4 * rows / columns + 0.9)
    ax = fig.subplots()
    show_image(ax, grid)
    cell = np.array(images.shape[1:3])
    shown = np.linspace(0, columns - 1, 5).round().astype(int)
    ax.set_xticks((shown + 0.5) * cell[1] - 0.5, [f"{ticks[0][i]:.1f}" for i in shown])
    ax.set_xlabel(axis_labels[0])
    if rows > 1:
        ax.set_yticks((rows - shown - 0.5) * cell[0] - 0.5, [f"{ticks[1][i]:.1f}" for i in shown])
        ax.set_ylabel(axis_labels[1])
    else:
        ax.set_yticks([])
    ax.set_title(title, fontsize=11)
    return fig


def plot_rows(
    images: Float[np.ndarray, "rows columns h w c"], row_labels: list[str], axis_label: str, title: str
) -> Figure:
    """Plot rows of images, each row with its label at the left; the axis label says what changes along a row."""
    rows, columns, h, w, c = images.shape
    grid = montage(images.reshape(rows * columns, h, w, c), columns)
    scale = 7.5 / grid.shape[1]
    fig = figure(8.4, grid.shape[0] * scale + 0.8)
    ax = fig.subplots()
    show_image(ax, grid)
    ax.set_yticks((np.arange(rows) + 0.5) * (h + 1), row_labels, fontsize=9)
    ax.set_xticks([])
    ax.set_xlabel(axis_label)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=11)
    return fig


def plot_side_by_side(
    left: Float[np.ndarray, "n h w c"], right: Float[np.ndarray, "n h w c"], names: tuple[str, str], title: str
) -> Figure:
    """Plot two grids of images, of which those in the same place belong together."""
    columns = int(np.ceil(np.sqrt(len(left))))
    fig = figure(11, 6.1)
    for ax, images, name in zip(fig.subplots(1, 2), (left, right), names, strict=True):
        show_image(ax, montage(images, columns))
        ax.set_axis_off()
        ax.set_title(name, fontsize=11)
    fig.suptitle(title, fontsize=11)
    return fig


def montage(images: Float[np.ndarray, "n h w c"], columns: int, gap: int = 1) -> Float[np.ndarray, "H W c"]:
    """Lay images side by side on a grey ground, row by row."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 0.5 if gap else 0.0, np.float32)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        grid[top : top + h, left : left + w] = image
    return grid


def pad_to(images: Float[np.ndarray, "n h w c"], count: int) -> Float[np.ndarray, "count h w c"]:
    """Return the images, followed by as many empty ones as make up the count."""
    return np.pad(images, [(0, count - len(images)), *[(0, 0)] * 3])


def show_image(ax: Axes, image: Float[np.ndarray, "H W c"]) -> None:
    """Draw one image with values in [0, 1]: grey for one channel, RGB for three, the channels' mean otherwise."""
    if image.shape[-1] != 3:
        image = image.mean(axis=-1)
    ax.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
