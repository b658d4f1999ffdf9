"""The classes of data in a picture: their colours, and their legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1192e8", "#e69f00", "#882255", "#66ccee", "#6929c4", "#ee6677", "#004488", "#ddcc77", "#bd1f01", "#ae76a3")
"""Ten distinct colours, none grey, at least 19 units of CIELAB apart with each kind of colour blindness."""


def class_colours(classes: Integer[np.ndarray, " k"]) -> list[str]:
    """Return one colour per class, #rrggbb: from `COLOURS`, or evenly spaced on the rainbow for more than ten."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if len(classes) <= len(COLOURS):
        return list(COLOURS[: len(classes)])
    return [to_hex(colour) for colour in colormaps["turbo"](np.linspace(0.05, 0.95, len(classes)))]


def add_key(fig: Figure, axes: Sequence[Axes], labels: Integer[np.ndarray, " n"]) -> None:
    """Add a key of the class colours, and below it a legend of everything else that is labelled on the axes.

    Two to ten classes have a legend at the right, and more have a colour bar in their order. A single class, or data
    without labels (all zeros), have no key.

    Args:
        fig: the figure.
        axes: its axes with data.
        labels: the class of every datum on them.
    """
    from matplotlib.lines import Line2D

    classes = np.unique(labels)
    colours = class_colours(classes)
    if len(classes) > len(COLOURS):
        add_colour_bar(fig, axes, classes, colours)
    elif len(classes) > 1:
        dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7}
        dots = [Line2D([], [], color=colour, label=str(c), **dot) for c, colour in zip(classes, colours, strict=True)]
        fig.legend(handles=dots, loc="outside right center", frameon=False, title="class")
    others: dict[str, Any] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        others |= dict(zip(names, handles, strict=True))
    if others:
        fig.legend(others.values(), others.keys(), loc="outside lower center", ncols=len(others), frameon=False)


def add_colour_bar(fig: Figure, axes: Sequence[Axes], classes: Integer[np.ndarray, " k"], colours: list[str]) -> None:
    """Add a colour bar of the classes in their order, about eight of which are named; one colour per class."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, NoNorm

    named = np.arange(0, len(classes), -(-len(classes) // 8))
    bar = fig.colorbar(ScalarMappable(NoNorm(0, len(classes) - 1), ListedColormap(colours)), ax=list(axes), aspect=40)
    bar.set_ticks(named.tolist(), labels=[str(c) for c in classes[named]])
    bar.ax.minorticks_off()
    bar.set_label("class")
