"""Training: the runs of a recipe, or of configurations that share a program, epoch by epoch."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jvae.data.dataset import Dataset
from jvae.errors import DataError, ModelFileError, NonFiniteError
from jvae.recipe import Recipe, check_recipe
from jvae.runs.archive import check_arrays
from jvae.runs.checkpoint import TrainedModel, run_shapes
from jvae.runs.conditions import DEFAULT, Conditions, check_conditions
from jvae.runs.config import Config
from jvae.runs.ensemble import (
    PER_RUN_FIELDS,
    Chunk,
    RecipeOf,
    Together,
    init_states,
    make_chunk,
    make_numbers,
    make_recipe_of,
    resident_batches,
    share_a_program,
    streamed_batches,
    together,
)
from jvae.runs.fields import text_of
from jvae.runs.loop import Judging, Member, TakeSteps, run_epochs
from jvae.runs.memory import choose, fits_in_memory, tree_bytes
from jvae.runs.mesh import RUNS, agree, check_mesh, place, place_data
from jvae.runs.numbers import RunNumbers
from jvae.runs.plan import Plan, plan_of, split_rows
from jvae.runs.portions import validation_portion
from jvae.runs.recipe_file import READ_BY_PLAN, OwnRecipe
from jvae.runs.snapshots import check_room, start_snapshots
from jvae.runs.state import LoopState, init_loop_state
from jvae.runs.streaming import streamed
from jvae.training import init_step_metrics, steps_per_epoch


def train_plan(
    recipe: Recipe, plan: Plan, dataset: Dataset, resume: TrainedModel | None, how: Conditions
) -> Iterator[TrainedModel]:
    """Train a recipe according to a plan, and yield the model after every epoch; nothing if `resume` is finished.

    Raises:
        ValueError, DataError, ModelFileError, NotEnoughMemoryError: at once, as `train_members`.
        NonFiniteError: at an epoch, if it met a value that is not finite.
    """
    ones = [1.0] * len(plan.seeds)
    numbers = make_numbers(plan.seeds, ones, ones)
    members = [Member(recipe, plan, slice(0, len(plan.seeds)), [])]
    return (finite(model) for (model,) in train_members(lambda _: recipe, numbers, members, dataset, resume, how))


def train_configs(
    configs: Sequence[Config],
    dataset: Dataset,
    resume: TrainedModel | None = None,
    how: Conditions = DEFAULT,
    own: OwnRecipe | None = None,
) -> Iterator[list[TrainedModel | NonFiniteError]]:
    """Train the runs of several configurations in one program, and yield the model of each after every epoch.

    The configurations may differ only in `PER_RUN_FIELDS`. If one meets a value that is not finite, it alone ends, and
    its error is yielded in place of its model.

    Args:
        configs: the configurations.
        dataset: the data set.
        resume: a model of the configuration, which must be the only one, to continue from.
        how: the conditions of the training, such as its devices and when to stop.
        own: a function to use instead of `build_recipe`, for a single configuration: it cannot take traced numbers.

    Raises:
        ValueError: at once, if the configurations do not fit each other or the data, such as a test set that was not
            drawn, or `resume`.
        DataError, ModelFileError, NotEnoughMemoryError: at once, as `train_members`.
        JvaeError: at once, if the recipe file `own` fails.
    """
    config, shape = configs[0], dataset.train_images.shape[1:]
    steps = count_steps(plan_of(config), dataset)
    if not all(share_a_program(config, other) for other in configs):
        raise ValueError(f"the configurations differ in more than {', '.join(PER_RUN_FIELDS)}")
    check_drawn(config, dataset)
    if resume is not None and resume.config is not None:
        check_resumed(config, resume.config)
    recipes = [make_recipe_of(other, shape, steps, own) for other in configs]
    members, start = [], 0
    for other, recipe_of in zip(configs, recipes, strict=True):
        rows = slice(start, start + other.runs)
        members.append(Member(recipe_of(None), plan_of(other), rows, [], other, own and own.file))
        start += other.runs
    each = [member for member in members for _ in member.plan.seeds]
    seeds = [seed for member in members for seed in member.plan.seeds]
    rates, betas = ([getattr(m.config, name) for m in each] for name in ("learning_rate", "beta"))
    return train_members(recipes[0], make_numbers(seeds, rates, betas), members, dataset, resume, how)


def train_members(
    recipe_of: RecipeOf,
    numbers: RunNumbers,
    members: Sequence[Member],
    dataset: Dataset,
    resume: TrainedModel | None,
    how: Conditions,
) -> Iterator[list[TrainedModel | NonFiniteError]]:
    """Train all members' runs in one program, and yield the model of each, or its error, after every epoch.

    Raises:
        ValueError: at once, if recipe, plan, conditions and data do not fit each other, or the model to resume.
        DataError: at once, if the model to resume was trained on other data.
        ModelFileError: at once, if the model to resume holds only parameters, or epochs of another length.
        NotEnoughMemoryError: at once, if the training or its snapshots do not fit in memory.
    """
    check_conditions(how)
    check_mesh(how.mesh, len(numbers.learning_rate), members[0].plan.batch_size)
    for member in members:
        check_recipe(member.recipe)
    plan, data, mesh = members[0].plan, dataset.train_images, how.mesh
    kept, _ = split_rows(plan, len(data))
    num_steps, validated = count_steps(plan, dataset), validation_data(plan, dataset)
    stream = bool(agree(not fits_in_memory(data.nbytes))) if how.stream is None else how.stream
    snapshots = start_snapshots(how.snapshots, resume and resume.snapshots, resume is not None)
    at_a_time, program = choose_together(recipe_of, numbers, plan, data[:0], len(kept), stream, how)
    judging, num_runs = None, len(numbers.learning_rate)
    if validated is not None or snapshots is not None:
        params = run_shapes(recipe_of(None), data.shape[1:], num_runs).params
        if validated is not None:
            judging = Judging(validated, validation_portion(recipe_of(None), params, validated, num_runs, agree))
        if snapshots is not None:
            check_room(snapshots, params)
    how.chosen(at_a_time)
    if resume is None:
        states = init_states(recipe_of(None), numbers, data, kept)
        loop = init_loop_state(states, num_steps, plan.validation != "none")
    else:
        loop = state_to_resume(resume, recipe_of(None), plan, dataset, num_steps)
        members[0].history.extend(resume.history)
    if stream:
        chunk = make_chunk(recipe_of, streamed_batches(), at_a_time, mesh, how.steps_in_block)
        take = streamed(chunk, numbers, data, kept, plan.batch_size, mesh, how.streamed_bytes)
    else:
        if mesh is not None:
            batches = resident_batches(plan.batch_size)
            program = compiled_once(make_chunk(recipe_of, batches, at_a_time, mesh, how.steps_in_block))
        whole = data if len(kept) == len(data) else data[kept]
        take = resident(program, place(numbers, mesh, RUNS), place_data(whole, mesh))
    runs, metrics = place(loop.runs, mesh, RUNS), place(loop.step_metrics, mesh, RUNS)
    loop = loop._replace(runs=runs, step_metrics=metrics)
    return run_epochs(take, loop, members, dataset, judging, how, snapshots)


def compiled_once(chunk: Chunk) -> Any:
    """Return a chunk of steps as a compiled program that its states are donated to."""
    return jax.jit(chunk, donate_argnums=0)


def resident(program: Chunk, numbers: RunNumbers, data: UInt8[jax.Array, "n ..."]) -> TakeSteps:
    """Return a function that takes steps with all data in the devices' memory."""
    return lambda states, step_metrics, start, stop: program(states, numbers, data, (), step_metrics, start, stop)


def choose_together(
    recipe_of: RecipeOf,
    numbers: RunNumbers,
    plan: Plan,
    datum: UInt8[np.ndarray, "0 ..."],
    num_data: int,
    stream: bool,
    how: Conditions,
) -> tuple[Together, Chunk]:
    """Return how much is computed at a time, and the program for one device with all data in its memory.

    Args:
        recipe_of: a run's numbers -> its recipe.
        numbers: the numbers of all runs.
        plan: the plan of the training.
        datum: the shape and dtype of a datum.
        num_data: the number of data to train on.
        stream: True if they are read while they are used.
        how: the conditions of the training.

    Raises:
        ValueError: the recipe does not fit the data.
        NotEnoughMemoryError: the states of all runs, or one draw of one run's batch, do not fit in memory.
    """
    num_runs, devices = len(numbers.learning_rate), 1 if how.mesh is None else how.mesh.shape[RUNS]
    recipe, runs = recipe_of(None), num_runs // devices
    mine, states = jax.tree.map(lambda leaf: leaf[:runs], numbers), run_shapes(recipe, datum.shape[1:], runs)
    num_steps = steps_per_epoch(num_data, plan.batch_size)
    metrics = jax.eval_shape(partial(init_step_metrics, num_steps=num_steps), states)
    data = jax.ShapeDtypeStruct((plan.batch_size if stream else num_data, *datum.shape[1:]), datum.dtype)
    programs: dict[Together, Any] = {}

    def trace(at: Together) -> Any:
        if at not in programs:
            batches = resident_batches(plan.batch_size)
            programs[at] = compiled_once(make_chunk(recipe_of, batches, at, None, how.steps_in_block))
        return programs[at].trace(states, mine, data, (), metrics, 0, 1)

    kept = 0 if plan.validation == "none" else tree_bytes(states.params)
    other = kept + 3 * how.streamed_bytes * stream
    shared = jax.local_device_count() if how.mesh is not None and jax.default_backend() == "cpu" else 1
    sizes = together(runs, 1 if recipe.estimator else recipe.num_samples, jax.default_backend())
    if how.runs_together is not None:
        sizes = [Together(how.runs_together), *(at for at in sizes if at.runs < how.runs_together or at.draws)]
    at_a_time = choose(
        sizes,
        trace,
        "the training" if num_runs == 1 else f"the training of {num_runs:,} runs",
        lambda program: (program + other) * shared,
        agree,
        lambda ratio: f"; about {num_runs / ratio:,.0f} runs would fit" if num_runs >= 2 * ratio else "",
    )
    trace(at_a_time)  # it may be less than this process would choose
    return at_a_time, programs[at_a_time]


def finite(model: TrainedModel | NonFiniteError) -> TrainedModel:
    """Return the model, or raise the error in its place."""
    if isinstance(model, NonFiniteError):
        raise model
    return model


def count_steps(plan: Plan, dataset: Dataset) -> int:
    """Return the number of steps in an epoch over the data to train on.

    Raises:
        ValueError: there are no data, or fewer than the batch size.
    """
    return steps_per_epoch(len(split_rows(plan, len(dataset.train_images))[0]), plan.batch_size)


def check_resumed(config: Config, known: Config) -> None:
    """Raise a ValueError that names the first field of what is trained that is not as in the model to resume."""
    for name, theirs in known.to_dict().items():
        ours = getattr(config, name)
        if ours != theirs and (name not in READ_BY_PLAN or (name == "epochs" and known.schedule != "constant")):
            why = f", for its {known.schedule} schedule ends there" if name == "epochs" else ""
            raise ValueError(f"{name} is {text_of(ours)}: must be {text_of(theirs)}, as in the model to resume{why}")


def check_drawn(config: Config, dataset: Dataset) -> None:
    """Raise a ValueError unless the test set is binary, if the configuration's binarisation draws it once."""
    images = dataset.test_images
    if config.binarise == "stochastic" and not ((images == 0) | (images == 255)).all():
        raise ValueError(
            f"binarise is stochastic: the test set of {dataset.name} must be drawn, by "
            "load_dataset(..., binarise='stochastic') or jvae.data.dataset.draw_test_set"
        )


def state_to_resume(model: TrainedModel, recipe: Recipe, plan: Plan, dataset: Dataset, num_steps: int) -> LoopState:
    """Return the training state of a model, as it was saved.

    Raises:
        ValueError: its runs, its validation or its epochs do not fit the plan, or its unit or arrays the recipe.
        DataError: it was trained on another data set.
        ModelFileError: the model holds only parameters, or its epochs have another number of steps.
    """
    check_fingerprint(model, dataset)
    if recipe.unit != model.recipe.unit:
        raise ValueError(f"unit is {recipe.unit}: must be {model.recipe.unit}, as in the model to resume")
    if model.state is None:
        raise ModelFileError(f"the model cannot be resumed: {model.no_state or 'it holds only parameters'}")
    for name in ("seeds", "validation", "held_out"):
        ours, theirs = getattr(plan, name), getattr(model.plan, name)
        if ours != theirs:
            raise ValueError(f"{name} is {ours}: must be {theirs}, as in the model to resume")
    if plan.patience != model.plan.patience and not model.state.running.all():
        theirs = f"{model.plan.patience}, with which a run of the model to resume has stopped"
        raise ValueError(f"patience is {plan.patience}: must be {theirs}")
    if plan.epochs < (begun := max(len(model.history), int(model.state.epoch))):
        trained = f"{begun}{model.state.in_part}"
        raise ValueError(f"epochs is {plan.epochs}: the model to resume has been trained for {trained}")
    check_arrays(run_shapes(recipe, model.data_shape, len(plan.seeds)), model.state.runs)
    # a copy, for the steps' program reuses the memory of the states it is given
    loop = model.state._replace(runs=jax.tree.map(jnp.copy, model.state.runs))
    if plan.keep == "best" != model.plan.keep:  # the parameters of the best epoch so far were not kept
        loop = loop._replace(best=np.full_like(loop.best, -np.inf), waited=np.zeros_like(loop.waited))
    if loop.num_steps == num_steps:
        return loop
    if loop.done not in (0, loop.num_steps):
        raise ModelFileError(f"the model was stopped within an epoch of {loop.num_steps} steps, not {num_steps}")
    done = np.full_like(loop.done, num_steps if loop.done else 0)  # between epochs, their length may change
    return loop._replace(step_metrics=init_step_metrics(loop.runs, num_steps), done=done)


def validation_data(plan: Plan, dataset: Dataset) -> UInt8[np.ndarray, "v ..."] | None:
    """Return the validation data, if any.

    Raises:
        ValueError: the validation data are the test set, which is empty.
    """
    if plan.validation == "test":
        if not len(dataset.test_images):
            raise ValueError(f"validation is test: {dataset.name} has no test images")
        return dataset.test_images
    _, held_out = split_rows(plan, len(dataset.train_images))
    return None if held_out is None else dataset.train_images[held_out]


def check_fingerprint(model: TrainedModel, dataset: Dataset) -> None:
    """Raise a DataError unless the data set is the one that the model was trained on, with data of the same shape."""
    shape = dataset.test_images.shape[1:]
    if model.data_shape != shape:
        raise DataError(
            f"{dataset.name} has data of the shape {list(shape)}: the model's data have {list(model.data_shape)}"
        )
    if model.fingerprint != dataset.fingerprint:
        raise DataError(
            f"{dataset.name} is not the data set that the model was trained on: "
            f"fingerprint {dataset.fingerprint[:12]}, not {model.fingerprint[:12]}"
        )
