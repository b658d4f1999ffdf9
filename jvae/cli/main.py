"""The command line: parse -> Config -> library -> print.

Only click and `jvae.runs.config` are imported up front, so that help and usage errors are fast; each
command imports what it needs.
"""

from functools import partial
from pathlib import Path
from typing import Any

import click

from jvae.cli.benchmark import benchmark
from jvae.cli.commands import HELP, Commands
from jvae.cli.config_file import config_option
from jvae.cli.console import (
    PICTURE_FORMATS,
    check_level,
    check_run,
    config_of_dataset,
    log,
    open_data_of,
    open_dataset,
    open_model,
    open_recipe,
    tell,
    use_device,
    write_figure,
)
from jvae.cli.drawing import drawing
from jvae.cli.encode import encode
from jvae.cli.environment import import_jax
from jvae.cli.explore import explore
from jvae.cli.info import info
from jvae.cli.options import (
    DATA_OPTIONS,
    config_options,
    data_options,
    is_given,
    json_option,
    model_options,
    num_samples_option,
    run_option,
)
from jvae.cli.path_types import DataSource, OutputFile
from jvae.cli.pytorch import export_pytorch, import_pytorch
from jvae.cli.sample import sample
from jvae.cli.sweep import sweep
from jvae.cli.train import train
from jvae.runs.fields import DATA_FIELDS

FIRST = {
    "jvae train --latent-dim 10 --epochs 5 --batch-size 128 --model model.npz": "train the exercise's VAE on MNIST",
    "jvae evaluate --model model.npz": "its test ELBO, with standard errors",
    "jvae sample --model model.npz --samples samples.png": "z ~ p(z), x ~ p(x|z)",
    "jvae plot posterior --model model.npz --output posterior.png": "the aggregate posterior, by class",
    "jvae explore --model model.npz --output explorer.html": "a page that decodes where you point",
    "jvae sweep --dataset digits --grid prior=gaussian,mog --runs 5": "compare, with errors",
}
"""The most common command lines, in the order of use."""


@click.group(
    cls=Commands,
    first=FIRST,
    context_settings={
        "auto_envvar_prefix": "JVAE",
        "help_option_names": HELP,
        "show_default": True,
        "max_content_width": 110,
    },
)
@click.version_option(package_name="jvae")
def main() -> None:
    """Train, compare and understand variational autoencoders in JAX."""


@main.command(
    short_help="Print the test ELBO, its errors and diagnostics.",
    examples=(
        "jvae evaluate --model model.npz --num-samples 100 --json result.json",
        "jvae evaluate --model model.npz --iwae 1000",
    ),
)
@model_options
@num_samples_option
@click.option(
    "--iwae", type=click.IntRange(1, 10**9), help="also estimate the importance-weighted bound, with N draws per image"
)
@json_option
def evaluate(
    model_path: Path,
    device: str,
    seed: int,
    recipe_path: Path | None,
    data_dir: Path | None,
    num_samples: int,
    iwae: int | None,
    json_path: Path | None,
    **repeated: Any,
) -> None:
    """Print the ELBO of the test set, its two parts and their errors, and diagnostics of the latent space."""
    use_device(device)
    model = open_model(model_path, repeated, open_recipe(recipe_path))
    import jax

    from jvae.cli.counting import Counting
    from jvae.files import write_json
    from jvae.runs import api
    from jvae.view import report

    dataset, key = open_data_of(model, repeated, data_dir), jax.random.key(seed)
    with Counting(model.num_runs * len(dataset.test_images), iwae or 0, log) as progress:
        evaluations = api.evaluate(model, dataset, num_samples, iwae, key, progress)
    diagnostics = api.diagnose(model, dataset, key)
    if json_path is not None:
        each = [report.diagnostics_values(found) for found in diagnostics]
        values = report.all_values(evaluations, model)
        write_json(json_path, {**values, "diagnostics": each[0] if model.num_runs == 1 else each})
    tell(report.describe_all(evaluations, model))
    for run_seed, found in zip(model.plan.seeds, diagnostics, strict=True):
        if model.num_runs > 1:
            tell(f"  seed {run_seed}")
        tell(report.describe_diagnostics(found))


for command in (benchmark, encode, explore, export_pytorch, import_pytorch, info, sample, sweep, train):
    main.add_command(command)


@main.group(
    cls=Commands,
    examples=(
        "jvae plot posterior --model model.npz --output posterior.png",
        "jvae plot manifold --model model.npz --output manifold.pdf",
    ),
)
def plot() -> None:
    """Plot pictures of a trained model."""


def plot_command(
    function: str, text: str, needs_data: bool = True, of_levels: bool = False, moves: bool = False
) -> None:
    """Add `jvae plot NAME`, which writes the picture of a function of `jvae.view.pictures`.

    A picture that moves can also be a GIF, drawn by the function of that name with `_gif`.
    """
    name, of_all_runs = function.replace("_", "-"), function == "history"
    endings = (".gif", *PICTURE_FORMATS) if moves else PICTURE_FORMATS
    kind = "GIF, or picture of some frames side by side," if moves else "picture"
    level = click.option("--level", type=click.IntRange(1, 2), default=1, help="level, of two; 1 is nearer x")

    begin = f"jvae plot {name} --model model.npz --output {name}"
    examples = f"{begin}{endings[0]}", f"{begin}{endings[1]}{'' if of_all_runs else ' --run 1'}"

    unread = () if needs_data else (*DATA_OPTIONS, "seed", *["run"] * of_all_runs)

    @plot.command(name, help=text, examples=examples, unread=unread)
    @model_options
    @click.option("--output", type=OutputFile(*endings), default=f"{name}{endings[0]}", help=f"{kind} to write")
    @run_option
    @(level if of_levels else lambda command: command)
    def command(
        model_path: Path,
        device: str,
        seed: int,
        recipe_path: Path | None,
        run: int,
        data_dir: Path | None,
        output: Path,
        **repeated: Any,
    ) -> None:
        levels = [repeated.pop("level")] if of_levels else []
        use_device(device)
        model = open_model(model_path, repeated, open_recipe(recipe_path))
        check_run(model, run)
        check_level(model, *levels)
        which = {"level": levels[0] - 1} if of_levels else {}
        import jax

        with drawing():
            from jvae.view import pictures

            draw = getattr(pictures, f"{function}_gif" if output.suffix.lower() == ".gif" else function)
            if needs_data:
                dataset = open_data_of(model, repeated, data_dir)
                drawn = draw(model, dataset, jax.random.key(seed), run, **which)
            else:
                drawn = draw(model) if of_all_runs else draw(model, run)
            write_figure(drawn, output)


plot_command("posterior", "The test set's aggregate posterior, coloured by class.", of_levels=True)
plot_command("reconstructions", "Test images above the mean of p(x|z) for one z ~ q(z|x).")
plot_command("manifold", "The decoder's means over a grid of the latent space.")
plot_command("prior", "The prior's density below the aggregate posterior. Its components are marked.", of_levels=True)
plot_command("interpolation", "Decoder means between test images of different classes.")
plot_command("traversals", "Decoder means as one latent dimension at a time changes.")
plot_command("history", "The bound and its parts over the epochs of training.", needs_data=False)
plot_command(
    "training",
    "How the model changes in training, by its snapshots. "
    "They show reconstructions, samples and the aggregate posterior.",
    of_levels=True,
    moves=True,
)
plot_command("pseudo_inputs", "The pseudo-inputs of a VampPrior.", needs_data=False)
plot_command("scale", "The learned standard deviation of every pixel.", needs_data=False)


@main.group(
    cls=Commands,
    invoke_without_command=True,
    examples=("jvae datasets", "jvae datasets fetch mnist"),
)
@data_options
@click.pass_context
def datasets(context: click.Context, data_dir: Path | None) -> None:
    """List the data sets, and where each would be read from."""
    if context.invoked_subcommand is not None:
        if is_given(context, "data_dir"):
            raise click.UsageError(f"--data-dir is an option of {context.invoked_subcommand}: put it after that word")
        return
    from jvae.data.datasets import list_datasets
    from jvae.data.tfds import prepared_sets, tfds_dir

    for entry in list_datasets(data_dir):
        shape = "x".join(map(str, entry.shape))
        click.echo(f"{entry.name:<15}{entry.num_train:>7,} + {entry.num_test:>6,} images {shape:<9} {entry.source}")
    for name in prepared_sets(tfds_dir() if data_dir is None else data_dir):
        click.echo(f"{name:<15}prepared with tensorflow-datasets")
    click.echo("tfds:NAME      any image set that tensorflow-datasets has prepared on this machine")
    click.echo("npz:FILE, npy:FILE, folder:DIR, idx:DIR: your own; `jvae datasets check SOURCE` describes them")


datasets.params.append(config_option())


@datasets.command(examples=("jvae datasets fetch mnist", "jvae datasets fetch fashion_mnist kmnist"))
@click.argument("names", type=DataSource(), nargs=-1, required=True)
@data_options
def fetch(names: tuple[str, ...], data_dir: Path | None) -> None:
    """Download data sets into the cache, and check them."""
    for name, config in [(name, config_of_dataset(name)) for name in names]:
        dataset = open_dataset(config, data_dir)
        click.echo(
            f"{name}: {len(dataset.train_images):,} + {len(dataset.test_images):,} images, {dataset.fingerprint}"
        )


@datasets.command(
    short_help="Describe a data set: one of these, or your own.",
    examples=(
        "jvae datasets check npz:mine.npz --sheet sheet.png",
        "jvae datasets check folder:pictures --test-share 0.1 --resize 32x32",
    ),
)
@click.argument("source", type=DataSource())
@partial(config_options, only=DATA_FIELDS[1:])
@data_options
@click.option("--sheet", type=OutputFile(*PICTURE_FORMATS), help="picture to write, of about 64 test images")
def check(source: str, data_dir: Path | None, sheet: Path | None, **how: Any) -> None:
    """Describe SOURCE: a data set's name, npz:FILE, npy:FILE, folder:DIR, idx:DIR or tfds:NAME."""
    dataset = open_dataset(config_of_dataset(source, **how), data_dir)
    click.echo(f"fingerprint  {dataset.fingerprint}")
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        shape, classes = "x".join(map(str, images.shape[1:])), len(set(labels.tolist()))
        found = f"{len(images):,} of {shape}, from {images.min()} to {images.max()}, mean {images.mean():.1f}"
        click.echo(f"{split:<13}{found}, {classes} class{'es' * (classes > 1)}")
    if sheet is not None:
        n = len(dataset.test_images)
        shown = dataset.test_images[:: -(-n // 64)] / 255  # evenly spaced, since the set may be sorted by class
        import_jax()
        with drawing():
            from jvae.view.image_grids import plot_images
            from jvae.view.views import as_images

            write_figure(plot_images(as_images(shown), title=dataset.name), sheet)
