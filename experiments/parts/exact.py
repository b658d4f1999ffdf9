"""The exact log-evidence in two dimensions: how far below it are the ELBO and IWAE, and q(z|x) from p(z|x)?

Question: with a latent dimension of 2, log p(x) is an integral over a plane: where do the bounds lie below it?
Source:   Burda, Grosse & Salakhutdinov 2016, Importance Weighted Autoencoders; Cremer, Li & Duvenaud 2018, Inference
          suboptimality in variational autoencoders.
Command:  python -m experiments exact --output report      (python -m experiments bounds --exact is the same)
Expected: IWAE-5000 of every image and every prior within 5 standard errors of log p(x) and its bias, which is the mean
          of other IWAE-5000; where bounds are not Gaussian, as far from it as one of a million others at least.
Minutes:  20.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.parts.exact_checks import (
    KNOWN,
    WITHIN,
    agree,
    confirmed,
    distances,
    is_beyond,
    mean_distance,
    refuted,
)
from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose

if TYPE_CHECKING:
    from experiments.parts.evidence import Evidence, Grid
    from experiments.parts.exact_plots import Panel
    from experiments.parts.importance import Importance
    from jvae.runs.checkpoint import TrainedModel

PROSE = Prose(__file__)
PRIORS = {"gaussian": "Gaussian", "mog": "mixture of Gaussians", "vamp": "VampPrior", "flow": "flow"}
DISTANCES = (
    "prior",
    "mean's distance",
    "images' largest",
    "images' mean ± sd",
    "beyond",
    "refuted",
    "beyond by own error",
)
INTEGRALS = ("prior", "held, median", "held, least", "ESS, median", "ESS, least", "spacing", "grid's error", "border")
REPEATS = 2000
"""The number of bounds of each image whose mean and spread are IWAE's bias and standard error."""
RARE = 1_000_000
"""The number of bounds that an image beyond `WITHIN` is compared with: one in 3,500,000 Gaussian ones is as far out."""
PRIOR_DRAWS = 10_000
SHOWN = (0.0, 0.5, 0.9, 1.0)
"""The images whose posteriors are shown, as quantiles of the ELBO's gap."""


def measure(
    lab: Lab,
    images: int | None = None,
    most: int | None = None,
    side: int | None = None,
    finer: int | None = None,
) -> Measured:
    """Measure bounds and log p(x) of the last test images, of a model with two latent dimensions for every prior."""
    from experiments.parts.exact_plots import plot_bounds, plot_posteriors

    images, most = images or lab.settings.choose(100, 25), most or lab.settings.choose(5000, 1000)
    side, finer = side or lab.settings.choose(600, 200), finer or lab.settings.choose(200, 150)
    numbers = [*(k for k in (1, 10, 100, 1000) if k < most), most]
    rows, panels = [], {}
    for prior, name in PRIORS.items():
        (model,) = lab.models(runs=1, latent_dim=2, prior=prior)
        lab.say(f"{name}: log p(x) on a grid, and IWAE-{most}")
        row, panels[name] = examine(model, lab.data.test_images[-images:], numbers, side, finer)
        rows.append({"name": name, **row})
    counts = {"draws": numbers, "images": min(images, len(lab.data.test_images)), "side": side, "finer": finer}
    pictures = {
        "bounds": plot_bounds(numbers, rows, list(map(distances, rows)), WITHIN),
        "posteriors": plot_posteriors(panels),
    }
    return {"rows": rows, **counts}, pictures


def examine(
    model: "TrainedModel", images: np.ndarray, numbers: list[int], side: int, finer: int
) -> tuple[dict[str, Any], list["Panel"]]:
    """Return a model's bounds beside log p(x), as JSON values, and the posteriors of some images."""
    import jax
    import jax.numpy as jnp

    from experiments.parts.evidence import Evidence, grid_over, log_evidence, mass_boxes
    from experiments.parts.exact_plots import Panel
    from experiments.parts.importance import as_far, cells_of, importance
    from jvae.latents import encode

    vae, params, transform = model.recipe.model, model.run_params(), model.recipe.transform
    key = jax.random.key(0)
    x = transform(key, jnp.asarray(images))
    q = encode(vae, params, key, images, transform)
    grid = grid_of(model, q.loc, q.scale, side)
    low, high = mass_boxes(vae, params, x, grid)
    low, high = np.minimum(low, q.loc - 6 * q.scale), np.maximum(high, q.loc + 6 * q.scale)
    fine = [grid_over(*box, finer) for box in zip(low, high, strict=True)]
    each = [log_evidence(vae, params, x[i : i + 1], box) for i, box in enumerate(fine)]
    exact = Evidence(*map(np.concatenate, zip(*each, strict=True)))
    cells = [cells_of(vae, params, x[i : i + 1], q.loc[i], q.scale[i]) for i in range(len(x))]
    repeated = np.array([each.bounds(numbers[-1], REPEATS) for each in cells])
    held = np.exp([each.log_held for each in cells] - exact.log_px)
    found = importance(vae, params, jax.random.key(1), x, numbers[-1])
    gaps = exact.log_px - found.elbo
    shown = np.argsort(gaps)[[round(share * (len(gaps) - 1)) for share in SHOWN]]
    panels = [
        Panel(images[i], float(gaps[i]), *posterior(model, x[i : i + 1], fine[i], q.loc[i], q.scale[i])) for i in shown
    ]
    row = values_of(exact, repeated, held, found, numbers, fine)
    row["rare"] = {
        str(i): as_far(cells[i].bounds(numbers[-1], RARE, seed=1), row["iwae"][i], row["grid_error"][i])
        for i in np.flatnonzero(is_beyond(distances(row)))
    }
    return row, panels


def values_of(
    exact: "Evidence",
    repeated: np.ndarray,
    held: np.ndarray,
    found: "Importance",
    numbers: list[int],
    grids: list["Grid"],
) -> dict[str, Any]:
    """Return means over the images, and the values of each image that are compared, as JSON values."""
    each = {
        "elbo": found.elbo,
        "log_px": exact.log_px,
        "grid_error": exact.error,
        "iwae": found.bound(numbers[-1]),
        "standard_error": repeated.std(axis=1, ddof=1),
        "bias": repeated.mean(axis=1) - exact.log_px,
        "share": held,
        "own_error": found.standard_error(),
        "own_bias": found.bias(),
        "effective_sample_size": found.effective_sample_size(),
    }
    return {
        "bounds": [float(found.bound(k).mean()) for k in numbers],
        "spacing": np.max([grid.spacing for grid in grids], axis=0).tolist(),
        "border": float(exact.border.max()),
        **{name: values.tolist() for name, values in each.items()},
    }


def grid_of(model: "TrainedModel", loc: np.ndarray, scale: np.ndarray, side: int) -> "Grid":
    """Return a grid that covers draws of p(z) and the reach of q(z|x), with a margin."""
    import jax

    from experiments.parts.evidence import grid_over
    from jvae.latents import prior_sample

    z = prior_sample(model.recipe.model, model.run_params(), jax.random.key(2), PRIOR_DRAWS)
    reached = np.concatenate([z, loc - 6 * scale, loc + 6 * scale])
    low, high = reached.min(axis=0), reached.max(axis=0)
    margin = 0.05 * (high - low)
    return grid_over(low - margin, high + margin, side)


def posterior(
    model: "TrainedModel", x: Any, grid: "Grid", loc: np.ndarray, scale: np.ndarray
) -> tuple["Grid", np.ndarray, np.ndarray]:
    """Return a square grid about a datum's p(z|x) and q(z|x), and their densities there, [second, first].

    p(z|x) is located on every second point of the grid over which log p(x) was integrated.
    """
    from scipy.stats import norm

    from experiments.parts.evidence import grid_over, log_joint_rows

    vae, params = model.recipe.model, model.run_params()

    def density(grid: "Grid") -> np.ndarray:
        joint = np.stack([row[:, 0] for row in log_joint_rows(vae, params, x, grid)], axis=1)
        return np.exp(joint - joint.max())

    whole = grid.coarser()
    found = density(whole)
    falling = np.sort(found.ravel())[::-1]
    least = falling[np.searchsorted(np.cumsum(falling) / falling.sum(), 0.995)]
    held = [axis[np.any(found >= least, axis=i)] for i, axis in enumerate(whole)]
    low = np.minimum([axis.min() for axis in held], loc - 3 * scale)
    high = np.maximum([axis.max() for axis in held], loc + 3 * scale)
    middle, half = (low + high) / 2, 0.65 * float(np.max(high - low))
    near = grid_over(middle - half, middle + half, 150)
    q = np.outer(norm.pdf(near.second, loc[1], scale[1]), norm.pdf(near.first, loc[0], scale[0]))
    return near, density(near), q


def below(row: dict[str, Any], bound: str) -> np.ndarray:
    """Return how far below log p(x) a bound of every image lies, in nats."""
    return np.subtract(row["log_px"], row[bound])


def with_error(values: np.ndarray) -> str:
    """Return the mean of values of n images, and its standard error, as text."""
    from scipy.stats import sem

    return f"{values.mean():.2f} ± {sem(values):.2f}"


def ends(rows: list[dict[str, Any]], bound: str, middle: Callable[[np.ndarray], Any]) -> str:
    """Return the least and the largest of all priors' means, or medians, of a bound's distance below log p(x)."""
    middles = [middle(below(row, bound)) for row in rows]
    return f"{min(middles):#.3g} to {max(middles):#.3g}"


def tell(values: Values) -> Story:
    """Tell the bounds beside log p(x), and whether the tightest one is as near as its error says."""
    rows, numbers, most = values["rows"], values["draws"], values["draws"][-1]
    bounds, away_from, integrals = [], [], []
    for row in rows:
        cells = [f"{np.mean(value):.3f}" for value in (row["elbo"], *row["bounds"][1:], row["log_px"])]
        gaps = [below(row, bound) for bound in ("elbo", "iwae")]
        bounds.append([row["name"], *cells, *map(with_error, gaps), *(f"{np.median(gap):.3f}" for gap in gaps)])
        away, sizes = distances(row), row["effective_sample_size"]
        spacing = " x ".join(f"{step:.3f}" for step in row["spacing"])
        away_from.append(
            [
                row["name"],
                f"{mean_distance(row):+.2f}",
                f"{np.abs(away).max():.1f}",
                f"{np.mean(away):+.2f} ± {np.std(away):.2f}",
                int(np.sum(is_beyond(away))),
                refuted(row),
                int(np.sum(is_beyond(distances(row, "own_")))),
            ]
        )
        integrals.append(
            [
                row["name"],
                f"{np.median(row['share']):.4f}",
                f"{np.min(row['share']):.2g}",
                f"{np.median(sizes):.0f}",
                f"{np.min(sizes):.0f}",
                spacing,
                f"{np.max(row['grid_error']):.1g}",
                f"{row['border']:.1g}",
            ]
        )
    others = {"all": len(rows) * values["images"], "within": WITHIN, "repeats": REPEATS}
    off = {row["name"]: count for row in rows if (count := refuted(row))}
    rare, of = [count for row in rows for count in row["rare"].values()], others["all"]
    if off:
        verdict = PROSE("refuted", names=", ".join(f"{name} ({n})" for name, n in off.items()))
    elif rare:
        verdict = PROSE("rare", near=of - len(rare), count=len(rare), least=min(rare), of=RARE, **others)
    else:
        verdict = PROSE("within", **others)
    apart = [row["name"] for row in rows if not agree(row)]
    coarse = [row["name"] for row in rows if not np.max(row["grid_error"]) <= KNOWN]
    resolved = PROSE("not resolved", names=", ".join(coarse), known=KNOWN) if coarse else PROSE("resolved", known=KNOWN)
    held = sum(map(confirmed, rows))
    agreed = PROSE("apart", names=", ".join(apart)) if apart else PROSE("agreed", held=held, all=of, known=KNOWN)
    shared = {"images": values["images"], "verdict": verdict}
    columns = [f"log p(x) - {bound} ± s.e." for bound in ("ELBO", f"IWAE-{most}")]
    columns += ["median of the first", "of the second"]
    text = PROSE(
        "text",
        bounds=table(["prior", "ELBO", *(f"IWAE-{k}" for k in numbers[1:]), "log p(x)", *columns], bounds),
        distances=table(DISTANCES, away_from),
        integrals=table(INTEGRALS, integrals),
        most=most,
        side=values["side"],
        finer=values["finer"],
        repeats=REPEATS,
        within=WITHIN,
        rare=RARE,
        agreed=agreed,
        resolved=resolved,
        **shared,
    )
    means = {bound: ends(rows, bound, np.mean) for bound in ("elbo", "iwae")}
    medians = {f"{bound}_median": ends(rows, bound, np.median) for bound in ("elbo", "iwae")}
    short = PROSE("short", most=most, **means, **medians, agreed=agreed.replace("**", ""), **shared)
    return Story(short, text, sound=not (off or apart or coarse))


PART = Part(
    name="exact",
    title="Study: the exact log-evidence in two dimensions",
    question="With a latent dimension of 2, log p(x) is an integral over a plane: how far below it are the ELBO and "
    "IWAE, and how far is q(z|x) from the true posterior?",
    help=__doc__,
    minutes=lambda s: s.choose(1100, 30) / 60 + 4 * s.epochs * 4 / 60,
    measure=measure,
    tell=tell,
    uses=("dataset", "epochs", "batch_size", "device", "quick"),
    options=(
        click.option("--images", type=click.IntRange(2), help="test images; 100, 25 with --quick"),
        click.option("--most", type=click.IntRange(2), help="the largest number of draws; 5000, or 1000"),
        click.option("--side", type=click.IntRange(10), help="points along each axis of the plane; 600, or 200"),
        click.option("--finer", type=click.IntRange(10), help="points along each axis of an image's box; 200, or 150"),
    ),
)
