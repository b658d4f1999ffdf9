"""The command line: parse -> Config -> library -> print.

Only click and `jvae.config` are imported up front, so that help and a wrong command line take a moment; each command
imports what it needs.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli_options import (
    Commands,
    config_options,
    data_options,
    device_option,
    json_option,
    mesh_options,
    model_options,
    num_samples_option,
    run_option,
    usage_error,
)
from jvae.cli_sweep import sweep
from jvae.config import Config
from jvae.console import (
    PICTURE_FORMATS,
    check_output,
    describe_lanes,
    open_dataset,
    open_model,
    reporter,
    use_device,
    use_mesh,
    write_figure,
)

if TYPE_CHECKING:
    from jvae.checkpoint import ModelFile
    from jvae.datasets import Dataset
    from jvae.evaluation import ImportanceEvaluation


@click.group(
    cls=Commands, context_settings={"auto_envvar_prefix": "JVAE", "show_default": True, "max_content_width": 110}
)
@click.version_option(package_name="jvae")
def main() -> None:
    """Train, compare and understand variational autoencoders in JAX."""


@main.command()
@config_options
@data_options
@device_option
@click.option("--model", "model_path", type=click.Path(path_type=Path), default="model.npz", help="model file to write")
@json_option
@mesh_options
@click.option(
    "--stream/--no-stream", default=None, help="read the images while they are used; by default if they would not fit"
)
def train(
    data_dir: Path | None,
    device: str,
    model_path: Path,
    json_path: Path | None,
    mesh: tuple[int, int] | None,
    hosts: tuple | None,
    stream: bool | None,
    **values: Any,
) -> None:
    """Train a VAE, save it after every epoch, and evaluate it on the test set."""
    try:
        config = Config(**values)
    except ValueError as error:
        raise usage_error(error) from error
    for path in (model_path, json_path):
        if path is not None:
            check_output(path)
    backend = use_device(device, hosts)
    report = reporter()
    dataset = open_dataset(config.dataset, data_dir, report)
    from jvae import report as reports
    from jvae import run
    from jvae.checkpoint import save_model
    from jvae.parallel import is_first_process

    devices = use_mesh(mesh, config.runs, config.batch_size)
    try:
        epochs = run.train(config, dataset, devices, stream)
    except ValueError as error:
        raise usage_error(error) from error
    report(f"training on {describe_lanes(config.runs, devices, backend)}")
    first, terminal = is_first_process(), sys.stderr.isatty()
    with click.progressbar(
        length=config.epochs,
        label="training",
        file=sys.stderr,
        hidden=not (first and terminal),
        item_show_func=epoch_line,
    ) as bar:
        for model in epochs:
            if first:
                save_model(model_path, model)
            bar.update(1, model.history[-1])
            if not terminal:
                report(f"epoch {len(model.history)}/{config.epochs}  {epoch_line(model.history[-1])}")
    if not first:
        return
    if config.keep == "best" or config.patience > 0:
        report(f"kept epoch {', '.join(map(str, run.kept_epochs(model)))}")
    click.echo(f"wrote {model_path}")
    evaluations = [run.evaluate_model(run.select_run(model, i), dataset) for i in range(config.runs)]
    click.echo(reports.describe_all(evaluations, [], model))
    if json_path is not None:
        reports.write_json(json_path, {**reports.all_values(evaluations, [], model), "history": model.history})


def epoch_line(record: dict[str, Any] | None) -> str | None:
    """An epoch's record for a person; the mean over the runs that went on where there are several."""
    if record is None:
        return None
    from statistics import fmean

    means = {
        name: fmean(v for v in value if v is not None) if isinstance(value, list) else value
        for name, value in record.items()
    }
    parts = [f"bound {means['bound']:9.3f}", f"reconstruction {means['reconstruction']:9.3f}", f"kl {means['kl']:7.3f}"]
    if "validation" in means:
        parts.append(f"validation {means['validation']:9.3f}")
    return "  ".join([*parts, f"{means['seconds']:6.2f} s"])


@main.command()
@model_options
@data_options
@num_samples_option
@click.option("--iwae", type=click.IntRange(1), help="also the importance-weighted bound, with so many draws per image")
@json_option
def evaluate(
    model_path: Path,
    device: str,
    seed: int,
    data_dir: Path | None,
    num_samples: int,
    iwae: int | None,
    json_path: Path | None,
    **repeated: Any,
) -> None:
    """The ELBO of the test set, its two parts and their errors, and what the latent space does."""
    if json_path is not None:
        check_output(json_path)
    use_device(device)
    model = open_model(model_path, repeated)
    from jvae import report as reports
    from jvae.run import diagnose_model, evaluate_model, select_run

    dataset = open_dataset(model.config.dataset, data_dir)
    models = [select_run(model, i) for i in range(model.config.runs)]
    evaluations = [evaluate_model(one, dataset, num_samples, seed) for one in models]
    diagnostics = [diagnose_model(one, dataset, seed) for one in models]
    importance = [] if iwae is None else [importance_weighted(one, dataset, iwae, seed) for one in models]
    click.echo(reports.describe_all(evaluations, importance, model))
    for i, found in enumerate(diagnostics):
        if len(models) > 1:
            click.echo(f"  seed {model.config.seed + i}")
        click.echo(reports.describe_diagnostics(found, model.config))
    if json_path is not None:
        each = [reports.diagnostics_values(found) for found in diagnostics]
        values = reports.all_values(evaluations, importance, model)
        reports.write_json(json_path, {**values, "diagnostics": each[0] if len(models) == 1 else each})


def importance_weighted(model: "ModelFile", dataset: "Dataset", num_samples: int, seed: int) -> "ImportanceEvaluation":
    """The importance-weighted bound, with a progress bar where there is a terminal."""
    from jvae.run import evaluate_model_iwae

    with click.progressbar(
        length=len(dataset.test_images), label=f"iwae-{num_samples}", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        return evaluate_model_iwae(model, dataset, num_samples, seed, lambda done: bar.update(done - bar.pos))


@main.command()
@model_options
@run_option
@click.option("--samples", "output", type=click.Path(path_type=Path), default="samples.png", help="picture to write")
@click.option("--mean", is_flag=True, help="draw the mean of p(x|z) instead of a sample of it")
@click.option("--compare", is_flag=True, help="draw samples and means of p(x|z) side by side, at the same z")
@click.option("--num-images", type=click.IntRange(1, 10_000), default=64, help="how many")
def sample(
    model_path: Path,
    device: str,
    seed: int,
    run: int,
    output: Path,
    mean: bool,
    compare: bool,
    num_images: int,
    **repeated: Any,
) -> None:
    """Images drawn from the model: z ~ p(z), x ~ p(x|z)."""
    check_output(output, PICTURE_FORMATS)
    if mean and compare:
        raise click.UsageError("--mean and --compare: at most one of them")
    use_device(device)
    from jvae.run import select_run

    model = select_run(open_model(model_path, repeated), run)
    from jvae import pictures

    if compare:
        write_figure(pictures.samples_beside_means(model, seed, num_images), output)
    else:
        write_figure(pictures.samples(model, seed, num_images, mean), output)


main.add_command(sweep)


@main.group()
def plot() -> None:
    """Pictures of a trained model."""


def plot_command(function: str, text: str, needs_data: bool = True, of_levels: bool = False) -> None:
    """Add `jvae plot NAME`, which writes what a function of `jvae.pictures` draws of the model, and of its test set."""
    name = function.replace("_", "-")
    level = click.option("--level", type=click.IntRange(1, 2), default=1, help="of a two-level model: 1 is nearer x")

    @plot.command(name, help=text)
    @model_options
    @data_options
    @click.option("--output", type=click.Path(path_type=Path), default=f"{name}.png", help="picture to write")
    @run_option
    @(level if of_levels else lambda command: command)
    def command(
        model_path: Path, device: str, seed: int, run: int, data_dir: Path | None, output: Path, **repeated: Any
    ) -> None:
        check_output(output, PICTURE_FORMATS)
        which = {"level": repeated.pop("level")} if of_levels else {}
        use_device(device)
        model = open_model(model_path, repeated)
        from jvae import pictures
        from jvae.run import check_fingerprint, select_run

        draw = getattr(pictures, function)
        model = model if function == "history" else select_run(model, run)
        if needs_data:
            dataset = open_dataset(model.config.dataset, data_dir)
            check_fingerprint(model, dataset)
            figure = draw(model, dataset, seed, **which)
        else:
            figure = draw(model)
        write_figure(figure, output)


plot_command("posterior", "Samples of the test set's aggregate posterior, coloured by class.", of_levels=True)
plot_command("reconstructions", "Test images above the mean of p(x|z) at one draw z ~ q(z|x).")
plot_command("manifold", "The decoder's means over a grid of the latent space.")
plot_command(
    "prior", "The prior's density beneath the test set's aggregate posterior; components marked.", of_levels=True
)
plot_command("interpolation", "Decoder means on the lines between test images of different classes.")
plot_command("traversals", "Decoder means as one latent dimension at a time changes.")
plot_command("history", "The bound and its parts over the epochs of training.", needs_data=False)
plot_command("pseudo_inputs", "The pseudo-inputs of a VampPrior.", needs_data=False)
plot_command("scale", "The learned standard deviation of every pixel.", needs_data=False)


@main.group(invoke_without_command=True)
@data_options
@click.pass_context
def datasets(context: click.Context, data_dir: Path | None) -> None:
    """List the data sets: what there is, and where each would come from."""
    if context.invoked_subcommand is not None:
        return
    from jvae.datasets import list_datasets

    for entry in list_datasets(data_dir):
        shape = "x".join(map(str, entry.shape))
        click.echo(f"{entry.name:<15}{entry.num_train:>7,} + {entry.num_test:>6,} images {shape:<9} {entry.source}")
    click.echo("tfds:NAME      any image set that tensorflow-datasets has prepared on this machine")


@datasets.command()
@click.argument("names", nargs=-1, required=True)
@data_options
def fetch(names: tuple[str, ...], data_dir: Path | None) -> None:
    """Bring data sets into the cache, and check them."""
    for name in names:
        check_dataset_name(name)
    for name in names:
        dataset = open_dataset(name, data_dir)
        click.echo(
            f"{name}: {len(dataset.train_images):,} + {len(dataset.test_images):,} images, {dataset.fingerprint}"
        )


def check_dataset_name(name: str) -> None:
    """Refuse a name that is no data set's."""
    try:
        Config(dataset=name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@main.command()
def info() -> None:
    """Versions, devices and paths."""
    import platform

    import jax

    from jvae.checkpoint import current_versions
    from jvae.datasets import cache_folder

    for name, version in current_versions().items():
        click.echo(f"{name:<10}{version}")
    click.echo(f"platform  {platform.platform()}")
    for device in jax.devices():
        click.echo(f"device    {device.platform} {device.id}: {device.device_kind}")
    click.echo(f"data      {cache_folder('mnist').parent}")
