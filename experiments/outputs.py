"""Exercise 1.7: other output distributions.

Question: how do Gaussian outputs with fixed and with learned variance, and the continuous Bernoulli, compare? Which
looks
          better, a sample of p(x|z) or its mean?
Source:   the sheet's exercise 1.7; Loaiza-Ganem & Cunningham 2019 (continuous Bernoulli); Rybkin et al. 2021 (scale).
Command:  python -m experiments outputs --output report
Expected: 121 ± 1 (fixed), 456 ± 5 (one learned), 883 ± 7 (one a pixel), 2978 ± 7 (continuous Bernoulli) nats:
densities.
Minutes:  5.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.comparison import comparison_table, row_of, table
from experiments.lab import Lab
from experiments.part import Measured, Part, Story, run_part
from experiments.settings import Settings, shared_options
from experiments.verdicts import judge, mean_and_sd

VARIATIONS: dict[str, dict[str, Any]] = {
    "Gaussian, fixed scale 0.3": {"decoder": "gaussian"},
    "Gaussian, one learned scale": {"decoder": "gaussian", "variance": "scalar"},
    "Gaussian, one learned scale a pixel": {"decoder": "gaussian", "variance": "pixel"},
    "continuous Bernoulli": {"decoder": "continuous-bernoulli"},
}


def measure(lab: Lab) -> Measured:
    """Bounds of every output distribution, and how rough its samples and its means are beside the data."""
    from experiments.draws import sample_images
    from jvae import pictures
    from jvae.decoders import bounded_scale

    rows, images = [], {}
    for i, (name, variation) in enumerate(VARIATIONS.items()):
        models = lab.models(**variation)
        row = row_of(lab, name, models)
        for kind, mean in (("sample", False), ("mean", True)):
            row[f"{kind}_roughness"] = [roughness(x) for x in sample_images(models, 1000, mean)]
        images[f"samples-{i + 1}"] = pictures.samples_beside_means(models[0], seed=0, num_images=36)
        if variation.get("variance") == "pixel":
            images["scale"] = pictures.scale(models[0])
            scale = np.asarray(bounded_scale(models[0].state.params["params"]["decoder"]["log_scale"]))
            row["scale_range"] = [float(scale.min()), float(scale.max())]
        rows.append(row)
    return Measured({"rows": rows, "data_roughness": roughness(lab.data.test_images / np.float32(255))}, images)


def roughness(images: np.ndarray) -> float:
    """The mean absolute difference of neighbouring pixels, of images [n, h, w, c] with values in [0, 1]."""
    x = np.clip(images, 0, 1)
    return float((np.abs(np.diff(x, axis=1)).mean() + np.abs(np.diff(x, axis=2)).mean()) / 2)


def tell(values: dict[str, Any]) -> Story:
    """The table, which output has the best bound, and whether samples or means look like the data."""
    rows, data = values["rows"], values["data_roughness"]
    best = max(rows, key=lambda row: float(np.mean(row["elbo"])))
    steps = [f"- {r['name']}: {judge(r['elbo'], rows[0]['elbo']).brief()}" for r in rows[1:]]
    lines, nearer = [], {}
    for row in rows:
        ratios = {kind: float(np.mean(row[f"{kind}_roughness"])) / data for kind in ("sample", "mean")}
        nearer[row["name"]] = min(ratios, key=lambda kind: abs(np.log(ratios[kind])))
        closest = "the mean" if nearer[row["name"]] == "mean" else "the sample"
        lines.append([row["name"], f"{ratios['sample']:.2f}", f"{ratios['mean']:.2f}", closest])
    means = [name for name, kind in nearer.items() if kind == "mean"]
    if len(means) == len(rows):
        verdict = "**The mean, for every one of them**"
    elif not means:
        verdict = "**The sample, for every one of them**"
    else:
        verdict = f"**The mean for {', '.join(means)}; the sample for the others**"
    low, high = next(row["scale_range"] for row in rows if "scale_range" in row)
    captions = "\n\n".join(
        f"![{row['name']}: samples at the left, means at the same z at the right, seed 0](samples-{i + 1}.png)"
        for i, row in enumerate(rows)
    )
    text = f"""#### The bounds

{comparison_table(rows)}

These are densities of dequantised pixels, (x + u)/256 with u uniform. Neither their sign nor their size can be compared
with a Bernoulli's ELBO; with each other they can, for all four describe the same data. Against the fixed scale:

{chr(10).join(steps)}

The highest bound is that of: {best["name"]}. A higher density is not a better model of digits: whoever is narrow in
pixels that are
always black earns most of it. (The learned scales a pixel run from {low:.4f} to {high:.3f}.)

#### Which looks better, the sample or the mean?

Roughness is the mean absolute difference of neighbouring pixels, here divided by that of the test images
({data:.4f}): above 1
is noisier than data, below 1 smoother.

{table(["", "samples / data", "means / data", "nearer to the data"], lines)}

{verdict}, by this measure. p(x|z) is a product over pixels: nothing in it says that neighbours look alike, so a
sample is the
mean under noise that is independent from pixel to pixel. The mean is smooth, and is not a draw from the model.

{captions}

![The learned standard deviation of every pixel, seed 0](scale.png)"""
    short = (
        f"Highest bound: {best['name']}, {mean_and_sd(best['elbo'])} nats (a density). "
        f"Nearer to the data in roughness: {verdict.replace('**', '')[0].lower()}{verdict.replace('**', '')[1:]}."
    )
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
