"""Image grids: `plot_*` functions from images to a matplotlib Figure, which they neither show nor save."""

import math

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jvae.view.plots import add_title, equal_ticks, figure, wrapped


def plot_images(images: Float[np.ndarray, "n h w c"], columns: int | None = None, title: str = "") -> Figure:
    """Plot images with values in [0, 1] as a grid, row by row.

    Args:
        images: at least one.
        columns: the images in a row, at least 1; by default so many that all rows are full, if the grid is then nearly
            square.
        title: the title, if any.
    """
    columns = columns or fitting_columns(len(images))
    grid = montage(images, columns)
    fig = figure(*fitting_size(grid, 7.0, 0.2, 0.5 if title else 0.2))
    ax = fig.subplots()
    show_image(ax, grid)
    ax.set_axis_off()
    if title:
        add_title(fig, title)
    return fig


def fitting_columns(n: int) -> int:
    """Return the fewest columns from sqrt(n) to 2 sqrt(n) that fill all rows with n >= 1 images, or else sqrt(n)."""
    square = math.isqrt(n - 1) + 1
    return next((columns for columns in range(square, 2 * square + 1) if n % columns == 0), square)


def plot_reconstructions(
    originals: Float[np.ndarray, "n h w c"], means: Float[np.ndarray, "n h w c"], title: str
) -> Figure:
    """Plot each image, and below it the mean of p(x|z) at one draw z ~ q(z|x), in pairs of rows.

    Args:
        originals: at least one image, in [0, 1].
        means: the mean that belongs to each, in [0, 1].
        title: the title.
    """
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
    add_title(fig, title)
    return fig


def plot_manifold(
    images: Float[np.ndarray, "k h w c"],
    ticks: list[Float[np.ndarray, " _"]],
    axis_labels: tuple[str, ...],
    title: str,
) -> Figure:
    """Plot the decoder's means over a grid of latents from `latent_grid`: a strip for one axis, a map for two.

    Both axes have one scale, so the grid's steps must be in the ratio of an image's width to its height.

    Args:
        images: the means in [0, 1], row by row from the top left.
        ticks: the grid's coordinates along each of its one or two axes, ascending.
        axis_labels: the name of each axis.
        title: the title.
    """
    columns, (_, h, w, _) = len(ticks[0]), images.shape
    grid = montage(images, columns, gap=0)
    fig = figure(*fitting_size(grid, 7.4, 0.6, 1.2 if len(ticks) > 1 else 1.4))
    ax = fig.subplots()
    widths = [np.ptp(axis) / (len(axis) - 1) / size for axis, size in zip(ticks, (w, h), strict=False) if len(axis) > 1]
    pixel = float(widths[0]) if widths else 1.0  # its width in latent space
    axes = [*ticks, np.zeros(1)][:2]
    left, bottom = (float(axis[0]) - pixel * size / 2 for axis, size in zip(axes, (w, h), strict=True))
    show_image(ax, grid, (left, left + pixel * grid.shape[1], bottom, bottom + pixel * grid.shape[0]))
    ax.set_xlabel(axis_labels[0])
    if len(ticks) > 1:
        ax.set_ylabel(axis_labels[1])
        equal_ticks(ax)
    else:
        ax.set_yticks([])
    add_title(fig, title)
    return fig


def brightened(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w c"]:
    """Return images in [0, 1], each divided by its largest value, unless that is 0."""
    largest = images.max(axis=(1, 2, 3), keepdims=True)
    return images / np.where(largest > 0, largest, 1)


def fitting_size(grid: Float[np.ndarray, "H W c"], longest: float, beside: float, above: float) -> tuple[float, float]:
    """Return the size, in inches, of a figure whose image has this longest side, with room beside and above it."""
    height, width = np.array(grid.shape[:2]) * longest / max(grid.shape[:2])
    return max(float(width) + beside, 4.0), max(float(height) + above, 1.5)


def plot_rows(
    images: Float[np.ndarray, "rows columns h w c"], row_labels: list[str], axis_label: str, title: str
) -> Figure:
    """Plot rows of images in [0, 1], each row with its label at the left.

    Args:
        images: at least one row of at least one image.
        row_labels: one per row.
        axis_label: what changes along a row.
        title: the title.
    """
    rows, columns, h, w, c = images.shape
    grid = montage(images.reshape(rows * columns, h, w, c), columns)
    fig = figure(*fitting_size(grid, 7.5, 0.9, 1.2))
    ax = fig.subplots()
    show_image(ax, grid)
    ax.set_yticks((np.arange(rows) + 0.5) * (h + 1), row_labels, fontsize=9)
    ax.set_xticks([])
    ax.set_xlabel(wrapped(axis_label, fig.get_figwidth() - 0.9, 10))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    add_title(fig, title)
    return fig


def plot_side_by_side(
    left: Float[np.ndarray, "n h w c"], right: Float[np.ndarray, "n h w c"], names: tuple[str, str], title: str
) -> Figure:
    """Plot two grids of images side by side; images in the same place belong together.

    Args:
        left: at least one image, in [0, 1].
        right: as many.
        names: the titles of the two grids.
        title: the title of the figure.
    """
    columns = int(np.ceil(np.sqrt(len(left))))
    fig = figure(11, 6.1)
    for ax, images, name in zip(fig.subplots(1, 2), (left, right), names, strict=True):
        show_image(ax, montage(images, columns))
        ax.set_axis_off()
        ax.set_title(name, fontsize=11)
    add_title(fig, title)
    return fig


def montage(images: Float[np.ndarray, "n h w c"], columns: int, gap: int = 1) -> Float[np.ndarray, "H W c"]:
    """Lay images side by side on a grey ground, row by row.

    Args:
        images: in [0, 1].
        columns: the images in a row.
        gap: the pixels between images and around them; with 0, an unfilled row ends in black.
    """
    n, h, w, c = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 0.5 if gap else 0.0, np.float32)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        grid[top : top + h, left : left + w] = image
    return grid


def pad_to(images: Float[np.ndarray, "n h w c"], count: int) -> Float[np.ndarray, "count h w c"]:
    """Return the images, padded with empty ones to `count`."""
    return np.pad(images, [(0, count - len(images)), *[(0, 0)] * 3])


def show_image(
    ax: Axes, image: Float[np.ndarray, "H W c"], extent: tuple[float, float, float, float] | None = None
) -> None:
    """Draw one image with values in [0, 1]: grey for one channel, RGB for three, otherwise the mean of the channels.

    The extent is (left, right, bottom, top); by default a pixel has side 1.
    """
    if image.shape[-1] != 3:
        image = image.mean(axis=-1)
    ax.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
