"""Exercise 1.6 and the mini-project: which prior gives the best bound, and which matches the aggregate posterior?

Question: does a mixture as the prior give a better ELBO, better samples, and a better match? And VampPrior, and flows?
Source:   the sheet's exercise 1.6 and its optional parts; Tomczak & Welling 2018; Dinh et al. 2017; Durkan et al. 2019.
          Students' published tables at M = 10 have the mixture 0.6 to 2.6 nats above the Gaussian.
Command:  python -m experiments priors --output report     (also writes the page mini-project.html)
Expected: gaussian -95.1 ± 0.8, mog -92.2 ± 1.0, vamp -90.9 ± 0.3, flows about -91, in nats.
Minutes:  10.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.reporting.comparison import Row, highest, row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.settings import Settings, shared_options
from experiments.reporting.verdicts import Verdict, judge, mean_and_sd, what_is_shown

NAMES = {
    "gaussian": "Gaussian",
    "mog": "mixture of Gaussians",
    "vamp": "VampPrior",
    "flow affine": "flow, affine couplings",
    "flow spline": "flow, spline couplings",
}
DRAWS, IMAGES = 100, (1000, 300)  # in the full form, and in the quick one


def measure(lab: Lab, num_components: int = 50) -> Measured:
    """For every prior ELBO, IWAE, and the likeness of prior and aggregate posterior, and of samples and images."""
    from experiments.reporting.draws import features_of, rows_of_means
    from jvae.view import pictures

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
        "priors": pictures.priors(first, lab.data, 0),
        "samples": rows_of_means(first, "the same networks, trained with each prior (seed 0)"),
        "pseudo-inputs": pictures.pseudo_inputs(first[NAMES["vamp"]]),
    }
    counts = {"iwae_draws": DRAWS, "iwae_images": min(lab.settings.choose(*IMAGES), len(lab.data.test_images))}
    known = {"accuracy": features.accuracy, "training_images": floor, "num_components": num_components}
    return Measured({"rows": rows, **counts, "features": known}, images)


def likeness(lab: Lab, row: Row, models: list[Any], features: Any) -> Row:
    """The row with IWAE, the two-sample accuracy of the latents, and the Fréchet distance of the samples, by seed."""
    from experiments.reporting.draws import sample_images, sample_priors
    from experiments.reporting.two_samples import classifier_accuracy, frechet_distance
    from jvae.view.pictures import latents_of_test_set

    test = (lab.data.test_images >= 128).astype(np.float32)
    n = min(len(test), lab.settings.choose(10_000, 5_000))
    lab.say(f"{row['name']}: prior and aggregate posterior, samples and test images")
    posteriors = [latents_of_test_set(model, lab.data, 0)[:n] for model in models]
    reference = features.of(test)
    return {
        **row,
        "iwae": [e.iwae.value for e in lab.importance(models, DRAWS, lab.settings.choose(*IMAGES))],
        "accuracy": [classifier_accuracy(z, q) for z, q in zip(sample_priors(models, n), posteriors, strict=True)],
        "frechet": [frechet_distance(features.of(x), reference) for x in sample_images(models, len(test))],
    }


def against_gaussian(row: Row, gaussian: Row) -> dict[str, Verdict]:
    """What a prior changes: ELBO, IWAE, the match of prior and aggregate posterior, and samples."""
    return {
        "elbo": judge(row["elbo"], gaussian["elbo"]),
        "iwae": judge(row["iwae"], gaussian["iwae"]),
        "match": judge(from_chance(row), from_chance(gaussian), smaller_is_better=True),
        "samples": judge(row["frechet"], gaussian["frechet"], smaller_is_better=True),
    }


def from_chance(row: Row) -> list[float]:
    """How far the classifier's accuracies are from a coin's."""
    return [abs(accuracy - 0.5) for accuracy in row["accuracy"]]


def verdict_table(found: dict[str, dict[str, Verdict]]) -> str:
    """One row a prior: each verdict against the Gaussian prior."""
    units = {"elbo": "nats", "iwae": "nats", "match": "", "samples": ""}
    header = ["against the Gaussian", "ELBO", "IWAE", "match with the aggregate posterior", "samples"]
    rows = [[NAMES[name], *(v[what].brief(unit) for what, unit in units.items())] for name, v in found.items()]
    return table(header, rows).replace("---:", "---")


def results_table(values: dict[str, Any]) -> str:
    """One row a prior."""
    header = ["prior", "test ELBO", f"IWAE-{values['iwae_draws']}", "reconstruction", "KL", "prior against posterior",
              "samples", "ELBO by seed"]  # fmt: skip
    lines = []
    for row in values["rows"]:
        elbo, iwae, reconstruction, kl = (mean_and_sd(row[part]) for part in ("elbo", "iwae", "reconstruction", "kl"))
        seeds = ", ".join(f"{value:.2f}" for value in row["elbo"])
        likenesses = [mean_and_sd(row["accuracy"], 3), mean_and_sd(row["frechet"], 1)]
        lines.append([NAMES[row["name"]], f"**{elbo}**", iwae, reconstruction, kl, *likenesses, seeds])
    return table(header, lines)


def answers(name: str, verdicts: dict[str, Verdict]) -> str:
    """The sheet's three questions about one prior, answered as measured."""
    elbo = verdicts["elbo"].says("**yes**, a better one", "**no**, a worse one", "**no difference** beyond the noise")
    match = verdicts["match"].says("**yes**, the classifier tells them apart less often",
                                   "**no**, the classifier tells them apart more often",
                                   "**no difference** beyond the noise", unit="in accuracy")  # fmt: skip
    samples = verdicts["samples"].says("**yes**, nearer to the test images", "**no**, further from the test images",
                                       "**no difference** beyond the noise", unit="in distance")  # fmt: skip
    return "\n".join(
        [
            f"- A better test-set ELBO? {elbo}",
            f"- Does the prior match the aggregate posterior better? {match}",
            f"- Better samples? {samples}",
        ]
    )


def tell(values: dict[str, Any]) -> Story:
    """The mini-project's table and pictures, and the answers for the mixture first."""
    gaussian, *others = values["rows"]
    found = {row["name"]: against_gaussian(row, gaussian) for row in others}
    leads = f"The highest mean ELBO is that of the {highest(values['rows'], NAMES)}"
    known, images = values["features"], values["iwae_images"]
    nearest = min(values["rows"], key=lambda row: float(np.mean(row["frechet"])))
    times = np.mean(nearest["frechet"]) / known["training_images"]
    text = f"""#### All priors, everything else equal

{results_table(values)}

{what_is_shown(len(gaussian["elbo"]))}; {gaussian["unit"]}.
IWAE of the first {images:,} test images, the ELBO of all. *Prior against posterior*: how often a classifier (boosted
trees, held-out draws) tells a draw of the prior from one of the aggregate posterior; 0.5 is a perfect match.
*Samples*: Fréchet distance between samples x ~ p(x|z), z ~ p(z), and the test images, in the hidden layer of a digit
classifier (accuracy {known["accuracy"]:.1%}); smaller is better, and as many training images have
{known["training_images"]:.2f}. The nearest samples, those of the {NAMES[nearest["name"]]}, have {times:.1f} times that.
{leads}.

![Each prior over its aggregate posterior, projected onto the latter's principal components, seed 0](priors.png)

#### Is a mixture of {known["num_components"]} Gaussians better than the Gaussian prior?

{answers("mog", found["mog"])}

#### Every prior against the Gaussian

{verdict_table(found)}

#### Do the samples look better?

The measured answers stand above; this is what they look like, a row a prior.

![Means of p(x|z) at draws from each prior, seed 0](samples.png)

![The VampPrior's pseudo-inputs, seed 0](pseudo-inputs.png)"""
    mog = found["mog"]
    short = (
        f"Mixture against Gaussian: ELBO {mog['elbo'].brief()}, match of prior and aggregate posterior "
        f"{mog['match'].brief('in accuracy')}, samples {mog['samples'].brief('in Fréchet distance')}. {leads}."
    )
    return Story(short, text)


PART = Part(
    name="priors",
    title="Exercise 1.6 and the mini-project: priors",
    question="Does another prior - a mixture of Gaussians; optionally a VampPrior or a flow - improve the test-set "
    "ELBO, the samples, and the match between prior and aggregate posterior?",
    minutes=lambda s: 1.5 + s.runs * s.epochs * 18 / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_6.md",
    page="mini-project",
)


@click.command()
@shared_options
@click.option("--num-components", type=click.IntRange(1), help="of the mixture; pseudo-inputs; 50")
def priors(settings: Settings, output: Path | None, num_components: int | None) -> None:
    """Gaussian, mixture of Gaussians, VampPrior and flow: ELBO, IWAE, samples, match with the aggregate posterior."""
    run_part(PART, settings, output, num_components=num_components)
