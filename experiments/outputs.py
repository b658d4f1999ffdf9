"""Exercise 1.7: other output distributions."""

from pathlib import Path
from typing import Any

import click

from experiments.comparison import compare, comparison_options


@click.command()
@comparison_options
def outputs(output: Path | None, **options: Any) -> None:
    """Gaussian outputs of fixed, learned and per-pixel variance, and the continuous Bernoulli, on continuous pixels.

    Bounds are log-densities of dequantised pixels, not comparable with a Bernoulli's. With --output, also the pictures
    that the sheet asks for: samples beside means.
    """
    variations = {
        "gaussian fixed": {"decoder": "gaussian"},
        "gaussian scalar": {"decoder": "gaussian", "variance": "scalar"},
        "gaussian pixel": {"decoder": "gaussian", "variance": "pixel"},
        "continuous bernoulli": {"decoder": "continuous-bernoulli"},
    }
    compare(variations, output=output, **options)
    if output is None:
        return
    from jvae.checkpoint import load_model
    from jvae.pictures import samples_beside_means

    for name in variations:
        stem = name.replace(" ", "-")
        model = load_model(output / f"{stem}.npz")
        samples_beside_means(model, seed=0, num_images=36).savefig(output / f"{stem}.png")
