"""The epoch loop: take steps in chunks, then summarise, check, validate, stop early and checkpoint."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PyTree, Shaped, UInt8

from jvae.bounds import iwae
from jvae.data.dataset import Dataset
from jvae.errors import NonFiniteError
from jvae.evaluation import evaluate
from jvae.recipe import Recipe
from jvae.runs.checkpoint import TrainedModel, current_versions
from jvae.runs.conditions import Conditions, Progress
from jvae.runs.config import Config
from jvae.runs.early_stopping import is_warming_up, judge_epoch, stop_runs
from jvae.runs.importance import evaluate_iwae
from jvae.runs.mesh import agree, fetch
from jvae.runs.numerics import current_settings
from jvae.runs.plan import Plan
from jvae.runs.portions import Portion
from jvae.runs.recipe_file import RecipeFile
from jvae.runs.snapshots import Snapshots, planned_steps, rows_of, take_snapshot
from jvae.runs.state import LoopState, runs_of
from jvae.training import EpochMetrics, StepMetrics, TrainState, summarise

TERMS = {"reconstruction": "the reconstruction log p(x|z)", "kl": "the KL", "bound": "the bound"}


class Member(NamedTuple):
    """One of the trainings that share a program: its runs, and their records."""

    recipe: Recipe
    """What is trained."""
    plan: Plan
    """How long, on which batches and from which seeds it is trained, and how its epochs are judged."""
    rows: slice
    """The slice of its runs on the axis of runs."""
    history: list[dict[str, Any]]
    """One record per epoch so far, as in `TrainedModel`; the loop adds to it."""
    config: Config | None = None
    """The configuration that the recipe was built from, if any."""
    recipe_file: RecipeFile | None = None
    """The recipe file that made the recipe, if any."""


class Judging(NamedTuple):
    """What judges every epoch: the bound of these data."""

    data: UInt8[np.ndarray, "v ..."]
    """The validation data."""
    portion: Portion
    """How much of their bound is computed at a time."""


TakeSteps = Callable[[TrainState, StepMetrics, int, int], tuple[TrainState, StepMetrics]]
"""`(states, step_metrics, start, stop) -> (states, step_metrics)`: take all runs' steps start, ..., stop - 1."""


def run_epochs(
    take: TakeSteps,
    loop: LoopState,
    members: Sequence[Member],
    dataset: Dataset,
    judging: Judging | None,
    how: Conditions,
    snapshots: Snapshots | None = None,
) -> Iterator[list[TrainedModel | NonFiniteError]]:
    """Run the epoch loop, and yield every member's model, or its error, after every epoch.

    There is one host sync per chunk, and another if an epoch is validated. Yielded models are donated to the next
    chunk: read or save them before asking for the next ones. A chunk ends where a snapshot is due.
    """
    plan, length = members[0].plan, how.chunking.first_steps
    due = [] if snapshots is None else planned_steps(snapshots.asked, plan.epochs * loop.num_steps)
    if loop.steps_taken == 0:
        snapshots = take_due(snapshots, due, loop)
    failed: dict[int, NonFiniteError] = {}
    started = time.perf_counter()
    while (loop.epoch < plan.epochs or not loop.epoch_is_over) and loop.running.any():
        loop, length = take_chunk(take, loop, length, how.chunking.seconds, due)
        snapshots = take_due(snapshots, due, loop)
        how.progress(Progress(int(loop.epoch), int(loop.done), loop.num_steps, int(loop.running.sum())))
        whole, summary = loop._replace(step_metrics=jax.device_get(fetch(loop.step_metrics))), None
        if loop.epoch_is_over:
            whole = whole._replace(runs=fetch(whole.runs))
            summary = jax.device_get(summarise_runs(whole.runs, whole.step_metrics))
        ran = loop.running
        whole, errors = check(members, whole, partial(check_steps, loop=whole, summary=summary))
        failed |= errors
        if summary is not None:
            values = {name: value.astype(np.float64) for name, value in summary.mean._asdict().items()}
            if judging is not None:
                bound = validate(members[0].recipe, whole.runs.params, len(whole.running), judging)
                whole, errors = check(members, whole, partial(check_bound, loop=whole, bound=bound))
                failed |= errors
                rising = runs_warming_up(members, int(loop.epoch), loop.num_steps)
                whole = judge_epoch(whole, bound, plan.keep == "best", plan.patience, rising)
                values |= {"validation": bound, "kept": whole.kept_epoch}
            seconds = (time.perf_counter() - started) / len(members)
            going = [member for i, member in enumerate(members) if i not in failed]
            record(going, int(loop.epoch), values, ran, seconds)
        ending = bool(agree(int(how.interrupted()))) or not whole.running.any()
        if summary is not None or ending:
            if summary is None:  # otherwise they were fetched for the summary
                whole = whole._replace(runs=fetch(whole.runs))
            yield [failed.get(i) or checkpoint(member, whole, dataset, snapshots) for i, member in enumerate(members)]
            started = time.perf_counter()
        if ending:
            return
        loop = whole._replace(runs=loop.runs, step_metrics=loop.step_metrics)


def take_chunk(
    take: TakeSteps, loop: LoopState, length: int, seconds: float, ends: Sequence[int] = ()
) -> tuple[LoopState, int]:
    """Take at most `length` steps of this epoch or the next, and return the number of steps that fill a chunk's time.

    The chunk does not pass the next of the training's steps in `ends`, which are increasing.
    """
    metrics = loop.step_metrics
    if loop.epoch_is_over:
        loop = loop._replace(epoch=np.asarray(loop.epoch + 1), done=np.zeros_like(loop.done))
        metrics = jax.tree.map(jnp.zeros_like, metrics)
    start = int(loop.done)
    ahead = next((end - loop.steps_taken for end in ends if end > loop.steps_taken), length)
    stop = min(loop.num_steps, start + min(length, ahead))
    began = time.perf_counter()
    runs, metrics = jax.block_until_ready(take(loop.runs, metrics, start, stop))
    length = agree(max(1, round((stop - start) * seconds / (time.perf_counter() - began))))
    return loop._replace(runs=runs, step_metrics=metrics, done=np.full_like(loop.done, stop)), length


def take_due(snapshots: Snapshots | None, due: Sequence[int], loop: LoopState) -> Snapshots | None:
    """Return the snapshots, with one of the current step if it is due."""
    if snapshots is None or loop.steps_taken not in due:
        return snapshots
    step, epochs = int(np.asarray(fetch(loop.runs.step))[0]), int(loop.epoch) - 1 + int(loop.done) / loop.num_steps
    return take_snapshot(snapshots, step, epochs, loop.runs.params)


@jax.jit
def summarise_runs(states: TrainState, step_metrics: StepMetrics) -> EpochMetrics:
    """Return the epoch's metrics of every run."""
    return jax.vmap(summarise)(states, step_metrics)


def check(
    members: Sequence[Member], loop: LoopState, test: Callable[[Member], None]
) -> tuple[LoopState, dict[int, NonFiniteError]]:
    """Stop the members for which a test raises a NonFiniteError, and return their errors by member."""
    failed = {}
    for i, member in enumerate(members):
        try:
            test(member)
        except NonFiniteError as error:
            failed[i] = error
            loop = stop_runs(loop, member.rows)
    return loop, failed


def check_steps(member: Member, loop: LoopState, summary: EpochMetrics | None) -> None:
    """Raise a NonFiniteError unless a member's steps, and after an epoch its parameters, are finite."""
    metrics = jax.tree.map(lambda leaf: leaf[member.rows], loop.step_metrics)
    finite = np.ones(len(member.plan.seeds), bool) if summary is None else summary.params_finite[member.rows]
    check_finite(member, metrics, np.asarray(finite), int(loop.epoch), loop.running[member.rows])


def check_bound(member: Member, loop: LoopState, bound: Float[np.ndarray, " r"]) -> None:
    """Raise a NonFiniteError that names run and epoch unless the validation bound of every running run is finite."""
    for run in np.flatnonzero(loop.running[member.rows] & ~np.isfinite(bound[member.rows])):
        raise NonFiniteError(
            f"the validation bound{of_run(member, run)} is not finite at epoch {int(loop.epoch)}, though training is: "
            "a datum of the validation data may have no density"
        )


def of_run(member: Member, run: SupportsIndex) -> str:
    """Return the words that name one of a member's runs; empty if it is the only one."""
    seeds = member.plan.seeds
    return f" of the run with seed {seeds[run]}" if len(seeds) > 1 else ""


def check_finite(
    member: Member,
    step_metrics: StepMetrics,
    params_finite: Bool[np.ndarray, " r"],
    epoch: int,
    running: Bool[np.ndarray, " r"],
) -> None:
    """Raise a NonFiniteError that names term, run, epoch and step unless every running run's values are finite."""
    num_steps = step_metrics.sizes.shape[1]
    for run in np.flatnonzero(running):
        steps = {term: ~np.isfinite(getattr(step_metrics.metrics, name)[run]) for name, term in TERMS.items()}
        broken = [(int(np.argmax(bad)), term) for term, bad in steps.items() if bad.any()]
        if not broken and not params_finite[run]:
            broken = [(num_steps - 1, "a parameter")]
        if broken:
            step, what = min(broken, key=lambda found: found[0])
            than = "" if member.config is None else f" than {member.config.learning_rate:g}"
            raise NonFiniteError(
                f"{what}{of_run(member, run)} is not finite at epoch {epoch}, step {step + 1} of {num_steps}; "
                f"a lower learning rate{than} may help"
            )


def validate(recipe: Recipe, params: PyTree, num_runs: int, judging: Judging) -> Float[np.ndarray, " r"]:
    """Return every run's validation bound, in nats per datum: the one-draw ELBO, or IWAE if that is trained.

    The noise is the same at every epoch and for every run.
    """
    rest, portion, found = (jax.random.key(0), judging.data, recipe.transform), judging.portion, []
    for model, some, _ in portion.groups(recipe.model, params, num_runs):
        if recipe.bound is iwae:
            weighed = evaluate_iwae(model, some, *rest, recipe.num_samples, *portion.sizes)
            found += [each.iwae.value for each in weighed]
        else:
            found += [each.elbo.value for each in evaluate(model, some, *rest, 1, *portion.sizes)]
    return np.array(found)


def runs_warming_up(members: Sequence[Member], epoch: int, num_steps: int) -> Bool[np.ndarray, " r"]:
    """Return, for every run, if its KL had not reached its full weight when an epoch of `num_steps` steps began."""
    each = [(is_warming_up(m.recipe.kl_weight, epoch, m.plan.epochs, num_steps), len(m.plan.seeds)) for m in members]
    return np.concatenate([np.full(runs, rising) for rising, runs in each])


def record(
    members: Sequence[Member],
    epoch: int,
    values: dict[str, Shaped[np.ndarray, " r"]],
    ran: Bool[np.ndarray, " r"],
    seconds: float,
) -> None:
    """Add the epoch to the history of every member with a running run: numbers, or lists with None for stopped runs."""
    for member in members:
        rows = member.rows
        if not ran[rows].any():
            continue
        line: dict[str, Any] = {"epoch": epoch}
        for name, value in values.items():
            each = [v if runs else None for v, runs in zip(value[rows].tolist(), ran[rows], strict=True)]
            line[name] = each[0] if len(each) == 1 else each
        member.history.append({**line, "seconds": seconds})


def checkpoint(member: Member, loop: LoopState, dataset: Dataset, snapshots: Snapshots | None = None) -> TrainedModel:
    """Return one member's trained model, with everything that resuming needs."""
    whole = member.rows == slice(0, len(loop.running))
    state = loop if whole else runs_of(loop, member.rows)
    return TrainedModel(
        recipe=member.recipe,
        plan=member.plan,
        params=state.params,
        state=state,
        history=member.history.copy(),
        data_name=dataset.name,
        data_shape=dataset.train_images.shape[1:],
        fingerprint=dataset.fingerprint,
        versions=current_versions(),
        config=member.config,
        recipe_file=member.recipe_file,
        settings=current_settings(),
        snapshots=snapshots if snapshots is None or whole else rows_of(snapshots, member.rows),
    )
