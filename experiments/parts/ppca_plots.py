"""The pictures of exercise 1.1: how the fits reach the maximum, and how IWAE reaches the known log p(x)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_convergence(paths: dict[str, np.ndarray], top: float, title: str) -> "Figure":
    """Plot the mean log-likelihood after every step, and how far it is still below the closed form's."""
    from jvae.view.plots import INK, figure, soften

    fig = figure(10, 4.2)
    left, right = fig.subplots(1, 2)
    for (name, path), colour in zip(paths.items(), ("C0", "C1"), strict=True):
        steps = np.arange(1, len(path) + 1)
        left.plot(steps, path, color=colour, label=name)
        right.plot(steps, np.where(top - path > rounding(top), top - path, np.nan), color=colour, label=name)
    left.axhline(top, color=INK, linestyle="--", linewidth=1, label="closed form")
    # the first steps from b = 0 are far below everything else
    low = min(path[min(len(path) - 1, 20)] for path in paths.values())
    left.set_ylim(low - 0.05 * (top - low), top + 0.08 * (top - low))
    left.set_ylabel("log-likelihood, nats per image")
    left.legend(frameon=False, loc="lower right")
    right.axhspan(1e-9, rounding(top), color="0.9", label="float32 rounding")
    right.set_ylim(rounding(top) / 10, None)
    right.set_yscale("log")
    right.set_ylabel("closed form minus fit, nats per image")
    right.legend(frameon=False)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("step")
        soften(ax)
    fig.suptitle(title, fontsize=11)
    return fig


def rounding(value: float) -> float:
    """Return what a sum of about the value's size loses in float32."""
    return 10 * float(np.finfo(np.float32).eps) * abs(value)


def plot_iwae(draws: Sequence[int], values: np.ndarray, errors: np.ndarray, exact: float, title: str) -> "Figure":
    """Plot IWAE-K with its standard errors against the number of draws, under the line of the exact log-likelihood."""
    from jvae.view.plots import INK, figure, soften

    fig = figure(6.4, 4.4)
    ax = fig.subplots()
    ax.axhline(exact, color=INK, linestyle="--", linewidth=1, label="exact log p(x)")
    ax.errorbar(draws, values, yerr=2 * errors, color="C0", marker="o", capsize=4, label="IWAE ± 2 standard errors")
    ax.set_xscale("log")
    ax.set_xlabel("draws K")
    ax.set_ylabel("nats per image")
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False, loc="lower right")
    soften(ax)
    return fig
