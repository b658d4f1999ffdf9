"""Exercise 1.2: the Kullback-Leibler divergence, in closed form, by Monte Carlo, and in its two directions.

Question: what is the KL between Gaussians, why are the sheet's expressions (8) and (9) of the ELBO the same, and which
          way round is the divergence?
Source:   the sheet's exercise 1.2; the derivation is in exercise_1_2.md.
Command:  python -m experiments kl --output report
Expected: closed forms within four standard errors of Monte Carlo, and equal to distrax's; always on the digits.
Minutes:  0.5.
"""

from pathlib import Path
from typing import Any

import click

from experiments.parts.kl_directions import LOCS, SCALES, WEIGHTS, best_fits, moments, plot_directions
from experiments.parts.kl_estimates import divergences, linear_rows, network_row
from experiments.reporting.comparison import figures, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.settings import Settings, shared_options
from experiments.reporting.verdicts import SURE, margin

EXPRESSIONS = ("model, q", "exact", "(8) ± s.e.", "(9) ± s.e.", "variance (8)", "(9)", "of the gradient (8)", "(9)")
FAR = 4.5
"""Standard errors: of 14 Gaussian estimates, as many as there are here, one is off by more in 10,000 repetitions."""


def measure(lab: Lab, draws: int = 10_000, vae_epochs: int = 20) -> Measured:
    """Divergences three ways, both expressions of the ELBO, and the best Gaussians of a bimodal density."""
    import jax

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
    return Measured(values, {"directions": plot_directions(fits)})


def tell(values: dict[str, Any]) -> Story:
    """The tables, and whether closed forms, Monte Carlo and distrax agree."""
    pairs, rows = values["pairs"], values["expressions"]
    off = [abs(pair["drawn"][0] - pair["closed"]) / pair["drawn"][1] for pair in pairs]
    theirs = max(abs(pair["closed"] / pair["distrax"] - 1) for pair in pairs)
    agree = max(off) < FAR and theirs < 1e-4
    divergent = "agree" if agree else "**do not agree, which must not be**"
    gaps = [
        abs(estimate[0] - row["exact"]) / max(estimate[1], 1e-3)
        for row in rows
        if row["exact"] is not None
        for estimate in row["values"]
    ]
    known = max(gaps) < FAR
    bound, gradient = (noisier(rows, i, values["draws"]) for i in range(2))
    divergence_rows = [
        [
            pair["name"],
            f"{pair['closed']:.4f}",
            f"{pair['drawn'][0]:.4f} ± {pair['drawn'][1]:.4f}",
            f"{pair['distrax']:.4f}",
        ]
        for pair in pairs
    ]
    expression_rows = [
        [
            row["name"],
            "" if row["exact"] is None else f"{row['exact']:.3f}",
            *(f"{value:.3f} ± {error:.3f}" for value, error in row["values"]),
            *(figures(value) for value in (*row["variances"], *row["gradient_variances"])),
        ]
        for row in rows
    ]
    fits = [
        [fit["name"], *(f"{fit[part]:.4f}" for part in ("loc", "scale", "q_from_p", "p_from_q"))]
        for fit in values["fits"]
    ]
    left, right, covering = values["fits"]
    seeks = left["scale"] < values["sd"] / 1.5 and right["scale"] < values["sd"] / 1.5
    covers = abs(covering["loc"] - values["mean"]) < 0.01 and abs(covering["scale"] - values["sd"]) < 0.01
    mixture = " + ".join(f"{w} N({m}, {s}²)" for w, m, s in zip(WEIGHTS, LOCS, SCALES, strict=True))
    text = f"""#### Closed forms

{table(["KL, nats", "closed form", "Monte Carlo ± standard error", "distrax"], divergence_rows)}

Over {values["draws"]:,} draws each, the closed form and Monte Carlo {divergent} (at most {max(off):.1f} standard
errors apart), and the closed form is distrax's within {theirs:.0e} relative.

#### The two expressions of the ELBO

(8) is the mean of log p(x, z) - log q(z|x); (9) is the mean of log p(x|z) less the KL in closed form. They have one
expectation, derived below. On the digits, nats per image; the variance is that of one draw at a fixed image; the
gradient is in q's loc.

{table(EXPRESSIONS, expression_rows)}

Where the exact value is known, both expressions {"have it" if known else "**miss it, which must not be**"} (at most
{max(gaps):.1f} standard errors off). Which has more variance is judged on the same draws of both, by {100 * SURE:g} %
intervals.

- As an estimate of the *bound*, {told(bound)}.
- As an estimate of its *gradient*, {told(gradient)}.

#### The two directions

p = {mixture}, of mean {values["mean"]:.4f} and standard deviation {values["sd"]:.4f}; q = N(μ, σ²) is found by Adam.

{table(["q minimises", "μ", "σ", "KL(q‖p)", "KL(p‖q)"], fits)}

KL(q‖p), the ELBO's, {"seeks one mode, and the start decides which" if seeks else "did not settle on one mode"};
KL(p‖q) {"covers both, with p's own mean and variance" if covers else "did not reach p's own mean and variance"}.

![Above, Gaussians that minimise each direction; below, each direction for N(μ, σ²) and N(0, 1)](directions.png)"""
    short = (
        f"Closed forms derived below; they, Monte Carlo and distrax {divergent.replace('**', '')}. (8) and (9) "
        f"{'have one expectation' if known else 'differ, which must not be'}; of the bound (9) is the "
        f"noisier estimate in {len(bound['(9)'])} of {len(rows)} cases and (8) in {len(bound['(8)'])}, of its gradient "
        f"(9) in {len(gradient['(9)'])} and (8) in {len(gradient['(8)'])}."
    )
    return Story(short, text, sound=agree and known)


def noisier(rows: list[dict[str, Any]], which: int, draws: int) -> dict[str, list[str]]:
    """The rows by the expression that has more variance there: of the bound, or, the second, of its gradient."""
    found: dict[str, list[str]] = {"(8)": [], "(9)": [], "neither": []}
    for row in rows:
        change, error = row["changes"][which]
        noise = margin(error, draws, SURE)
        found["(9)" if change > noise else "(8)" if change < -noise else "neither"].append(row["name"])
    return found


def told(found: dict[str, list[str]]) -> str:
    """Who has more variance, and where."""
    words = {
        "(8)": "(8) has more variance for",
        "(9)": "(9) has more variance for",
        "neither": "Neither has more beyond the noise for",
    }
    return ". ".join(f"{words[who]} {'; '.join(names)}" for who, names in found.items() if names)


PART = Part(
    name="kl",
    title="Exercise 1.2: the KL divergence and the ELBO",
    question="What is the KL divergence between Gaussians in closed form, and why are the two expressions of the ELBO "
    "the same?",
    minutes=lambda s: 0.5,
    measure=measure,
    tell=tell,
    uses=("device", "quick"),
    derivation="exercise_1_2.md",
)


@click.command()
@shared_options
@click.option("--draws", type=click.IntRange(2), help="of every Monte Carlo estimate; 10000")
@click.option("--vae-epochs", type=click.IntRange(1), help="of the VAE on the digits; 20")
def kl(settings: Settings, output: Path | None, draws: int | None, vae_epochs: int | None) -> None:
    """Is the closed form right, which of the two ELBO expressions has less variance, and which way round is the KL?"""
    run_part(PART, settings, output, draws=draws, vae_epochs=vae_epochs)
