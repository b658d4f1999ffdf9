"""`jvae sweep`: the command of `jvae.runs.sweep`."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import (
    check_all_read,
    log,
    mesh_for,
    open_dataset,
    open_recipe,
    use_device,
    use_mesh,
    write_figure,
)
from jvae.cli.drawing import drawing
from jvae.cli.interruption import say_at_end
from jvae.cli.near import meant_grid
from jvae.cli.options import (
    config_kind,
    config_options,
    data_options,
    device_option,
    given_fields,
    mesh_option,
    recipe_option,
    usage_error,
)
from jvae.cli.path_types import OutputFolder
from jvae.cli.paths import check_products
from jvae.errors import JvaeError
from jvae.runs.config import config_fields
from jvae.runs.fields import text_of
from jvae.runs.grid import ONE_FOR_ALL, Cell, cells_of, parse_grid
from jvae.runs.lock import owning
from jvae.runs.sweep import MEASURES, Result


@click.command(
    cls=Command,
    short_help="Train every combination of option values, and compare.",
    examples=(
        "jvae sweep --grid prior=gaussian,mog --runs 5 --epochs 5 --batch-size 128",
        "jvae sweep --dataset digits --grid latent-dim=2,10 --grid hidden=512x512,256 --output widths",
    ),
)
@click.option("--grid", "grids", multiple=True, required=True, metavar="NAME=VALUE,...", help="values of an option")
@config_options
@data_options
@device_option
@mesh_option
@recipe_option
@click.option("--output", type=OutputFolder(), default="sweep", help="folder for results")
@click.pass_context
def sweep(
    context: click.Context,
    grids: tuple[str, ...],
    data_dir: Path | None,
    device: str,
    mesh: tuple[int, int] | None,
    recipe_path: Path | None,
    output: Path,
    **values: Any,
) -> None:
    """Train every combination of option values, each from --runs seeds, and compare their test-set ELBOs.

    --grid can be given several times: --grid prior=gaussian,mog --grid latent-dim=2,10. An x separates numbers of one
    value: --grid hidden=512x512,256x256x256. Combinations that differ only in learning-rate, beta or seed are trained
    in one program, except with --recipe. Results that --output already holds are not trained again.
    """
    try:
        grid = parse_grid(grids)
        for name in grid:  # values of a --config file are defaults; one beside a grid is a mistake
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise ValueError(f"{name} is {text_of(values[name])}: is in --grid too; leave one of them out")
        cells = cells_of(values, grid, given_fields(context), config_kind(recipe_path))
    except ValueError as error:
        varied = (field for field in config_fields() if field.name not in ONE_FOR_ALL)
        meant = meant_grid(grids, {field.name.replace("_", "-"): field.choices for field in varied})
        raise usage_error(ValueError(f"{error}.{meant}") if meant else error) from error
    products = products_of(cells, output)
    check_products(context, products)
    for folder in (path for path in products if path.is_dir()):
        raise click.UsageError(f"{folder}: is a directory, where --output writes a file")
    use_device(device)
    dataset = open_dataset(cells[0].config, data_dir)
    own = open_recipe(recipe_path)
    if mesh is not None:
        use_mesh(mesh, *mesh)  # the devices must be there; a cell that cannot be split fails alone
    check_all_read(own, [cell.config for cell in cells], dataset, given_fields(context) | grid.keys())
    from jvae.cli.progress import Extent, TrainingProgress, show_progress
    from jvae.files import make_folder, write_file, write_json
    from jvae.runs.plan import plan_of, split_rows
    from jvae.runs.sweep import run_sweep, summary, table

    with drawing():
        from jvae.view.pictures import sweep as draw

    context.with_resource(owning(make_folder(output)))
    say_at_end("continue with the same command; finished cells are not trained again")

    def watch(group: Sequence[Cell]) -> TrainingProgress:
        first, others = group[0], len(group) - 1
        images, _ = split_rows(plan_of(first.config), len(dataset.train_images))
        name = f"{first.name} and {others} more" if others else first.name
        extent = Extent(first.config.epochs, len(images), first.config.runs * len(group), name=name)
        return show_progress(extent, log, sys.stderr.isatty())

    results: list[Result] = []
    for result in run_sweep(cells, dataset, output, partial(mesh_for, mesh), watch, own):
        results.append(result)
        log(
            f"{result.cell.name}: {f'failed: {result.error}' if result.error else 'done'} "
            f"({len(results)} of {len(cells)})"
        )
        write_file(output / "results.csv", table(results).encode())
        write_json(output / "results.json", {"cells": summary(results)})
    failed = [result for result in results if result.error]
    if len(failed) < len(results):
        with drawing():
            write_figure(draw(results), output / "sweep.png")
    click.echo(describe(results))
    click.echo(f"wrote {output / 'results.csv'}\nwrote {output / 'results.json'}")
    if failed:
        raise JvaeError(f"{len(failed)} of {len(results)} cells failed: {'; '.join(r.cell.name for r in failed)}")


def products_of(cells: list[Cell], folder: Path) -> list[Path]:
    """Return the paths of all files that a sweep writes."""
    names = [f"{cell.stem}{ending}" for cell in cells for ending in (".npz", ".json")]
    return [folder / name for name in ("results.csv", "results.json", "sweep.png", *names)]


def describe(results: list[Result]) -> str:
    """Return the results as a Markdown table: mean ± standard deviation (n - 1) over runs."""
    from jvae.evaluation import spread

    lines = [f"| cell | {' | '.join(MEASURES)} | runs |", "|---|---|---|---|---|"]
    for result in results:
        values = []
        for name in MEASURES if result.runs else ():
            found = spread([run[name] for run in result.runs])
            values.append(
                f"{found.mean:.2f} ± {found.standard_deviation:.2f}" if len(result.runs) > 1 else f"{found.mean:.2f}"
            )
        lines.append(f"| {result.cell.name} | {' | '.join(values or ['failed', '', ''])} | {len(result.runs)} |")
    units = sorted({result.unit for result in results if result.runs})
    return "\n".join([*lines, *units, *(["different units: compare only within one unit"] if len(units) > 1 else [])])
