"""Several configurations side by side: each trained from several seeds, one row of a table each."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting.lab import Lab
from experiments.reporting.verdicts import judge, mean_and_sd, what_is_shown

Row = dict[str, Any]
"""The name, unit and parameters; and elbo, reconstruction and kl, one value per seed, in nats per image."""
TERMS = ("elbo", "reconstruction", "kl")
NUMBER = re.compile(r"[*+-]*[\d.]|-?$")
"""What the cells of a column of numbers begin with; some of them may be empty, or a dash."""


def compare(lab: Lab, variations: dict[str, dict[str, Any]]) -> list[Row]:
    """Train and evaluate every variation from every seed."""
    return [row_of(lab, name, lab.models(**variation)) for name, variation in variations.items()]


def row_of(lab: Lab, name: str, models: Sequence[Any]) -> Row:
    """Return the results of one variation's models."""
    import jax

    from jvae.runs.config import unit

    evaluations = lab.evaluations(models)
    terms = {term: [getattr(e, term).value for e in evaluations] for term in TERMS}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(models[0].state.params))
    return {"name": name, **terms, "parameters": parameters, "unit": unit(models[0].config)}


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; columns of numbers are right-aligned, except the first."""
    columns = list(zip(*rows, strict=True))[1:]
    aligned = ["---:" if all(NUMBER.match(str(cell)) for cell in column) else "---" for column in columns]
    lines = [header, ["---", *aligned], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def ratio_table(seconds: dict[str, list[float]], what: str) -> str:
    """Return medians, and the ratio of every time to the first one's of the same round, as a Markdown table."""
    ratios = ratios_to_first(seconds)
    lines = [[name, f"{np.median(seconds[name]):.2f} s", median_and_range(each)] for name, each in ratios.items()]
    return table(["", what, f"times {next(iter(seconds))}'s (range)"], lines)


def ratios_to_first(seconds: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Return the ratios of times [rounds] to the first one's of the same round, by name."""
    first = next(iter(seconds.values()))
    return {name: np.divide(each, first) for name, each in seconds.items()}


def median_and_range(ratios: np.ndarray) -> str:
    """Return the median, and the least and the largest, of ratios, as text."""
    return f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


def figures(value: float) -> str:
    """Return a positive number of any size with three significant figures."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def comparison_table(rows: Sequence[Row], **more: Sequence[str]) -> str:
    """Return the rows as a Markdown table, means and standard deviations over the seeds; more: further columns."""
    header = ["", "test ELBO", "reconstruction", "KL", *more]
    lines = []
    for i, row in enumerate(rows):
        elbo, reconstruction, kl = (mean_and_sd(row[term]) for term in TERMS)
        lines.append([row["name"], f"**{elbo}**", reconstruction, kl, *(column[i] for column in more.values())])
    units = "; ".join(sorted({row["unit"] for row in rows}))
    return f"{table(header, lines)}\n\n{what_is_shown(len(rows[0]['elbo']))}; {units}."


def highest(rows: Sequence[Row], names: Mapping[str, str] | None = None) -> str:
    """Return the name of the row with the highest mean ELBO, and its rivals within the noise, as `names` has them."""
    return first_of(rows, "elbo", names)[1]


def first_of(
    rows: Sequence[Row], term: str, names: Mapping[str, str] | None = None, smaller_is_better: bool = False
) -> tuple[Row, str]:
    """Return the row with the best mean of a term, and its name with its rivals within the noise, as in `highest`."""
    called = names or {row["name"]: row["name"] for row in rows}
    best = (min if smaller_is_better else max)(rows, key=lambda row: float(np.mean(row[term])))
    others = [row for row in rows if row is not best]
    rivals = [row for row in others if judge(best[term], row[term], smaller_is_better).word != "better"]
    if len(best[term]) == 1:
        beside = " (one seed, undecided)"
    else:
        beside = f" (within the noise of it: {'; '.join(called[r['name']] for r in rivals)})" if rivals else ""
    return best, called[best["name"]] + beside
