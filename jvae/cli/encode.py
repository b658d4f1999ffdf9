"""`jvae encode`: the command of `jvae.runs.api.encode`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import (
    check_level,
    check_run,
    open_data_of,
    open_model,
    open_recipe,
    tell,
    use_device,
    write_arrays,
)
from jvae.cli.near import Choice
from jvae.cli.options import model_options
from jvae.cli.path_types import OutputFile

if TYPE_CHECKING:
    import jax
    import numpy as np

    from jvae.data.dataset import Dataset
    from jvae.latents import Encoding
    from jvae.runs.checkpoint import TrainedModel

SPLITS = {"train": ("train",), "test": ("test",), "both": ("train", "test")}
ROWS_AT_A_TIME = 1000


class Which(click.ParamType):
    """A number, several as `N,N,...`, or `all`."""

    name = "N,N,...|all"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int | list[int] | str:
        """Return a number, a list of them, or "all"."""
        parts = [part.strip() for part in str(value).split(",")]
        if value == "all":
            return "all"
        if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            self.fail(f"{value}: must be a whole number, several separated by commas, or all", param, context)
        numbers = list(map(int, parts))
        if len(set(numbers)) < len(numbers):
            self.fail(f"{value}: a number is given twice", param, context)
        return numbers if len(numbers) > 1 else numbers[0]


@click.command(
    cls=Command,
    short_help="Write the latents q(z|x) of every datum to a file.",
    examples=(
        "jvae encode --model model.npz --output latents.npz",
        "jvae encode --model mog.npz --split both --run all --output latents.csv",
    ),
)
@model_options
@click.option(
    "--output",
    type=OutputFile(".npz", ".csv", stdout=True),
    default="latents.npz",
    help="arrays (.npz) or table (.csv; - is stdout) to write",
)
@click.option(
    "--split",
    type=Choice(tuple(SPLITS)),
    default="test",
    help="the data to encode; test is never trained on",
)
@click.option("--run", type=Which(), default="0", help="index of the run; 0 is the first")
@click.option("--level", type=Which(), default="1", help="level of a two-level model; 1 is nearer x")
def encode(
    model_path: Path,
    device: str,
    seed: int,
    recipe_path: Path | None,
    data_dir: Path | None,
    output: Path,
    split: str,
    run: int | list[int] | str,
    level: int | list[int] | str,
    **repeated: Any,
) -> None:
    """Write q(z|x) of every datum (loc, scale and a draw z), with its label, split and index in the split.

    The .npz holds float32 loc, scale and z [n, m], label, index and split [n], run and level. With several runs, or
    all, loc, scale and z are [runs, n, m]; with several levels, or all, they are loc_level_1, loc_level_2 and so on.
    The .csv has a header, and a row for every run, level and datum.

    The draws equal those of jvae.encode with the key of --seed for the test set, and with jax.random.fold_in(key, 1)
    for the training set. Every run and level has the same key, so that level 2 is encoded from level 1's draw.
    """
    use_device(device)
    model = open_model(model_path, repeated, open_recipe(recipe_path))
    depth = model.recipe.model.num_levels
    runs = numbers_of(run, range(model.num_runs))
    levels = numbers_of(level, range(1, depth + 1))
    check_run(model, *runs)
    check_level(model, *levels)
    import jax

    dataset = open_data_of(model, repeated, data_dir)
    latents = Latents(model, dataset, SPLITS[split], jax.random.key(seed))
    if output.suffix.lower() == ".npz":
        write_arrays(latents.arrays(runs, levels, isinstance(run, int), isinstance(level, int)), output)
    else:
        write_table(latents, runs, levels, output)


def numbers_of(asked: int | list[int] | str, there: Sequence[int]) -> Sequence[int]:
    """Return the requested numbers, or all of `there` for "all"."""
    if isinstance(asked, str):
        return there
    return [asked] if isinstance(asked, int) else asked


class Latents:
    """The latents of a model for the data of some splits, computed on request."""

    def __init__(self, model: "TrainedModel", dataset: "Dataset", splits: Sequence[str], key: "jax.Array") -> None:
        self.model, self.dataset, self.splits, self.key = model, dataset, splits, key

    def of_split(self, split: str, run: int, level: int) -> "Encoding":
        """Return loc, scale and a draw [n, m] of a run and a level, from 1, for the data of one split."""
        import jax

        from jvae.runs import api

        key = self.key if split == "test" else jax.random.fold_in(self.key, 1)
        return api.encode(self.model, getattr(self.dataset, f"{split}_images"), key, run, level - 1)

    def labels(self, split: str) -> "np.ndarray":
        """Return the labels [n] of a split."""
        return getattr(self.dataset, f"{split}_labels")

    def arrays(self, runs: Sequence[int], levels: Sequence[int], one_run: bool, one_level: bool) -> dict[str, Any]:
        """Return all arrays by name: without an axis of runs if `one_run`, without levels in names if `one_level`."""
        import numpy as np

        from jvae.latents import Encoding
        from jvae.runs.memory import check_fits
        from jvae.vae import latent_dims

        found: dict[str, np.ndarray] = {}
        dims = latent_dims(self.model.recipe.model, self.model.run_params(), self.model.data_shape)
        data = sum(len(self.labels(split)) for split in self.splits)
        numbers = len(runs) * data * sum(dims[level - 1] for level in levels)
        check_fits(2 * 4 * len(Encoding._fields) * numbers, f"the .npz of {numbers:,} latents (a .csv needs less)")
        for level in levels:
            of_runs = [[self.of_split(split, run, level) for split in self.splits] for run in runs]
            for i, name in enumerate(Encoding._fields):
                stacked = np.stack([np.concatenate([part[i] for part in parts]) for parts in of_runs])
                found[name if one_level else f"{name}_level_{level}"] = stacked[0] if one_run else stacked
        counts = [len(self.labels(split)) for split in self.splits]
        return found | {
            "label": np.concatenate([self.labels(split) for split in self.splits]),
            "index": np.concatenate([np.arange(count) for count in counts]),
            "split": np.repeat(self.splits, counts),
            "run": np.array(runs),
            "level": np.array(levels),
        }


def write_table(latents: Latents, runs: Sequence[int], levels: Sequence[int], path: Path) -> None:
    """Write a row for every run, level and datum; memory holds the latents of one run, level and split at a time."""
    from jvae.files import open_text
    from jvae.vae import latent_dims

    model, rows = latents.model, 0
    dims = latent_dims(model.recipe.model, model.run_params(runs[0]), model.data_shape)
    width = max(dims[level - 1] for level in levels)
    columns = [f"{name}_{i + 1}" for name in ("loc", "scale", "z") for i in range(width)]
    with open_text(path) as file:
        file.write(f"run,level,split,index,label,{','.join(columns)}\n")
        for run in runs:
            for level in levels:
                for split in latents.splits:
                    encoding = latents.of_split(split, run, level)
                    for text in table_rows(encoding, latents.labels(split), f"{run},{level},{split}", width):
                        file.write(text)
                    rows += len(encoding.z)
    tell(f"wrote {path}: {rows:,} rows")


def table_rows(encoding: "Encoding", labels: "np.ndarray", start: str, width: int) -> Iterator[str]:
    """Yield rows as text, several at a time: a float32 in the fewest digits that restore it, cells beyond m empty."""
    import numpy as np

    for first in range(0, len(labels), ROWS_AT_A_TIME):
        part = slice(first, first + ROWS_AT_A_TIME)
        cells = np.full((len(labels[part]), len(encoding), width), "", "<U32")
        for i, array in enumerate(encoding):
            cells[:, i, : array.shape[1]] = array[part].astype(str)
        numbered = enumerate(zip(labels[part], cells.reshape(len(cells), -1).tolist(), strict=True), first)
        yield "".join(f"{start},{i},{label},{','.join(row)}\n" for i, (label, row) in numbered)
