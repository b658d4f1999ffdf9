"""A training in frames, as a strip and as a GIF, with the same axes, keys and images in all."""

import io

import jax
import numpy as np
import pytest
from helpers import random_model
from matplotlib import rc_context
from PIL import Image
from test_pictures import ANY, assert_not_clipped

from jvae.errors import JvaeError
from jvae.runs.config import Config
from jvae.runs.snapshots import Snapshot, Snapshots, halved
from jvae.view import pictures
from jvae.view.classes import COLOURS
from jvae.view.plots import add_title, figure
from jvae.view.unfolding import (
    Frame,
    figures_of,
    frames_of,
    gif_of,
    highest,
    nearest,
    palette_of,
    pixels_of,
    plot_frame,
    plot_strip,
    time_of,
)

LINE = "one pixel, on a line"


def snapped(data, scales=(0.1, 1.0, 1.0), **fields):
    """Return an untrained model with snapshots of its parameters, each multiplied by a number."""
    model = random_model(Config(dataset="digits", hidden=(8, 8), **fields), data)
    taken = [
        Snapshot(10 * i, i / 2, jax.tree.map(lambda leaf: halved(scale * leaf), model.params))  # noqa: B023
        for i, scale in enumerate(scales)
    ]
    return model._replace(snapshots=Snapshots(len(taken), tuple(taken)))


@pytest.fixture(scope="module")
def frames(digits) -> list[Frame]:
    data = digits._replace(test_images=digits.test_images[:150], test_labels=digits.test_labels[:150])
    return frames_of(snapped(data, latent_dim=3), data, None, 0, 0)


@pytest.mark.slow
def test_all_frames_have_the_last_ones_axes_and_the_same_images_and_keys(frames):
    first, second, last = frames
    for frame in (first, second):
        for mine, theirs in zip(frame.latents.ticks, last.latents.ticks, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(frame.originals, last.originals)
        assert frame.latents.axis_labels == last.latents.axis_labels
    assert second.name.splitlines()[1] == last.name.splitlines()[1] != first.name.splitlines()[1]
    for field in ("means", "samples"):  # from the same parameters: everything is drawn with one key
        np.testing.assert_array_equal(getattr(second, field), getattr(last, field))
        assert np.abs(getattr(first, field) - getattr(last, field)).max() > 0.01
    np.testing.assert_array_equal(second.latents.coordinates, last.latents.coordinates)
    low, high = (np.array([tick[end] for tick in last.latents.ticks]) for end in (0, -1))
    inside = np.all((low < last.latents.coordinates) & (last.latents.coordinates < high), axis=1)
    assert inside.mean() > 0.95


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("name", [name for name in ANY if name != LINE])
def test_the_strip_of_any_set_is_drawn_and_not_clipped(name):
    data, fields = ANY[name]
    assert_not_clipped(pictures.training(snapped(data, **fields), data))


@pytest.mark.slow
def test_frames_of_one_dimension_have_one_height():
    data, fields = ANY[LINE]
    frames = frames_of(snapped(data, **fields), data, None, 0, 0)
    limits = {(fig.axes[0].get_xlim(), fig.axes[0].get_ylim()) for fig in figures_of(frames, "")}
    assert len(limits) == 1
    assert_not_clipped(plot_strip(frames, "a title"))


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_a_level_can_be_asked_for(tiny):
    model = snapped(tiny, latent_dim=3, levels=2, upper_dim=2)
    fig = pictures.training(model, tiny, level=1)
    assert "of level 2" in fig.get_suptitle()
    assert_not_clipped(fig)
    with pytest.raises(ValueError, match="level is 2: must be from 0 to 1"):
        pictures.training(model, tiny, level=2)


@pytest.mark.slow
def test_a_model_without_snapshots_gets_a_line_that_says_how_to_take_them(tiny):
    model = random_model(Config(dataset="digits", hidden=(8, 8)), tiny)
    for draw in (pictures.training, pictures.training_gif):
        for none in (None, Snapshots(3)):
            with pytest.raises(JvaeError, match="--snapshots N"):
                draw(model._replace(snapshots=none), tiny)


@pytest.mark.slow
def test_the_gif_has_a_frame_per_snapshot_in_the_colours_of_the_classes_and_loops_for_ever(frames):
    written = gif_of(figures_of(frames, "a title"))
    with Image.open(io.BytesIO(written)) as gif:
        durations = []
        assert (gif.n_frames, gif.info["loop"]) == (len(frames), 0)
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
        last = np.asarray(gif.convert("RGB")).reshape(-1, 3).astype(int)
    assert durations == [500, 500, 2500]
    assert np.any(np.all(last == 255, axis=1))
    for colour in COLOURS:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(last - wanted).max(axis=1).min() <= 6, colour
    assert_not_clipped(plot_frame(frames[0], "a title", highest(frames)))


def test_a_frame_keeps_its_size_where_the_user_crops_pictures():
    fig = figure(2, 1)
    add_title(fig, "a title")
    with rc_context({"savefig.bbox": "tight"}):
        assert pixels_of(fig).shape == (100, 200, 3)


def test_a_pixel_is_shown_in_the_nearest_colour():
    rng = np.random.default_rng(0)
    palette, pixels = (rng.integers(0, 256, shape, np.uint8) for shape in ((50, 3), (9, 7, 3)))
    squares = ((pixels[:, :, None].astype(int) - palette.astype(int)) ** 2).sum(axis=-1)
    found = nearest(palette, pixels)
    np.testing.assert_array_equal(np.take_along_axis(squares, found[..., None], -1)[..., 0], squares.min(axis=-1))
    assert np.ptp(palette_of([np.full((2, 2, 3), 7, np.uint8)]), axis=1).max() == 0


def test_a_frame_says_when_it_is():
    assert time_of(Snapshot(0, 0.0, {})) == "untrained"
    assert time_of(Snapshot(1215, 2.5906, {})) == "epoch 2.59, step 1,215"
