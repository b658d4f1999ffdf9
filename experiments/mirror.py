"""The mirror: do jvae and PyTorch train to the same test-set ELBO?"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.comparison import mean_and_sd
from jvae.cli_pytorch import need_torch
from jvae.config import Config


@click.command()
@click.option("--runs", type=click.IntRange(2), default=8, help="seeds 0, 1, ... of each framework")
@click.option("--epochs", type=click.IntRange(1), default=5, help="passes over the training images")
@click.option("--latent-dim", type=click.IntRange(1), default=10, help="M")
@click.option("--batch-size", type=click.IntRange(1), default=128, help="images per step")
@click.option("--num-components", type=click.IntRange(1), default=50, help="of the mixture")
@click.option("--prior", "priors", type=click.Choice(["gaussian", "mog"]), multiple=True, default=("gaussian", "mog"))
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="IDX files")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="write the results here")
def mirror(
    runs: int,
    epochs: int,
    latent_dim: int,
    batch_size: int,
    num_components: int,
    priors: tuple[str, ...],
    data_dir: Path | None,
    json_path: Path | None,
) -> None:
    """Does the same setting give the same test-set ELBO in both frameworks?

    Both train the exercise's model on MNIST from so many seeds. PyTorch's weights are then imported, so that one
    estimator judges both. Needs the extra `pytorch`.
    """
    need_torch()
    from jvae.datasets import load_dataset
    from jvae.evaluation import spread

    data = load_dataset("mnist", data_dir=data_dir)
    results = {}
    click.echo("| prior | jvae | PyTorch | difference of the means | in standard errors |\n|---|---|---|---|---|")
    for prior in priors:
        mixture: dict[str, Any] = {"prior": prior} | ({"num_components": num_components} if prior == "mog" else {})
        config = Config(latent_dim=latent_dim, epochs=epochs, batch_size=batch_size, **mixture)
        ours, theirs = train_ours(config, data, runs), train_theirs(config, data, runs)
        one, other = spread(ours), spread(theirs)
        difference = one.mean - other.mean
        noise = float(np.hypot(one.standard_error, other.standard_error))
        cells = [prior, mean_and_sd(ours), mean_and_sd(theirs), f"{difference:+.2f} ± {noise:.2f}"]
        click.echo(f"| {' | '.join(cells)} | {abs(difference) / noise:.1f} |")
        results[prior] = {"jvae": ours, "pytorch": theirs, "difference": difference, "standard_error": noise}
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=2) + "\n")


def train_ours(config: Config, data: Any, runs: int) -> list[float]:
    """The test ELBO of every seed in jvae."""
    from dataclasses import replace

    from jvae import run

    *_, model = run.train(replace(config, runs=runs), data)
    return [run.evaluate_model(run.select_run(model, i), data).elbo.value for i in range(runs)]


def train_theirs(config: Config, data: Any, runs: int) -> list[float]:
    """The test ELBO of every seed in PyTorch."""
    import torch

    from experiments.pytorch_peer import MoGPrior, build_vae, train_epoch_resident
    from jvae.pytorch import model_from_weights
    from jvae.run import evaluate_model

    torch.set_flush_denormal(True)
    binary = torch.from_numpy((data.train_images[..., 0] >= 128).astype(np.float32))
    elbos = []
    for seed in range(runs):
        torch.manual_seed(seed)
        model = build_vae(config.latent_dim, validate=False)
        if config.prior == "mog":
            model.prior = MoGPrior(config.latent_dim, config.num_components)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
        for _ in range(config.epochs):
            train_epoch_resident(model, model.elbo, optimizer, binary, config.batch_size)
        weights = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
        imported = model_from_weights(weights, config, data.train_images.shape[1:], data.fingerprint)
        elbos.append(evaluate_model(imported, data).elbo.value)
    return elbos
