"""`jvae explore`: the command of `jvae.view.explorer`."""

from pathlib import Path
from typing import Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import check_run, open_data_of, open_model, open_recipe, use_device
from jvae.cli.drawing import drawing
from jvae.cli.options import model_options, run_option
from jvae.cli.path_types import OutputFile


@click.command(
    cls=Command,
    short_help="Write an HTML page that decodes and encodes as you point.",
    examples=(
        "jvae explore --model model.npz --output explorer.html",
        "jvae explore --model mog.npz --run 2 --num-points 500 --output small.html",
    ),
)
@model_options
@run_option
@click.option("--output", type=OutputFile(".html", ".htm"), default="explorer.html", help="HTML page to write")
@click.option("--num-points", type=click.IntRange(1), default=2000, help="the most test images to show")
def explore(
    model_path: Path,
    device: str,
    seed: int,
    recipe_path: Path | None,
    run: int,
    data_dir: Path | None,
    output: Path,
    num_points: int,
    **repeated: Any,
) -> None:
    """Write one self-contained HTML page of the latent space, which decodes and encodes in the browser."""
    use_device(device)
    model = open_model(model_path, repeated, open_recipe(recipe_path))
    check_run(model, run)
    import jax

    from jvae.files import write_file

    with drawing():
        from jvae.view.explorer import explorer_page

        dataset = open_data_of(model, repeated, data_dir)
        page = explorer_page(model, dataset, jax.random.key(seed), run, num_points).encode(errors="replace")
    write_file(output, page)
    shown = min(num_points, len(dataset.test_images))
    click.echo(f"wrote {output}: {shown:,} test images, {len(page) / 1e6:.1f} MB")
