"""Exercise 1.5: the exercise's own model, its test-set ELBO and its aggregate posterior.

Question: what is the ELBO of the test set, and how do the samples of the aggregate posterior lie, for M = 2 and M > 2?
Source:   the sheet's exercise 1.5; PyTorch, measured over 5 runs of the same setting: -94.1 ± 0.7 nats.
Command:  python -m experiments baseline --output report
Expected: -95.1 ± 0.8 nats with M = 10, and -143.4 ± 1.2 with M = 2.
Minutes:  3.
"""

import numpy as np

from experiments.reporting.comparison import comparison_table, row_of
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import judge, mean_and_sd

PROSE = Prose(__file__)
NEIGHBOURS = 5
"""The latents whose classes tell that of another; both halves of the test set must have as many."""


def measure(lab: Lab) -> Measured:
    """Measure the test-set ELBO for M as set and for M = 2, and pictures of the models of seed 0."""
    from jvae.view import pictures
    from jvae.view.pictures import latents_of_test_set

    larger, labels = lab.settings.latent_dim, lab.data.test_labels
    chance = largest_share(labels) if len(labels) >= 2 * NEIGHBOURS else 1.0
    rows, images = [], {}
    for m in (larger, 2 if larger != 2 else 10):
        models = lab.models(latent_dim=m)
        row = row_of(lab, f"M = {m}", models)
        latents = [latents_of_test_set(model, lab.data) for model in models]
        if chance < 1:
            row["neighbours"] = [neighbour_accuracy(z, lab.data.test_labels) for z in latents]
        row["latent_dim"], row["plane"] = m, share_of_plane(latents[0])
        rows.append(row)
        images[f"posterior-{m}"] = pictures.posterior(models[0], lab.data)
        images[f"reconstructions-{m}"] = pictures.reconstructions(models[0], lab.data)
    images["manifold"] = pictures.manifold(lab.models(latent_dim=2)[0], lab.data)
    return {"rows": rows, "chance": chance}, images


def largest_share(labels: np.ndarray) -> float:
    """Return the share of the largest class, which who always guesses that one has right: 1 without labels."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def neighbour_accuracy(z: np.ndarray, labels: np.ndarray) -> float:
    """Return how often the 5 nearest latents of the first half predict the class of an image of the second half."""
    from sklearn.neighbors import KNeighborsClassifier

    half = len(z) // 2
    known = KNeighborsClassifier(NEIGHBOURS).fit(z[:half], labels[:half])
    return float(known.score(z[half:], labels[half:]))


def share_of_plane(z: np.ndarray) -> float:
    """Return the share of the latents' variance in their first two principal components."""
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(z, rowvar=False)))
    return float(values[-2:].sum() / values.sum())


def tell(values: Values) -> Story:
    """Tell the table, the pictures, and whether more latent dimensions are better."""
    first, second = values["rows"]
    large, small = (first, second) if first["latent_dim"] > second["latent_dim"] else (second, first)
    verdict = judge(large["elbo"], small["elbo"])
    names = {"large": large["name"], "small": small["name"]}
    columns, briefly, classes = {}, "", PROSE("no labels")
    if values["chance"] < 1:
        found = [mean_and_sd(row["neighbours"], 3) for row in (first, second)]
        columns = {"class from the 5 nearest latents": found}
        briefly = " " + PROSE("by class", found=found, first=first, second=second, chance=values["chance"])
        compared = judge(large["neighbours"], small["neighbours"]).says(PROSE, "classes", "", m=names)
        classes = f"{PROSE('counted')}\n\n{compared}"
    text = PROSE(
        "text",
        comparison=comparison_table([first, second], **columns),
        more=verdict.says(PROSE, "more", m=names),
        classes=classes,
        first=first,
        second=second,
    )
    elbos = [mean_and_sd(row["elbo"]) for row in (first, second)]
    short = PROSE("short", elbos=elbos, first=first, second=second, verdict=verdict.brief(), classes=briefly)
    return Story(short, text)


PART = Part(
    name="baseline",
    title="Exercise 1.5: test-set ELBO and aggregate posterior",
    question="What is the ELBO of the test set? How do samples of the aggregate posterior lie, by class, "
    "for M = 2 and M > 2?",
    help=__doc__,
    minutes=lambda s: 0.4 + s.runs * s.epochs * 2 * 2.3 / 60,
    measure=measure,
    tell=tell,
)
