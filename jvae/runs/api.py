"""What is done with a recipe or a configuration and data: training them, and evaluating what comes of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from jvae.data.datasets import Dataset
from jvae.diagnostics import Diagnostics, diagnose
from jvae.errors import DataError, ModelFileError, NonFiniteError
from jvae.evaluation import Evaluation, ImportanceEvaluation, evaluate, evaluate_iwae
from jvae.recipe import Recipe
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.config import Config, build_recipe, plan_of
from jvae.runs.ensemble import (
    PER_RUN_FIELDS,
    Chunk,
    RecipeOf,
    init_states,
    make_chunk,
    make_numbers,
    resident_batches,
    runs_at_a_time,
    share_a_program,
    streamed_batches,
)
from jvae.runs.loop import Chunking, Member, TakeSteps, run_epochs
from jvae.runs.mesh import RUNS, place
from jvae.runs.plan import Plan, RunNumbers, check_plan, split_rows
from jvae.runs.state import LoopState, init_loop_state, runs_of
from jvae.runs.streaming import fits_in_memory, streamed
from jvae.training import init_step_metrics, steps_per_epoch


class Conditions(NamedTuple):
    """How a training is computed; nothing that it comes to depends on it, but for rounding where devices differ."""

    mesh: Mesh | None = None
    """The devices to spread runs and batches over; None for one."""
    stream: bool | None = None
    """Whether to read the training data while they are used; None: only if the devices' memory cannot hold them."""
    interrupted: Callable[[], bool] = lambda: False
    """Asked after every chunk of steps: once it is true, what was trained is yielded, and the training ends."""
    chunking: Chunking = Chunking()
    runs_together: int | None = None
    """How many runs a device computes at a time; None: one on a CPU, all on an accelerator."""
    streamed_bytes: int = 2**26
    """How much a streamed training reads at a time."""


DEFAULT = Conditions()


def train(
    recipe: Recipe, plan: Plan, dataset: Dataset, resume: TrainedModel | None = None, how: Conditions = DEFAULT
) -> Iterator[TrainedModel]:
    """Train a recipe, and yield the model as it stands after every epoch.

    Run i depends on its seed alone, whatever other runs there are. A yielded model's arrays are donated to the next
    epoch: read or save them before asking for the next.

    Args:
        recipe: what to train.
        plan: how long and from which seeds.
        dataset: on what.
        resume: a model of this recipe to go on from, for as many epochs in all as the plan says.
        how: on which devices, and when to stop.

    Raises:
        ValueError: at once, if recipe, plan and data do not fit each other.
        DataError: at once, if the model to go on from was trained on other data.
        ModelFileError: at once, if that model holds only parameters.
        NonFiniteError: while training, at the first epoch with a value that is not finite.
    """
    check_plan(plan)
    numbers = make_numbers(plan.seeds, [1.0] * len(plan.seeds), [1.0] * len(plan.seeds))
    members = [Member(recipe, plan, None, slice(0, len(plan.seeds)), [])]
    return (finite(model) for (model,) in train_members(lambda _: recipe, numbers, members, dataset, resume, how))


def train_config(
    config: Config, dataset: Dataset, resume: TrainedModel | None = None, how: Conditions = DEFAULT
) -> Iterator[TrainedModel]:
    """Train what a configuration says, as `train` does: run i has the seed config.seed + i."""
    return (finite(model) for (model,) in train_configs([config], dataset, resume, how))


def train_configs(
    configs: Sequence[Config], dataset: Dataset, resume: TrainedModel | None = None, how: Conditions = DEFAULT
) -> Iterator[list[TrainedModel | NonFiniteError]]:
    """Train the runs of several configurations in one program, and yield the model of each after every epoch.

    The configurations differ in nothing but `PER_RUN_FIELDS`. One that meets a value that is not finite ends alone: the
    error stands in its model's place. A model to go on from is of the only configuration.

    Raises:
        ValueError: at once, if the configurations do not go together or do not fit the data.
    """
    config, shape = configs[0], dataset.train_images.shape[1:]
    if not all(share_a_program(config, other) for other in configs):
        raise ValueError(f"the configurations differ in more than {', '.join(PER_RUN_FIELDS)}")
    steps = count_steps(plan_of(config), dataset)
    members, start = [], 0
    for other in configs:
        recipe, rows = build_recipe(other, shape, steps), slice(start, start + other.runs)
        members.append(Member(recipe, plan_of(other), other, rows, []))
        start += other.runs
    each = [member for member in members for _ in member.plan.seeds]
    seeds = [seed for member in members for seed in member.plan.seeds]
    rates, betas = ([getattr(m.config, name) for m in each] for name in ("learning_rate", "beta"))
    recipe_of = partial(build_recipe, config, shape, steps)
    return train_members(recipe_of, make_numbers(seeds, rates, betas), members, dataset, resume, how)


def train_members(
    recipe_of: RecipeOf,
    numbers: RunNumbers,
    members: Sequence[Member],
    dataset: Dataset,
    resume: TrainedModel | None,
    how: Conditions,
) -> Iterator[list[TrainedModel | NonFiniteError]]:
    """Train all members' runs in one program."""
    plan, data, mesh = members[0].plan, dataset.train_images, how.mesh
    kept, _ = split_rows(plan, len(data))
    num_runs, num_steps = len(numbers.learning_rate), count_steps(plan, dataset)
    if resume is None:
        states = init_states(recipe_of(None), numbers, data, kept)
        loop = init_loop_state(states, num_steps, plan.validation != "none")
    else:
        loop = state_to_resume(resume, dataset, num_steps)
        members[0].history.extend(resume.history)
    at_a_time = how.runs_together or runs_at_a_time(num_runs, jax.default_backend())
    if not fits_in_memory(data.nbytes) if how.stream is None else how.stream:
        chunk = make_chunk(recipe_of, streamed_batches(), at_a_time, mesh)
        take = streamed(chunk, numbers, data, kept, plan.batch_size, mesh, how.streamed_bytes)
    else:
        chunk = make_chunk(recipe_of, resident_batches(plan.batch_size), at_a_time, mesh)
        whole = data if len(kept) == len(data) else data[kept]
        take = resident(chunk, place(numbers, mesh, RUNS), place(whole, mesh))
    runs, metrics = place(loop.runs, mesh, RUNS), place(loop.step_metrics, mesh, RUNS)
    loop = loop._replace(runs=runs, step_metrics=metrics)
    return run_epochs(take, loop, members, dataset, validation_data(plan, dataset), how.interrupted, how.chunking)


def resident(chunk: Chunk, numbers: RunNumbers, data: UInt8[jax.Array, "n ..."]) -> TakeSteps:
    """Return what takes steps while all data are in the devices' memory."""
    compiled = jax.jit(chunk, donate_argnums=0)
    return lambda states, step_metrics, start, stop: compiled(states, numbers, data, (), step_metrics, start, stop)


def finite(model: TrainedModel | NonFiniteError) -> TrainedModel:
    """Return the model, or raise the error that stands in its place."""
    if isinstance(model, NonFiniteError):
        raise model
    return model


def count_steps(plan: Plan, dataset: Dataset) -> int:
    """Return the steps of an epoch over what is trained on.

    Raises:
        ValueError: there are fewer data than a batch holds, or none.
    """
    return steps_per_epoch(len(split_rows(plan, len(dataset.train_images))[0]), plan.batch_size)


def state_to_resume(model: TrainedModel, dataset: Dataset, num_steps: int) -> LoopState:
    """Return where the training of a model stood when it was saved.

    Raises:
        DataError: the data set is another one.
        ModelFileError: the model holds only parameters, or its epochs have another number of steps.
    """
    check_fingerprint(model, dataset)
    if model.state is None:
        raise ModelFileError("the model holds parameters only, as files of jvae 0.1.0 do: it cannot be gone on with")
    loop = model.state
    if loop.num_steps == num_steps:
        return loop
    if loop.done not in (0, loop.num_steps):
        raise ModelFileError(f"the model was stopped within an epoch of {loop.num_steps} steps, not {num_steps}")
    done = np.full_like(loop.done, num_steps if loop.done else 0)  # between two epochs their length may change
    return loop._replace(step_metrics=init_step_metrics(loop.runs, num_steps), done=done)


def validation_data(plan: Plan, dataset: Dataset) -> UInt8[np.ndarray, "v ..."] | None:
    """Return the data that judge the epochs, if any."""
    if plan.validation == "test":
        return dataset.test_images
    _, held_out = split_rows(plan, len(dataset.train_images))
    return None if held_out is None else dataset.train_images[held_out]


def kept_epochs(model: TrainedModel) -> list[int]:
    """Return the epoch, from 1, whose parameters the model holds, run by run."""
    last = [select_run(model, i).history[-1] for i in range(model.num_runs)]
    return [record.get("kept", record["epoch"]) for record in last]


def select_run(model: TrainedModel, run: int) -> TrainedModel:
    """Return run i of a model, as if trained alone with its seed; its seconds are a share of all.

    Raises:
        JvaeError: there is no such run.
    """
    model.run_params(run)
    if model.num_runs == 1:
        return model
    rows, seed = slice(run, run + 1), model.plan.seeds[run]
    history = [
        {name: value[run] if isinstance(value, list) else value for name, value in record.items()}
        | {"seconds": record["seconds"] / model.num_runs}
        for record in model.history
        if record["bound"][run] is not None
    ]
    return model._replace(
        plan=model.plan._replace(seeds=(seed,)),
        params=jax.tree.map(lambda leaf: leaf[rows], model.params),
        state=None if model.state is None else runs_of(model.state, rows),
        history=history,
        config=None if model.config is None else replace(model.config, seed=seed, runs=1),
    )


def evaluate_model(
    model: TrainedModel, dataset: Dataset, num_samples: int = 10, seed: int = 0, run: int = 0
) -> Evaluation:
    """Estimate the test-set ELBO of one run of a model, in nats per datum.

    Raises:
        DataError: the data set is not the one that the model was trained on.
    """
    check_fingerprint(model, dataset)
    vae, key = model.recipe.model, jax.random.key(seed)
    return evaluate(vae, model.run_params(run), key, dataset.test_images, model.recipe.transform, num_samples)


def evaluate_model_iwae(
    model: TrainedModel,
    dataset: Dataset,
    num_samples: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda n: None,
    run: int = 0,
) -> ImportanceEvaluation:
    """Estimate a run's importance-weighted bound of the test set, in nats per datum; progress as in `evaluate_iwae`."""
    check_fingerprint(model, dataset)
    vae, transform, key = model.recipe.model, model.recipe.transform, jax.random.key(seed)
    params, images = model.run_params(run), dataset.test_images
    return evaluate_iwae(vae, params, key, images, transform, num_samples, progress=progress)


def diagnose_model(model: TrainedModel, dataset: Dataset, seed: int = 0, run: int = 0) -> Diagnostics:
    """Return what a run of a model does with its latent space, over the test set."""
    check_fingerprint(model, dataset)
    vae, key = model.recipe.model, jax.random.key(seed)
    return diagnose(vae, model.run_params(run), key, dataset.test_images, model.recipe.transform)


def check_fingerprint(model: TrainedModel, dataset: Dataset) -> None:
    """Raise a DataError unless the data set is the one that the model was trained on."""
    if model.fingerprint != dataset.fingerprint:
        raise DataError(
            f"{dataset.name} is not the data set that the model was trained on: "
            f"fingerprint {dataset.fingerprint[:12]}, not {model.fingerprint[:12]}"
        )
