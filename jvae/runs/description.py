"""Description: the metadata of a model file, read and checked quickly, without importing JAX."""

import math
import zipfile
from os import PathLike
from typing import Any, NamedTuple

from jvae.runs.archive import MEMBER, open_archive, open_model_file, read_header, read_json
from jvae.runs.config import Config, RecipeConfig
from jvae.runs.fields import FEWEST_SNAPSHOTS, MOST_SNAPSHOTS
from jvae.runs.plan import Plan, check_plan, plan_of
from jvae.runs.recipe_file import RecipeFile

FORMAT = "jvae model file"
FORMAT_VERSION = 2
MAX_SIDE = 2**14
MAX_STEPS = 2**31
FIELDS: dict[int, dict[str, type | tuple[type, ...]]] = {
    1: {"config": dict, "history": list, "image_shape": list, "fingerprint": str, "versions": dict},
    2: {
        "config": (dict, type(None)),
        "plan": (dict, type(None)),
        "history": list,
        "data_name": str,
        "data_shape": list,
        "fingerprint": str,
        "versions": dict,
        "steps_per_epoch": int,
        "kept": bool,
        "recipe_file": (dict, type(None)),
    },
}
RECORD = {"epoch", "bound", "reconstruction", "kl", "seconds"}
SHOWN = ("epoch", "bound", "reconstruction", "kl", "validation", "kept")


class SnapshotTimes(NamedTuple):
    """The times of a training's snapshots."""

    asked: int
    """The number of snapshots over the whole training."""
    steps: tuple[int, ...]
    """The number of steps before each snapshot so far."""
    epochs: tuple[float, ...]
    """The same in epochs."""


class Description(NamedTuple):
    """The metadata of a model file: everything in it but the arrays."""

    format_version: int
    """The version of the file's format, from 1 to `FORMAT_VERSION`."""
    config: Config | None
    """The configuration, if the model was trained from options."""
    plan: Plan
    """The plan of the training."""
    history: list[dict[str, Any]]
    """One record per epoch, as in `TrainedModel`."""
    data_name: str
    """The name of the data set."""
    data_shape: tuple[int, ...]
    """The shape of one datum."""
    fingerprint: str
    """The fingerprint of the data set that it was trained on."""
    versions: dict[str, str]
    """Python's version and the packages' that it was trained with, by name."""
    steps_per_epoch: int
    """The steps of an epoch; 1 in files of format version 1, which do not record it."""
    kept: bool
    """True if the file holds the parameters that the runs keep beside the last ones."""
    recipe_file: RecipeFile | None
    """The recipe file that made the recipe, if any."""
    settings: dict[str, str]
    """The JAX settings that the result depends on; empty where the file does not record them."""
    snapshots: SnapshotTimes | None
    """The times of the snapshots, if there are any."""
    unit: str | None
    """The unit of the bound, in words; None where the file does not record it."""


def read_description(archive: zipfile.ZipFile) -> Description:
    """Read the description in a model file.

    Raises:
        ValueError: it is missing or of a later format, or a field is missing or wrong.
    """
    about = read_fields(archive)
    version = about["format_version"]
    record = read_record(about.get("recipe_file"))
    kind = Config if record is None else RecipeConfig
    config = None if about["config"] is None else kind.from_dict(about["config"])
    return Description(
        version,
        config,
        read_plan(about["plan"]) if config is None else plan_of(config),
        about["history"],
        about["data_name"] if version > 1 else about["config"].get("dataset", "mnist"),
        tuple(about["image_shape" if version == 1 else "data_shape"]),
        about["fingerprint"],
        about["versions"],
        about.get("steps_per_epoch", 1),
        about.get("kept", False),
        record,
        read_settings(about.get("settings", {})),
        read_times(about.get("snapshots")),
        read_unit(about.get("unit")),
    )


def trained_with(path: str | PathLike[str]) -> tuple[Config | None, RecipeFile | None, str]:
    """Return the configuration and the recipe file of a model file, where there are any, and its data's fingerprint.

    Raises:
        ModelFileError: it is not a model file, or damaged.
    """
    with open_model_file(path) as file, open_archive(file) as archive:
        about = read_description(archive)
    return about.config, about.recipe_file, about.fingerprint


def read_fields(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the fields of a description, and check their types.

    Raises:
        ValueError: it is missing or of a later format, or a field is missing or wrong.
    """
    about = read_json(archive)
    if about.get("format") != FORMAT:
        raise ValueError("is not a jvae model file")
    version = about.get("format_version")
    if type(version) is not int or version not in FIELDS:
        raise ValueError(f"has format version {version}, this jvae reads 1 to {FORMAT_VERSION}")
    for name, kind in FIELDS[version].items():
        if name not in about:
            raise ValueError(f"{MEMBER} has no field {name!r}")
        if not isinstance(about[name], kind) or (kind is int and isinstance(about[name], bool)):
            raise ValueError(f"{MEMBER}: {name} must not be {type(about[name]).__name__}")
    name = "image_shape" if version == 1 else "data_shape"
    if not 1 <= len(about[name]) <= 4 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in about[name]):
        raise ValueError(f"{MEMBER}: {name} is {str(about[name])[:50]}: must be 1 to 4 numbers from 1 to {MAX_SIDE}")
    if not 0 < about.get("steps_per_epoch", 1) < MAX_STEPS:
        raise ValueError(f"{MEMBER}: steps_per_epoch is {about['steps_per_epoch']}: must be above 0")
    if not all(isinstance(record, dict) and record.keys() >= RECORD for record in about["history"]):
        raise ValueError(f"{MEMBER}: history must be records with {', '.join(sorted(RECORD))}")
    return about


def read_plan(values: Any) -> Plan:
    """Return the plan in a description.

    Raises:
        ValueError: it is not a valid plan.
    """
    if not isinstance(values, dict) or values.keys() != set(Plan._fields) or not isinstance(values["seeds"], list):
        raise ValueError(f"{MEMBER}: plan must have {', '.join(Plan._fields)}")
    plan = Plan(**{**values, "seeds": tuple(values["seeds"])})
    check_plan(plan)
    return plan


def read_settings(values: Any) -> dict[str, str]:
    """Return the JAX settings in a description.

    Raises:
        ValueError: they are not strings by name.
    """
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"{MEMBER}: settings must map names to texts")
    return values


def read_times(values: Any) -> SnapshotTimes | None:
    """Return the snapshot times in a description; None if it has none.

    Raises:
        ValueError: they are not valid times.
    """
    if values is None:
        return None
    if not isinstance(values, dict) or values.keys() != set(SnapshotTimes._fields):
        raise ValueError(f"{MEMBER}: snapshots must have {', '.join(SnapshotTimes._fields)}")
    asked, steps, epochs = (values[name] for name in SnapshotTimes._fields)
    many = isinstance(steps, list) and isinstance(epochs, list) and len(steps) == len(epochs)
    if type(asked) is not int or not FEWEST_SNAPSHOTS <= asked <= MOST_SNAPSHOTS or not many:
        raise ValueError(f"{MEMBER}: snapshots must have the number asked for, and a step and epochs for each")
    for numbers, kind in ((steps, int), (epochs, float)):
        if not all(type(n) is kind and 0 <= n < math.inf for n in numbers) or numbers != sorted(set(numbers)):
            raise ValueError(f"{MEMBER}: the snapshots' steps and epochs must be increasing numbers from 0 on")
    return SnapshotTimes(asked, tuple(steps), tuple(epochs))


def read_unit(value: Any) -> str | None:
    """Return the unit in a description; None if it has none.

    Raises:
        ValueError: it is not a text.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{MEMBER}: unit must be a text")
    return value


def read_record(values: dict[str, Any] | None) -> RecipeFile | None:
    """Return the record of a recipe file in a description; None if there is none.

    Raises:
        ValueError: it is not a valid record.
    """
    if values is None:
        return None
    if values.keys() != {"name", "text", "sha256"} or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"{MEMBER}: recipe_file must have name, text and sha256")
    found = RecipeFile(values["name"], values["text"])
    if found.sha256 != values["sha256"]:
        raise ValueError(f"{MEMBER}: recipe_file: the sha256 does not match its text")
    return found


def count_parameters(archive: zipfile.ZipFile, about: Description) -> dict[str, int]:
    """Return the number of parameters of a run's prior, decoder and encoder, from the arrays' headers.

    Raises:
        ValueError: an array has no valid header, or no axis of the right number of runs.
    """
    runs, start = len(about.plan.seeds), "params/" if about.format_version == 1 else "runs/params/"
    alone = about.format_version == 1 and runs == 1  # arrays of format version 1 had no axis of runs then
    counts: dict[str, int] = {}
    for member in archive.namelist():
        if member.startswith(start) and member.endswith(".npy"):
            name = member.removesuffix(".npy")
            shape, _ = read_header(archive, name)
            if not alone and shape[:1] != (runs,):
                raise ValueError(f"{name} is {list(shape)}: must have an axis of {runs} runs")
            part = name.removeprefix(start).split("/")[0]
            counts[part] = counts.get(part, 0) + math.prod(shape if alone else shape[1:])
    return counts


def last_records(about: Description) -> list[dict[str, float]]:
    """Return every run's last record in the history: epoch, bound, reconstruction, kl and, if there is one, validation.

    Raises:
        ValueError: a value is not a number, or not one per run.
    """
    found: list[dict[str, float]] = [{} for _ in about.plan.seeds]
    for record in about.history:
        shown = {name: record[name] for name in SHOWN if name in record}
        for i, own in enumerate(found):
            values = {name: run_value(value, i, len(found)) for name, value in shown.items()}
            if values["bound"] is not None:  # the run had not ended before
                own.update({name: value for name, value in values.items() if value is not None})
    return found


def run_value(value: Any, run: int, runs: int) -> float | None:
    """Return run i's part of a record's value; None if the run had ended.

    Raises:
        ValueError: it is not a number, or not one per run.
    """
    if isinstance(value, list) and len(value) == runs:
        value = value[run]
    number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    if value is not None and (isinstance(value, bool) or not number):
        raise ValueError(f"{MEMBER}: history holds {value!r:.50}: must be a number, or one per run")
    return value
