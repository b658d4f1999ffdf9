"""Results as readable lines and as JSON values."""

import math
from typing import Any

from jvae.diagnostics import ACTIVE, Diagnostics
from jvae.evaluation import Estimate, Evaluation, ImportanceEvaluation, spread
from jvae.runs.checkpoint import TrainedModel
from jvae.transforms import dequantise

PARTS = ("elbo", "reconstruction", "kl")
FEW = 10
"""The median effective sample size below which the bound says little about log p(x)."""
RISING = 0.01
"""The smallest rise of a bound with K, in nats, that is reported."""


def describe(evaluation: Evaluation, model: TrainedModel) -> str:
    """Return an evaluation as readable lines."""
    error = " (± standard error over images)" if evaluation.num_images > 1 else ""
    lines = [
        describe_size(evaluation) + error,
        model.recipe.unit,
        *(describe_estimate(name, getattr(evaluation, name)) for name in PARTS),
    ]
    if model.recipe.transform is dequantise:
        lines.append(f"  as a bound of the 256-valued images: {describe_discrete(evaluation.elbo, model.data_shape)}")
    return "\n".join(lines)


def describe_discrete(density: Estimate, data_shape: tuple[int, ...]) -> str:
    """Return a bound of a dequantised density as a bound for 256-valued data, in nats and bits per dimension."""
    d = math.prod(data_shape)
    nats = density.value - d * math.log(256)
    grey = len(data_shape) == 2 or (len(data_shape) == 3 and data_shape[-1] == 1)  # one number per pixel
    return f"{nats:.1f} nats, {-nats / d / math.log(2):.3f} bits per {'pixel' if grey else 'dimension'}"


def describe_estimate(name: str, e: Estimate) -> str:
    """Return a named estimate as a readable line."""
    error = "" if math.isnan(e.standard_error) else f" ± {e.standard_error:.3f}"
    drawn = "" if math.isnan(e.monte_carlo_error) else f"   Monte Carlo error {e.monte_carlo_error:.2g}"
    return f"  {name:<15}{e.value:10.3f}{error}{drawn}"


def describe_size(evaluation: Evaluation) -> str:
    """Return the numbers of images and of draws of an evaluation, in words."""
    return f"test set of {counted(evaluation.num_images, 'image')}, {counted(evaluation.num_samples, 'draw')} each"


def counted(number: int, noun: str) -> str:
    """Return a number of things, at least one, with their noun in the singular or the plural."""
    return f"{number} {noun}{'s' * (number > 1)}"


def describe_runs(evaluations: list[Evaluation], model: TrainedModel) -> str:
    """Return the evaluations of all runs of a model, one each, as a readable table."""
    first = evaluations[0]
    columns = run_columns(evaluations)
    lines = [f"{describe_size(first)}, {model.num_runs} runs", model.recipe.unit]
    lines.append(f"  {'seed':<20}" + "".join(f"{name:>16}" for name in columns))
    for i, seed in enumerate(model.plan.seeds):
        lines.append(f"  {seed:<20}" + "".join(f"{values[i]:16.3f}" for values in columns.values()))
    spreads = [spread(values) for values in columns.values()]
    for part in ("mean", "standard_deviation", "standard_error"):
        lines.append(f"  {part.replace('_', ' '):<20}" + "".join(f"{getattr(s, part):16.3f}" for s in spreads))
    lines += describe_looseness([e.importance for e in evaluations if e.importance is not None])
    return "\n".join(lines)


def run_columns(evaluations: list[Evaluation]) -> dict[str, list[float]]:
    """Return every bound and part, one value per run, in nats per image."""
    columns = {name: [getattr(e, name).value for e in evaluations] for name in PARTS}
    importance = [e.importance for e in evaluations if e.importance is not None]
    if importance:
        columns[f"iwae-{importance[0].num_samples}"] = [e.iwae.value for e in importance]
    return columns


def describe_all(evaluations: list[Evaluation], model: TrainedModel) -> str:
    """Return the evaluations of a model's runs, with importance-weighted bounds if there are any, as readable lines."""
    if model.num_runs > 1:
        return describe_runs(evaluations, model)
    (found,) = evaluations
    lines = describe(found, model)
    return lines if found.importance is None else f"{lines}\n{describe_importance(found.importance)}"


def all_values(evaluations: list[Evaluation], model: TrainedModel) -> dict[str, Any]:
    """Return the content of `describe_all`, and what was evaluated, as JSON values."""
    first, config, recipe_file = evaluations[0], model.config, model.recipe_file
    if model.num_runs > 1:
        columns = run_columns(evaluations)
        found = {"runs": {name: {**spread(values)._asdict(), "values": values} for name, values in columns.items()}}
    else:
        found = {name: getattr(first, name)._asdict() for name in PARTS}
        if first.importance is not None:
            found["iwae"] = {**first.importance._asdict(), "iwae": first.importance.iwae._asdict()}
    return {
        "unit": model.recipe.unit,
        **found,
        "num_images": first.num_images,
        "num_samples": first.num_samples,
        "config": None if config is None else config.to_dict(),
        "recipe_file": None if recipe_file is None else {"name": recipe_file.name, "sha256": recipe_file.sha256},
        "fingerprint": model.fingerprint,
        "versions": model.versions,
    }


def describe_importance(evaluation: ImportanceEvaluation) -> str:
    """Return an importance-weighted bound as readable lines."""
    k = evaluation.num_samples
    middle, least = evaluation.median_effective_sample_size, evaluation.least_effective_sample_size
    bound = describe_estimate(f"iwae-{k}", evaluation.iwae)
    sizes = f"  effective sample size: median {middle:.1f}, least {least:.1f} of {k}"
    return "\n".join([bound, sizes, *describe_looseness([evaluation])])


def describe_looseness(evaluations: list[ImportanceEvaluation]) -> list[str]:
    """Return a readable line if log p(x) lies above the bound of any of the runs, else no line."""
    loose = [evaluation for evaluation in evaluations if is_loose(evaluation)]
    if not loose:
        return []
    k, rise = loose[0].num_samples, max(evaluation.rise for evaluation in loose)
    rose = f": from {k / 2:g} to {k} draws it has risen by {rise:.3f} nats" if k > 1 else ""
    few = f"{counted(k, 'draw')} {'are' if k > 1 else 'is'} too few"
    return [f"  {few} for iwae-{k} to mean log p(x), which is higher{rose}"]


def is_loose(evaluation: ImportanceEvaluation) -> bool:
    """Return True if log p(x) lies above an importance-weighted bound by more than its Monte Carlo error.

    This is so if the bound still rises with K by more than two such errors, or if few draws carry the weight.
    """
    noise = max(2 * evaluation.iwae.monte_carlo_error, RISING)
    return evaluation.median_effective_sample_size < FEW or evaluation.rise > noise


def describe_diagnostics(diagnostics: Diagnostics) -> str:
    """Return diagnostics as readable lines."""
    lines = []
    for number, level in enumerate(diagnostics.levels, start=1):
        name = f"level {number}: " if len(diagnostics.levels) > 1 else ""
        active = "unknown from one image," if level.active_units is None else level.active_units
        kl = f"KL {level.kl:.2f}" if level.kl_in_closed_form else f"KL {level.kl:.2f} (one draw)"
        lines.append(f"  {name}active units {active} of {level.num_units} (variance of E[z|x] above {ACTIVE}), {kl}")
        if level.kl_in_closed_form and level.kl_per_dimension is not None:
            falling = " ".join(f"{kl:.2f}" for kl in sorted(level.kl_per_dimension, reverse=True))
            lines.append(f"  {name}KL by dimension, sorted: {falling}")
        if level.effective_components is not None:
            lines.append(f"  {name}effective components {level.effective_components:.1f} of {level.num_components}")
    if diagnostics.pixels_at_floor is not None:
        lines.append(f"  learned scales at their floor of exp(-6): {diagnostics.pixels_at_floor}")
    return "\n".join(lines)


def diagnostics_values(diagnostics: Diagnostics) -> dict[str, Any]:
    """Return diagnostics as JSON values."""
    return {"levels": [level._asdict() for level in diagnostics.levels], "pixels_at_floor": diagnostics.pixels_at_floor}
