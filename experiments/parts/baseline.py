"""Exercise 1.5: the exercise's own model, its test-set ELBO and its aggregate posterior.

Question: what is the ELBO of the test set, and how do the samples of the aggregate posterior lie, for M = 2 and M > 2?
Source:   the sheet's exercise 1.5; PyTorch, measured over 5 runs of the same setting: -94.1 ± 0.7 nats.
Command:  python -m experiments baseline --output report
Expected: -95.1 ± 0.8 nats with M = 10, and -143.4 ± 1.2 with M = 2.
Minutes:  3.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.reporting.comparison import comparison_table, row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.settings import Settings, shared_options
from experiments.reporting.verdicts import judge, mean_and_sd


def measure(lab: Lab) -> Measured:
    """The test-set ELBO for M as set and for M = 2, and pictures of the models of seed 0."""
    from jvae.view import pictures
    from jvae.view.pictures import latents_of_test_set

    larger = lab.settings.latent_dim
    rows, images = [], {}
    for m in (larger, 2 if larger != 2 else 10):
        models = lab.models(latent_dim=m)
        row = row_of(lab, f"M = {m}", models)
        latents = [latents_of_test_set(model, lab.data, 0) for model in models]
        row["neighbours"] = [neighbour_accuracy(z, lab.data.test_labels) for z in latents]
        row["latent_dim"], row["plane"] = m, share_of_plane(latents[0])
        rows.append(row)
        images[f"posterior-{m}"] = pictures.posterior(models[0], lab.data, 0)
        images[f"reconstructions-{m}"] = pictures.reconstructions(models[0], lab.data, 0)
    images["manifold"] = pictures.manifold(lab.models(latent_dim=2)[0], lab.data, 0)
    return Measured({"rows": rows}, images)


def neighbour_accuracy(z: np.ndarray, labels: np.ndarray) -> float:
    """How often the 5 nearest latents of the first half of the images tell the class of one of the second half."""
    from sklearn.neighbors import KNeighborsClassifier

    half = len(z) // 2
    known = KNeighborsClassifier(5).fit(z[:half], labels[:half])
    return float(known.score(z[half:], labels[half:]))


def share_of_plane(z: np.ndarray) -> float:
    """The share of the latents' variance in their first two principal components."""
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(z, rowvar=False)))
    return float(values[-2:].sum() / values.sum())


def tell(values: dict[str, Any]) -> Story:
    """The table, the pictures, and whether more latent dimensions are better."""
    first, second = values["rows"]
    large, small = (first, second) if first["latent_dim"] > second["latent_dim"] else (second, first)
    verdict = judge(large["elbo"], small["elbo"])
    clearer = judge(large["neighbours"], small["neighbours"])
    names = large["name"], small["name"]
    more = verdict.says(
        f"**{names[0]} has a better test-set ELBO than {names[1]}**",
        f"**{names[0]} has a worse test-set ELBO than {names[1]}**",
        f"**The test-set ELBOs of {names[0]} and {names[1]} do not differ beyond the noise**",
    )
    classes = clearer.says(
        f"The neighbours tell the class more often with {names[0]}",
        f"The neighbours tell the class more often with {names[1]}",
        f"The neighbours tell the class as often with {names[0]} as with {names[1]}, within the noise",
        unit="",
    )
    rows = [[r["name"], mean_and_sd(r["neighbours"], 3), f"{r['plane']:.0%}"] for r in (first, second)]
    text = f"""#### The test-set ELBO

{comparison_table([first, second])}

{more} An ELBO is summed over pixels and latent dimensions for each image and averaged over all test images, with 10
draws z ~ q(z|x) an image.

#### The aggregate posterior

One draw z ~ q(z|x) for every test image, coloured by class. For M = 2 the axes are the latent dimensions themselves;
for M > 2 they are the first two principal components of the draws, which hold so much of the variance as the table
says: what looks mixed there may be apart in the other dimensions. That is why the table also counts how often the 5
nearest latents of other images tell an image's class, in all M dimensions.

{table(["", "class from the 5 nearest latents", "variance in the pictured plane"], rows)}

{classes}

![Aggregate posterior, {first["name"]}, seed 0](posterior-{first["latent_dim"]}.png)

![Aggregate posterior, {second["name"]}, seed 0](posterior-{second["latent_dim"]}.png)

![Test images and the means of p(x|z), {first["name"]}](reconstructions-{first["latent_dim"]}.png)

![Test images and the means of p(x|z), {second["name"]}](reconstructions-{second["latent_dim"]}.png)

![What the decoder makes of the latent plane, M = 2](manifold.png)"""
    short = f"Test ELBO {mean_and_sd(first['elbo'])} nats with {first['name']}, {mean_and_sd(second['elbo'])} with "
    return Story(f"{short}{second['name']}; the larger M against the smaller: {verdict.brief()}.", text)


PART = Part(
    name="baseline",
    title="Exercise 1.5: test-set ELBO and aggregate posterior",
    question="What is the ELBO of the test set? How do samples of the aggregate posterior lie, by class, "
    "for M = 2 and M > 2?",
    minutes=lambda s: 0.4 + s.runs * s.epochs * 2 * 2.3 / 60,
    measure=measure,
    tell=tell,
)


@click.command()
@shared_options
def baseline(settings: Settings, output: Path | None) -> None:
    """What test ELBO does the exercise's VAE reach, and how does its aggregate posterior lie?"""
    run_part(PART, settings, output)
