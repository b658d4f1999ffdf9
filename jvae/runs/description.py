"""Description: what a model file says of itself, read and checked in a moment, for nothing here imports JAX."""

import math
import zipfile
from typing import Any, NamedTuple

from jvae.runs.archive import MEMBER, read_header, read_json
from jvae.runs.config import Config, plan_of
from jvae.runs.fields import FEWEST_SNAPSHOTS, MOST_SNAPSHOTS
from jvae.runs.plan import Plan, check_plan
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
    """When the snapshots of a training were taken."""

    asked: int
    """How many are taken over the whole training."""
    steps: tuple[int, ...]
    """How many steps were taken before each of those so far."""
    epochs: tuple[float, ...]
    """How many epochs that is."""


class Description(NamedTuple):
    """What a model file says of itself, beside its arrays."""

    format_version: int
    config: Config | None
    """Where options said what is trained."""
    plan: Plan
    history: list[dict[str, Any]]
    data_name: str
    data_shape: tuple[int, ...]
    """Of one datum."""
    fingerprint: str
    """Of the data set it was trained on."""
    versions: dict[str, str]
    steps_per_epoch: int
    """1 in files of format version 1, which do not say it."""
    kept: bool
    """Whether the parameters that the runs keep are held beside the last ones."""
    recipe_file: RecipeFile | None
    settings: dict[str, str]
    """Of JAX, that decide what the training comes to; empty where the file does not say."""
    snapshots: SnapshotTimes | None


def read_description(archive: zipfile.ZipFile) -> Description:
    """Read the description in a model file.

    Raises:
        ValueError: it is absent, of a later format, or a field is missing or wrong.
    """
    about = read_fields(archive)
    version = about["format_version"]
    config = None if about["config"] is None else Config.from_dict(about["config"])
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
        read_record(about.get("recipe_file")),
        read_settings(about.get("settings", {})),
        read_times(about.get("snapshots")),
    )


def read_fields(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the fields of a description, each of which has the type that it must have.

    Raises:
        ValueError: it is absent, of a later format, or a field is missing or wrong.
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
            raise ValueError(f"{MEMBER}: {name} is {type(about[name]).__name__}, which it must not be")
    name = "image_shape" if version == 1 else "data_shape"
    if not 1 <= len(about[name]) <= 4 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in about[name]):
        raise ValueError(f"{MEMBER}: {name} is {str(about[name])[:50]}: must be 1 to 4 numbers from 1 to {MAX_SIDE}")
    if not 0 < about.get("steps_per_epoch", 1) < MAX_STEPS:
        raise ValueError(f"{MEMBER}: steps_per_epoch is {about['steps_per_epoch']}: must be above 0")
    if not all(isinstance(record, dict) and record.keys() >= RECORD for record in about["history"]):
        raise ValueError(f"{MEMBER}: history must be records with {', '.join(sorted(RECORD))}")
    return about


def read_plan(values: Any) -> Plan:
    """Return the plan that a description holds.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(values, dict) or values.keys() != set(Plan._fields) or not isinstance(values["seeds"], list):
        raise ValueError(f"{MEMBER}: plan must have {', '.join(Plan._fields)}")
    plan = Plan(**{**values, "seeds": tuple(values["seeds"])})
    check_plan(plan)
    return plan


def read_settings(values: Any) -> dict[str, str]:
    """Return the settings that a description holds.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"{MEMBER}: settings must be texts by their names")
    return values


def read_times(values: Any) -> SnapshotTimes | None:
    """Return when the snapshots were taken that a description tells of, if it does.

    Raises:
        ValueError: it tells of none.
    """
    if values is None:
        return None
    if not isinstance(values, dict) or values.keys() != set(SnapshotTimes._fields):
        raise ValueError(f"{MEMBER}: snapshots must have {', '.join(SnapshotTimes._fields)}")
    asked, steps, epochs = (values[name] for name in SnapshotTimes._fields)
    many = isinstance(steps, list) and isinstance(epochs, list) and len(steps) == len(epochs)
    if type(asked) is not int or not FEWEST_SNAPSHOTS <= asked <= MOST_SNAPSHOTS or not many:
        raise ValueError(f"{MEMBER}: snapshots must have the number asked for, and each's step and epochs")
    for numbers, kind in ((steps, int), (epochs, float)):
        if not all(type(n) is kind and 0 <= n < math.inf for n in numbers) or numbers != sorted(set(numbers)):
            raise ValueError(f"{MEMBER}: the snapshots' steps and epochs must be rising numbers from 0 on")
    return SnapshotTimes(asked, tuple(steps), tuple(epochs))


def read_record(values: dict[str, Any] | None) -> RecipeFile | None:
    """Return the record of a recipe file that a description holds.

    Raises:
        ValueError: it is none.
    """
    if values is None:
        return None
    if values.keys() != {"name", "text", "sha256"} or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"{MEMBER}: recipe_file must have name, text and sha256")
    found = RecipeFile(values["name"], values["text"])
    if found.sha256 != values["sha256"]:
        raise ValueError(f"{MEMBER}: recipe_file: the sha256 is not its text's")
    return found


def count_parameters(archive: zipfile.ZipFile, about: Description) -> dict[str, int]:
    """Return how many numbers each part of a model has in one run - prior, decoder, encoder - by the arrays' headers.

    Raises:
        ValueError: an array is none, or has no axis of so many runs.
    """
    runs, start = len(about.plan.seeds), "params/" if about.format_version == 1 else "runs/params/"
    alone = about.format_version == 1 and runs == 1  # its arrays had no axis of runs
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
    """Return every run's last record of the history: epoch, bound, reconstruction and kl, and validation if any.

    Raises:
        ValueError: a value is no number, or not one a run.
    """
    found: list[dict[str, float]] = [{} for _ in about.plan.seeds]
    for record in about.history:
        shown = {name: record[name] for name in SHOWN if name in record}
        for i, own in enumerate(found):
            values = {name: run_value(value, i, len(found)) for name, value in shown.items()}
            if values["bound"] is not None:  # it had not ended before
                own.update({name: value for name, value in values.items() if value is not None})
    return found


def run_value(value: Any, run: int, runs: int) -> float | None:
    """Return what a value of a record is for run i; None where the run had ended.

    Raises:
        ValueError: it is no number, or not one a run.
    """
    if isinstance(value, list) and len(value) == runs:
        value = value[run]
    number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    if value is not None and (isinstance(value, bool) or not number):
        raise ValueError(f"{MEMBER}: history holds {value!r:.50}: must be a number, or one a run")
    return value
