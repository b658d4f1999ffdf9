"""Unfolding: a training in frames, one per snapshot, side by side in a strip or in sequence in a GIF.

Axes, projection, keys and images are the same in all frames, so that any change is due to the training.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jvae.data.dataset import Dataset
from jvae.errors import JvaeError
from jvae.runs.api import evaluate, sample, test_images
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.given import AnyKey, key_or_zero
from jvae.runs.selection import select_run
from jvae.runs.snapshots import Snapshot, params_of
from jvae.view.classes import add_key
from jvae.view.image_grids import montage, show_image
from jvae.view.plots import PriorView, add_title, draw_prior, figure, histogram_bins
from jvae.view.views import as_images, latent_axes, latents_of_test_set, reconstructed, view_on

COLUMNS, SAMPLE_ROWS = 10, 6
POINTS = 2000
"""The most test images whose latents are shown: more hide each other, and make a GIF large."""
IN_STRIP = 5
DPI = 100
"""The resolution of a GIF's frame."""
GREYS, COLOURS = 64, 192
"""The numbers of greys and of colours in a GIF: its few coloured pixels need more, to tell classes apart."""
CHROMA = 24
"""The least difference between the channels of a coloured pixel, of 255."""
SECONDS, LAST_SECONDS = 0.5, 2.5
"""The durations of a GIF's frames, and of its last frame."""


class Frame(NamedTuple):
    """The state of a model at one snapshot of its training."""

    name: str
    """The time of the snapshot, and its bound."""
    latents: PriorView
    """The prior and the aggregate posterior."""
    originals: Float[np.ndarray, "n h w c"]
    """Test images, the same in every frame."""
    means: Float[np.ndarray, "n h w c"]
    """The means of p(x|z) at one draw z ~ q(z|x) for each."""
    samples: Float[np.ndarray, "k h w c"]
    """The means of p(x|z) at draws z ~ p(z), with the same key in every frame."""


def frames_of(
    model: TrainedModel, dataset: Dataset, key: AnyKey | None, run: SupportsIndex, level: SupportsIndex
) -> list[Frame]:
    """Return a frame for every snapshot, on the axes of the last one's prior and aggregate posterior.

    Raises:
        JvaeError: the model has no snapshots, or the data are not images.
        DataError: the data set is not the one that the model was trained on.
        ValueError: there is no such run or level, or there are no test images.
    """
    number, key = model.check_level(level), key_or_zero(key)
    one = select_run(model, run)
    if one.snapshots is None or not one.snapshots.taken:
        raise JvaeError("the model has no snapshots of its training: train with --snapshots N, at least 2")
    chosen = np.unique(np.linspace(0, len(test_images(dataset)) - 1, POINTS).astype(int))
    some = dataset._replace(test_images=dataset.test_images[chosen], test_labels=dataset.test_labels[chosen])
    last = one._replace(params=params_of(one.snapshots.taken[-1], one.params))
    axes = latent_axes(last, latents_of_test_set(last, some, key, 0, number), key, 0, number)
    frames = []
    for snapshot in one.snapshots.taken:
        then = one._replace(params=params_of(snapshot, one.params))
        z = latents_of_test_set(then, some, key, 0, number)
        view, _ = view_on(axes, then, z, some.test_labels, key, 0, number)
        elbo = evaluate(then, dataset, 1, key=key)[0].elbo.value
        originals, means = reconstructed(then, dataset, key, 0, COLUMNS)
        drawn = as_images(sample(then, key, SAMPLE_ROWS * COLUMNS, 0, mean=True))
        frames.append(Frame(f"{time_of(snapshot)}\ntest ELBO {elbo:.1f} nats", view, originals, means, drawn))
    return frames


def time_of(snapshot: Snapshot) -> str:
    """Return the time of a snapshot in words."""
    return f"epoch {snapshot.epochs:.2f}, step {snapshot.step:,}" if snapshot.step else "untrained"


def plot_strip(frames: Sequence[Frame], title: str) -> Figure:
    """Plot evenly chosen frames side by side, including the first and the last; there must be at least one."""
    shown = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, IN_STRIP).round().astype(int))]
    fig = figure(2.7 * len(shown) + 1.2, 6.7)
    rows, height = fig.subplots(3, len(shown), squeeze=False, height_ratios=[2.7, 0.6, 1.6]), highest(frames)
    for i, (frame, (top, middle, bottom)) in enumerate(zip(shown, rows.T, strict=True)):
        draw_latents(top, frame, height)
        top.set_xlabel(top.get_xlabel().replace(" (", "\n("))
        top.set_ylabel("" if i else top.get_ylabel().replace(" (", "\n("))
        top.set_title(frame.name, fontsize=11)
        draw_reconstructions(middle, frame)
        draw_samples(bottom, frame)
        if i:
            middle.set_yticks([])
    add_title(fig, title, 12)
    add_key(fig, rows[0].tolist(), frames[0].latents.labels)
    return fig


def plot_frame(frame: Frame, title: str, height: float | None) -> Figure:
    """Plot a frame: latent space, reconstructions and samples; `height` is the density axis's limit if d = 1."""
    fig = figure(8.8, 4.7)
    grid = fig.add_gridspec(2, 2, width_ratios=[1, 1.02], height_ratios=[2, SAMPLE_ROWS])
    left, above, below = (fig.add_subplot(place) for place in (grid[:, 0], grid[0, 1], grid[1, 1]))
    draw_latents(left, frame, height)
    draw_reconstructions(above, frame)
    draw_samples(below, frame)
    add_title(fig, f"{title}\n{frame.name.replace(chr(10), ': ')}", 12)
    add_key(fig, [left], frame.latents.labels)
    return fig


def draw_latents(ax: Axes, frame: Frame, height: float | None) -> None:
    """Draw the aggregate posterior over the prior; `height` is the limit of the density axis if d = 1."""
    draw_prior(ax, frame.latents)
    if height is not None:
        ax.set_xlim(frame.latents.ticks[0][0], frame.latents.ticks[0][-1])
        ax.set_ylim(0, height)


def highest(frames: Sequence[Frame]) -> float | None:
    """Return the common limit of the density axis for one latent dimension; None for two."""
    if len(frames[0].latents.ticks) > 1:
        return None
    drawn = [
        np.histogram(view.coordinates[:, 0], histogram_bins(view.labels), density=True)[0].max()
        for view in (frame.latents for frame in frames)
    ]
    return 1.05 * float(max(*drawn, *(frame.latents.density.max() for frame in frames)))


def draw_reconstructions(ax: Axes, frame: Frame) -> None:
    """Draw test images, each above the mean of p(x|z) at a draw z ~ q(z|x)."""
    grid = montage(np.concatenate([frame.originals, frame.means]), len(frame.originals))
    draw_grid(ax, grid)
    ax.set_yticks([grid.shape[0] * 0.25, grid.shape[0] * 0.75], ["data", "mean"])
    ax.set_xlabel("reconstructions, z ~ q(z|x)")


def draw_samples(ax: Axes, frame: Frame) -> None:
    """Draw the means of p(x|z) at draws from the prior."""
    draw_grid(ax, montage(frame.samples, COLUMNS))
    ax.set_yticks([])
    ax.set_xlabel("means of p(x|z), z ~ p(z)")


def draw_grid(ax: Axes, grid: Float[np.ndarray, "H W c"]) -> None:
    """Draw a grid of images, without a box or ticks on the first axis."""
    show_image(ax, grid)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def gif_of(figures: Iterable[Figure]) -> bytes:
    """Return figures of one size, at least one, as a GIF that loops for ever, with one palette."""
    from PIL import Image

    pictures = [pixels_of(fig) for fig in figures]
    palette = palette_of(pictures)
    images = [Image.fromarray(nearest(palette, pixels)) for pixels in pictures]
    for image in images:
        image.putpalette(palette.tobytes())
    durations = [round(1000 * SECONDS)] * (len(images) - 1) + [round(1000 * LAST_SECONDS)]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return buffer.getvalue()


def palette_of(pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> UInt8[np.ndarray, "k 3"]:
    """Return a palette for pictures, at most 256 colours: evenly spaced greys, and the most frequent colours."""
    from PIL import Image

    greys = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    coloured = pixels[np.ptp(pixels, axis=1) > CHROMA]
    if not len(coloured):
        return greys
    found = Image.fromarray(coloured[None]).quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=2)
    return np.concatenate([greys, np.array(found.getpalette(), np.uint8).reshape(-1, 3)])


def nearest(palette: UInt8[np.ndarray, "k 3"], pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Return the index of the palette's nearest colour for every pixel."""
    packed, which = np.unique(pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32), return_inverse=True)
    colours, wide = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1), palette.astype(np.int32)
    distances = (wide**2).sum(axis=1) - 2 * colours @ wide.T  # squared, without the term that all have in common
    return distances.argmin(axis=1).astype(np.uint8)[which].reshape(pixels.shape[:2])


def pixels_of(fig: Figure) -> UInt8[np.ndarray, "H W 3"]:
    """Return the pixels of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fig.set_dpi(DPI)
    canvas = FigureCanvasAgg(fig)  # savefig would obey a user's setting to crop
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figures_of(frames: Sequence[Frame], title: str) -> Iterator[Figure]:
    """Yield a figure for every frame."""
    height = highest(frames)
    return (plot_frame(frame, title, height) for frame in frames)
