"""`jvae train`: the command of `jvae.runs.api.train`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.console import (
    check_all_read,
    check_output,
    describe_placement,
    log,
    log_of_first_process,
    open_dataset,
    open_model,
    open_recipe,
    use_device,
    use_mesh,
)
from jvae.cli.options import (
    config_options,
    data_options,
    device_option,
    is_given,
    json_option,
    mesh_options,
    recipe_option,
    stream_option,
    usage_error,
)
from jvae.errors import NonFiniteError
from jvae.runs.config import Config

if TYPE_CHECKING:
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.recipe_file import OwnRecipe


@click.command()
@config_options
@data_options
@device_option
@click.option("--model", "model_path", type=click.Path(path_type=Path), default="model.npz", help="model file to write")
@click.option("--resume", is_flag=True, help="go on where the model file ends, if it is there; --epochs may be more")
@click.option("--overwrite", is_flag=True, help="replace a model file that is there")
@json_option
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
        if known is None:
            return
        config = known.config or config
    dataset = open_dataset(config.dataset, data_dir, log)
    check_all_read(own, config, dataset, given)
    from jvae.cli.interruption import interruptible, name_of
    from jvae.files import sweep_temporaries, write_json
    from jvae.runs import api
    from jvae.runs.checkpoint import save
    from jvae.view import report

    devices = use_mesh(mesh, config.runs, config.batch_size)
    if first:
        sweep_temporaries(model_path)
    with interruptible() as interruption:
        try:
            how = api.Conditions(devices, stream, lambda: bool(interruption))
            epochs = api.train_config_epochs(config, dataset, resume=known, how=how, own=own)
        except ValueError as error:
            raise usage_error(error) from error
        log(f"training on {describe_placement(config.runs, devices, backend)}")
        if known is not None:
            log(f"going on after epoch {len(known.history)} of {config.epochs}")
        model, saved = known, 0 if known is None else len(known.history)
        terminal = sys.stderr.isatty()
        with click.progressbar(
            length=config.epochs,
            label="training",
            file=sys.stderr,
            hidden=not (first and terminal),
            item_show_func=epoch_line,
        ) as bar:
            bar.update(saved)
            try:
                for model in epochs:
                    if first:
                        save(model_path, model)
                    if len(model.history) == saved:
                        continue  # it was stopped within an epoch
                    saved = len(model.history)
                    bar.update(1, model.history[-1])
                    if not terminal:
                        log(f"epoch {saved}/{config.epochs}  {epoch_line(model.history[-1])}")
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


def continued(path: Path, given: dict[str, Any], own: "OwnRecipe | None") -> "TrainedModel | None":
    """Return a model file to go on from, perhaps for more epochs; None, and say so, where its training is finished."""
    from dataclasses import replace

    epochs = given.get("epochs")
    from jvae.errors import ModelFileError
    from jvae.runs.config import plan_of
    from jvae.runs.recipe_file import fields_read

    repeated = {name: value for name, value in given.items() if name != "epochs"}
    model = open_model(path, repeated, own, to_resume=True)
    trained, config, state = len(model.history), model.config, model.state
    if config is None:
        raise ModelFileError(f"{path}: was trained from Python: it is gone on with there")
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
    if trained == config.epochs or not state.running.any():
        log(f"{path}: its training is finished, after epoch {trained} of {config.epochs}")
        return None
    return model


def epoch_line(record: dict[str, Any] | None) -> str | None:
    """Return an epoch's record in words; the mean over the runs that went on where there are several."""
    if record is None:
        return None
    from statistics import fmean

    means = {
        name: fmean(v for v in value if v is not None) if isinstance(value, list) else value
        for name, value in record.items()
    }
    parts = [f"bound {means['bound']:9.3f}", f"reconstruction {means['reconstruction']:9.3f}", f"kl {means['kl']:7.3f}"]
    if "validation" in means:
        parts.append(f"validation {means['validation']:9.3f}")
    return "  ".join([*parts, f"{means['seconds']:6.2f} s"])
