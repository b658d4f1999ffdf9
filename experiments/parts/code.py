"""Exercise 1.4: the code explained, and every explanation checked on the code.

Question: where is the reparametrisation trick, what are the dimensions of the ELBO's terms, what does Independent do,
          and what is the split (the exercise's chunk) for?
Source:   the sheet's exercise 1.4; the answers are in exercise_1_4.md, the checks in code_checks.py.
Command:  python -m experiments code
Expected: every claim holds.
Minutes:  0.2.
"""

from experiments.parts.code_checks import CHECKS
from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.report import derivation

ANSWERS = "exercise_1_4.md"
PROSE = Prose(__file__)


def measure(lab: Lab) -> Measured:
    """Check every claim."""
    return {"checks": [check()._asdict() for check in CHECKS]}, {}


def tell(values: Values) -> Story:
    """Tell the table of checks, and the answers that they belong to."""
    checks = values["checks"]
    wrong = [check["claim"] for check in checks if not check["holds"]]
    lines = [[c["claim"], c["question"], c["measured"], "yes" if c["holds"] else "**no**"] for c in checks]
    claims = table(["claim", "question", "measured", "holds"], lines)
    if wrong:
        verdict = PROSE("some do not hold", number=len(checks), wrong=len(wrong), claims="; ".join(wrong))
    else:
        verdict = PROSE("all hold", number=len(checks))
    text = PROSE("text", claims=claims, verdict=verdict, answers=derivation(ANSWERS))
    return Story(PROSE("short", verdict=verdict.replace("**", "")), text, sound=not wrong)


PART = Part(
    name="code",
    title="Exercise 1.4: the code",
    question="Where is the reparametrisation trick, what are the dimensions of the ELBO's terms, what does Independent "
    "do, and what is the split of the encoder's output for?",
    help=__doc__,
    minutes=lambda s: 0.2,
    measure=measure,
    tell=tell,
    uses=("device",),
)
