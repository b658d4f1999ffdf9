"""The pictures of any data set: any classes, number of images and shape."""

from collections.abc import Iterator

import numpy as np
import pytest
from helpers import random_model
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from jvae.data.dataset import Dataset, make_dataset
from jvae.errors import JvaeError
from jvae.runs.config import Config
from jvae.view import pictures
from jvae.view.plots import PriorView, plot_posterior, plot_prior, plot_priors


def made(n: int, shape: tuple[int, ...], classes: int | None, name: str = "mine") -> Dataset:
    """Make a set of n test images of noise; without classes it has no labels."""
    rng = np.random.default_rng(0)
    test, train = (rng.integers(0, 256, (count, *shape), np.uint8) for count in (n, 50))
    labels = [None, None] if classes is None else [np.arange(50) % classes, np.arange(n) % classes]
    return make_dataset(train, test, *labels, name=name)


ANY = {
    "one class": (made(60, (8, 8, 1), 1), {"latent_dim": 2}),
    "no labels, few images, RGB": (made(5, (8, 6, 3), None), {"latent_dim": 4, "prior": "vamp", "num_components": 3}),
    "one pixel, on a line": (made(40, (1, 1, 1), 3), {"latent_dim": 1, "prior": "mog", "num_components": 2}),
    "one image": (made(1, (6, 6, 2), None), {"latent_dim": 3}),
    "47 classes, tall": (made(300, (12, 3, 1), 47, "a-long-name-" * 8), {"latent_dim": 3}),
}


def texts(fig: Figure) -> Iterator[Text]:
    """Return all text that is drawn, without tick labels beyond their axis."""
    yield from fig.texts
    for legend in fig.legends:
        yield from (legend.get_title(), *legend.get_texts())
    for ax in fig.axes:
        yield ax.title
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            low, high = sorted(axis.get_view_interval())
            yield axis.label
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)


def assert_not_clipped(fig: Figure) -> None:
    """Assert that all text is within the figure."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    width, height = fig.bbox.size
    drawn = [text for text in texts(fig) if text.get_text() and text.get_visible()]
    assert drawn
    for text in drawn:
        box = text.get_window_extent(canvas.get_renderer())
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -2, f"{text.get_text()!r} is clipped"


@pytest.mark.slow
@pytest.mark.parametrize("name", ANY)
def test_every_picture_of_any_set_is_drawn_and_not_clipped(name):
    data, fields = ANY[name]
    model = random_model(Config(dataset="digits", hidden=(8, 8), **fields), data)
    for draw in (pictures.posterior, pictures.prior, pictures.manifold, pictures.reconstructions):
        assert_not_clipped(draw(model, data))
    for draw in (pictures.interpolation, pictures.traversals):
        fig = draw(model, data)
        assert_not_clipped(fig)
        assert (" 0" not in fig.get_suptitle()) or len(np.unique(data.test_labels)) > 1
    assert_not_clipped(pictures.priors({"a": model, "b": model}, data))
    assert_not_clipped(pictures.samples(model, num_images=3))
    assert_not_clipped(pictures.samples_beside_means(model, num_images=3))
    if fields.get("prior") == "vamp":
        assert_not_clipped(pictures.pseudo_inputs(model))


def scales(fig: Figure) -> list[float]:
    """Return the length of a unit on the second axis relative to the first, panel by panel."""
    fig.draw_without_rendering()
    panels = [ax for ax in fig.axes if ax.axison]
    corners = [ax.transData.transform([(0, 0), (1, 1)]) for ax in panels]
    return [float(np.divide(*(high - low)[::-1])) for low, high in corners]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 3, 1)])
def test_a_unit_is_as_long_on_both_axes(shape):
    """A standard Gaussian is then a circle; the aggregate posterior here is narrow."""
    data = made(60, shape, 1)
    model = random_model(Config(dataset="digits", hidden=(8, 8), latent_dim=2), data)
    for fig in (pictures.posterior(model, data), pictures.prior(model, data), pictures.manifold(model, data)):
        assert scales(fig) == pytest.approx([1.0], rel=1e-3)
    assert scales(pictures.priors({"a": model, "b": model}, data)) == pytest.approx([1.0] * 2, rel=1e-3)
    ax = pictures.manifold(model, data).axes[0]
    left, right, bottom, top = ax.images[0].get_extent()
    h, w = ax.images[0].get_array().shape
    assert (right - left) / w == pytest.approx((top - bottom) / h)  # no image is stretched


def test_ticks_are_round_and_the_same_on_both_axes():
    z = np.random.default_rng(0).normal(size=(200, 2)) * [7.3, 0.9]
    ticks = [np.linspace(-3.7, 3.7, 20)] * 2
    density = np.exp(-0.5 * sum(axis**2 for axis in np.meshgrid(*ticks)))
    view = PriorView(density, ticks, z, np.zeros(200, np.uint8), None, "component", ("a", "b"))
    for fig in (plot_posterior(z, np.zeros(200, np.uint8), ("a", "b"), "t"), plot_prior(view, "t")):
        fig.draw_without_rendering()
        steps = [np.diff(ticks) for ticks in (fig.axes[0].get_xticks(), fig.axes[0].get_yticks())]
        assert np.allclose(np.concatenate(steps), steps[0][0])
        assert any(np.isclose(steps[0][0], round_one * 10.0**k) for round_one in (1, 2, 5) for k in (-1, 0, 1))


def test_a_prior_without_mass_in_the_window_is_drawn():
    ticks = [np.linspace(0, 1, 9)] * 2
    view = PriorView(np.zeros((9, 9)), ticks, np.zeros((4, 2)), np.arange(4), np.zeros((1, 2)), "component", ("a", "b"))
    fig = plot_priors({"a": view, "b": view}, "title")
    assert_not_clipped(fig)
    classes, marks = ([text.get_text() for text in legend.get_texts()] for legend in fig.legends)
    assert classes == ["0", "1", "2", "3"]
    assert marks == ["component"]


def test_what_cannot_be_drawn_is_refused_by_name(tiny):
    model = random_model(Config(latent_dim=2, hidden=(8, 8), decoder="gaussian", variance="pixel"), tiny)
    none = tiny._replace(test_images=tiny.test_images[:0], test_labels=tiny.test_labels[:0])
    other = made(5, (3, 3, 1), 2)
    for draw, error in (
        (lambda: pictures.interpolation(model, tiny, rows=0), "rows is 0: must be at least 1"),
        (lambda: pictures.interpolation(model, tiny, columns=-1), "columns is -1: must be at least 1"),
        (lambda: pictures.interpolation(model, none), "has no test images"),
        (lambda: pictures.traversals(model, tiny, rows=-1), "rows is -1: must be at least 1"),
        (lambda: pictures.reconstructions(model, other), "images have the shape"),
        (lambda: pictures.priors({}, tiny), "models is empty"),
        (lambda: pictures.sweep([]), "no cell is successful"),
    ):
        with pytest.raises(ValueError, match=error):
            draw()
    flat = made(5, (16,), 2)
    with pytest.raises(JvaeError, match="pictures of them need"):
        pictures.scale(random_model(Config(latent_dim=2, hidden=(8, 8), decoder="gaussian", variance="pixel"), flat))
