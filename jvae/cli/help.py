"""The `--help` of a command: examples to copy, and the options in groups."""

from collections.abc import Iterable, Mapping

import click

from jvae.cli.path_types import DataSource, InputFolder, OutputFile, OutputFolder
from jvae.runs.config import config_fields

GROUPS = ("Options", "Data", "Model", "Training", "Devices", "Output", "General")
"""The groups in the order of `--help`; "Options" are the command's own."""
DATA = {"dataset", "test_share", "resize", "transpose", "binarise", "dequantise", "split"}
PRIOR = {"prior", "num_components", "pseudo_inputs", "coupling"}
MODEL = PRIOR | {
    *("model_path", "recipe_path", "run", "level", "latent_dim"),
    *("decoder", "variance", "output_scale", "network", "hidden", "channels", "activation", "levels", "upper_dim"),
}
DEVICES = {"device", "compile_cache", "mesh", "distributed", "coordinator", "num_processes", "process_id", "stream"}
DRAWS = {"seed", "num_samples"}
OUTPUT = {"overwrite", "resume", "snapshots"}
GENERAL = {"config", "help", "version"}


def group_of(option: click.Option, command: click.Command) -> str:
    """Return the group of a command's option.

    A Config field that belongs to no other group is in "Training", but for the draws of a command that does not train.
    """
    name = "help" if "--help" in option.opts else str(option.name)
    if isinstance(option.type, (OutputFile, OutputFolder)) or name in OUTPUT:
        return "Output"
    if isinstance(option.type, (DataSource, InputFolder)) or name in DATA:
        return "Data"
    for group, names in (("Model", MODEL), ("Devices", DEVICES), ("General", GENERAL)):
        if name in names:
            return group
    trains = any(parameter.name == "epochs" and not is_hidden(parameter) for parameter in command.params)
    fields = {field.name for field in config_fields()} - (set() if trains else DRAWS)
    return "Training" if name in fields else "Options"


def is_hidden(parameter: click.Parameter) -> bool:
    """Return True if a parameter is not shown."""
    return getattr(parameter, "hidden", False)


def write_options(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    """Write a command's options, group by group."""
    rows: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            rows[group_of(parameter, command)].append(record)
    for group, records in rows.items():
        if records:
            with formatter.section(group):
                formatter.write_dl(records)


def write_examples(examples: Iterable[str], formatter: click.HelpFormatter) -> None:
    """Write command lines to copy, one per line, without wrapping."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def write_first(first: Mapping[str, str], formatter: click.HelpFormatter) -> None:
    """Write the most common command lines, each with its description."""
    with formatter.section("First"):
        formatter.write_dl(list(first.items()), col_max=6)  # puts each description below its command line
