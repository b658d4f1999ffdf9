"""Exercise 1.2: the Kullback-Leibler divergence, in closed form, by Monte Carlo, and in its two directions.

Question: what is the KL between Gaussians, why are the sheet's expressions (8) and (9) of the ELBO the same, and which
          way round is the divergence?
Source:   the sheet's exercise 1.2; the derivation is in exercise_1_2.md.
Command:  python -m experiments kl --output report
Expected: closed forms within 4.5 standard errors of Monte Carlo, and equal to distrax's; always on the digits.
Minutes:  0.5.
"""

from typing import Any

import click

from experiments.parts.kl_directions import LOCS, SCALES, WEIGHTS, best_fits, moments, plot_directions
from experiments.parts.kl_estimates import divergences, linear_rows, network_row
from experiments.reporting.comparison import figures, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import SURE, margin

PROSE = Prose(__file__)
EXPRESSIONS = (
    *("model, q", "exact", "(8) ± s.e.", "(9) ± s.e."),
    *("variance of (8)", "variance of (9)", "variance of (8)'s gradient", "variance of (9)'s gradient"),
)
FAR = 4.5
"""Standard errors: any of the 14 estimates, if Gaussian, is off by more once in 10,000 repetitions."""


def measure(lab: Lab, draws: int | None = None, vae_epochs: int | None = None) -> Measured:
    """Measure divergences three ways, both expressions of the ELBO, and the best Gaussians of a bimodal density."""
    import jax

    draws, vae_epochs = draws or lab.settings.choose(10_000, 2_000), vae_epochs or lab.settings.choose(20, 5)
    keys = jax.random.split(jax.random.key(0), 3)
    lab.say("divergences, closed and drawn")
    pairs = [
        {"name": name, "closed": closed, "drawn": list(drawn), "distrax": theirs}
        for name, closed, drawn, theirs in divergences(keys[0], draws)
    ]
    lab.say("both expressions of the ELBO")
    rows = [*linear_rows(keys[1], draws), network_row(keys[2], draws, vae_epochs)]
    fits = best_fits()
    mean, sd = moments()
    values = {
        "draws": draws, "pairs": pairs, "expressions": [row._asdict() for row in rows],
        "fits": [fit._asdict() for fit in fits], "mean": mean, "sd": sd,
    }  # fmt: skip
    return values, {"directions": plot_directions(fits)}


def tell(values: Values) -> Story:
    """Tell the tables, and whether closed forms, Monte Carlo and distrax agree."""
    pairs, rows = values["pairs"], values["expressions"]
    off = [abs(pair["drawn"][0] - pair["closed"]) / pair["drawn"][1] for pair in pairs]
    theirs = max(abs(pair["closed"] / pair["distrax"] - 1) for pair in pairs)
    agree = max(off) < FAR and theirs < 1e-4
    divergent = PROSE(f"closed forms: {agree}")
    gaps = [
        abs(estimate[0] - row["exact"]) / max(estimate[1], 1e-3)
        for row in rows
        if row["exact"] is not None
        for estimate in row["values"]
    ]
    known = max(gaps) < FAR
    bound, gradient = (noisier(rows, i, values["draws"]) for i in range(2))
    expression_rows = [
        [
            row["name"],
            "" if row["exact"] is None else f"{row['exact']:.3f}",
            *(f"{value:.3f} ± {error:.3f}" for value, error in row["values"]),
            *(figures(value) for value in (*row["variances"], *row["gradient_variances"])),
        ]
        for row in rows
    ]
    left, right, covering = values["fits"]
    seeks = left["scale"] < values["sd"] / 1.5 and right["scale"] < values["sd"] / 1.5
    covers = abs(covering["loc"] - values["mean"]) < 0.01 and abs(covering["scale"] - values["sd"]) < 0.01
    text = PROSE(
        "text",
        v=values,
        divergences=PROSE.each("divergence", pairs),
        divergent=divergent,
        off=max(off),
        theirs=theirs,
        expressions=table(EXPRESSIONS, expression_rows),
        known=PROSE(f"exact value: {known}"),
        gap=max(gaps),
        level=100 * SURE,
        bound=told(bound),
        gradient=told(gradient),
        mixture=" + ".join(f"{w} N({m}, {s}²)" for w, m, s in zip(WEIGHTS, LOCS, SCALES, strict=True)),
        fits=PROSE.each("fit", values["fits"]),
        seeks=PROSE(f"seeks: {seeks}"),
        covers=PROSE(f"covers: {covers}"),
    )
    short = PROSE(
        "short",
        divergent=divergent.replace("**", ""),
        known=PROSE(f"one expectation: {known}"),
        cases=len(rows),
        bound={name: len(noisy) for name, noisy in bound.items()},
        gradient={name: len(noisy) for name, noisy in gradient.items()},
    )
    return Story(short, text, sound=agree and known)


def noisier(rows: list[dict[str, Any]], which: int, draws: int) -> dict[str, list[str]]:
    """Return the rows' names by the expression with more variance: of the bound (which = 0) or its gradient (1)."""
    found: dict[str, list[str]] = {"(8)": [], "(9)": [], "neither": []}
    for row in rows:
        change, error = row["changes"][which]
        noise = margin(error, draws, SURE)
        found["(9)" if change > noise else "(8)" if change < -noise else "neither"].append(row["name"])
    return found


def told(found: dict[str, list[str]]) -> str:
    """Return in words which expression has more variance, and where."""
    return ". ".join(PROSE(f"noisier: {who}", names="; ".join(names)) for who, names in found.items() if names)


PART = Part(
    name="kl",
    title="Exercise 1.2: the KL divergence and the ELBO",
    question="What is the KL divergence between Gaussians in closed form, and why are the two expressions of the ELBO "
    "the same?",
    help=__doc__,
    minutes=lambda s: 0.5,
    measure=measure,
    tell=tell,
    uses=("device", "quick"),
    derivation="exercise_1_2.md",
    options=(
        click.option("--draws", type=click.IntRange(2), help="of every Monte Carlo estimate; 10000, or 2000"),
        click.option("--vae-epochs", type=click.IntRange(1), help="of the VAE on the digits; 20, or 5"),
    ),
)
