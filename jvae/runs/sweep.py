"""Sweeps: every combination of a grid's values, each trained from several seeds, in as few programs as possible."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jvae.errors import JvaeError, NotEnoughMemoryError, first_line
from jvae.files import write_json
from jvae.runs.config import unit
from jvae.runs.fields import text_of
from jvae.runs.grid import Cell

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jvae.data.dataset import Dataset
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.conditions import Progress
    from jvae.runs.recipe_file import OwnRecipe

MEASURES = ("elbo", "reconstruction", "kl")
RUN_COLUMNS = ("seed", *MEASURES, "seconds_per_epoch")


class Result(NamedTuple):
    """The result of a cell: the runs, with the unit of their bound in words, or the error in one line."""

    cell: Cell
    unit: str
    runs: list[dict[str, Any]]
    """One record per run: seed, the measures in nats per image, and seconds per epoch; empty if the cell failed."""
    error: str | None = None


class Watcher(Protocol):
    """An observer of the training of a group of cells."""

    def chunk(self, at: "Progress") -> None:
        """Report that a chunk of steps is done."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Report that an epoch is done, with the history's record of all cells' runs."""


class Unwatched:
    """A watcher that reports nothing."""

    def chunk(self, at: "Progress") -> None:
        """Say nothing."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Say nothing."""


Watch = Callable[[Sequence[Cell]], AbstractContextManager[Watcher]]


def groups_of(cells: Sequence[Cell], own: "OwnRecipe | None" = None) -> list[list[Cell]]:
    """Return the groups of cells that one program can train; with a recipe file, every cell is a group."""
    from jvae.runs.ensemble import share_a_program

    if own is not None:
        return [[cell] for cell in cells]
    groups: list[list[Cell]] = []
    for cell in cells:
        for group in groups:
            if share_a_program(group[0].config, cell.config):
                group.append(cell)
                break
        else:
            groups.append([cell])
    return groups


def run_sweep(
    cells: Sequence[Cell],
    dataset: "Dataset",
    folder: Path,
    mesh_of: Callable[[int, int], "Mesh | None"] = lambda runs, batch_size: None,
    watch: Watch = lambda cells: nullcontext(Unwatched()),
    own: "OwnRecipe | None" = None,
) -> Iterator[Result]:
    """Train and evaluate the cells whose results the folder lacks, and yield every cell's result, group by group.

    A cell's model and result are written when its group is done. A cell that fails does not affect the others.

    Args:
        cells: the cells, from `cells_of`.
        dataset: the data set of all cells.
        folder: the folder of models (`STEM.npz`) and results (`STEM.json`), old and new.
        mesh_of: a function from the number of runs and the batch size to the mesh to split them over.
        watch: called with the cells that one program trains; returns a context for their training.
        own: the recipe file that turns the cells' configurations into recipes, if any.

    Raises:
        JvaeError: the folder holds a cell's result for another configuration, recipe file or data set.
    """
    known = {cell.name: load_result(cell, dataset, folder, own) for cell in cells}
    for group in groups_of(cells, own):
        missing = [cell for cell in group if known[cell.name] is None]
        yield from (result for cell in group if (result := known[cell.name]) is not None)
        if missing:
            yield from train_group(missing, dataset, folder, mesh_of, watch, own)


def train_group(
    cells: list[Cell],
    dataset: "Dataset",
    folder: Path,
    mesh_of: Callable[[int, int], "Mesh | None"],
    watch: Watch,
    own: "OwnRecipe | None",
) -> Iterator[Result]:
    """Train cells that share a program, in parts if they do not fit in memory; write and yield their results."""
    import jax

    from jvae.runs.conditions import Conditions
    from jvae.runs.training import train_configs

    known = (JvaeError, ValueError, MemoryError, jax.errors.JaxRuntimeError)
    expected = known if own is None else (Exception,)  # a recipe file may raise anything
    config, half = cells[0].config, len(cells) // 2
    models: Sequence[TrainedModel | Exception] = []
    try:
        mesh = mesh_of(config.runs * len(cells), config.batch_size)
        with watch(cells) as told:
            how = Conditions(mesh, progress=told.chunk)
            for models in train_configs([cell.config for cell in cells], dataset, how=how, own=own):
                records = [model.history[-1] for model in models if not isinstance(model, Exception)]
                if records:
                    told.epoch(join_records(records))
    except expected as error:
        if half and isinstance(error, NotEnoughMemoryError):  # nothing was computed yet: train fewer at a time
            for part in (cells[:half], cells[half:]):
                yield from train_group(part, dataset, folder, mesh_of, watch, own)
            return
        models = [error] * len(cells)
    for cell, model in zip(cells, models, strict=True):
        try:
            if isinstance(model, Exception):
                raise model
            yield finish_cell(cell, model, dataset, folder)
        except expected as error:
            yield Result(cell, unit(cell.config) if own is None else "", [], first_line(error))


def join_records(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the last epoch's records of several trainings in one program as one record of all their runs."""
    epoch = max(record["epoch"] for record in records)
    last = [record for record in records if record["epoch"] == epoch]
    if len(last) == 1:
        return last[0]
    joined: dict[str, Any] = {"epoch": epoch}
    for name in last[0].keys() - joined.keys():
        values = [record[name] for record in last]
        joined[name] = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return joined | {"seconds": sum(record["seconds"] for record in last)}


def finish_cell(cell: Cell, model: "TrainedModel", dataset: "Dataset", folder: Path) -> Result:
    """Write a trained cell's model, evaluate it, and write its result."""
    from jvae.runs import api, checkpoint, selection

    checkpoint.save(folder / f"{cell.stem}.npz", model)
    runs, evaluations = [], api.evaluate(model, dataset)
    for i, seed in enumerate(model.plan.seeds):
        history, evaluation = selection.select_run(model, i).history, evaluations[i]
        later = [record["seconds"] for record in history[1:]] or [history[0]["seconds"]]
        values = {name: getattr(evaluation, name).value for name in MEASURES}
        runs.append({"seed": seed, **values, "seconds_per_epoch": sum(later) / len(later)})
    recipe, unit_of_bound = model.recipe_file and model.recipe_file.sha256, model.recipe.unit
    about = {"config": cell.config.to_dict(), "fingerprint": dataset.fingerprint, "versions": model.versions}
    write_json(folder / f"{cell.stem}.json", {**about, "recipe_sha256": recipe, "unit": unit_of_bound, "runs": runs})
    return Result(cell, unit_of_bound, runs)


def load_result(cell: Cell, dataset: "Dataset", folder: Path, own: "OwnRecipe | None" = None) -> Result | None:
    """Return a cell's result if the folder has it, else None.

    Raises:
        JvaeError: the file is not a result, or it or the model is of another configuration, recipe file or data set.
    """
    from jvae.runs.description import trained_with

    path, model = (folder / f"{cell.stem}{suffix}" for suffix in (".json", ".npz"))
    if not path.exists():
        if model.exists() and trained_with(model) != (cell.config, own and own.file, dataset.fingerprint):
            raise JvaeError(f"{model}: is not of this sweep; name another --output")
        return None
    try:
        values = json.loads(path.read_text())
        config, fingerprint = type(cell.config).from_dict(values["config"]), values["fingerprint"]
        runs = [{name: nan if run[name] is None else run[name] for name in RUN_COLUMNS} for run in values["runs"]]
        numbers = [value for run in runs for value in run.values() if isinstance(value, (int, float))]
        if len(numbers) != cell.config.runs * len(RUN_COLUMNS):
            raise ValueError(f"must have {len(RUN_COLUMNS)} numbers for each of {cell.config.runs} runs")
        result = Result(cell, values["unit"], runs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise JvaeError(f"{path}: is not a cell's result ({error}); remove it to train the cell again") from error
    pairs = ((name, getattr(config, name), value) for name, value in cell.config.to_dict().items())
    different = [f"{name} {text_of(theirs)}, not {text_of(ours)}" for name, theirs, ours in pairs if ours != theirs]
    if values.get("recipe_sha256") != (None if own is None else own.file.sha256):
        different.append("another recipe file, or none")
    if fingerprint != dataset.fingerprint:
        different.append("another data set's content")
    if different:
        raise JvaeError(f"{path}: is of another sweep: {'; '.join(different)}; name another --output")
    return result


def table(results: Sequence[Result]) -> str:
    """Return the results as CSV, one row per run and one per failed cell, with a column for every field of the grid."""
    settings = list(dict.fromkeys(name for result in results for name in result.cell.settings if name != "seed"))
    columns = [*settings, *RUN_COLUMNS, "unit", "error"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for result in results:
        for run in result.runs or [{"error": result.error}]:
            writer.writerow({**result.cell.texts, **run, "unit": result.unit})
    return text.getvalue()


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the results as JSON values: every cell's settings and runs, and each measure's mean and its spread."""
    from jvae.evaluation import spread

    return [
        {
            "settings": result.cell.settings,
            "unit": result.unit,
            "error": result.error,
            "runs": result.runs,
            **{name: spread([run[name] for run in result.runs])._asdict() for name in MEASURES if result.runs},
        }
        for result in results
    ]
