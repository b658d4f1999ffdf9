"""Exercise 1.8: convolutional networks."""

from typing import Any

import click

from experiments.comparison import compare, comparison_options


@click.command()
@comparison_options
def networks(**options: Any) -> None:
    """The fully connected and the convolutional network, everything else equal."""
    compare({"mlp": {}, "cnn": {"network": "cnn"}}, **options)
