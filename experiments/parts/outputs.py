"""Exercise 1.7: other output distributions.

Question: how do Gaussian outputs with fixed and with learned variance, and the continuous Bernoulli, compare? Which
          looks better, a sample of p(x|z) or its mean?
Source:   the sheet's exercise 1.7; Loaiza-Ganem & Cunningham 2019 (continuous Bernoulli); Rybkin et al. 2021 (scale).
Command:  python -m experiments outputs --output report
Expected: 121 ± 1 (fixed), 456 ± 5 (one learned), 885 ± 6 (one a pixel), 2978 ± 4 (continuous Bernoulli) nats:
          densities.
Minutes:  5.
"""

from typing import Any

import numpy as np

from experiments.reporting.comparison import comparison_table, highest, row_of, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import judge, mean_and_sd

VARIATIONS: dict[str, dict[str, Any]] = {
    "Gaussian, fixed scale 0.3": {"decoder": "gaussian"},
    "Gaussian, one learned scale": {"decoder": "gaussian", "variance": "scalar"},
    "Gaussian, a learned scale per pixel": {"decoder": "gaussian", "variance": "pixel"},
    "continuous Bernoulli": {"decoder": "continuous-bernoulli"},
}

KINDS = ("sample", "mean")
PROSE = Prose(__file__)


def measure(lab: Lab) -> Measured:
    """Measure the bound of every output distribution, and how rough its samples and its means are against the data."""
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
        images[f"samples-{i + 1}"] = pictures.samples_beside_means(models[0], num_images=36)
        if variation.get("variance") == "pixel":
            images["scale"] = pictures.scale(models[0])
            scale = np.asarray(bounded_scale(models[0].run_params()["params"]["decoder"]["log_scale"]))
            row["scale_range"] = [float(scale.min()), float(scale.max())]
        rows.append(row)
    known = {"accuracy": features.accuracy, "training_images": floor}
    return {"rows": rows, "images": few, "data_roughness": roughness(test), "features": known}, images


def roughness(images: np.ndarray) -> float:
    """Return the mean absolute difference of neighbouring pixels, of images [n, h, w, c] with values in [0, 1]."""
    return float((np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean()) / 2)


def tell(values: Values) -> Story:
    """Tell the table, which output has the highest bound, and whether samples or means look like the data."""
    rows, data = values["rows"], values["data_roughness"]
    lines: list[list[str]] = []
    nearer: dict[str, list[str]] = {}
    for row in rows:
        verdict = judge(row["mean_frechet"], row["sample_frechet"], smaller_is_better=True)
        which = PROSE(f"nearer: {verdict.word}")
        nearer.setdefault(which, []).append(f"*{row['name']}*")
        rough = [f"{np.mean(row[f'{kind}_roughness']) / data:.2f}" for kind in KINDS]
        lines.append([row["name"], *rough, verdict.brief("")])
    distances = {f"distance, {kind}s": [mean_and_sd(row[f"{kind}_frechet"], 1) for row in rows] for kind in KINDS}
    answer = "; ".join(
        f"{kind} for {'all four' if len(names) == len(rows) else ', '.join(names)}" for kind, names in nearer.items()
    )
    numbered = list(enumerate([row["name"] for row in rows], start=1))
    best = numbered[int(np.argmax([np.mean(row["elbo"]) for row in rows]))]
    text = PROSE(
        "text",
        best=best,
        comparison=comparison_table(rows, **distances),
        steps="\n".join(f"- {r['name']}: {judge(r['elbo'], rows[0]['elbo']).brief()}" for r in rows[1:]),
        highest=highest(rows),
        scale=next(row["scale_range"] for row in rows if "scale_range" in row),
        images=values["images"],
        data=data,
        known=values["features"],
        likenesses=table(
            ["", "roughness, samples", "roughness, means", "distance of means against samples"],
            lines,
        ),
        answer=answer,
        pictures=PROSE.each("picture", [row for row in numbered if row != best], "\n\n"),
    )
    bounds = "; ".join(f"*{row['name']}* {mean_and_sd(row['elbo'])}" for row in rows)
    found = {(row["name"], kind): float(np.mean(row[f"{kind}_frechet"])) for row in rows for kind in KINDS}
    (name, kind), distance = min(found.items(), key=lambda item: item[1])
    nearest = {"nearest": f"the {kind}s of *{name}*", "distance": distance, "known": values["features"]}
    return Story(PROSE("short", bounds=bounds, highest=highest(rows), answer=answer, **nearest), text)


PART = Part(
    name="outputs",
    title="Exercise 1.7: output distributions",
    question="How do Gaussian outputs with fixed and learned variance - and the continuous Bernoulli - compare? Which "
    "is the better picture, a sample of p(x|z) or its mean?",
    help=__doc__,
    minutes=lambda s: 0.7 + s.runs * s.epochs * 4 * 2.4 / 60,
    measure=measure,
    tell=tell,
    derivation="exercise_1_7.md",
)
