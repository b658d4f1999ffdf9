"""Exercise 1.7: other output distributions.

Question: how do Gaussian outputs with fixed and with learned variance, and the continuous Bernoulli, compare? Which
          looks better, a sample of p(x|z) or its mean?
Source:   the sheet's exercise 1.7; Loaiza-Ganem & Cunningham 2019 (continuous Bernoulli); Rybkin et al. 2021 (scale).
Command:  python -m experiments outputs --output report
Expected: 121 ± 1 (fixed), 456 ± 5 (one learned), 885 ± 6 (one a pixel), 2978 ± 4 (continuous Bernoulli) nats:
          densities.
Minutes:  5.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.reporting.comparison import comparison_table, highest, row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, run_part
from experiments.reporting.settings import Settings, shared_options
from experiments.reporting.verdicts import judge, mean_and_sd

VARIATIONS: dict[str, dict[str, Any]] = {
    "Gaussian (fixed scale)": {"decoder": "gaussian"},
    "Gaussian (one scale)": {"decoder": "gaussian", "variance": "scalar"},
    "Gaussian (a scale a pixel)": {"decoder": "gaussian", "variance": "pixel"},
    "continuous Bernoulli": {"decoder": "continuous-bernoulli"},
}

KINDS = ("sample", "mean")
NEARER = {
    "better": "the means",
    "worse": "the samples",
    "equal": "neither beyond the noise",
    "undecided": "undecided with one seed",
}


def measure(lab: Lab) -> Measured:
    """Bounds of every output distribution, and how rough its samples and its means are beside the data."""
    from experiments.reporting.draws import features_of, sample_images
    from experiments.reporting.two_samples import frechet_distance
    from jvae.decoders import bounded_scale
    from jvae.view import pictures

    few = min(lab.settings.choose(5000, 2000), len(lab.data.train_images))
    features, floor = features_of(lab, binary=False, n=few)
    test = lab.data.test_images / np.float32(255)
    reference = features.of(test)
    rows, images = [], {}
    for i, (name, variation) in enumerate(VARIATIONS.items()):
        models = lab.models(**variation)
        row = row_of(lab, name, models)
        for kind, mean in (("sample", False), ("mean", True)):
            drawn = [np.clip(x, 0, 1) for x in sample_images(models, few, mean)]
            row[f"{kind}_roughness"] = [roughness(x) for x in drawn]
            row[f"{kind}_frechet"] = [frechet_distance(features.of(x), reference) for x in drawn]
        images[f"samples-{i + 1}"] = pictures.samples_beside_means(models[0], seed=0, num_images=36)
        if variation.get("variance") == "pixel":
            images["scale"] = pictures.scale(models[0])
            scale = np.asarray(bounded_scale(models[0].state.params["params"]["decoder"]["log_scale"]))
            row["scale_range"] = [float(scale.min()), float(scale.max())]
        rows.append(row)
    known = {"accuracy": features.accuracy, "training_images": floor}
    return Measured({"rows": rows, "images": few, "data_roughness": roughness(test), "features": known}, images)


def roughness(images: np.ndarray) -> float:
    """The mean absolute difference of neighbouring pixels, of images [n, h, w, c] with values in [0, 1]."""
    return float((np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean()) / 2)


def tell(values: dict[str, Any]) -> Story:
    """The table, which output has the best bound, and whether samples or means look like the data."""
    rows, data = values["rows"], values["data_roughness"]
    steps = [f"- {r['name']}: {judge(r['elbo'], rows[0]['elbo']).brief()}" for r in rows[1:]]
    lines: list[list[str]] = []
    nearer: dict[str, list[str]] = {}
    for row in rows:
        verdict = judge(row["mean_frechet"], row["sample_frechet"], smaller_is_better=True)
        nearer.setdefault(NEARER[verdict.word], []).append(row["name"])
        rough = [f"{np.mean(row[f'{kind}_roughness']) / data:.2f}" for kind in KINDS]
        distances = [mean_and_sd(row[f"{kind}_frechet"], 1) for kind in KINDS]
        lines.append([row["name"], *rough, *distances, NEARER[verdict.word]])
    answer = "; ".join(
        f"{kind} for {'all four' if len(names) == len(rows) else ', '.join(names)}" for kind, names in nearer.items()
    )
    known = values["features"]
    low, high = next(row["scale_range"] for row in rows if "scale_range" in row)
    captions = "\n\n".join(
        f"![{row['name']}: samples at the left, means at the same z at the right, seed 0](samples-{i + 1}.png)"
        for i, row in enumerate(rows)
    )
    text = f"""#### The bounds

{comparison_table(rows)}

These are densities of dequantised pixels, (x + u)/256 with u uniform. Neither their sign nor their size can be
compared with a Bernoulli's ELBO; with each other they can, for all four describe the same data. Against the fixed
scale:

{chr(10).join(steps)}

The highest bound is that of: {highest(rows)}. A higher density need not be a better model of digits, as explained
below. (The learned scales a pixel run from {low:.4f} to {high:.3f}.)

#### Which looks better, the sample or the mean?

Two measures, of {values["images"]:,} samples and as many means a seed; a Gaussian's that go beyond [0, 1] are clipped
to it before. *Roughness*, the mean absolute difference of neighbouring pixels, divided by that of the test images
({data:.4f}): above 1 is noisier than data, below 1 smoother. *Fréchet distance* from the test images, in the hidden
layer of a digit classifier (accuracy {known["accuracy"]:.1%}): smaller is nearer, and as many training images have
{known["training_images"]:.2f}.

{table(["", "roughness, samples", "roughness, means", "distance, samples", "distance, means", "nearer"], lines)}

Nearer to the test images by the Fréchet distance: **{answer}**. p(x|z) is a product over pixels: nothing in it says
that neighbours look alike, so a sample is the mean under noise that is independent from pixel to pixel. The mean is
without that noise, and is not a draw from the model.

{captions}

![The learned standard deviation of every pixel, seed 0](scale.png)"""
    short = f"Highest bound, a density: {highest(rows)}. Nearer to the test images by Fréchet distance: {answer}."
    return Story(short, text)


PART = Part(
    name="outputs",
    title="Exercise 1.7: output distributions",
    question="How do Gaussian outputs with fixed and learned variance - and the continuous Bernoulli - compare? Which "
    "is the better picture, a sample of p(x|z) or its mean?",
    minutes=lambda s: 0.7 + s.runs * s.epochs * 4 * 2.4 / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_7.md",
)


@click.command()
@shared_options
def outputs(settings: Settings, output: Path | None) -> None:
    """Gaussian outputs of fixed, learned and per-pixel variance, and the continuous Bernoulli, on continuous pixels."""
    run_part(PART, settings, output)
