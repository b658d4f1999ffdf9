"""Selection: one of a model's runs, and the epochs whose parameters a model holds."""

import math
from dataclasses import replace
from typing import SupportsIndex

import jax

from jvae.errors import whole_number
from jvae.runs.checkpoint import TrainedModel
from jvae.runs.snapshots import rows_of
from jvae.runs.state import runs_of


def kept_epochs(model: TrainedModel) -> list[int]:
    """Return the epoch, from 1, whose parameters the model holds, for every run.

    Raises:
        ValueError: the model has no history, as with imported weights.
    """
    if not model.history:
        raise ValueError("the model has no history: no epoch of it was trained here")
    last = [select_run(model, i).history[-1] for i in range(model.num_runs)]
    return [record.get("kept", record["epoch"]) for record in last]


def select_run(model: TrainedModel, run: SupportsIndex) -> TrainedModel:
    """Return run i of a model, as if trained alone with its seed; its seconds are an equal share of the total.

    Raises:
        ValueError: there is no such run.
    """
    model.run_params(run)
    run = whole_number("run", run)
    if model.num_runs == 1:
        return model
    rows, seed = slice(run, run + 1), model.plan.seeds[run]
    history = [
        {name: value[run] if isinstance(value, list) else value for name, value in record.items()}
        | {"seconds": record["seconds"] / model.num_runs}
        for record in model.history
        if record["bound"][run] is not None
    ]
    end = math.inf if len(history) == len(model.history) or not history else history[-1]["epoch"]
    return model._replace(
        plan=model.plan._replace(seeds=(seed,)),
        params=jax.tree.map(lambda leaf: leaf[rows], model.params),
        state=None if model.state is None else runs_of(model.state, rows),
        history=history,
        config=None if model.config is None else replace(model.config, seed=seed, runs=1),
        snapshots=None if model.snapshots is None else rows_of(model.snapshots, rows, end),
    )
