import numpy as np
import pytest
from helpers import random_model
from matplotlib.colors import to_rgb
from test_pictures import assert_not_clipped

from jvae.view import pictures, views
from jvae.view.classes import class_colours
from jvae.view.image_grids import fitting_columns, montage, plot_images
from jvae.view.plots import PriorView, plot_posterior, plot_priors, plot_scale, plot_sweep


def test_a_montage_keeps_every_image_in_its_place():
    images = np.arange(5, dtype=np.float32)[:, None, None, None] / 10 * np.ones((5, 3, 2, 1), np.float32)
    sheet = montage(images, columns=3)
    assert sheet.shape == (2 * 4 + 1, 3 * 3 + 1, 1)
    np.testing.assert_array_equal(sheet[1:4, 1:3, 0], 0.0)
    np.testing.assert_allclose(sheet[5:8, 4:6, 0], 0.4)
    np.testing.assert_array_equal(sheet[5:8, 7:9, 0], 0.5)  # no sixth image: the sheet's grey
    np.testing.assert_array_equal(montage(images, 5, gap=0)[:, 2:4, 0], np.full((3, 2), 0.1, np.float32))


def test_points_have_their_class_colour():
    """Class 3 is on the left and class 7 on the right, and the drawing order is shuffled."""
    labels = np.array([3, 7] * 50)
    coordinates = np.stack([labels - 5.0, np.linspace(0, 1, 100)], axis=1)
    points = plot_posterior(coordinates, labels, ("a", "b"), "title").axes[0].collections[0]
    left = np.asarray(points.get_offsets())[:, 0] < 0
    three, seven = map(to_rgb, class_colours(np.array([3, 7])))
    np.testing.assert_allclose(points.get_facecolors()[:, :3], np.where(left[:, None], three, seven))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_images_are_drawn(channels):
    fig = plot_images(np.random.default_rng(0).uniform(size=(7, 4, 4, channels)).astype(np.float32))
    assert fig.axes[0].images[0].get_array().ndim == (2 if channels == 1 else 3)


def test_a_title_is_whole_above_narrow_images_and_shows_dollars():
    fig = plot_images(np.zeros((9, 64, 2, 1), np.float32), title="samples of p(x|z)\nnpy:a$x_{$b.npy, gaussian prior")
    assert_not_clipped(fig)


@pytest.mark.parametrize("name", ["a$x_{$b", "\u6570", "\udcff"])
def test_names_of_the_users_are_drawn_as_they_are(name):
    """As mathematics, the first would raise; the font has no sign for the second, and the third is no UTF-8."""
    view = PriorView(np.eye(2), [np.arange(2.0)] * 2, np.eye(2), np.zeros(2, int), None, "component", ("a", "b"))
    for fig in (plot_sweep({name: {name: [1.0, 2.0]}}), plot_priors({name: view}, name)):
        assert_not_clipped(fig)


@pytest.mark.slow
def test_reconstructions_take_the_classes_in_turn(small, tiny):
    model = random_model(small, tiny)
    fig = pictures.reconstructions(model, tiny, num_images=20)
    assert len(fig.axes) == 2
    shown, _ = views.reconstructed(model, tiny, num_images=9)
    binary = tiny.test_images >= 128
    classes = [int(tiny.test_labels[(binary == x).all(axis=(1, 2, 3))][0]) for x in shown]
    assert classes == sorted(set(tiny.test_labels.tolist()))[:9]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (7, 3), (36, 6), (50, 10), (64, 8), (12, 4), (97, 10)])
def test_a_grid_is_full_where_it_can_be(n, columns):
    assert fitting_columns(n) == columns


def test_a_scale_of_data_without_channels_is_drawn():
    grey = np.linspace(0.1, 0.5, 12).reshape(3, 4)
    for scale in (grey, np.stack([grey, grey], axis=-1)):
        (image,) = plot_scale(scale, "title").axes[0].images
        np.testing.assert_allclose(image.get_array(), grey)
