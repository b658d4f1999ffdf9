"""Exercise 1.3: is a second level of latents worth having?"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.comparison import compare, comparison_options, mean_and_sd


@click.command()
@comparison_options
@click.option("--upper-dim", type=click.IntRange(1), default=5, help="dimension of z2")
def hierarchical(upper_dim: int, output: Path | None, **options: Any) -> None:
    """One level of latents and two, everything else equal; how much of the KL each level carries.

    With --output, also the aggregate posterior and the prior of both levels.
    """
    two = {"levels": 2, "upper_dim": upper_dim}
    one, *others = compare({"one level": {}, "two levels": two, "two levels mog": {**two, "prior": "mog"}},
                           output=output, **options)  # fmt: skip
    for row in others:
        gains = [ours - theirs for ours, theirs in zip(row.elbo, one.elbo, strict=True)]
        lower, upper = np.array(row.level_kl).T.tolist()
        click.echo(
            f"{row.name}: minus one level, seed by seed {mean_and_sd(gains)} nats; "
            f"KL of z1 {mean_and_sd(lower)}, of z2 {mean_and_sd(upper)}"
        )
    if output is None:
        return
    from jvae import pictures
    from jvae.checkpoint import load_model
    from jvae.datasets import load_dataset

    model = load_model(output / "two-levels.npz")
    data = load_dataset(options["dataset"], data_dir=options["data_dir"])
    for level in (1, 2):
        for name in ("posterior", "prior"):
            getattr(pictures, name)(model, data, 0, level=level).savefig(output / f"{name}-{level}.png")
