"""`jvae train`: the command of `jvae.runs.api.train`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.console import (
    check_all_read,
    check_distinct,
    check_output,
    describe_placement,
    log_of_first_process,
    open_dataset,
    open_model,
    open_recipe,
    use_device,
    use_mesh,
)
from jvae.cli.epoch_log import FORMATS, open_epoch_log
from jvae.cli.options import (
    DATA_FIELDS,
    Command,
    config_options,
    data_options,
    device_option,
    is_given,
    json_option,
    mesh_options,
    place_of,
    recipe_option,
    stream_option,
    usage_error,
)
from jvae.errors import NonFiniteError
from jvae.runs.config import Config

if TYPE_CHECKING:
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.recipe_file import OwnRecipe


@click.command(cls=Command)
@config_options
@data_options
@device_option
@click.option("--model", "model_path", type=click.Path(path_type=Path), default="model.npz", help="model file to write")
@click.option("--resume", is_flag=True, help="go on where the model file ends, if it is there; --epochs may be more")
@click.option("--overwrite", is_flag=True, help="replace a model file that is there")
@json_option
@click.option(
    "--log",
    "log_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.csv|FILE.jsonl",
    help="write a line an epoch to this file, as it ends",
)
@mesh_options
@stream_option
@recipe_option
@click.pass_context
def train(
    context: click.Context,
    recipe_path: Path | None,
    data_dir: Path | None,
    device: str,
    model_path: Path,
    resume: bool,
    overwrite: bool,
    json_path: Path | None,
    log_path: Path | None,
    mesh: tuple[int, int] | None,
    hosts: tuple | None,
    stream: bool | None,
    **values: Any,
) -> None:
    """Train a VAE, save it after every epoch, and evaluate it on the test set.

    SIGINT and SIGTERM end the training at the next safe point, a few seconds later, with everything saved.
    """
    try:
        config = Config(**values)
    except ValueError as error:
        raise usage_error(error) from error
    for path in (model_path, json_path):
        if path is not None:
            check_output(path)
    if log_path is not None:
        check_output(log_path, FORMATS)
    check_distinct({"--model": model_path, "--json": json_path, "--log": log_path})
    for path in (model_path, json_path, log_path):
        if path is not None and path.resolve() == place_of(config.dataset):
            raise click.UsageError(f"{path}: holds the data to train on: name another output")
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite: at most one of them")
    if model_path.exists() and not (resume or overwrite):
        raise click.UsageError(f"{model_path}: is there already; --resume goes on with it, --overwrite replaces it")
    backend = use_device(device, hosts)
    log = log_of_first_process()
    from jvae.runs.mesh import agree, is_first_process

    first = is_first_process()
    own = open_recipe(recipe_path)
    known, given = None, {name: value for name, value in values.items() if is_given(context, name)}
    if resume and model_path.exists():
        known = continued(model_path, given, own)
        config = known.config or config
        if is_finished(known):
            log(f"{model_path}: its training is finished, after epoch {len(known.history)} of {config.epochs}")
            with open_epoch_log(log_path if first else None, known.history):
                return
    dataset = open_dataset(config, data_dir, log)
    check_all_read(own, config, dataset, given)
    from jvae.cli.interruption import interruptible, name_of
    from jvae.cli.progress import Bar, Extent, Lines
    from jvae.files import sweep_temporaries, write_json
    from jvae.runs import api
    from jvae.runs.checkpoint import save
    from jvae.runs.config import plan_of
    from jvae.runs.plan import split_rows
    from jvae.view import report

    devices = use_mesh(mesh, config.runs, config.batch_size)
    if first:
        sweep_temporaries(model_path)
    model, saved = known, 0 if known is None else len(known.history)
    with interruptible() as interruption:
        try:
            images, _ = split_rows(plan_of(config), len(dataset.train_images))
            extent = Extent(config.epochs, len(images), config.runs, saved)
            told = Bar(extent) if first and sys.stderr.isatty() else Lines(extent, log)
            place = lambda at: log(f"training on {describe_placement(config.runs, devices, backend, at)}")  # noqa: E731
            how = api.Conditions(devices, stream, lambda: bool(interruption), chosen=place, progress=told.chunk)
            epochs = api.train_config_epochs(config, dataset, resume=known, how=how, own=own)
        except ValueError as error:
            raise usage_error(error) from error
        if known is not None:
            log(f"going on after epoch {saved} of {config.epochs}")
        with told, open_epoch_log(log_path if first else None, [] if known is None else known.history) as write_epoch:
            try:
                for model in epochs:
                    if first:
                        save(model_path, model)
                    if len(model.history) == saved:
                        continue  # it was stopped within an epoch
                    saved = len(model.history)
                    write_epoch(model.history[-1])
                    told.epoch(model.history[-1])
            except NonFiniteError as error:
                left = f"; {model_path} holds epoch {saved}, the last good one" if saved else ""
                raise NonFiniteError(f"{error}{left}") from error
    if code := agree(interruption.exit_code):
        log(f"stopped by {name_of(code)}: go on with `jvae train --resume --model {model_path}`")
        context.exit(code)
    if not first or model is None:
        return
    if config.keep == "best" or config.patience > 0:
        log(f"kept epoch {', '.join(map(str, api.kept_epochs(model)))}")
    click.echo(f"wrote {model_path}")
    evaluations = api.evaluate(model, dataset)
    click.echo(report.describe_all(evaluations, model))
    if json_path is not None:
        write_json(json_path, {**report.all_values(evaluations, model), "history": model.history})


def continued(path: Path, given: dict[str, Any], own: "OwnRecipe | None") -> "TrainedModel":
    """Return the model to go on from, perhaps for more epochs.

    Raises:
        ModelFileError: it cannot be gone on with.
        click.UsageError: not for so many epochs.
    """
    from dataclasses import replace

    epochs = given.get("epochs")
    from jvae.errors import ModelFileError
    from jvae.runs.config import plan_of
    from jvae.runs.recipe_file import fields_read

    repeated = {name: value for name, value in given.items() if name != "epochs"}
    model = open_model(path, repeated, own, to_resume=True)
    if model.config is None:
        raise ModelFileError(f"{path}: was trained from Python: it is gone on with there")
    moved = {name: value for name, value in given.items() if name in DATA_FIELDS}
    config = replace(model.config, **moved)
    model = model._replace(config=config)
    trained, state = len(model.history), model.state
    if state is None:
        raise ModelFileError(f"{path}: cannot be gone on with: {model.no_state}")
    if epochs is not None and epochs != config.epochs:
        if epochs < trained:
            raise click.UsageError(f"--epochs is {epochs}, but {path} has been trained for {trained} epochs")
        if config.schedule != "constant":
            raise click.UsageError(
                f"--epochs is {epochs}, but the {config.schedule} schedule of {path} ends after {config.epochs}"
            )
        if own is not None and "epochs" in fields_read(own, config, model.data_shape, state.num_steps):
            raise click.UsageError(f"--epochs is {epochs}, but {own.file.name} reads config.epochs, {config.epochs}")
        config = replace(config, epochs=epochs)
        model = model._replace(config=config, plan=plan_of(config))
    return model


def is_finished(model: "TrainedModel") -> bool:
    """Return True if no epoch is left to train, or no run that goes on."""
    return len(model.history) == model.plan.epochs or model.state is None or not model.state.running.any()
