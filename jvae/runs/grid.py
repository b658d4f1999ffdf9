"""Grids: every combination of options' values, as the cells of a sweep."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from jvae.files import fitting_name
from jvae.runs.config import Config, config_fields
from jvae.runs.fields import DATA_FIELDS, ConfigField, split_values, text_of

ONE_FOR_ALL = (*DATA_FIELDS, "binarise", "runs")
"""The Config fields that all cells share."""
Grid = dict[str, tuple[Any, ...]]
"""The values by the names of the Config fields."""


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


def cells_of(
    common: dict[str, Any], grid: Grid, given: Collection[str] = (), kind: type[Config] = Config
) -> list[Cell]:
    """Return the cells of a grid, each with the common fields as well.

    A field that does not apply in a cell, such as `num_components` with a Gaussian prior, is left out there, and of
    cells that become equal only one stays. With a recipe file, whose kind of configuration is `RecipeConfig`, all
    fields of its own apply.

    Raises:
        ValueError: a cell is not valid, a field applies in none, or one of ONE_FOR_ALL in some only, or a run would
            be in two cells, since two seeds of the grid are nearer to each other than the number of runs.
    """
    cells: dict[Config, Cell] = {}
    for low, high in itertools.pairwise(sorted(grid.get("seed", ()))):
        if (runs := common["runs"]) > high - low:
            raise ValueError(f"runs is {runs}: with seeds {low} and {high} in the grid, seed {high} comes twice")
    idle, ruled = {*given, *grid}, kind.ruled_fields()
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        fields = without_idle_fields({**common, **settings}, ruled)
        config = kind(**fields)
        idle -= fields.keys()
        cells.setdefault(config, Cell({name: settings[name] for name in settings if name in fields}, config))
    for name in sorted(idle):
        raise ValueError(f"{name} is {','.join(map(text_of, grid.get(name, [common[name]])))}: applies in no cell")
    for name in (name for name in ONE_FOR_ALL if len({getattr(config, name) for config in cells}) > 1):
        raise ValueError(f"{name} is {text_of(common[name])}: applies in some cells only; sweep the others apart")
    return list(cells.values())


def without_idle_fields(values: dict[str, Any], ruled: Sequence[ConfigField]) -> dict[str, Any]:
    """Return the fields without those that have rules and do not apply with these values."""
    kept = dict(values)
    defaults = {field.name: field.default for field in config_fields()}
    for field in ruled:  # a field's rules refer to earlier fields
        if any(kept.get(rule.name, defaults[rule.name]) not in rule.values for rule in field.needs):
            kept.pop(field.name, None)
    return kept
