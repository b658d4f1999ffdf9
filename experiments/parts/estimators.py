"""Other gradients of the same bound, in training: does sticking the landing help the ELBO, and DReG IWAE?

Question: with `--estimator stl` instead of pathwise, and with `dreg` on IWAE, are ELBO and IWAE of the test set better?
Source:   Roeder, Wu & Duvenaud 2017, Sticking the Landing; Tucker et al. 2019, Doubly Reparameterized Gradient
          Estimators for Monte Carlo Objectives.
Command:  python -m experiments estimators --output report
Expected: sticking the landing trains to a higher ELBO, and DReG to a higher ELBO than IWAE's own gradient.
Minutes:  9.
"""

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.reporting.comparison import comparison_table, row_of
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import judge, mean_and_sd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROSE = Prose(__file__)
IMAGES, MOST = (1000, 200), (1000, 100)  # in the full form, and in the quick one


def measure(lab: Lab, draws: int = 5) -> Measured:
    """Measure ELBO and IWAE of models that are trained with either gradient of either bound."""
    iwae: dict[str, Any] = {"bound": "iwae", "num_samples": draws}
    variations: dict[str, dict[str, Any]] = {
        "ELBO, pathwise": {},
        "ELBO, STL": {"estimator": "stl"},
        f"IWAE-{draws}, pathwise": iwae,
        f"IWAE-{draws}, DReG": {"estimator": "dreg", **iwae},
    }
    images, most = lab.settings.choose(*IMAGES), lab.settings.choose(*MOST)
    rows = []
    for name, variation in variations.items():
        models = lab.models(**variation)
        row = row_of(lab, name, models)
        rows.append({**row, "iwae": [found.iwae.value for found in lab.importance(models, most, images)]})
    values = {"rows": rows, "most": most, "images": min(images, len(lab.data.test_images))}
    return values, {"seeds": plot(values)}


def plot(values: Values) -> "Figure":
    """Plot ELBO and IWAE of every training, with a line from a seed's pathwise training to the other one."""
    from jvae.view.plots import INK, figure, soften

    rows, n = values["rows"], len(values["rows"])
    fig = figure(10, 3.1)
    measures = {"elbo": "test ELBO", "iwae": f"IWAE-{values['most']}"}
    for ax, (measure, name) in zip(fig.subplots(1, 2, sharey=True), measures.items(), strict=True):
        for i, row in enumerate(rows):
            each = row[measure]
            if i % 2:  # beside the pathwise gradient of the same bound
                ax.plot([rows[i - 1][measure], each], [i - 1, i], color="0.75", linewidth=1, zorder=1)
            ax.plot(each, [i] * len(each), "o", color=f"C{i % 2}", markersize=6, zorder=2)
            ax.plot(float(np.mean(each)), i, "|", color=INK, markersize=20, markeredgewidth=2, zorder=3)
        ax.set_yticks(range(n), [row["name"] for row in rows])
        ax.set_ylim(n - 0.5, -0.5)
        ax.locator_params(axis="x", nbins=6)
        ax.set_xlabel(f"{name}, nats per image")
        soften(ax)
    fig.suptitle("a dot a seed, a bar their mean, a line from one gradient to the other", fontsize=11)
    return fig


def tell(values: Values) -> Story:
    """Tell the table, and what each estimator changes compared with the pathwise one of the same bound."""
    pathwise, stl, iwae, dreg = rows = values["rows"]
    changes = {
        f"{estimator}_{measure}": judge(ours[measure], theirs[measure])
        for estimator, ours, theirs in (("stl", stl, pathwise), ("dreg", dreg, iwae))
        for measure in ("elbo", "iwae")
    }
    text = PROSE(
        "text",
        results=comparison_table(rows, **{f"IWAE-{values['most']}": [mean_and_sd(row["iwae"]) for row in rows]}),
        images=values["images"],
        most=values["most"],
        **{name: verdict.says(PROSE, "answer") for name, verdict in changes.items()},
    )
    brief = {name: verdict.brief() for name, verdict in changes.items()}
    return Story(PROSE("short", most=values["most"], **brief), text)


PART = Part(
    name="estimators",
    title="Study: sticking the landing and DReG in training",
    question="Does another unbiased gradient of the same bound - sticking the landing of the ELBO, DReG of IWAE - "
    "train a better model?",
    help=__doc__,
    minutes=lambda s: s.choose(60, 10) / 60 + s.runs * s.epochs * (2 * 3 + 2 * 8) / 60,
    measure=measure,
    tell=tell,
    options=(click.option("--draws", type=click.IntRange(2), help="per image in a training step, of IWAE; 5"),),
)
