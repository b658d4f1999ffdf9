"""The classes' colours and their key."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from jvae.view.classes import COLOURS, class_colours
from jvae.view.plots import plot_posterior

# how eyes without one kind of cone see linear RGB: Machado, Oliveira and Fernandes (2009), severity 1
EYES = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colours: list[str], eye: np.ndarray) -> np.ndarray:
    """Return the CIELAB of colours as an eye sees them."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = (np.clip(linear @ np.transpose(eye), 0, 1) @ XYZ.T / [0.9505, 1, 1.089]).T
    f = [np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=1)


def least_distance(colours: list[str], eye: np.ndarray) -> float:
    seen = lab(colours, eye)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return float(apart[np.triu_indices(len(colours), 1)].min())


@pytest.mark.parametrize("eye", EYES)
def test_ten_classes_differ_to_every_eye(eye):
    assert len(COLOURS) == 10
    assert least_distance(list(COLOURS), EYES[eye]) > 19
    assert min(np.hypot(*seen[1:]) for seen in lab(list(COLOURS), EYES["all cones"])) > 25  # none is grey


def test_the_distance_finds_what_cannot_be_told_apart():
    tab10 = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"]
    assert least_distance(tab10, EYES["protanopia"]) < 5


def posterior(labels: np.ndarray, d: int) -> Figure:
    coordinates = np.random.default_rng(0).normal(size=(len(labels), d))
    return plot_posterior(coordinates, labels, ("a", "b")[:d], "title")


@pytest.mark.parametrize("d", [1, 2])
def test_up_to_ten_classes_have_a_legend(d):
    for classes in (2, 10):
        fig = posterior(np.arange(50) % classes, d)
        (legend,) = fig.legends
        assert [text.get_text() for text in legend.get_texts()] == [str(c) for c in range(classes)]
        assert [line.get_color() for line in legend.get_lines()] == class_colours(np.arange(classes))
        assert len(fig.axes) == 1


@pytest.mark.parametrize("d", [1, 2])
def test_one_class_needs_no_key(d):
    fig = posterior(np.zeros(50, np.uint8), d)
    assert not fig.legends
    assert len(fig.axes) == 1


@pytest.mark.parametrize("d", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_more_classes_have_a_colour_bar_in_their_order(d):
    labels = 10 + 2 * (np.arange(500) % 47)
    fig = posterior(labels, d)
    assert not fig.legends
    _, bar = fig.axes
    fig.draw_without_rendering()
    assert [text.get_text() for text in bar.get_yticklabels()] == ["10", "22", "34", "46", "58", "70", "82", "94"]
    assert bar.get_ylabel() == "class"
    assert len(set(class_colours(np.unique(labels)))) == 47
