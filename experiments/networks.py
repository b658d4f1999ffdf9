"""Exercise 1.8: convolutional networks.

Question: does a convolutional encoder and decoder improve the test-set ELBO, and what does it cost?
Source:   the sheet's exercise 1.8; the networks are described in exercise_1_8.md.
Command:  python -m experiments networks --output report
Expected: cnn -90.2 ± 3.1 nats, mlp -94.9 ± 1.0; an epoch takes six times as long.
Minutes:  8.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.comparison import compare, comparison_table
from experiments.lab import Lab
from experiments.part import Measured, Part, Story, run_part
from experiments.settings import Settings, shared_options
from experiments.verdicts import judge


def measure(lab: Lab) -> Measured:
    """The fully connected and the convolutional network, everything else equal."""
    from experiments.draws import rows_of_means
    from jvae import pictures

    variations: dict[str, dict[str, Any]] = {"mlp": {}, "cnn": {"network": "cnn"}}
    rows = compare(lab, variations)
    first = {name: lab.models(**variation)[0] for name, variation in variations.items()}
    images = {"samples": rows_of_means(first, "fully connected and convolutional (seed 0)")}
    images |= {f"reconstructions-{name}": pictures.reconstructions(m, lab.data, 0) for name, m in first.items()}
    return Measured({"rows": rows}, images)


def tell(values: dict[str, Any]) -> Story:
    """The table, whether convolutions help, where the difference lies, and the cost."""
    mlp, cnn = values["rows"]
    verdict = judge(cnn["elbo"], mlp["elbo"])
    reconstruction, kl = judge(cnn["reconstruction"], mlp["reconstruction"]), judge(cnn["kl"], mlp["kl"], True)
    ratio = float(np.median(cnn["seconds"]) / np.median(mlp["seconds"]))
    spreads = [float(np.std(row["elbo"], ddof=1)) if len(row["elbo"]) > 1 else float("nan") for row in (cnn, mlp)]
    wider = ""
    if spreads[1] > 0:
        wider = f" The spread over seeds is {spreads[0] / spreads[1]:.1f} times the fully connected network's."
    text = f"""#### Does it improve the test-set ELBO?

{comparison_table(values["rows"], parameters=[f"{row['parameters']:,}" for row in values["rows"]])}

{
        verdict.says(
            "**Yes, convolutions are better**", "**No, convolutions are worse**", "**No difference beyond the noise**"
        )
    } In the ELBO's parts: the reconstruction changes by {reconstruction.difference:+.2f} nats and the KL by
{kl.difference:+.2f} nats.{wider}

#### What does it cost?

{ratio:.1f} times the seconds an epoch, and {cnn["parameters"] / mlp["parameters"]:.2f} times the parameters.

![Means of p(x|z) at draws from the prior, seed 0](samples.png)

![Reconstructions, fully connected, seed 0](reconstructions-mlp.png)

![Reconstructions, convolutional, seed 0](reconstructions-cnn.png)"""
    return Story(f"Convolutional against fully connected: {verdict.brief()}, at {ratio:.1f} times the time.", text)


PART = Part(
    name="networks",
    title="Exercise 1.8: convolutional networks",
    question="Do convolutional networks improve the test-set ELBO, and what do they cost?",
    minutes=lambda s: 0.7 + s.runs * s.epochs * (13 + 2.3) / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_8.md",
)


@click.command()
@shared_options
def networks(settings: Settings, output: Path | None) -> None:
    """The fully connected and the convolutional network, everything else equal."""
    run_part(PART, settings, output)
