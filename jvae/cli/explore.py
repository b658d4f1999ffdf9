"""`jvae explore`: the command of `jvae.view.explorer`."""

from pathlib import Path
from typing import Any

import click

from jvae.cli.console import check_output, open_dataset, open_model, use_device
from jvae.cli.options import data_options, model_options, run_option

PAGE_FORMATS = (".html", ".htm")


@click.command()
@model_options
@data_options
@run_option
@click.option("--output", type=click.Path(path_type=Path), default="explorer.html", help="page to write")
@click.option("--num-points", type=click.IntRange(1), default=2000, help="how many test images to show, at most")
def explore(
    model_path: Path,
    device: str,
    seed: int,
    run: int,
    data_dir: Path | None,
    output: Path,
    num_points: int,
    **repeated: Any,
) -> None:
    """Write one HTML page of the latent space, which decodes in the browser and needs nothing else."""
    check_output(output, PAGE_FORMATS)
    use_device(device)
    model = open_model(model_path, repeated)
    from jvae.files import write_file
    from jvae.runs.api import check_fingerprint, select_run
    from jvae.view.explorer import explorer_page

    model = select_run(model, run)
    dataset = open_dataset(model.data_name, data_dir)
    check_fingerprint(model, dataset)
    page = explorer_page(model, dataset, seed, num_points).encode()
    write_file(output, page)
    shown = min(num_points, len(dataset.test_images))
    click.echo(f"wrote {output}: {shown:,} test images, {len(page) / 1e6:.1f} MB")
