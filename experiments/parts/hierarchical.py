"""Exercise 1.3: the two-level VAE. Is a second level of latents worth having, and does it collapse?

Question: what is the ELBO of a VAE with two levels of latents, and what does the second level bring?
Source:   the sheet's exercise 1.3, equations (27) and (28); the derivation is in exercise_1_3.md.
Command:  python -m experiments hierarchical --output report
Expected: two levels -93.0 ± 1.0 nats, one level -95.1 ± 0.8; the upper level carries one nat of the KL.
Minutes:  5.
"""

from typing import Any

import click
import numpy as np

from experiments.reporting.comparison import Row, comparison_table, row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import judge, mean_and_sd

PROSE = Prose(__file__)


def measure(lab: Lab, upper_dim: int = 5) -> Measured:
    """Measure one level and two, with a Gaussian and with a mixture on top; the levels' KL and active units."""
    from jvae.runs import api
    from jvae.view import pictures

    two: dict[str, Any] = {"levels": 2, "upper_dim": upper_dim}
    rows, images = [], {}
    for name, variation in {"one level": {}, "two levels": two, "two levels, mixture": {**two, "prior": "mog"}}.items():
        models = lab.models(**variation)
        row = row_of(lab, name, models)
        levels = [api.diagnose(model, lab.data)[0].levels for model in models]
        row["level_kl"] = [[level.kl for level in each] for each in levels]
        row["active"] = [[level.active_units for level in each] for each in levels]
        rows.append(row)
        if name == "two levels":
            for level in (1, 2):
                images[f"prior-{level}"] = pictures.prior(models[0], lab.data, level=level - 1)
    return {"rows": rows, "upper_dim": upper_dim}, images


def tell(values: Values) -> Story:
    """Tell the table, and whether the second level helps, collapses, and gains from a mixture on top."""
    one, two, mixture = values["rows"]
    helps, adds = judge(two["elbo"], one["elbo"]), judge(mixture["elbo"], two["elbo"])
    lines, upper_dim = [], values["upper_dim"]
    for row in (two, mixture):
        lower, upper = np.array(row["level_kl"]).T.tolist()
        lines.append([row["name"], mean_and_sd(lower), mean_and_sd(upper)])
    collapse = collapse_of(two, upper_dim)
    text = PROSE(
        "text",
        comparison=comparison_table(
            values["rows"], **{"active units of z2": ["-", *(active_units(row, upper_dim) for row in (two, mixture))]}
        ),
        helps=helps.says(PROSE, "helps"),
        adds=adds.says(PROSE, "adds"),
        levels=table(["", "KL of z1", "KL of z2"], lines),
        collapse=collapse,
        mixture=collapse_of(mixture, upper_dim),
    )
    return Story(PROSE("short", helps=helps.brief(), collapse=collapse), text)


def active_units(row: Row, upper_dim: int) -> str:
    """Return the number of active units of the upper level for every seed, as text."""
    return f"{', '.join(str(units[1]) for units in row['active'])} of {upper_dim}"


def collapse_of(row: Row, upper_dim: int) -> str:
    """Return in words whether the upper level has collapsed, wholly or in part, and in how many seeds."""
    counts = [units[1] for units in row["active"]]
    seeds = {
        "none": counts.count(0),
        "only some": sum(0 < count < upper_dim for count in counts),
        "all": counts.count(upper_dim),
    }
    n = len(counts)
    found = [what + (f" in {number} of {n} seeds" if n > 1 else "") for what, number in seeds.items() if number]
    return f"of its dimensions the upper level uses {' and '.join(found)} ({active_units(row, upper_dim)} active)"


PART = Part(
    name="hierarchical",
    title="Exercise 1.3: the two-level VAE",
    question="What is the ELBO of a hierarchical VAE with p(x|z1) p(z1|z2) p(z2) and q(z1|x) q(z2|z1)? "
    "Does it help, trained?",
    help=__doc__,
    minutes=lambda s: 0.5 + s.runs * s.epochs * 3 * 2.6 / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_3.md",
    options=(click.option("--upper-dim", type=click.IntRange(1), help="dimension of z2; 5"),),
)
