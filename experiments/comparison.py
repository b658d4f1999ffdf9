"""Several configurations side by side: each trained from several seeds, one row of a Markdown table each."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from jvae.config import Config


class Row(NamedTuple):
    """One configuration's results over the seeds: nats per image, one value a seed."""

    name: str
    elbo: list[float]
    reconstruction: list[float]
    kl: list[float]
    level_kl: list[list[float]]
    """The KL of every level of latents, one list a seed."""
    seconds: list[float]
    """Of an epoch after the first, which compiles."""
    unit: str


def comparison_options(command: Callable) -> Callable:
    """The options that every comparison shares; the defaults are the exercise's setting."""
    for decorate in (
        click.option(
            "--output", type=click.Path(path_type=Path, file_okay=False), help="folder for models and results"
        ),
        click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="IDX files"),
        click.option("--batch-size", type=click.IntRange(1), default=128, help="images per step"),
        click.option("--latent-dim", type=click.IntRange(1), default=10, help="M"),
        click.option("--epochs", type=click.IntRange(1), default=5, help="passes over the training images"),
        click.option("--runs", type=click.IntRange(1), default=3, help="seeds 0, 1, ..."),
        click.option("--dataset", default="mnist", help="data set"),
    ):
        command = decorate(command)
    return command


def compare(
    variations: dict[str, dict[str, Any]],
    dataset: str,
    runs: int,
    epochs: int,
    latent_dim: int,
    batch_size: int,
    data_dir: Path | None,
    output: Path | None,
) -> list[Row]:
    """Train and evaluate every variation from every seed, print the table, and keep it and the models of seed 0."""
    from jvae import run
    from jvae.checkpoint import save_model
    from jvae.config import unit
    from jvae.datasets import load_dataset

    data = load_dataset(dataset, data_dir=data_dir)
    common: dict[str, Any] = {"dataset": dataset, "epochs": epochs, "latent_dim": latent_dim, "batch_size": batch_size}
    rows = []
    click.echo("| model | test ELBO | reconstruction | KL | s/epoch | seeds |\n|---|---|---|---|---|---|")
    for name, variation in variations.items():
        results, seconds, level_kl = [], [], []
        for seed, (model, evaluation) in enumerate(trained(Config(**common, **variation), data, runs)):
            results.append(evaluation)
            level_kl.append([level.kl for level in run.diagnose_model(model, data).levels])
            seconds.append(float(np.median([record["seconds"] for record in model.history[1:] or model.history])))
            if output is not None and seed == 0:
                output.mkdir(parents=True, exist_ok=True)
                save_model(output / f"{name.replace(' ', '-')}.npz", model)
        parts = {part: [getattr(r, part).value for r in results] for part in ("elbo", "reconstruction", "kl")}
        rows.append(Row(name, **parts, level_kl=level_kl, seconds=seconds, unit=unit(model.config)))
        click.echo(f"| {name} | {' | '.join(map(mean_and_sd, parts.values()))} | {np.median(seconds):.1f} | {runs} |")
    for text in sorted({row.unit for row in rows}):
        click.echo(f"unit: {text}")
    if output is not None:
        (output / "results.json").write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    return rows


def trained(config: Config, data: Any, runs: int) -> Iterator[tuple[Any, Any]]:
    """The trained model and its evaluation for the seeds 0, 1, ...: one program for all."""
    from dataclasses import replace

    from jvae import run

    *_, model = run.train(replace(config, runs=runs), data)
    for i in range(runs):
        one = run.select_run(model, i)
        yield one, run.evaluate_model(one, data)


def mean_and_sd(values: list[float]) -> str:
    """Mean and, over more than one value, standard deviation (n-1)."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
