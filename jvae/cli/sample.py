"""`jvae sample`: the command of `jvae.runs.api.sample`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import (
    ARRAY_FORMATS,
    PICTURE_FORMATS,
    check_run,
    open_model,
    open_recipe,
    use_device,
    write_arrays,
    write_figure,
)
from jvae.cli.drawing import drawing
from jvae.cli.options import DATA_OPTIONS, model_options, run_option
from jvae.cli.path_types import OutputFile

if TYPE_CHECKING:
    import jax
    import numpy as np

    from jvae.runs.checkpoint import TrainedModel

AT_A_TIME = 10_000
"""The draws of one program, and the most in a picture."""
PICTURE_COPIES = 8
"""The number of copies of the draws in memory while matplotlib makes a picture of them."""


@click.command(
    cls=Command,
    short_help="Draw from the model: z ~ p(z), x ~ p(x|z).",
    examples=(
        "jvae sample --model model.npz --samples samples.png --compare",
        "jvae sample --model model.npz --samples samples.npz --num-images 1000",
    ),
    unread=DATA_OPTIONS,
)
@model_options
@run_option
@click.option(
    "--samples",
    "output",
    type=OutputFile(*PICTURE_FORMATS, *ARRAY_FORMATS),
    default="samples.png",
    help="picture (.png, .pdf, .svg) or float32 arrays (.npz: x, mean; .npy: one of them) to write",
)
@click.option("--mean", is_flag=True, help="draw means of p(x|z) instead of samples")
@click.option("--compare", is_flag=True, help="draw samples and means of p(x|z) side by side, at the same z")
@click.option("--num-images", type=click.IntRange(1, 10**6), default=64, help="draws; at most 10,000 in a picture")
def sample(
    model_path: Path,
    device: str,
    seed: int,
    recipe_path: Path | None,
    run: int,
    data_dir: Path | None,
    output: Path,
    mean: bool,
    compare: bool,
    num_images: int,
    **repeated: Any,
) -> None:
    """Draw images, or data of any shape, from the model: z ~ p(z), x ~ p(x|z)."""
    as_arrays = output.suffix.lower() in ARRAY_FORMATS
    if mean and compare:
        raise click.UsageError("--mean and --compare: at most one of them")
    if compare and output.suffix.lower() == ".npy":
        raise click.UsageError(f"{output}: an .npy holds one array, and --compare writes two: take .npz")
    if num_images > AT_A_TIME and not as_arrays:
        raise click.UsageError(f"--num-images is {num_images}: must be at most {AT_A_TIME} in a picture")
    use_device(device)
    model = open_model(model_path, repeated, open_recipe(recipe_path))
    check_run(model, run)
    import jax

    from jvae.runs.api import datum_bytes
    from jvae.runs.memory import check_fits

    key = jax.random.key(seed)
    copies = 2 + 2 * compare if as_arrays else PICTURE_COPIES
    check_fits(copies * num_images * datum_bytes(model), f"--num-images {num_images}")
    if as_arrays:
        kinds = {"x": not mean, "mean": mean or compare}
        write_arrays({name: draw(model, key, num_images, run, name == "mean") for name in kinds if kinds[name]}, output)
        return
    with drawing():
        from jvae.view import pictures

        if compare:
            write_figure(pictures.samples_beside_means(model, key, num_images, run), output)
        else:
            write_figure(pictures.samples(model, key, num_images, mean, run), output)


def draw(model: "TrainedModel", key: "jax.Array", n: int, run: int, mean: bool) -> "np.ndarray":
    """Draw float32 x[n, ...], or their means, with a new key for every 10,000."""
    import jax
    import numpy as np

    from jvae.runs import api

    starts = range(0, n, AT_A_TIME)
    keys = [key, *(jax.random.fold_in(key, start) for start in starts[1:])]
    parts = [
        np.asarray(api.sample(model, key, min(AT_A_TIME, n - start), run, mean), np.float32)
        for key, start in zip(keys, starts, strict=True)
    ]
    return np.concatenate(parts)
