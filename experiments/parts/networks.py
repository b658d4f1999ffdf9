"""Exercise 1.8: convolutional networks.

Question: does a convolutional encoder and decoder improve the test-set ELBO, and what does it cost?
Source:   the sheet's exercise 1.8; the networks are described in exercise_1_8.md.
Command:  python -m experiments networks --output report
Expected: cnn -90.3 ± 2.3 nats, mlp -95.1 ± 0.8; a step takes five times as long.
Minutes:  8.
"""

from typing import Any

import numpy as np

from experiments.reporting.comparison import compare, comparison_table, ratios_to_first
from experiments.reporting.lab import Lab, config_of
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.steps import check_steps, steps_in_turn
from experiments.reporting.verdicts import judge

PROSE = Prose(__file__)


def measure(lab: Lab) -> Measured:
    """Compare the fully connected and the convolutional network, everything else equal."""
    from experiments.reporting.draws import rows_of_means
    from jvae.view import pictures

    check_steps(lab)
    variations: dict[str, dict[str, Any]] = {"fully connected": {}, "convolutional": {"network": "cnn"}}
    rows = compare(lab, variations)
    first = {name: lab.models(**variation)[0] for name, variation in variations.items()}
    images = {"samples": rows_of_means(first, "fully connected and convolutional (seed 0)")}
    images |= {f"reconstructions-{config_of(m).network}": pictures.reconstructions(m, lab.data) for m in first.values()}
    return {"rows": rows, "step_seconds": steps_in_turn(lab, variations)}, images


def tell(values: Values) -> Story:
    """Tell the table, whether convolutions help, where the difference lies, and the cost."""
    mlp, cnn = values["rows"]
    verdict = judge(cnn["elbo"], mlp["elbo"])
    reconstruction, kl = judge(cnn["reconstruction"], mlp["reconstruction"]), judge(cnn["kl"], mlp["kl"], True)
    ratios = ratios_to_first(values["step_seconds"])[cnn["name"]]
    text = PROSE(
        "text",
        comparison=comparison_table(
            values["rows"],
            parameters=[f"{row['parameters']:,}" for row in values["rows"]],
            **{"seconds a step": ["1", f"{np.median(ratios):.1f} times"]},
        ),
        verdict=verdict.says(PROSE, "verdict"),
        reconstruction=reconstruction.brief(),
        kl=kl.brief(),
        ratio=np.median(ratios),
        low=ratios.min(),
        high=ratios.max(),
        rounds=len(ratios),
        parameters=cnn["parameters"] / mlp["parameters"],
    )
    return Story(PROSE("short", verdict=verdict.brief(), ratio=np.median(ratios)), text)


PART = Part(
    name="networks",
    title="Exercise 1.8: convolutional networks",
    question="Do convolutional networks improve the test-set ELBO, and what do they cost?",
    help=__doc__,
    minutes=lambda s: 0.7 + s.runs * s.epochs * (13 + 2.3) / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_8.md",
)
