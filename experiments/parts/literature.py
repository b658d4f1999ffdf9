"""The literature: published results, and what jvae obtains.

Question: does jvae reproduce published log-likelihoods of dynamically binarised MNIST?
Source:   Burda, Grosse & Salakhutdinov 2016; Tomczak & Welling 2018: experiments/literature has a recipe file for each.
Command:  python -m experiments literature --output report
Expected: -86.76 within 0.5 (IWAE, k = 1); -84.50 within 0.3 and -82.38 within 0.4 (standard prior, VampPrior).
Minutes:  hours per row on two cores, in as many sessions as you like: --minutes 60 ends one, and the next goes on
          where it stopped; 3 with --quick, which is too short to compare.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.literature.rows import DEFAULT, FOLDER, ROWS, Row
from experiments.reporting.comparison import table
from experiments.reporting.findings import RESULTS, STATE
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from jvae.cli.near import Choice

if TYPE_CHECKING:
    from jvae.runs.checkpoint import TrainedModel

PROSE = Prose(__file__)
DRAWS = 5000
SAVE_SECONDS = 60.0
"""The least time between two saves of a training."""


def measure(lab: Lab, rows: tuple[str, ...] = (), seeds: int = 1, minutes: float | None = None) -> Measured:
    """Train and evaluate rows, or resume them; results that were finished earlier are kept."""
    from jvae.errors import JvaeError

    if lab.settings.dataset != "mnist" and not lab.settings.quick:
        raise JvaeError(f"--dataset is {lab.settings.dataset}: the published rows are of mnist; --quick takes any data")
    ending = time.monotonic() + 60 * minutes if minutes else float("inf")
    known = earlier(lab.folder / "literature" / RESULTS, lab.settings.quick, lab.data.fingerprint)
    found = {}
    for name, row in ROWS.items():
        each = {seed["seed"]: seed for seed in known.get(name, ())}
        for seed in (seed for seed, one in each.items() if one["finished"]):
            state_file(lab, name, seed).unlink(missing_ok=True)  # only now: its result is kept
        for seed in range(seeds) if name in (rows or DEFAULT) else ():
            if seed not in each or not each[seed]["finished"]:
                each[seed] = of_seed(lab, name, row, seed, ending)
        if each:
            found[name] = row_of(name, row, [each[seed] for seed in sorted(each)])
    return {"rows": list(found.values()), "quick": lab.settings.quick}, {}


def earlier(path: Path, quick: bool, fingerprint: str) -> dict[str, list[dict[str, Any]]]:
    """Return every row's seeds from an earlier sitting with the same data, by the row's id."""
    try:
        found = json.loads(path.read_text())
        same = (found["settings"]["quick"], found["settings"]["fingerprint"]) == (quick, fingerprint)
        return {row["id"]: row["seeds"] for row in found["values"]["rows"]} if same else {}
    except (OSError, ValueError, KeyError):
        return {}


def is_finished(row: dict[str, Any]) -> bool:
    """Return True if every seed of a row was trained to its end."""
    return all(each["finished"] for each in row["seeds"])


def unfinished(values: Values) -> list[str]:
    """Return what the rows are that are not trained to their end, of those that are trained by default or begun."""
    known = [row["id"] for row in values["rows"]]
    begun = [row["what"] for row in values["rows"] if not is_finished(row)]
    return [*begun, *(ROWS[name].what for name in DEFAULT if name not in known)]


def row_of(name: str, row: Row, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row of the table from the results of its seeds."""
    obtained: dict[str, float | None] = {"value": None, "standard_error": None, "monte_carlo_error": None}
    if is_finished({"seeds": seeds}):
        value, error, drawn = (np.array([each[term] for each in seeds]) for term in obtained)
        n = len(seeds)
        obtained = {
            "value": float(value.mean()),
            "standard_error": float(value.std(ddof=1) / n**0.5 if n > 1 else error[0]),
            "monte_carlo_error": float(np.sqrt(np.sum(drawn**2)) / n),
        }
    return {
        "id": name,
        **{field: getattr(row, field) for field in ("paper", "what", "reference", "within", "others")},
        "obtained": obtained,
        "seeds": seeds,
        "epochs": min(each["epochs"] for each in seeds),
        "epochs_asked": row.epochs,
        "seconds": sum(each["seconds"] for each in seeds),
        "versions": seeds[0]["versions"],
    }


def state_file(lab: Lab, name: str, seed: int) -> Path:
    """Return the path of the unfinished training of a row's seed."""
    form = "-quick" if lab.settings.quick else ""
    return lab.folder / "literature" / STATE / f"{name}-seed{seed}{form}.npz"


def of_seed(lab: Lab, name: str, row: Row, seed: int, ending: float) -> dict[str, Any]:
    """Train and evaluate one seed of a row; its results are None while it is not trained to its end."""
    from jvae.runs.checkpoint import current_versions
    from jvae.runs.importance import evaluate_iwae

    model, ended = train(lab, name, row, seed, state_file(lab, name, seed), ending)
    values: dict[str, Any] = {"value": None, "standard_error": None, "monte_carlo_error": None}
    if ended:
        import jax

        draws, images = lab.settings.choose(DRAWS, 50), lab.data.test_images[: lab.settings.choose(10_000, 200)]
        lab.say(f"{name}: log p(x) of {len(images):,} images by {draws:,} importance samples")
        given = (model.recipe.model, model.run_params(), jax.random.key(0), images, model.recipe.transform)
        values = evaluate_iwae(*given, draws)[0].iwae._asdict()
    return {
        "seed": seed,
        "finished": ended,
        **values,
        "epochs": len(model.history),
        "seconds": sum(line["seconds"] for line in model.history),
        "versions": current_versions(),
    }


def train(lab: Lab, name: str, row: Row, seed: int, path: Path, ending: float) -> "tuple[TrainedModel, bool]":
    """Train one seed of a row, or resume it, until it is finished or the time is up; return True if it is finished."""
    from jvae.files import make_folder
    from jvae.runs import api
    from jvae.runs.checkpoint import load, save
    from jvae.runs.config import Config
    from jvae.runs.recipe_file import load_recipe_file

    quick, data = lab.settings.quick, lab.data
    if quick:  # one epoch of few images
        data = data._replace(train_images=data.train_images[:2000], train_labels=data.train_labels[:2000])
    epochs = 1 if quick else row.epochs
    config = Config(dataset=lab.settings.dataset, epochs=epochs, batch_size=row.batch_size, seed=seed, **row.options)
    own = load_recipe_file(FOLDER / row.recipe)
    make_folder(path.parent)
    model = known = load(path, own.make) if path.exists() else None
    how = api.Conditions(interrupted=lambda: time.monotonic() > ending)
    saved = time.monotonic()
    for model in api.train_config_epochs(config, data, resume=known, how=how, own=own):
        if time.monotonic() - saved > SAVE_SECONDS:
            save(path, model)
            saved = time.monotonic()
        lab.say(f"{name}, seed {seed}: epoch {len(model.history)}/{epochs}")
    assert model is not None
    assert model.state is not None
    save(path, model)
    return model, len(model.history) == epochs or not model.state.running.any()


def tell(values: Values) -> Story:
    """Tell obtained beside reference, and which rows are reproduced."""
    lines, missed, reproduced = [], [], []
    for row in values["rows"]:
        obtained, ended = row["obtained"], is_finished(row)
        away = obtained["value"] - row["reference"] if ended else None
        compared = "" if away is None or values["quick"] else f"{away:+.2f}"
        if compared and row["within"] is not None and abs(away or 0.0) > row["within"]:
            missed.append(f"{row['what']} by {away:+.2f} nats")
        elif compared and row["within"] is not None:
            beside = f"{obtained['value']:.2f} nats beside {row['reference']:.2f}"
            reproduced.append(f"{row['what']}: {beside}, within {row['within']:g}")
        lines.append(
            [
                f"{row['what']} ({row['paper']})",
                f"{obtained['value']:.2f} ± {obtained['standard_error']:.2f}" if ended else "unfinished",
                f"{row['reference']:.2f}",
                compared,
                "-" if row["within"] is None else f"{row['within']:g}",
                row["others"] or "-",
                f"{row['epochs']:,} of {row['epochs_asked']:,}",
                len(row["seeds"]),
                f"{row['seconds'] / 3600:.1f}",
            ]
        )
    left = unfinished(values)
    header = ["model", "obtained ± s.e.", "paper", "difference", "judged within", "others", "epochs", "seeds", "hours"]
    if values["quick"]:
        verdict = PROSE("too short")
    elif missed:
        verdict = PROSE("missed", rows="; ".join(missed))
    else:
        verdict = PROSE("reproduced", rows="; ".join(reproduced)) if reproduced else PROSE("none")
    more = f" {PROSE('unfinished', rows=', '.join(left))}" if left else ""
    return Story(verdict + more, PROSE("text", rows=table(header, lines), verdict=verdict + more), sound=not missed)


PART = Part(
    name="literature",
    title="Study: the literature",
    question="Does jvae reproduce published log-likelihoods?",
    help=__doc__,
    minutes=lambda s: s.choose(60 * round(sum(ROWS[name].hours for name in DEFAULT)), 3),
    measure=measure,
    tell=tell,
    uses=("dataset", "device", "quick"),
    steering=("rows", "seeds", "minutes"),
    finished=lambda values: not unfinished(values),
    worked=lambda values: sum(row["seconds"] for row in values["rows"]),
    alone=lambda settings: not settings.quick,
    options=(
        click.option(
            "--rows",
            type=Choice(list(ROWS)),
            metavar="ROW",
            multiple=True,
            help=f"a row to train, of {', '.join(ROWS)}; by default {', '.join(DEFAULT)}",
        ),
        click.option("--seeds", type=click.IntRange(1), help="of each row; 1"),
        click.option("--minutes", type=click.FloatRange(0, min_open=True), help="after which a session ends"),
    ),
)
