"""`jvae train`: the command of `jvae.runs.api.train`."""

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvae.cli.commands import Command
from jvae.cli.console import (
    check_all_read,
    describe_placement,
    log_of_first_process,
    moved,
    open_dataset,
    open_model,
    open_recipe,
    tell,
    use_device,
    use_mesh,
)
from jvae.cli.epoch_log import open_epoch_log
from jvae.cli.interruption import interruptible
from jvae.cli.options import (
    config_given,
    config_options,
    data_options,
    device_option,
    given_fields,
    json_option,
    mesh_options,
    recipe_option,
    stream_option,
    usage_error,
)
from jvae.cli.path_types import OutputFile, OutputModel
from jvae.cli.paths import check_kept
from jvae.errors import JvaeError, NonFiniteError
from jvae.files import is_stream
from jvae.runs.fields import DATA_FIELDS, FEWEST_SNAPSHOTS, MOST_SNAPSHOTS
from jvae.runs.lock import OwnedFile, owning

if TYPE_CHECKING:
    from jvae.data.dataset import Dataset
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.conditions import Progress
    from jvae.runs.recipe_file import OwnRecipe


@click.command(
    cls=Command,
    short_help="Train a VAE, save it every epoch, and evaluate it.",
    examples=(
        "jvae train --latent-dim 10 --epochs 5 --batch-size 128 --model model.npz",
        "jvae train --dataset digits --prior mog --runs 3 --validation held-out --keep best --model mog.npz",
    ),
)
@config_options
@data_options
@device_option
@click.option("--model", "model_path", type=OutputModel(), default="model.npz", help="model file to write")
@click.option("--resume", is_flag=True, help="continue the model file's training, if it exists; --epochs may be more")
@click.option("--overwrite", is_flag=True, help="replace an existing model file")
@json_option
@click.option(
    "--log",
    "log_path",
    type=OutputFile(".csv", ".jsonl", stdout=True),
    metavar="FILE.csv|FILE.jsonl",
    help="write one line per epoch to this file: CSV if it ends in .csv, else JSON lines; - is stdout",
)
@click.option(
    "--snapshots",
    type=click.IntRange(FEWEST_SNAPSHOTS, MOST_SNAPSHOTS),
    help="keep N small copies of the parameters over the training, mostly early, for `jvae plot training`",
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
    snapshots: int | None,
    mesh: tuple[int, int] | None,
    hosts: tuple | None,
    stream: bool | None,
    **values: Any,
) -> None:
    """Train a VAE, save it after every epoch, and evaluate it on the test set.

    Signals (SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU) end the training at the next safe point, after some
    seconds or one step if that is longer, with everything saved; a second one ends it at once.
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite: at most one of them")
    # a model to resume has the options that are not given again
    config = None if resume and model_path.exists() else config_given(context, values, recipe_path)
    if hosts is None:  # otherwise the writing process is known only below
        own_outputs(context, model_path, log_path)
        check_kept(model_path, context.params)
    backend = use_device(device, hosts)
    log = log_of_first_process()
    from jvae.runs.mesh import agree, is_first_process
    from jvae.runs.numerics import other_rounding
    from jvae.runs.training import check_fingerprint

    first = is_first_process()
    if hosts is not None:
        own_outputs_of_all(context, first, model_path, log_path)
        check_kept(model_path, context.params)
    own = open_recipe(recipe_path)
    owned = OwnedFile(model_path)
    known, given = None, {name: values[name] for name in given_fields(context)}
    if resume and model_path.exists():
        known = continued(model_path, given, own, snapshots)
        if other := other_rounding(known.settings):
            log(f"warning: {model_path} is resumed with other settings of JAX, which change rounding: {other}")
    config = (known and known.config) or config or config_given(context, values, recipe_path)
    if known is not None and is_finished(known):
        log(f"{model_path}: its training is finished, after epoch {len(known.history)} of {config.epochs}")
        with open_epoch_log(log_path if first else None, known.history):
            pass  # opening it writes the epochs that it lacks
        dataset = open_dataset(config, data_dir, log)
        check_fingerprint(known, dataset)
        return evaluate_on_test_set(known, dataset, json_path) if first else None
    dataset = open_dataset(config, data_dir, log)
    check_all_read(own, [config], dataset, given)
    from jvae.cli.progress import Extent, show_progress
    from jvae.runs import api
    from jvae.runs.checkpoint import save
    from jvae.runs.plan import plan_of, split_rows
    from jvae.runs.selection import kept_epochs

    devices = use_mesh(mesh, config.runs, config.batch_size)
    model, saved = known, 0 if known is None else len(known.history)
    again = "" if recipe_path is None else f" --recipe {shlex.quote(str(recipe_path))}"
    hint = f"continue with `jvae train --resume --model {shlex.quote(str(model_path))}{again}`"
    with interruptible() as interruption:
        interruption.asks = hosts is not None  # a single process has nothing to save yet, and one step may take long
        interruption.hint = "nothing was saved" if known is None else hint

        def chunk_done(at: "Progress") -> None:
            interruption.asks = True
            told.chunk(at)

        try:
            images, _ = split_rows(plan_of(config), len(dataset.train_images))
            extent = Extent(config.epochs, len(images), config.runs, saved)
            told = show_progress(extent, log, first and sys.stderr.isatty())
            place = lambda at: log(f"training on {describe_placement(config.runs, devices, backend, at)}")  # noqa: E731
            stop = lambda: bool(interruption)  # noqa: E731
            how = api.Conditions(devices, stream, stop, chosen=place, progress=chunk_done, snapshots=snapshots)
            epochs = api.train_config_epochs(config, dataset, resume=known, how=how, own=own)
        except ValueError as error:
            raise usage_error(error) from error
        if known is not None:
            log(f"resuming after epoch {saved} of {config.epochs}")
        with told, open_epoch_log(log_path if first else None, [] if known is None else known.history) as write_epoch:
            try:
                for model in epochs:
                    if first:
                        with owned.saving():
                            save(model_path, model)
                        interruption.hint = hint
                    if len(model.history) == saved:
                        continue  # it was stopped within an epoch
                    saved = len(model.history)
                    write_epoch(model.history[-1])
                    told.epoch(model.history[-1])
            except NonFiniteError as error:
                left = f"; {model_path} holds epoch {saved}, the last good one" if saved else ""
                raise NonFiniteError(f"{error}{left}") from error
    if code := agree(interruption.exit_code):
        log(interruption.describe(code))
        context.exit(code)
    interruption.hint = f"the training is finished, and {model_path} written"
    if not first or model is None:
        return
    if config.keep == "best" or config.patience > 0:
        log(f"kept epoch {', '.join(map(str, kept_epochs(model)))}")
    with contextlib.suppress(OSError):  # a stdout that broke ends the command when everything is written
        tell(f"wrote {model_path}")
    evaluate_on_test_set(model, dataset, json_path)


def evaluate_on_test_set(model: "TrainedModel", dataset: "Dataset", json_path: Path | None) -> None:
    """Report a trained model's bound of the test set, and write it with the history."""
    from jvae.files import write_json
    from jvae.runs import api
    from jvae.view import report

    evaluations = api.evaluate(model, dataset)
    if json_path is not None:
        write_json(json_path, {**report.all_values(evaluations, model), "history": model.history})
    tell(report.describe_all(evaluations, model))


def own_outputs(context: click.Context, *paths: Path | None) -> None:
    """Own the files of a training until the command ends.

    Raises:
        JvaeError: another process owns one.
    """
    for path in paths:
        if path is not None and not is_stream(path):
            context.with_resource(owning(path))


def own_outputs_of_all(context: click.Context, first: bool, *paths: Path | None) -> None:
    """Own the files of a training of several hosts, in their first process; if it cannot, all of them end.

    Raises:
        JvaeError: another process owns one.
    """
    from jvae.runs.mesh import agree

    refused = None
    try:
        own_outputs(context, *paths if first else ())
    except JvaeError as error:
        refused = error
    if agree(int(refused is not None)):
        raise refused or JvaeError("the first process cannot own its files, and says why")


def continued(
    path: Path, given: dict[str, Any], own: "OwnRecipe | None", snapshots: int | None = None
) -> "TrainedModel":
    """Return the model to resume, perhaps with more epochs.

    Raises:
        ModelFileError: it cannot be resumed.
        click.UsageError: it cannot be resumed with this number of epochs or of snapshots.
    """
    from dataclasses import replace

    epochs = given.get("epochs")
    from jvae.errors import ModelFileError
    from jvae.runs.plan import plan_of
    from jvae.runs.recipe_file import fields_read

    repeated = {name: value for name, value in given.items() if name != "epochs"}
    model = open_model(path, repeated, own, to_resume=True)
    if model.config is None:
        raise ModelFileError(f"{path}: was trained from Python: resume it from there")
    if snapshots is not None and (model.snapshots is None or snapshots != model.snapshots.asked):
        theirs = "without them" if model.snapshots is None else f"with {model.snapshots.asked}"
        raise click.UsageError(f"--snapshots is {snapshots}, but {path} was trained {theirs} from its first step on")
    try:
        config = moved(model.config, {name: value for name, value in given.items() if name in DATA_FIELDS})
    except ValueError as error:
        raise usage_error(error) from error
    model = model._replace(config=config)
    state = model.state
    if state is None:
        raise ModelFileError(f"{path}: cannot be resumed: {model.no_state}")
    if epochs is not None and epochs != config.epochs:
        if epochs < int(state.epoch):
            trained = f"{state.epoch} epochs{state.in_part}"
            raise click.UsageError(f"--epochs is {epochs}, but {path} has been trained for {trained}")
        if config.schedule != "constant":
            raise click.UsageError(
                f"--epochs is {epochs}, but the {config.schedule} schedule of {path} ends after {config.epochs}"
            )
        if own is not None and "epochs" in fields_read(own, config, model.data_shape, state.num_steps):
            raise click.UsageError(f"--epochs is {epochs}, but {own.file.name} reads config.epochs, {config.epochs}")
        try:
            config = replace(config, epochs=epochs)
        except ValueError as error:
            raise usage_error(error) from error
        model = model._replace(config=config, plan=plan_of(config))
    return model


def is_finished(model: "TrainedModel") -> bool:
    """Return True if no epoch is left to train, or all runs have stopped."""
    return len(model.history) == model.plan.epochs or model.state is None or not model.state.running.any()
