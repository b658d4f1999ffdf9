"""Tight bounds: how far is the ELBO from the log-evidence, and does it help to train on a tighter bound?"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.comparison import comparison_options, mean_and_sd, trained


@click.command()
@comparison_options
@click.option("--images", type=click.IntRange(2), default=1000, help="test images that the bounds are evaluated on")
@click.option("--most", type=click.IntRange(1), default=1000, help="the largest number of draws in an evaluation")
@click.option("--draws", type=click.IntRange(2), default=5, help="draws per image in a training step, where several")
def bounds(
    images: int,
    most: int,
    draws: int,
    dataset: str,
    runs: int,
    epochs: int,
    latent_dim: int,
    batch_size: int,
    data_dir: Path | None,
    output: Path | None,
) -> None:
    """Importance-weighted bounds of models trained on the ELBO, with one draw and several, and on the IWAE bound."""
    from jvae.config import Config
    from jvae.datasets import load_dataset
    from jvae.run import evaluate_model_iwae

    data = load_dataset(dataset, data_dir=data_dir)
    few = data._replace(test_images=data.test_images[:images], test_labels=data.test_labels[:images])
    numbers = [k for k in (1, 10, 100, 1000, 10_000) if k <= most]
    common: dict[str, Any] = {"dataset": dataset, "epochs": epochs, "latent_dim": latent_dim, "batch_size": batch_size}
    several: dict[str, Any] = {"num_samples": draws}
    variations: dict[str, dict[str, Any]] = {
        "ELBO, 1 draw": {},
        f"ELBO, {draws} draws": several,
        f"IWAE, {draws} draws": {"bound": "iwae", **several},
    }
    click.echo(f"| trained on | test ELBO | {' | '.join(f'IWAE-{k}' for k in numbers)} | median ESS of {numbers[-1]} |")
    click.echo("|---" * (len(numbers) + 3) + "|")
    results = {}
    for name, variation in variations.items():
        elbo, sizes, values = [], [], []
        for model, evaluation in trained(Config(**common, **variation), data, runs):
            found = [evaluate_model_iwae(model, few, k) for k in numbers]
            elbo.append(evaluation.elbo.value)
            values.append([f.iwae.value for f in found])
            sizes.append(found[-1].median_effective_sample_size)
        results[name] = {"elbo": elbo, "draws": numbers, "iwae": values, "effective_sample_size": sizes}
        columns = [mean_and_sd(list(column)) for column in zip(*values, strict=True)]
        click.echo(f"| {name} | {mean_and_sd(elbo)} | {' | '.join(columns)} | {mean_and_sd(sizes)} |")
    click.echo(f"nats per image; ELBO over all test images, IWAE over the first {len(few.test_images)}; seeds: {runs}")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "bounds.json").write_text(json.dumps(results, indent=2) + "\n")
        plot_bounds(results).savefig(output / "bounds.png")


def plot_bounds(results: dict[str, dict[str, Any]]) -> Any:
    """The bound against the number of draws it is evaluated with, a line a training bound."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
    ax = fig.subplots()
    for name, result in results.items():
        values = np.array(result["iwae"])
        middle = values.mean(axis=0)
        (line,) = ax.plot(result["draws"], middle, "o-", label=name)
        ax.fill_between(result["draws"], values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.15)
    ax.set_xscale("log")
    ax.set_xlabel("draws per image in the evaluation, K")
    ax.set_ylabel("IWAE-K, nats per image")
    ax.set_title("bounds of the test set's log-evidence (band: all seeds)", fontsize=11)
    ax.legend(title="trained on", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    return fig
