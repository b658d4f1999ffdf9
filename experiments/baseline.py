"""The exercise's own model over several seeds: the mean test ELBO and its spread."""

from typing import Any

import click

from experiments.comparison import compare, comparison_options


@click.command()
@comparison_options
def baseline(**options: Any) -> None:
    """What test ELBO does the exercise's VAE reach? PyTorch, measured over 5 runs: -94.1 ± 0.7 nats."""
    (row,) = compare({"gaussian": {}}, **options)
    click.echo("by seed: " + ", ".join(f"{value:.2f}" for value in row.elbo))
