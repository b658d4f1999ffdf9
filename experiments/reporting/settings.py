"""The settings that every part of the exercises shares, and the options that make them."""

import dataclasses
import shlex
from collections.abc import Callable, Collection
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from jvae.cli.options import config_options, data_options, device_option, flag, usage_error
from jvae.cli.path_types import OutputFolder
from jvae.runs.config import Config
from jvae.runs.fields import DATA_FIELDS

FULL = {"runs": 5, "epochs": 5}
QUICK = {"runs": 2, "epochs": 1}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is trained, how often, and where: the exercise's setting by default."""

    dataset: str = "mnist"
    test_share: float = 0.0
    resize: str = ""
    transpose: bool = False
    runs: int = FULL["runs"]
    epochs: int = FULL["epochs"]
    latent_dim: int = 10
    batch_size: int = 128
    device: str = "auto"
    quick: bool = False
    data_dir: Path | None = None

    def choose(self, full: int, quick: int) -> int:
        """Return the size of a measurement, for the full form or the quick one."""
        return quick if self.quick else full

    def config(self, **variation: Any) -> Config:
        """Return the configuration of a training with seed 0; `variation` replaces fields."""
        common = {name: getattr(self, name) for name in (*DATA_FIELDS, "epochs", "latent_dim", "batch_size")}
        return Config(**{**common, **variation})

    def command_line(self) -> str:
        """Return the options that differ from the defaults, as one would type them; folders are left out."""
        sizes = QUICK if self.quick else FULL
        words = ["--quick"] if self.quick else []
        for field in dataclasses.fields(self):
            value, usual = getattr(self, field.name), sizes.get(field.name, field.default)
            if field.name not in ("quick", "data_dir") and value != usual:
                words += [flag(field.name), *([] if value is True else [shlex.quote(str(value))])]
        return " ".join(words)


SIZES = ("runs", "epochs", "latent_dim", "batch_size")
SHARED = ("dataset", *SIZES, "device", "quick")
"""What results may depend on; the data set stands for all that says how it is read."""


def shared_options(command: Callable, folder: str | None = None, uses: Collection[str] = SHARED) -> Callable:
    """Add the options in use that make the argument `settings`, and `--output` with the default `folder`.

    Every command has --device and --quick.
    """

    @wraps(command)
    def command_with_settings(**values: Any) -> Any:
        own = {field.name: values.pop(field.name, field.default) for field in dataclasses.fields(Settings)}
        usual = QUICK if own["quick"] else FULL
        given = {name: own[name] for name in usual if name in uses and own[name] is not None}
        settings = Settings(**{**own, **usual, **given})
        try:
            settings.config(runs=settings.runs)
        except ValueError as error:
            raise usage_error(error) from error
        return command(settings=settings, **values)

    sizes = {
        "batch_size": click.option("--batch-size", type=click.IntRange(1), default=128, help="images per step"),
        "latent_dim": click.option("--latent-dim", type=click.IntRange(1), default=10, help="M"),
        "epochs": click.option("--epochs", type=click.IntRange(1), help=f"passes over the images; {FULL['epochs']}"),
        "runs": click.option("--runs", type=click.IntRange(1), help=f"seeds 0, 1, ...; {FULL['runs']}"),
    }
    decorated: Callable = command_with_settings
    for decorate in (
        click.option(
            "--output",
            type=OutputFolder(),
            default=folder,
            help="folder for results, pictures, pages and trained models; what is finished there is not measured again",
        ),
        click.option("--quick", is_flag=True, help=f"{QUICK['runs']} runs, {QUICK['epochs']} epoch, short forms"),
        device_option,
        *((data_options,) if "dataset" in uses else ()),
        *(option for name, option in sizes.items() if name in uses),
        *((partial(config_options, only=DATA_FIELDS),) if "dataset" in uses else ()),
    ):
        decorated = decorate(decorated)
    return decorated
