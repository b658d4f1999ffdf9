"""`jvae import-pytorch` and `jvae export-pytorch`: the commands of `jvae.tools.pytorch`."""

from pathlib import Path
from typing import Any

import click

from jvae.cli.console import check_output, check_run, config_of_dataset, open_dataset
from jvae.cli.options import Command, data_options, run_option
from jvae.errors import JvaeError
from jvae.runs.config import config_fields

(ACTIVATIONS,) = (field.choices for field in config_fields() if field.name == "activation")


def need_torch() -> None:
    """Raise a JvaeError that says what to install, unless PyTorch is there."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise JvaeError("PyTorch is not installed: pip install 'jvae[pytorch]'") from error


@click.command("import-pytorch", cls=Command)
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", "model_path", type=click.Path(path_type=Path), default="model.npz", help="model file to write")
@click.option("--overwrite", is_flag=True, help="replace a model file that is there")
@click.option("--dataset", default="mnist", help="what it was trained on")
@click.option(
    "--decoder",
    type=click.Choice(["bernoulli", "gaussian", "continuous-bernoulli"]),
    default="bernoulli",
    help="its output distribution, which weights do not tell",
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    default="relu",
    help="of its networks, which weights do not tell; gelu is the approximation by tanh",
)
@click.option("--output-scale", type=float, default=0.3, help="standard deviation of a Gaussian output")
@data_options
def import_pytorch(
    source: Path,
    model_path: Path,
    overwrite: bool,
    dataset: str,
    decoder: str,
    activation: str,
    output_scale: float,
    data_dir: Path | None,
) -> None:
    """Make a model file of SOURCE, the state dict that the exercise's PyTorch program saves (`model.pt`)."""
    check_output(model_path)
    if model_path.exists() and not overwrite:
        raise click.UsageError(f"{model_path}: is there already; --overwrite replaces it")
    need_torch()
    from jvae.errors import ModelFileError
    from jvae.nn.networks import describe_network
    from jvae.runs.checkpoint import save
    from jvae.tools.pytorch import count_weights, infer_config, load_state_dict, model_from_weights

    fields: dict[str, Any] = {"dataset": dataset, "decoder": decoder, "activation": activation}
    if decoder == "gaussian":
        fields["output_scale"] = output_scale
    data = open_dataset(config_of_dataset(dataset), data_dir)
    weights, shape = load_state_dict(source), data.train_images.shape[1:]
    try:
        config = infer_config(weights, **fields)
        model = model_from_weights(weights, config, shape, data.fingerprint)
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error
    save(model_path, model)
    network = describe_network(model.recipe.model.encoder.net)
    click.echo(
        f"wrote {model_path}: {config.prior} prior, {config.decoder} output, {network}, "
        f"M = {config.latent_dim}, {count_weights(weights):,} numbers"
    )


@click.command("export-pytorch", cls=Command)
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--model",
    "model_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default="model.npz",
    help="model file that `jvae train` wrote",
)
@run_option
def export_pytorch(target: Path, model_path: Path, run: int) -> None:
    """Write TARGET, the state dict that the exercise's PyTorch program loads (`model.pt`)."""
    check_output(target)
    need_torch()
    from jvae.runs.api import select_run
    from jvae.runs.checkpoint import load
    from jvae.tools.pytorch import count_weights, export_weights, save_state_dict

    model = load(model_path)
    check_run(model, run)
    weights = export_weights(select_run(model, run))
    save_state_dict(target, weights)
    click.echo(f"wrote {target}: {len(weights)} tensors, {count_weights(weights):,} numbers")
