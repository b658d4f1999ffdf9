"""`jvae benchmark`: the command of `jvae.tools.benchmark`."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import (
    PICTURE_FORMATS,
    check_all_read,
    log,
    open_dataset,
    open_recipe,
    tell,
    use_device,
    write_figure,
)
from jvae.cli.drawing import drawing
from jvae.cli.options import (
    config_kind,
    config_options,
    data_options,
    device_option,
    given_fields,
    is_given,
    json_option,
    numbers_option,
    recipe_option,
    usage_error,
)
from jvae.cli.path_types import OutputFile
from jvae.runs.config import Config
from jvae.runs.fields import check_together

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jvae.tools.benchmark import Measurement
    from jvae.tools.profile import Share

OF_EPOCHS = ("validation", "held_out", "keep", "patience")
"""The Config fields that judge an epoch: a step does not depend on them."""


@click.command(
    cls=Command,
    short_help="Measure the speed of training steps on this machine.",
    examples=(
        "jvae benchmark --latent-dim 10 --batch-sizes 128,1024 --precision float32,bfloat16",
        "jvae benchmark --dataset digits --runs 1,8 --profile --plot roofline.png",
    ),
    unread=OF_EPOCHS,
)
@numbers_option("--batch-sizes", default="128,1024,8192", help="images per training step")
@numbers_option("--runs", "run_counts", default="1,8", help="runs in one program")
@click.option("--precision", "precisions", default="float32", help="float32, bfloat16, or both: float32,bfloat16")
@click.option("--repeats", type=click.IntRange(3), default=7, help="measurements, of which the median is reported")
@click.option("--profile", is_flag=True, help="also profile the first combination's step by parts")
@partial(config_options, without=("batch_size", "runs", "precision"))
@data_options
@device_option
@recipe_option
@json_option
@click.option("--plot", "plot_path", type=OutputFile(*PICTURE_FORMATS), help="write the roofline as a picture")
@click.pass_context
def benchmark(
    context: click.Context,
    batch_sizes: tuple[int, ...],
    run_counts: tuple[int, ...],
    precisions: str,
    repeats: int,
    profile: bool,
    data_dir: Path | None,
    device: str,
    recipe_path: Path | None,
    json_path: Path | None,
    plot_path: Path | None,
    **values: Any,
) -> None:
    """Measure the speed of a training step on this machine, and how near it comes to the peak.

    Every combination of batch size, number of runs and precision is compiled and timed.
    """
    try:
        configs = [
            config_kind(recipe_path)(**{**values, "batch_size": batch_size, "runs": runs, "precision": precision})
            for precision, batch_size, runs in product(precisions.split(","), batch_sizes, run_counts)
        ]
        check_together(configs[0].ruled_fields(), configs[0], given_fields(context))
    except ValueError as error:
        raise usage_error(error) from error
    backend = use_device(device, compile_cache=False)  # compilation is measured too
    dataset = open_dataset(configs[0], data_dir)
    if not is_given(context, "batch_sizes"):  # those that this data set has
        configs = [config for config in configs if config.batch_size <= len(dataset.train_images)] or configs
    own = open_recipe(recipe_path)
    given = given_fields(context) | ({"precision"} if is_given(context, "precisions") else set())
    check_all_read(own, configs, dataset, given)
    from jvae.tools.benchmark import measure, training_of

    measurements = []
    try:
        trainings = [training_of(config, dataset.train_images, own) for config in configs]
        for config, training in zip(configs, trainings, strict=True):
            log(f"{config.precision}, {config.runs} x {config.batch_size} images per step ...")
            measurements.append(measure(training, repeats))
    except ValueError as error:
        raise usage_error(error) from error
    shares = []
    if profile:
        from jvae.tools.profile import profile_step

        shares = profile_step(trainings[0])
    if json_path is not None:
        from jvae.files import write_json
        from jvae.runs.checkpoint import current_versions

        machine = {"platform": backend.platform, "device": backend.device_kind, **environment()}
        rows = list(map(values_of, configs, measurements))
        parts = {share.part: share.seconds for share in shares}
        about = {"machine": machine, "versions": current_versions()}
        write_json(json_path, {**about, "measurements": rows, "profile": parts})
    if plot_path is not None:
        what = describe_model(configs[0], dataset.train_images.shape[1:]) if own is None else own.file.name
        with drawing():
            write_figure(roofline(f"training step: {what}", measurements), plot_path)
    tell(describe(measurements))
    if profile:
        tell(describe_shares(shares))


def describe_model(config: Config, image_shape: tuple[int, ...]) -> str:
    """Return a description of the model that a configuration builds for images of shape (h, w, c)."""
    from jvae.nn.networks import describe_network
    from jvae.runs.config import build_networks

    network = describe_network(build_networks(config, image_shape)[0])
    return f"{config.prior} prior, {config.decoder} output, {network}, M = {config.latent_dim}"


def roofline(heading: str, measurements: "list[Measurement]") -> "Figure":
    """Plot how near the steps of a benchmark come to the machine's peak."""
    import numpy as np

    from jvae.view.plots import plot_roofline

    names = [f"{m.precision}, batch {m.batch_size}, runs {m.runs}" for m in measurements]
    shares = np.array([[m.achieved, m.product_flops / m.products] for m in measurements])
    return plot_roofline(names, shares, np.array([m.peak for m in measurements]), heading)


def describe(measurements: "list[Measurement]") -> str:
    """Return the measurements as a readable table."""
    cells = [
        {
            "precision": m.precision,
            "batch": str(m.batch_size),
            "runs": str(m.runs),
            "compile s": f"{m.compile_seconds:.2f}",
            "ms/step": f"{1e3 * m.step.median:.2f}",
            "quartiles": f"{1e3 * m.step.low:.2f} to {1e3 * m.step.high:.2f}",
            "images/s": f"{m.images_per_second:,.0f}",
            "step/products": f"{m.step.median / m.products:.2f}",
            "GFLOP/s": f"{m.achieved / 1e9:.0f}",
            "of peak": f"{m.achieved / m.peak:.0%}",
            "MiB a run": "" if m.memory is None else f"{m.memory / 2**20:.0f}",
        }
        for m in measurements
    ]
    rows = [list(cells[0]), *(list(row.values()) for row in cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    first = measurements[0]
    per_image = first.product_flops / (first.batch_size * first.runs)
    lines.append(f"matrix products: {per_image / 1e6:.2f} MFLOP per image, counted from their shapes")
    if first.xla_flops is not None:
        all_flops = first.xla_flops / (first.batch_size * first.runs)
        lines.append(f"all operations:  {all_flops / 1e6:.2f} MFLOP per image, by XLA's analysis")
    for precision in dict.fromkeys(m.precision for m in measurements):
        peak = max(m.peak for m in measurements if m.precision == precision)
        lines.append(f"peak: {peak / 1e9:.0f} GFLOP/s, a product of two {precision} 2048 x 2048 matrices")
    if first.memory is not None:
        lines.append(
            "MiB a run: state, batch and temporaries of one run's step, by XLA's analysis, without the data set"
        )
    return "\n".join(lines)


def describe_shares(shares: "list[Share]") -> str:
    """Return a profile as a readable table: the parts of at least 1 %, and the rest together."""
    whole = sum(share.seconds for share in shares)
    large = [share for share in shares if share.seconds >= 0.01 * whole]
    small = whole - sum(share.seconds for share in large)
    rows = [(share.part, share.seconds) for share in large] + [("parts below 1 %", small)]
    lines = [f"{1e3 * seconds:8.3f} ms  {seconds / whole:4.0%}  {part}" for part, seconds in rows]
    return "\n".join(["the first combination's step, by part, over all threads:", *lines])


def values_of(config: Config, m: "Measurement") -> dict[str, Any]:
    """Return a configuration's measurement as JSON values."""
    return {
        "config": config.to_dict(),
        "compile_seconds": m.compile_seconds,
        "seconds_per_step": m.step._asdict(),
        "images_per_second": m.images_per_second,
        "seconds_of_products": m.products,
        "flops_of_products": m.product_flops,
        "flops_by_xla": m.xla_flops,
        "bytes": m.memory,
        "peak_flops_per_second": m.peak,
    }


def environment() -> dict[str, Any]:
    """Return the environment that the speed depends on."""
    import os
    import platform

    threads = {name: value for name, value in os.environ.items() if name.startswith(("XLA_", "JAX_", "OMP_"))}
    return {"system": platform.platform(), "cores": os.cpu_count(), "variables": threads}
