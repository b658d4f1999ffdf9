"""`jvae import-pytorch` and `jvae export-pytorch`: the commands of `jvae.tools.pytorch`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import check_run, config_of_dataset, log, open_dataset, use_device
from jvae.cli.near import Choice
from jvae.cli.options import config_options, data_options, flag, is_given, run_option
from jvae.cli.path_types import DataSource, InputFile, InputModel, OutputFile, OutputModel
from jvae.cli.paths import check_kept
from jvae.errors import JvaeError
from jvae.runs.config import Config, config_fields
from jvae.runs.fields import DATA_FIELDS
from jvae.runs.lock import owning

(ACTIVATIONS,) = (field.choices for field in config_fields() if field.name == "activation")


def need_torch() -> None:
    """Raise a JvaeError that says what to install unless PyTorch is installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise JvaeError("PyTorch is not installed: pip install 'jvae[pytorch]'") from error


@click.command(
    "import-pytorch",
    cls=Command,
    short_help="Make a model file from a PyTorch state dict.",
    examples=(
        "jvae import-pytorch model.pt --model model.npz",
        "jvae import-pytorch gaussian.pt --decoder gaussian --log-var --model gaussian.npz",
    ),
)
@click.argument("source", type=InputFile())
@click.option("--model", "model_path", type=OutputModel(), default="model.npz", help="model file to write")
@click.option("--overwrite", is_flag=True, help="replace an existing model file")
@click.option("--dataset", type=DataSource(), default="mnist", help="data set that it was trained on")
@click.option(
    "--decoder",
    type=Choice(["bernoulli", "gaussian", "continuous-bernoulli"]),
    default="bernoulli",
    help="output distribution, which the weights do not show",
)
@click.option(
    "--activation",
    type=Choice(ACTIVATIONS),
    default="relu",
    help="activation of its networks, which the weights do not show; gelu is the tanh approximation",
)
@click.option(
    "--output-scale", type=float, default=0.3, help="standard deviation of a Gaussian output, if it is not learned"
)
@click.option(
    "--log-var/--log-std",
    default=None,
    help="encoder's output beside the mean; by default according to names, or log-std",
)
@click.option(
    "--stds",
    type=Choice(["as-is", "exp", "softplus"]),
    help="map from learned numbers without `log` in their names to standard deviations; by default the identity",
)
@partial(config_options, only=DATA_FIELDS[1:])
@data_options
@click.pass_context
def import_pytorch(
    context: click.Context,
    source: Path,
    model_path: Path,
    overwrite: bool,
    dataset: str,
    decoder: str,
    activation: str,
    output_scale: float,
    log_var: bool | None,
    stds: Any,
    data_dir: Path | None,
    **read: Any,
) -> None:
    """Make a model file from SOURCE, a state dict that the exercise's PyTorch program saves (`model.pt`).

    Whatever shapes and names do not show is assumed, and reported: see the options.
    """
    context.with_resource(owning(model_path))
    check_kept(model_path, context.params)
    need_torch()
    from jvae.errors import ModelFileError
    from jvae.nn.networks import describe_network
    from jvae.runs.checkpoint import save
    from jvae.tools.conventions import Conventions, translate
    from jvae.tools.pytorch import infer_config, model_from_weights
    from jvae.tools.state_dict import count_weights, load_state_dict

    use_device("auto", compile_cache=False)
    given = click.get_current_context()
    fields: dict[str, Any] = {"dataset": dataset, "decoder": decoder, "activation": activation, **read}
    said: list[str] = []
    if not is_given(given, "activation"):
        said.append(f"the activation is {activation} (assumed; otherwise give --activation)")
    if is_given(given, "output_scale"):
        if decoder != "gaussian":
            raise click.UsageError(f"--output-scale is {output_scale}: applies only with --decoder gaussian")
        if not 0 < output_scale < float("inf"):
            raise click.UsageError(f"--output-scale is {output_scale}: must be above 0 and finite")
        fields["output_scale"] = output_scale
    conventions = Conventions(log_var, stds, fields.get("output_scale"))
    trained_on = config_of_dataset(dataset, **read)
    weights = load_state_dict(source, said.append)
    data = open_dataset(trained_on, data_dir)
    shape = data.train_images.shape[1:]
    try:
        known = translate(weights, conventions, decoder == "gaussian", shape, said.append)
        config = infer_config(known, **fields)
        model = model_from_weights(known, config, shape, data.fingerprint)
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error
    save(model_path, model)
    for line in said:
        log(line)
    network = describe_network(model.recipe.model.encoder.net)
    click.echo(
        f"wrote {model_path}: {config.prior} prior, {config.decoder} output, {network}, "
        f"M = {config.latent_dim}, {count_weights(weights):,} numbers"
    )


@click.command(
    "export-pytorch",
    cls=Command,
    short_help="Write a model as a state dict for PyTorch.",
    examples=(
        "jvae export-pytorch model.pt --model model.npz",
        "jvae export-pytorch model.pt --model mog.npz --run 2 --overwrite",
    ),
)
@click.argument("target", type=OutputFile(kept=True))
@click.option(
    "--model",
    "model_path",
    type=InputModel(),
    default="model.npz",
    help="model file written by `jvae train`",
)
@click.option("--overwrite", is_flag=True, help="replace an existing file")
@run_option
def export_pytorch(target: Path, model_path: Path, overwrite: bool, run: int) -> None:
    """Write TARGET, a state dict that the exercise's PyTorch program loads (`model.pt`)."""
    need_torch()
    use_device("auto", compile_cache=False)
    from jvae.errors import RecipeNeededError
    from jvae.runs.checkpoint import load
    from jvae.runs.selection import select_run
    from jvae.tools.pytorch import export_weights
    from jvae.tools.state_dict import count_weights, save_state_dict

    try:
        model = load(model_path)
    except RecipeNeededError as error:
        raise JvaeError(
            f"{model_path}: was trained with a recipe: only models of options alone are exported"
        ) from error
    check_run(model, run)
    weights = export_weights(select_run(model, run))
    save_state_dict(target, weights)
    for name in ("activation", "output_scale"):  # a state dict does not hold them
        if (value := getattr(model.config, name)) != getattr(Config, name):
            log(f"warning: {flag(name)} is {value}: the exercise's program computes the same only if its own is too")
    click.echo(f"wrote {target}: {len(weights)} tensors, {count_weights(weights):,} numbers")
