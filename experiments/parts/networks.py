"""Exercise 1.8: convolutional networks.

Question: does a convolutional encoder and decoder improve the test-set ELBO, and what does it cost?
Source:   the sheet's exercise 1.8; the networks are described in exercise_1_8.md.
Command:  python -m experiments networks --output report
Expected: cnn -90.3 ± 2.3 nats, mlp -95.1 ± 0.8; a step takes five times as long.
Minutes:  8.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.reporting.comparison import compare, comparison_table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.settings import Settings, shared_options
from experiments.reporting.verdicts import judge

ROUNDS, STEPS = 5, 20


def measure(lab: Lab) -> Measured:
    """The fully connected and the convolutional network, everything else equal."""
    from experiments.reporting.draws import rows_of_means
    from jvae.view import pictures

    variations: dict[str, dict[str, Any]] = {"mlp": {}, "cnn": {"network": "cnn"}}
    rows = compare(lab, variations)
    first = {name: lab.models(**variation)[0] for name, variation in variations.items()}
    images = {"samples": rows_of_means(first, "fully connected and convolutional (seed 0)")}
    images |= {f"reconstructions-{name}": pictures.reconstructions(m, lab.data, 0) for name, m in first.items()}
    return Measured({"rows": rows, "step_seconds": steps_in_turn(lab, variations)}, images)


def steps_in_turn(lab: Lab, variations: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """The seconds of a training step of each variation, round by round."""
    from jvae.tools.benchmark import compile_chunk

    chunks = {name: compile_chunk(lab.settings.config(**v), lab.data.train_images) for name, v in variations.items()}
    steps = min(STEPS, min(chunk.most for chunk in chunks.values()) - 1)
    lab.say(f"{ROUNDS} rounds of {steps} steps each, in turn")
    for chunk in chunks.values():
        chunk.take(1)
    rounds = [{name: chunk.step_seconds(steps) for name, chunk in chunks.items()} for _ in range(ROUNDS)]
    return {name: [each[name] for each in rounds] for name in chunks}


def tell(values: dict[str, Any]) -> Story:
    """The table, whether convolutions help, where the difference lies, and the cost."""
    mlp, cnn = values["rows"]
    verdict = judge(cnn["elbo"], mlp["elbo"])
    reconstruction, kl = judge(cnn["reconstruction"], mlp["reconstruction"]), judge(cnn["kl"], mlp["kl"], True)
    ratios = np.divide(values["step_seconds"]["cnn"], values["step_seconds"]["mlp"])
    ratio, low, high = np.median(ratios), ratios.min(), ratios.max()
    text = f"""#### Does it improve the test-set ELBO?

{comparison_table(values["rows"], parameters=[f"{row['parameters']:,}" for row in values["rows"]])}

{
        verdict.says(
            "**Yes, convolutions are better**", "**No, convolutions are worse**", "**No difference beyond the noise**"
        )
    } In the ELBO's parts: reconstruction: {reconstruction.brief()}; KL, the smaller the better:
{kl.brief()}.

#### What does it cost?

{ratio:.1f} times the seconds a training step ({low:.1f} to {high:.1f} in {len(ratios)} rounds of steps in turn), and
{cnn["parameters"] / mlp["parameters"]:.2f} times the parameters.

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
