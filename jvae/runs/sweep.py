"""Sweeps: every combination of a grid's values, each trained from several seeds, in as few programs as possible."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jvae.errors import JvaeError, NotEnoughMemoryError, first_line
from jvae.files import fitting_name, write_json
from jvae.runs.config import Config, config_fields, unit
from jvae.runs.fields import DATA_FIELDS, split_values, text_of

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jvae.data.dataset import Dataset
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.conditions import Progress
    from jvae.runs.recipe_file import OwnRecipe

MEASURES = ("elbo", "reconstruction", "kl")
RUN_COLUMNS = ("seed", *MEASURES, "seconds_per_epoch")
ONE_FOR_ALL = (*DATA_FIELDS, "binarise", "runs")
Grid = dict[str, tuple[Any, ...]]


class Cell(NamedTuple):
    """One combination of the grid's values, and the configuration that has them."""

    settings: dict[str, Any]
    """The grid's fields, by their Config names."""
    config: Config

    @property
    def name(self) -> str:
        """The cell's name, such as `prior=mog,hidden=512x512`."""
        return ",".join(f"{name.replace('_', '-')}={value}" for name, value in self.texts.items())

    @property
    def stem(self) -> str:
        """The stem of the cell's files: its name, shortened if it is long."""
        return fitting_name(self.name)

    @property
    def texts(self) -> dict[str, str]:
        """The settings as texts, as written in a grid."""
        return {name: text_of(value, "x") for name, value in self.settings.items()}


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


def parse_grid(texts: Sequence[str]) -> Grid:
    """Return the fields and values in texts `NAME=VALUE,VALUE,...`; x separates the numbers of one value.

    As `--hidden-dim N` is `--hidden N,N`, so `hidden-dim=N` is `hidden=NxN`.

    Raises:
        ValueError: a name is not a Config field, a name or a value is given twice, or a value has the wrong type.
    """
    fields = {field.name: field for field in config_fields()}
    grid: Grid = {}
    for text in texts:
        name, values = split_values(text)
        if name in ("hidden-dim", "hidden_dim") and all(value.isdecimal() for value in values):
            name, values = "hidden", [f"{value}x{value}" for value in values]
        field = fields.get(name.replace("-", "_"))
        if not values or field is None or field.name in ONE_FOR_ALL:
            rule = f"NAME=VALUE,VALUE,... with an option of `jvae train` other than {', '.join(ONE_FOR_ALL)}"
            raise ValueError(f"grid is {text!r}: must be {rule.replace('_', '-')}")
        if field.name in grid:
            raise ValueError(f"grid is {text!r}: {name} comes twice")
        try:
            grid[field.name] = tuple(map(field._replace(name=name).parse, values))
        except ValueError as error:
            raise ValueError(f"grid is {text!r}: {error}") from error
        if len(set(grid[field.name])) < len(values):
            raise ValueError(f"grid is {text!r}: a value comes twice")
    return grid


def cells_of(common: dict[str, Any], grid: Grid, given: Collection[str] = ()) -> list[Cell]:
    """Return the cells of a grid, each with the common fields as well.

    A field that does not apply in a cell, such as `num_components` with a Gaussian prior, is left out there, and of
    cells that become equal only one stays.

    Raises:
        ValueError: a cell is not valid, or a field applies in none, or one of ONE_FOR_ALL in some only.
    """
    cells: dict[Config, Cell] = {}
    idle = {*given, *grid}
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        fields = without_idle_fields({**common, **settings})
        config = Config(**fields)
        idle -= fields.keys()
        cells.setdefault(config, Cell({name: settings[name] for name in settings if name in fields}, config))
    for name in sorted(idle):
        raise ValueError(f"{name} is {','.join(map(text_of, grid.get(name, [common[name]])))}: applies in no cell")
    for name in (name for name in ONE_FOR_ALL if len({getattr(config, name) for config in cells}) > 1):
        raise ValueError(f"{name} is {text_of(common[name])}: applies in some cells only; sweep the others apart")
    return list(cells.values())


def without_idle_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those that do not apply with these values."""
    fields, kept = config_fields(), dict(values)
    defaults = {field.name: field.default for field in fields}
    for field in fields:  # a field's rules refer to earlier fields
        if any(kept.get(rule.name, defaults[rule.name]) not in rule.values for rule in field.needs):
            kept.pop(field.name, None)
    return kept


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
        if model.exists() and trained_with(model) != (cell.config, dataset.fingerprint):
            raise JvaeError(f"{model}: is not of this sweep; name another --output")
        return None
    try:
        values = json.loads(path.read_text())
        config, fingerprint = Config.from_dict(values["config"]), values["fingerprint"]
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
