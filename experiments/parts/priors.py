"""Exercise 1.6 and the mini-project: which prior gives the best bound, and which matches the aggregate posterior?

Question: does a mixture as the prior give a better ELBO, samples and match? And do a VampPrior and flows?
Source:   the sheet's exercise 1.6 and its optional parts; Tomczak & Welling 2018; Dinh et al. 2017; Durkan et al. 2019.
          Students' published tables at M = 10 have the mixture 0.6 to 2.6 nats above the Gaussian.
Command:  python -m experiments priors --output report     (also writes the page mini-project.html)
Expected: gaussian -95.1 ± 0.8, mog -92.2 ± 1.0, vamp -91.0 ± 0.3, flows about -91, in nats.
Minutes:  10.
"""

from typing import Any

import click
import numpy as np

from experiments.reporting.comparison import Row, first_of, highest, median_and_range, ratios_to_first, row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.steps import check_steps, steps_in_turn
from experiments.reporting.verdicts import Verdict, judge, mean_and_sd, what_is_shown

NAMES = {
    "gaussian": "Gaussian",
    "mog": "mixture of Gaussians",
    "vamp": "VampPrior",
    "flow affine": "flow, affine couplings",
    "flow spline": "flow, spline couplings",
}
PROSE = Prose(__file__)
DRAWS, IMAGES = 100, (1000, 300)  # in the full form, and in the quick one


def measure(lab: Lab, num_components: int = 50) -> Measured:
    """Measure each prior's ELBO, IWAE, and likeness of prior and aggregate posterior, and of samples and images."""
    from experiments.reporting.draws import features_of, rows_of_means
    from jvae.view import pictures

    check_steps(lab)
    mixture = {} if num_components == 50 else {"num_components": num_components}
    variations: dict[str, dict[str, Any]] = {
        "gaussian": {},
        "mog": {"prior": "mog", **mixture},
        "vamp": {"prior": "vamp", **mixture},
        "flow affine": {"prior": "flow"},
        "flow spline": {"prior": "flow", "coupling": "spline"},
    }
    if lab.settings.quick:  # the slowest of them
        del variations["flow spline"]
    features, floor = features_of(lab, binary=True, n=len(lab.data.test_images))
    rows, first = [], {}
    for name, variation in variations.items():
        models = lab.models(**variation)
        rows.append(likeness(lab, row_of(lab, name, models), models, features))
        first[NAMES[name]] = models[0]
    lab.say("pictures")
    images = {
        "priors": pictures.priors(first, lab.data),
        "samples": rows_of_means(first, "the same networks, trained with each prior (seed 0)"),
        "pseudo-inputs": pictures.pseudo_inputs(first[NAMES["vamp"]]),
    }
    counts = {"iwae_draws": DRAWS, "iwae_images": min(lab.settings.choose(*IMAGES), len(lab.data.test_images))}
    known = {"accuracy": features.accuracy, "training_images": floor, "num_components": num_components}
    seconds = steps_in_turn(lab, variations)
    return {"rows": rows, **counts, "features": known, "step_seconds": seconds}, images


def likeness(lab: Lab, row: Row, models: list[Any], features: Any) -> Row:
    """Add IWAE, the two-sample accuracy of latents and the Fréchet distance of samples to a row, by seed."""
    from experiments.reporting.draws import sample_images, sample_priors
    from experiments.reporting.two_samples import classifier_accuracy, frechet_distance
    from jvae.view.pictures import latents_of_test_set

    test = (lab.data.test_images >= 128).astype(np.float32)
    n = min(len(test), lab.settings.choose(10_000, 5_000))
    lab.say(f"{row['name']}: prior and aggregate posterior, samples and test images")
    posteriors = [latents_of_test_set(model, lab.data)[:n] for model in models]
    reference = features.of(test)
    return {
        **row,
        "iwae": [e.iwae.value for e in lab.importance(models, DRAWS, lab.settings.choose(*IMAGES))],
        "accuracy": [classifier_accuracy(z, q) for z, q in zip(sample_priors(models, n), posteriors, strict=True)],
        "frechet": [frechet_distance(features.of(x), reference) for x in sample_images(models, len(test))],
    }


def against_gaussian(row: Row, gaussian: Row) -> dict[str, Verdict]:
    """Judge a prior against the Gaussian: ELBO, IWAE, the match of prior and aggregate posterior, and samples."""
    return {
        "elbo": judge(row["elbo"], gaussian["elbo"]),
        "iwae": judge(row["iwae"], gaussian["iwae"]),
        "match": judge(from_chance(row), from_chance(gaussian), smaller_is_better=True),
        "samples": judge(row["frechet"], gaussian["frechet"], smaller_is_better=True),
    }


def from_chance(row: Row) -> list[float]:
    """Return how far the classifier's accuracies are from chance."""
    return [abs(accuracy - 0.5) for accuracy in row["accuracy"]]


def cells_of(row: Row) -> list[str]:
    """Return a prior's cells in the table of results."""
    elbo, *others = (mean_and_sd(row[term]) for term in ("elbo", "iwae", "reconstruction", "kl"))
    likenesses = [mean_and_sd(row["accuracy"], 3), mean_and_sd(row["frechet"], 1)]
    return [NAMES[row["name"]], f"**{elbo}**", *others, *likenesses]


def costs(rows: list[Row], seconds: dict[str, list[float]]) -> str:
    """Return a table of every prior's parameters, and of its step's seconds beside the first's of the same round."""
    first, ratios, lines = rows[0], ratios_to_first(seconds), []
    for row in rows:
        compared = "1" if row is first else median_and_range(ratios[row["name"]])
        lines.append([NAMES[row["name"]], f"{row['parameters'] - first['parameters']:,}", compared])
    return table(
        ["prior", "parameters beyond the Gaussian's", "seconds a training step, times the Gaussian's (range)"], lines
    )


def tell(values: Values) -> Story:
    """Tell the mini-project's table and pictures, and the answers for the mixture first."""
    rows, known = values["rows"], values["features"]
    gaussian, *others = rows
    found = {row["name"]: against_gaussian(row, gaussian) for row in others}
    mog, best = found["mog"], highest(rows, NAMES)
    nearest, called = first_of(rows, "frechet", NAMES, smaller_is_better=True)
    verdicts = [
        {"name": NAMES[name]}
        | {what: one.brief("nats" if what in ("elbo", "iwae") else "") for what, one in each.items()}
        for name, each in found.items()
    ]
    text = PROSE(
        "text",
        v=values,
        results=PROSE.each("result", map(cells_of, rows)),
        shown=what_is_shown(len(gaussian["elbo"])),
        unit=gaussian["unit"],
        known=known,
        nearest=called,
        times=np.mean(nearest["frechet"]) / known["training_images"],
        highest=best,
        elbo=mog["elbo"].says(PROSE, "elbo"),
        match=mog["match"].says(PROSE, "match", unit="in accuracy"),
        samples=mog["samples"].says(PROSE, "samples", unit="in distance"),
        verdicts=PROSE.each("verdicts", verdicts),
        costs=costs(rows, values["step_seconds"]),
        rounds=len(values["step_seconds"]["gaussian"]),
        parameters=gaussian["parameters"],
    )
    briefly = {"match": mog["match"].brief("in accuracy"), "samples": mog["samples"].brief("in Fréchet distance")}
    return Story(PROSE("short", elbo=mog["elbo"].brief(), **briefly, highest=best), text)


PART = Part(
    name="priors",
    title="Exercise 1.6 and the mini-project: priors",
    question="Does another prior - a mixture of Gaussians; optionally a VampPrior or a flow - improve the test-set "
    "ELBO, the samples, and the match between prior and aggregate posterior?",
    help=__doc__,
    minutes=lambda s: 1.5 + s.runs * s.epochs * 18 / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_6.md",
    page="mini-project",
    options=(click.option("--num-components", type=click.IntRange(1), help="of the mixture; pseudo-inputs; 50"),),
)
