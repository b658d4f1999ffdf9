"""Exercise 1.4: the code explained, and every explanation checked on the code.

Question: where is the reparametrisation trick, what are the dimensions of the ELBO's terms, what does Independent do,
          and what is the split (the exercise's chunk) for?
Source:   the sheet's exercise 1.4; the answers are in exercise_1_4.md, the checks in checks.py.
Command:  python -m experiments code
Expected: every claim holds.
Minutes:  0.2.
"""

from pathlib import Path
from typing import Any

import click

from experiments.parts.code_checks import CHECKS
from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.report import derivation
from experiments.reporting.settings import Settings, shared_options

ANSWERS = "exercise_1_4.md"


def measure(lab: Lab) -> Measured:
    """Every check of the claims."""
    return Measured({"checks": [check()._asdict() for check in CHECKS]}, {})


def tell(values: dict[str, Any]) -> Story:
    """The table of checks, and the answers to which they belong."""
    checks = values["checks"]
    wrong = [check["claim"] for check in checks if not check["holds"]]
    lines = [[c["claim"], c["question"], c["measured"], "yes" if c["holds"] else "**no**"] for c in checks]
    verdict = (
        f"**Of {len(checks)} claims about the code, {len(wrong)} do not hold: {'; '.join(wrong)}.**"
        if wrong
        else f"**All {len(checks)} claims about the code hold.**"
    )
    text = f"""{table(["claim", "question", "measured", "holds"], lines)}

{verdict}

{derivation(ANSWERS)}"""
    return Story(f"Explained in the section. {verdict.replace('**', '')}", text, sound=not wrong)


PART = Part(
    name="code",
    title="Exercise 1.4: the code",
    question="Where is the reparametrisation trick, what are the dimensions of the ELBO's terms, what does Independent "
    "do, and what is the split of the encoder's output for?",
    minutes=lambda s: 0.2,
    measure=measure,
    tell=tell,
    uses=("device",),
)


@click.command()
@shared_options
def code(settings: Settings, output: Path | None) -> None:
    """Are the explanations of the code true of the code?"""
    run_part(PART, settings, output)
