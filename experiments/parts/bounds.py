"""Tight bounds: how far is the ELBO from the log-evidence, and does it help to train on a tighter bound?

Question: how do IWAE bounds rise with K, and is a model trained on IWAE, or with several draws, better?
Source:   Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders.
Command:  python -m experiments bounds --output report
Expected: IWAE-1000 -91.0 (ELBO), -88.1 (ELBO, 5 draws), -86.4 (IWAE, 5 draws), in nats.
Minutes:  10.
"""

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.parts import exact
from experiments.reporting.comparison import row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import judge, mean_and_sd, what_is_shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PROSE = Prose(__file__)


def measure(lab: Lab, images: int | None = None, most: int | None = None, draws: int = 5) -> Measured:
    """Measure IWAE bounds of models trained on the ELBO, with one draw and several, and on the IWAE bound."""
    images, most = images or lab.settings.choose(1000, 200), most or lab.settings.choose(1000, 100)
    numbers = [*(k for k in (1, 10, 100, 1000, 10_000) if k < most), most]
    several: dict[str, Any] = {"num_samples": draws}
    variations: dict[str, dict[str, Any]] = {
        "ELBO, 1 draw": {},
        f"ELBO, {draws} draws": several,
        f"IWAE, {draws} draws": {"bound": "iwae", **several},
    }
    rows = []
    for name, variation in variations.items():
        models = lab.models(**variation)
        found = [lab.importance(models, k, images) for k in numbers]
        values = [[evaluation.iwae.value for evaluation in each] for each in zip(*found, strict=True)]
        sizes = [evaluation.median_effective_sample_size for evaluation in found[-1]]
        rows.append({**row_of(lab, name, models), "iwae": values, "effective_sample_size": sizes})
    counts = {"draws": numbers, "images": min(images, len(lab.data.test_images))}
    return {"rows": rows, **counts}, {"bounds": plot_bounds(numbers, rows)}


def tell(values: Values) -> Story:
    """Tell the table, the ELBO's distance from the tightest bound, and what training on a tighter bound changes."""
    rows, numbers = values["rows"], values["draws"]
    lines = [
        [
            row["name"],
            mean_and_sd(row["elbo"]),
            *(mean_and_sd(column) for column in np.array(row["iwae"]).T.tolist()),
            mean_and_sd(row["effective_sample_size"], 1),
        ]
        for row in rows
    ]
    one, several, iwae = rows
    most = numbers[-1]
    tightest = {row["name"]: np.array(row["iwae"])[:, -1].tolist() for row in rows}
    gaps = np.subtract(tightest[one["name"]], np.array(one["iwae"])[:, 0]).tolist()
    tighter = judge(tightest[iwae["name"]], tightest[several["name"]])
    elbo = judge(iwae["elbo"], several["elbo"])
    more = judge(tightest[several["name"]], tightest[one["name"]])
    header = ["trained on", "ELBO, all images", *(f"IWAE-{k}" for k in numbers), f"effective sample size of {most}"]
    text = PROSE(
        "text",
        bounds=table(header, lines),
        shown=what_is_shown(len(one["elbo"])),
        images=values["images"],
        most=most,
        gap=mean_and_sd(gaps),
        more=more.says(PROSE, "answer"),
        tighter=tighter.says(PROSE, "answer"),
        elbo=elbo.says(PROSE, "answer"),
        why=f" {PROSE('why')}" if tighter.word == "better" and elbo.word == "worse" else "",
    )
    found = {"gap": mean_and_sd(gaps), "tighter": tighter.brief(), "elbo": elbo.brief()}
    return Story(PROSE("short", most=most, images=values["images"], **found), text)


def plot_bounds(draws: list[int], rows: list[dict[str, Any]]) -> "Figure":
    """Plot the bound against the number of draws that evaluate it, one line per training bound."""
    from jvae.view.plots import figure, soften

    fig = figure(6.4, 4.4)
    ax = fig.subplots()
    for row in rows:
        values = np.array(row["iwae"])
        middle = values.mean(axis=0)
        (line,) = ax.plot(draws, middle, "o-", label=row["name"])
        ax.fill_between(draws, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.15)
    ax.set_xscale("log")
    ax.set_xlabel("draws per image in the evaluation, K")
    ax.set_ylabel("IWAE-K, nats per image")
    ax.set_title("bounds of the test set's log-evidence (band: all seeds)", fontsize=11)
    ax.legend(title="trained on", frameon=False)
    soften(ax)
    return fig


PART = Part(
    name="bounds",
    title="Study: tight bounds",
    question="How far is the ELBO from the log-evidence, and does it help to train on a tighter bound?",
    help=__doc__,
    minutes=lambda s: s.choose(80, 10) / 60 + s.runs * s.epochs * (2 * 8 + 2.3) / 60,
    measure=measure,
    tell=tell,
    instead=(exact.PART,),
    options=(
        click.option(
            "--images", type=click.IntRange(2), help="test images that IWAE is evaluated on; 1000, 200 with --quick"
        ),
        click.option(
            "--most", type=click.IntRange(1), help="the largest number of draws in an evaluation; 1000, or 100"
        ),
        click.option("--draws", type=click.IntRange(2), help="draws per image in a training step, where several; 5"),
    ),
)
