"""`jvae info`: this installation, and the contents of model files."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvae.cli.commands import Command, fail
from jvae.cli.console import use_device
from jvae.cli.options import flag
from jvae.cli.path_types import InputModel
from jvae.errors import JvaeError
from jvae.runs.config import config_fields, unit

if TYPE_CHECKING:
    from jvae.runs.description import Description

DIGITS = 12
"""The digits of a digest that are shown."""
TOLD_ELSEWHERE = ("dataset", "epochs", "seed", "runs")
"""The Config fields that have a row with another name."""
Rows = dict[str, str]


@click.command(
    cls=Command,
    short_help="Print this installation, or the contents of model files.",
    examples=(
        "jvae info",
        "jvae info model.npz mog.npz",
    ),
)
@click.argument("files", nargs=-1, type=InputModel())
@click.pass_context
def info(context: click.Context, files: tuple[Path, ...]) -> None:
    """Print the contents of model files, side by side; without FILES, this installation's versions, devices and paths.

    No recipe is needed. Bounds are those of the last epoch, in nats per datum, with mean ± standard deviation for
    several runs; settings of JAX are those that a training depends on. A row in which the files differ is marked
    with *.
    """
    if not files:
        describe_installation()
        return
    columns: dict[str, Rows] = {}
    for path in files:
        try:
            columns[str(path)] = describe_file(path)
        except JvaeError as error:
            fail(str(error), 1)
    if columns:
        click.echo(side_by_side(columns))
    if len(columns) < len(set(files)):
        context.exit(1)


def describe_installation() -> None:
    """Print versions, devices and paths."""
    import platform

    use_device("auto", compile_cache=False)
    import jax

    from jvae.data.cache import cache_folder
    from jvae.runs.checkpoint import current_versions

    for name, version in current_versions().items():
        click.echo(f"{name:<10}{version}")
    click.echo(f"platform  {platform.platform()}")
    for device in jax.devices():
        click.echo(f"device    {device.platform} {device.id}: {device.device_kind}")
    try:
        click.echo(f"data      {cache_folder('mnist').parent}")
    except JvaeError as error:
        click.echo(f"data      {error}")


def describe_file(path: Path) -> Rows:
    """Return the contents of a model file, without reading its arrays.

    Raises:
        ModelFileError: the file is damaged or not a model file.
    """
    from jvae.runs.archive import open_archive, open_model_file
    from jvae.runs.description import count_parameters, last_records, read_description

    with open_model_file(path) as file, open_archive(file) as archive:
        about = read_description(archive)
        counts, last = count_parameters(archive, about), last_records(about)
    own, config, seeds = about.recipe_file, about.config, about.plan.seeds
    parts = ", ".join(f"{part} {count:,}" for part, count in sorted(counts.items()))

    def column(name: str) -> list[float]:
        return [record[name] for record in last if name in record]

    rows = {
        "model": title(about),
        "recipe file": "" if own is None else f"{own.name}, sha256 {own.sha256[:DIGITS]}",
        "parameters": f"{sum(counts.values()):,} ({parts})",
        "runs": f"{len(seeds)}, seed{'s' * (len(seeds) > 1)} {spans(seeds)}",
        "epochs": f"{together(column('epoch')) or 0} of {about.plan.epochs}",
        "kept epoch": together(column("kept")),
        "snapshots": snapshots_of(about),
        **{name: mean_of(column(name)) for name in ("bound", "reconstruction", "kl", "validation")},
        "unit": about.unit or ("nats per datum" if config is None or own is not None else unit(config)),
        "data": f"{about.data_name}, {'x'.join(map(str, about.data_shape))}",
        "fingerprint": about.fingerprint[:DIGITS],
        "format": str(about.format_version),
    }
    if config is not None:
        rows |= {flag(name): str(value) for name, value in config.to_dict().items() if name not in TOLD_ELSEWHERE}
    rows |= {str(name): str(version) for name, version in about.versions.items()}
    return rows | {name.upper(): value for name, value in about.settings.items()}


def title(about: "Description") -> str:
    """Return a short description of a model from its file."""
    config = about.config
    if about.recipe_file is not None or config is None:
        return "a custom recipe" + (" from Python" if about.recipe_file is None else "")
    learned = f" ({config.variance} variance)" if config.decoder == "gaussian" else ""
    dims = f"{config.latent_dim} + {config.upper_dim}" if config.levels == 2 else str(config.latent_dim)
    return f"{config.prior} prior, {config.decoder} output{learned}, {config.network}, M = {dims}"


def snapshots_of(about: "Description") -> str:
    """Return the number of snapshots in words; "" for a training without them."""
    if about.snapshots is None:
        return ""
    steps, epochs = about.snapshots.steps, about.snapshots.epochs
    return f"{len(steps)}, from step 0 to epoch {epochs[-1]:g}" if steps else "0"


def spans(numbers: tuple[int, ...]) -> str:
    """Return numbers in words, such as `0 to 9` if they are consecutive."""
    if len(numbers) > 1 and numbers == tuple(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def together(numbers: list[float]) -> str:
    """Return one number per run in words, or a single one if all are equal."""
    return ", ".join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))


def mean_of(values: list[float]) -> str:
    """Return one value per run in words: mean ± standard deviation (n - 1) for several."""
    from math import isfinite
    from statistics import fmean, stdev

    if len(values) > 1 and all(map(isfinite, values)):
        return f"{fmean(values):.3f} ± {stdev(values):.3f}"
    return ", ".join(f"{value:.3f}" for value in values)


def side_by_side(columns: dict[str, Rows]) -> str:
    """Return a table with one column per file; differing rows are marked, and options at their default left out."""
    usual = {flag(field.name): str(field.default) for field in config_fields()}
    names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    table = [["", "", *columns]]
    for name in names:
        cells = [rows.get(name, "") for rows in columns.values()]
        if all(cell in ("", usual.get(name)) for cell in cells):
            continue
        table.append(["*" if len(set(cells)) > 1 else "", name, *cells])
    shown = [[cell if cell.isprintable() else ascii(cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    if len(columns) == 1:
        widths[0] = 0
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in shown]
    return "\n".join(line.removeprefix("  " * (len(columns) == 1)).rstrip() for line in lines)
