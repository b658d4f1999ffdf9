"""What the parts of the report say about made-up results: better, worse, no different, and one seed."""

from unittest import mock

import numpy as np
import pytest

from experiments.parts import (
    baseline,
    bounds,
    estimators,
    faults,
    hierarchical,
    kl,
    mirror,
    networks,
    outputs,
    ppca,
    priors,
    reparametrisation,
    settings,
    slopes,
    throughput,
)

GAINS = {"better": [2.7, 2.5, 2.9], "worse": [-2.7, -2.5, -2.9], "equal": [2.7, -2.5, 0.3], "one": [2.7]}
BASE = [-95.0, -94.0, -95.5]
ONE = "One seed cannot tell a difference from the noise (+2.70 nats)."


def moved(gain, by=1.0, base=BASE):
    """Return values around a base, moved by the gains: one value per gain."""
    return [value + by * g for value, g in zip(base, gain, strict=False)]


def row(name, elbo, **more):
    n = len(elbo)
    return {
        "name": name, "elbo": elbo, "iwae": elbo, "reconstruction": elbo, "kl": [1.0] * n,
        "accuracy": [0.8] * n, "frechet": [20.0] * n, "unit": "nats per image", "parameters": 1, **more,
    }  # fmt: skip


def of_hierarchical(gain):
    n, one = len(gain), BASE[: len(gain)]
    levels = {"level_kl": [[17.0, 1.0]] * n, "active": [[10, 5]] * n}
    names = ("two levels", "two levels, mixture")
    return {"rows": [row("one level", one), *(row(name, moved(gain), **levels) for name in names)], "upper_dim": 5}


def of_baseline(gain):
    small = {"neighbours": [0.7] * len(gain), "plane": 1.0}
    large = {"neighbours": [0.7 + g / 100 for g in gain], "plane": 0.2}
    return {
        "rows": [
            row("M = 10", moved(gain), latent_dim=10, **large),
            row("M = 2", BASE[: len(gain)], latent_dim=2, **small),
        ],
        "chance": 0.25,
    }


def of_networks(gain):
    rows = [row("fully connected", BASE[: len(gain)]), row("convolutional", moved(gain), kl=[1 + g for g in gain])]
    return {"rows": rows, "step_seconds": {"fully connected": [0.01, 0.011], "convolutional": [0.06, 0.066]}}


def of_outputs(gain):
    n = len(gain)
    rows = []
    for i, name in enumerate(outputs.VARIATIONS):
        measured = {f"{kind}_roughness": [0.1] * n for kind in outputs.KINDS}
        measured |= {"sample_frechet": [20.0] * n, "mean_frechet": [20 - g for g in gain]}
        rows.append(row(name, moved(gain) if i == 3 else BASE[:n], **measured))
    rows[2]["scale_range"] = [0.04, 0.3]
    known = {"accuracy": 0.97, "training_images": 0.8}
    return {"rows": rows, "images": 5000, "data_roughness": 0.1, "features": known}


def of_priors(gain):
    n = len(gain)
    rows = [row(name, BASE[:n]) for name in priors.NAMES]
    rows[1] = row("mog", moved(gain), accuracy=[0.8 - 0.05 * g for g in gain], frechet=[20 - g for g in gain])
    known = {"accuracy": 0.97, "training_images": 2.0, "num_components": 50}
    seconds = {name: [0.01 * (1 + i), 0.02 * (1 + i)] for i, name in enumerate(priors.NAMES)}
    return {"rows": rows, "iwae_draws": 100, "iwae_images": 1000, "features": known, "step_seconds": seconds}


def of_bounds(gain):
    def of(name, elbo, by):
        last = moved(gain, by, np.add(BASE, 3))
        iwae = [list(each) for each in zip(elbo, last, strict=True)]
        return row(name, elbo, iwae=iwae, effective_sample_size=[3.0] * len(gain))

    n = len(gain)
    rows = [of("ELBO, 1 draw", BASE[:n], 0), of("ELBO, 5 draws", BASE[:n], 1), of("IWAE, 5 draws", moved(gain, -1), 2)]
    return {"rows": rows, "draws": [1, 1000], "images": 1000}


def of_gradients(gain):
    n = len(gain)
    names = ("ELBO, pathwise", "ELBO, STL", "IWAE-5, pathwise", "IWAE-5, DReG")
    elbo = dict(zip(names, (BASE[:n], moved(gain), BASE[:n], moved(gain, -1)), strict=True))
    rows = [row(name, elbo[name], iwae=moved(gain, 2) if "DReG" in name else BASE[:n]) for name in names]
    return {"rows": rows, "most": 1000, "images": 1000}


SAID = {
    (hierarchical, of_hierarchical): {
        "better": ["**Two levels are better than one** (+2.70"],
        "worse": ["**Two levels are worse than one** (-2.70"],
        "equal": ["**Two levels show no difference beyond the noise**", "A mixture as p(z2) shows no difference"],
        "one": [ONE],
    },
    (baseline, of_baseline): {
        "better": ["**M = 10 has a better test-set ELBO than M = 2**", "more often with M = 10"],
        "worse": ["**M = 10 has a worse test-set ELBO than M = 2**", "more often with M = 2"],
        "equal": ["do not differ beyond the noise**", "as often with M = 10 as with M = 2"],
        "one": [ONE],
    },
    (networks, of_networks): {
        "better": ["**Yes, convolutions are better**", "reconstruction: better (+2.70", "more nats:\nworse"],
        "worse": ["**No, convolutions are worse**", "reconstruction: worse (-2.70", "more nats:\nbetter"],
        "equal": ["**No difference beyond the noise**", "reconstruction: no difference beyond the noise (+0.17 ±"],
        "one": [ONE, "reconstruction: one seed, undecided (+2.70 nats)"],
    },
    (outputs, of_outputs): {
        "better": ["the means for all four", "that of: continuous Bernoulli. ", "- continuous Bernoulli: better",
                   "| better (-2.70 ± 0.12) |"],
        "worse": ["the samples for all four", "Gaussian, fixed scale 0.3 (within", "- continuous Bernoulli: worse"],
        "equal": ["neither beyond the noise for all", "continuous Bernoulli (within the noise of it: Gaussian"],
        "one": ["undecided with one seed for all four", "that of: continuous Bernoulli (one seed, undecided). "],
    },
    (priors, of_priors): {
        "better": ["**yes**, a better one", "**yes**, the classifier", "**yes**, nearer", "is 8.7 times that",
                   "that: samples of the mixture", "that of the mixture of Gaussians.",
                   "| better (+2.70 ± 0.12 nats) | better (+2.70 ± 0.12 nats) | better (-0.135 ± 0.006) |",
                   "| Gaussian | 0 | 1 |", "| VampPrior | 0 | 3.00 (3.00 to 3.00) |"],
        "worse": ["**no**, a worse one", "**no**, the classifier", "**no**, further", "that: samples of the Gaussian",
                  "that of the Gaussian (within the noise of it: VampPrior; flow"],
        "equal": ["**no difference** beyond the noise (+0.17", "that of the mixture of Gaussians (within the noise"],
        "one": [ONE],
    },
    (estimators, of_gradients): {
        "better": ["is the ELBO better? Yes (+2.70", "DReG, trained on IWAE: is IWAE-1000 better? Yes (+5.40",
                   "And the ELBO? No, worse (-2.70"],
        "worse": ["is the ELBO better? No, worse (-2.70", "IWAE-1000 better? No, worse (-5.40", "ELBO? Yes (+2.70"],
        "equal": ["is the ELBO better? No difference beyond the noise (+0.17", "And IWAE-1000? No difference beyond"],
        "one": [f"is the ELBO better? {ONE}"],
    },
    (bounds, of_bounds): {
        "better": ["ELBO: is IWAE-1000 better?\nYes (+2.70", "draws: is IWAE-1000 better?\nYes (+2.70",
                   "And is its ELBO better? No, worse (-2.70", "serves many draws", "rises by 3.00 ± 0.00"],
        "worse": ["ELBO: is IWAE-1000 better?\nNo, worse (-2.70", "And is its ELBO better? Yes (+2.70"],
        "equal": ["IWAE-1000 better?\nNo difference beyond the noise (+0.17", "ELBO better? No difference beyond"],
        "one": [f"better?\n{ONE}", "its ELBO better? One seed cannot tell a difference from the noise (-2.70 nats)."],
    },
}  # fmt: skip


@pytest.mark.parametrize("case", GAINS)
@pytest.mark.parametrize(("part", "values"), SAID, ids=lambda x: getattr(x, "__name__", "").split(".")[-1])
def test_the_text_follows_the_measurement(part, values, case):
    story = part.tell(values(GAINS[case]))
    for words in SAID[part, values][case]:
        assert words in story.text
    for word in GAINS:
        assert (SAID[part, values][word][0] in story.text) == (word == case)
    assert story.sound
    summary = {"equal": "no difference beyond the noise", "one": "one seed"}.get(case, case)
    assert summary in story.short or part is outputs
    if case == "one":
        assert "±" not in story.text + story.short
        assert "deviation over" not in story.text


def test_classes_are_told_beside_their_own_chance_or_left_out():
    values = of_baseline(GAINS["better"])
    assert "one is right for 0.25." in baseline.tell(values).short
    assert baseline.largest_share(np.array([3, 3, 3, 7])) == 0.75
    unlabelled = [{name: value for name, value in row.items() if name != "neighbours"} for row in values["rows"]]
    story = baseline.tell({"rows": unlabelled, "chance": baseline.largest_share(np.zeros(4, np.uint8))})
    assert story.short.endswith("better (+2.70 ± 0.12 nats).")
    assert "it needs labels" in story.text
    assert "| class from" not in story.text


@pytest.mark.parametrize("part", [outputs, priors])
def test_features_without_labels_are_one_line_before_anything_is_trained(part, tmp_path, monkeypatch, tiny):
    from experiments.reporting.lab import Lab
    from experiments.reporting.settings import Settings
    from jvae.data import datasets
    from jvae.errors import JvaeError

    unlabelled = tiny._replace(train_labels=0 * tiny.train_labels)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: unlabelled)
    with pytest.raises(JvaeError, match="no labels of two classes"):
        part.measure(Lab(Settings(batch_size=8), tmp_path))


@pytest.mark.parametrize(
    ("active", "said"),
    [
        ([0, 0, 0], "uses none in 3 of 3 seeds (0, 0, 0 of 5 active)"),
        ([1, 0, 0, 1, 0], "uses none in 3 of 5 seeds and only some in 2 of 5 seeds (1, 0, 0, 1"),
        ([5, 5, 5, 5, 3], "uses only some in 1 of 5 seeds and all in 4 of 5 seeds"),
        ([0, 0, 5, 5, 0], "uses none in 3 of 5 seeds and all in 2 of 5 seeds"),
        ([5, 5], "of its dimensions the upper level uses all in 2 of 2 seeds"),
        ([4], "the upper level uses only some (4 of 5 active)"),
    ],
)  # fmt: skip
def test_a_level_collapses_seed_by_seed(active, said):
    assert said in hierarchical.collapse_of({"active": [[10, units] for units in active]}, 5)


def of_ppca(gaps, expected=-3.5):
    names = ("closed form", "EM", "gradient", "closed form, covariance times n/(n-1)")
    slopes = [
        {"weights": w, "b": b, "norm": b != "mean"} for w in ("closed form", "random") for b in ("mean", "mean + 0.01")
    ]
    return {
        "n": 60_000, "d": 784, "m": 10, "fits": {name: [182.0, 186.0] for name in names}, "sklearn": [182.0, 186.0],
        "gradients": slopes, "sigma": 0.2, "draws": [1, 10, 100, 1000], "gaps": gaps,
        "errors": [0.25, 0.07, 0.03, 0.01], "exact": 194.0, "expected_gap": expected, "images": 200,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gaps", "expected", "said", "sound"),
    [
        ([-3.6, -0.5, -0.04, 0.01], -3.5, ["agrees with it", "no longer distinguishable", "falls nowhere"], True),
        ([-3.6, -0.5, -0.3, -0.2], -3.5, ["still below it"], True),
        ([-3.6, -0.5, -0.04, 0.5], -3.5, ["With K = 1000 it is above log p(x), which is a defect"], False),
        (
            [-3.6, 0.4, -0.04, 0.0],
            -3.5,
            ["With K = 10 it is above", "falls from K = 10 to 100, which is a defect"],
            False,
        ),
        ([-3.6, -0.5, -0.04, 0.01], -5.0, ["does not agree with it, which is a defect"], False),
        ([-3.6, -0.1, -0.5, -0.04], -3.5, ["rises from K = 1 to 10 and from K = 100 to 1000, and **falls"], False),
    ],
)
def test_bounds_of_a_known_evidence_are_judged_on_both_sides(gaps, expected, said, sound):
    story = ppca.tell(of_ppca(gaps, expected))
    assert story.sound == sound
    for words in said:
        assert words in story.text
    assert ("defect" in story.short) == (not sound)


def of_mirror(ours, theirs):
    error = float(np.sqrt(np.var(ours, ddof=1) / len(ours) + np.var(theirs, ddof=1) / len(theirs)))
    found = {"jvae": ours, "pytorch": theirs, "standard_error": error}
    return {
        "runs": len(ours),
        "priors": {"gaussian": {**found, "difference": float(np.mean(ours) - np.mean(theirs))}},
    }


def test_the_mirror_fails_by_a_surer_interval_than_its_bar():
    """A difference of 2.5 standard errors is called one, but comes by chance too often to be an error."""
    ours = np.random.default_rng(0).normal(-95, 1, mirror.FULL)
    error = float(np.std(ours, ddof=1) * np.sqrt(2 / mirror.FULL))
    for shift, sound in ((2.5, True), (5.0, False)):
        story = mirror.tell(of_mirror(ours.tolist(), (ours - shift * error).tolist()))
        assert story.sound == sound
        assert f"Gaussian ({shift} standard errors)" in story.short


@pytest.mark.parametrize(("runs", "shift"), [(mirror.FULL, 0.0), (mirror.FULL, 3.0), (mirror.FULL, -3.0), (3, 3.0)])
def test_the_mirror_holds_its_bar(runs, shift):
    from scipy.stats import ttest_ind

    ours = np.random.default_rng(0).normal(-95, 1, runs)
    theirs = np.random.default_rng(1).normal(ours.mean() - shift, 0.5, runs)
    theirs += ours.mean() - shift - theirs.mean()
    story = mirror.tell(of_mirror(ours.tolist(), theirs.tolist()))
    apart = shift != 0
    assert story.sound == (not apart or runs < mirror.FULL)
    assert ("differ by more than 2 standard errors: Gaussian" in story.short) == apart
    assert ("would have been seen with a probability of 0.8" in story.short) == (not apart)
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    assert f"| {interval.low:+.2f} to {interval.high:+.2f} |" in story.text


def test_a_visible_difference_is_seen_four_times_out_of_five():
    """The difference that the mirror calls visible, drawn many times."""
    generator, n = np.random.default_rng(0), 8
    values = of_mirror(*generator.normal(0, 1, (2, n)).tolist())
    values["priors"]["gaussian"] |= {"difference": 0.0, "standard_error": 0.5}  # of two means of 8 values with sd 1
    visible = float(mirror.tell(values).short.split("A difference of ")[1].split()[0])
    ours, theirs = generator.normal(0, 1, (20_000, n)), generator.normal(visible, 1, (20_000, n))
    errors = np.sqrt((ours.var(axis=1, ddof=1) + theirs.var(axis=1, ddof=1)) / n)
    seen = np.mean(np.abs(ours.mean(axis=1) - theirs.mean(axis=1)) > mirror.WITHIN * errors)
    assert 0.75 < seen < 0.85


def of_kl(changes, drawn=1.0):
    expressions = [
        {"name": f"case {i}", "exact": -10.0, "values": [[-10.0, 0.1]] * 2, "variances": [1.0, 2.0],
         "gradient_variances": [2.0, 1.0], "changes": [change, [-v for v in change[:1]] + change[1:]]}
        for i, change in enumerate(changes)
    ]  # fmt: skip
    fit = {"name": "q", "loc": 0.0, "scale": 1.0, "q_from_p": 1.0, "p_from_q": 1.0}
    pairs = [{"name": "a pair", "closed": 1.0, "drawn": [drawn, 0.1], "distrax": 1.0}]
    return {"draws": 1000, "pairs": pairs, "expressions": expressions, "fits": [fit] * 3, "mean": 0.0, "sd": 2.0}


def test_variances_are_told_apart_by_their_own_error():
    story = kl.tell(of_kl([[1.0, 0.1], [-1.0, 0.1], [0.2, 0.1]]))
    words = (
        "*bound*, (8) has more variance for case 1. (9) has more variance for case 0. Neither has more beyond the noise"
    )
    assert f"{words} for case 2." in story.text
    assert "*gradient*, (8) has more variance for case 0. (9) has more variance for case 1. Neither" in story.text
    told = "the bound has more variance with (9) in 1 of 3 cases, each a model and a q, and with (8) in 1"
    assert told in story.short
    assert story.sound
    assert "in 0 of 1 cases, each a model and a q, and with (8) in 0" in kl.tell(of_kl([[0.2, 0.1]])).short
    assert not kl.tell(of_kl([[0.2, 0.1]], drawn=2.0)).sound


@pytest.mark.slow
def test_the_error_of_a_variances_change_is_that_of_repetition():
    """The standard error from one set of draws is the standard deviation over many sets."""
    from experiments.parts.kl_estimates import compare

    def change(seed):
        noise = np.random.default_rng(seed).normal(size=(2, 200, 5)) * np.array([0.1, 0.2, 0.5, 1.0, 1.5])
        eight, nine = noise[0], noise[0] + 0.5 * noise[1]
        return compare("case", [(eight, eight[..., None]), (nine, nine[..., None])], None).changes[0]

    found = [change(seed) for seed in range(300)]
    values, errors = [f.value for f in found], [f.error for f in found]
    np.testing.assert_allclose(np.mean(values), 0.25 * 0.71, atol=0.02)
    np.testing.assert_allclose(np.mean(errors), np.std(values, ddof=1), rtol=0.15)


def of_estimators(lead, ratio, epochs=1):
    names = ("pathwise", "score function", "another")
    noise = {
        name: {"total_variance": ratio if name == "score function" else 1.0, "signal_to_noise": 1.0} for name in names
    }
    curves = {"pathwise": [-500.0, -100.0], "score function": [-500.0, -100.0 - lead], "another": [-500.0, -100.4]}
    counts = {"images": 32, "repeats": 50, "epochs": epochs, "trained_on": 60_000}
    return {"curves": curves, "noise": {"start": {"2": noise}, "trained": {"2": noise}}, **counts}


@pytest.mark.parametrize(
    ("lead", "ratio", "said", "best"),
    [
        (
            80.0,
            4000.0,
            "matters: after training the score function's variance is about 4,000 times",
            "are: pathwise, another",
        ),
        (
            0.3,
            4000.0,
            "one training with each does not tell them apart (+0.3 nats",
            "are: pathwise, score function, another",
        ),
        (-20.0, 4000.0, "trains to an ELBO 20 nats higher", "The highest ELBO is that of: score function"),
        (80.0, 2.0, "does not show in the noise", "are: pathwise, another"),
    ],
)
def test_one_seed_tells_only_a_clear_lead(lead, ratio, said, best):
    story = reparametrisation.tell(of_estimators(lead, ratio))
    assert said in story.short
    assert best in story.text
    assert ("The trick matters" in story.short) == (lead > 5 and ratio > 10)
    assert ("shows in the noise alone" in story.short) == (lead < 5 and ratio > 10)
    assert "1 epoch with" in story.text.replace("\n", " ")
    assert "3 epochs with" in reparametrisation.tell(of_estimators(lead, ratio, 3)).text.replace("\n", " ")


@pytest.mark.parametrize(("most", "draws"), [(None, [2, 8, 32]), (64, [2, 8, 32, 64]), (8, [2, 8]), (2, [2])])
def test_the_largest_number_of_draws_is_measured(most, draws, tmp_path, monkeypatch, tiny):
    from experiments.reporting.lab import Lab
    from experiments.reporting.settings import Settings
    from jvae.data import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: tiny)
    monkeypatch.setattr(reparametrisation, "training_curve", lambda *_: ([1.0, 2.0], [None, None]))
    monkeypatch.setattr(reparametrisation, "noise_meter", lambda *_: lambda params: {})
    monkeypatch.setattr(reparametrisation, "plot", lambda *_: None)
    values, _ = reparametrisation.measure(Lab(Settings(latent_dim=2), tmp_path), most)
    assert list(values["noise"]["trained"]) == draws


def test_whole_processes_are_told_in_their_own_words():
    seconds = {"jvae, cold": [2.0, 4.0], "the exercise in PyTorch": [6.0, 8.0]}
    found = {"seconds": seconds, "epoch": {"jvae, cold": [0.1, 0.2]}, "start": {"jvae, cold": [1.0, 1.5]}}
    memory = {name: [100.0, 300.0] for name in seconds}
    story = throughput.tell({**found, "memory": memory, "network": "cnn", "epochs": 5})
    assert story.short == "Whole processes of 5 epochs of the convolutional network, in turn."
    assert "| the exercise in PyTorch | 7.00 s | 2.50 (2.00 to 3.00) |" in story.text
    assert "| jvae, cold | 0.15 s | 1.00 (1.00 to 1.00) |" in story.text
    assert "| jvae, cold | 1.25 s | 1.00 (1.00 to 1.00) |" in story.text
    assert "the exercise in PyTorch 200 MiB" in story.text


@pytest.mark.parametrize(
    ("first", "named"), [("jvae", "jvae"), ("tuned", "PyTorch tuned"), ("one-file", "`experiments")]
)
def test_the_answer_names_the_program_whose_seconds_it_gives(first, named):
    seconds = {first: [2.0, 2.0], "exercise": [4.0, 4.0]}
    story = throughput.tell({"seconds": seconds, "images": 100, "network": "mlp", "rounds": 3})
    assert f"An epoch takes 2.00 s in {named}" in story.short
    assert f"2.00 times {named}" in story.short


def test_a_setting_helps_only_if_it_does_in_every_round():
    base = [1.0, 1.1, 0.9]
    flat = {"mlp": [0.9, 0.9, 0.8], "cnn": [0.5, 0.5, 1.0]}
    seconds = {
        network: dict.fromkeys(settings.SETTINGS, base)
        | {"one flat array for Adam": flat[network], "without YNNPACK": [0.5] * 3, "oneDNN for products": None}
        for network in settings.NETWORKS
    }
    story = settings.tell({"seconds": seconds, "rounds": 3, "batch_size": 128})
    assert "with both networks: without YNNPACK; with one: one flat array for Adam (mlp)." in story.short
    assert "| oneDNN for products | ends |" in story.text
    none = {network: dict.fromkeys(settings.SETTINGS, base) for network in settings.NETWORKS}
    assert settings.tell({"seconds": none, "rounds": 3, "batch_size": 128}).short.startswith("None makes a step")


@pytest.mark.parametrize(
    ("again", "flat", "faster"),
    [
        ([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], True),
        ([0.9, 0.9, 0.9], [0.95, 0.95, 0.95], False),  # the default itself was faster
        ([0.9, 0.9, 0.9], [0.8, 0.8, 0.91], False),  # not in every round
        ([1.3, 1.3, 1.3], [0.8, 0.8, 0.8], False),  # the default differs more from itself
        ([1.01, 1.0, 0.99], [0.98, 0.98, 0.98], False),
    ],
)
def test_a_setting_must_beat_both_rows_of_the_default(again, flat, faster):
    seconds = dict.fromkeys(settings.SETTINGS, [1.0] * 3) | {settings.AGAIN: again, "one flat array for Adam": flat}
    short = settings.tell({"seconds": dict.fromkeys(settings.NETWORKS, seconds), "rounds": 3, "batch_size": 8}).short
    assert ("networks: one flat array for Adam; with one: none." in short) == faster
    assert short.startswith("None makes a step") == (not faster)


@pytest.mark.parametrize("name", [settings.DEFAULT, settings.AGAIN, "bfloat16 operands"])
def test_a_default_that_ends_is_one_line(name, tmp_path, monkeypatch):
    from experiments.reporting.lab import Lab
    from experiments.reporting.settings import Settings
    from jvae.errors import JvaeError

    monkeypatch.setattr(settings, "start", lambda setting, network, lab: mock.MagicMock(setting=setting))
    monkeypatch.setattr(settings, "ask", lambda worker, s: None if worker.setting is settings.SETTINGS[name] else s)
    monkeypatch.setattr(settings, "SETTINGS", {one: settings.Setting(one) for one in settings.SETTINGS})
    lab = Lab(Settings(), tmp_path)
    if name in (settings.DEFAULT, settings.AGAIN):
        with pytest.raises(JvaeError, match="mlp: the process that trains as jvae does ended"):
            settings.measure(lab, 2, 1.0)
    else:
        assert settings.measure(lab, 2, 1.0)[0]["seconds"]["cnn"][name] is None


@pytest.mark.slow
def test_a_worker_says_what_a_step_takes_and_a_flag_unknown_to_xla_ends_it(tmp_path):
    from experiments.reporting.lab import Lab
    from experiments.reporting.settings import Settings

    lab = Lab(Settings(batch_size=8), tmp_path)
    workers = [settings.start(settings.Setting(flags), "mlp", lab) for flags in ("", "--xla_no_such_flag=1")]
    assert settings.ask(workers[0], 0.01) > 0
    assert settings.ask(workers[1], 0.01) is None
    for worker in workers:
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize(
    ("steepness", "said", "sound"),
    [
        (1.0, "As derived", True),
        (0.5, "Not as derived, by more than 0.1 in the exponent from K = 30 on: decoder, IWAE", False),
    ],
)
def test_slopes_are_those_of_many_draws(steepness, said, sound):
    draws = np.array(slopes.DRAWS)
    noise = {name: [(draws ** (steepness * s)).tolist()] * 2 for name, (_, _, s) in slopes.LINES.items()}
    story = slopes.tell({"draws": draws.tolist(), "signal_to_noise": noise, "repeats": 10})
    assert said in story.short
    assert story.sound == sound


@pytest.mark.slow
def test_the_signal_to_noise_of_few_draws_is_near_what_is_derived():
    found = slopes.signal_to_noise(0, [30, 100], 50)
    for name, (estimator, group, derived) in slopes.LINES.items():
        assert slopes.exponent([30, 100], found[estimator, group]) == pytest.approx(derived, abs=0.3), name


def test_a_table_without_pytorch_has_a_short_answer_of_its_own():
    both = {"jvae": [2.0] * 3, "one-file": [3.0] * 3}
    for seconds, said in ((both, "slower in every round, 1.50 times"), ({"jvae": [2.0] * 3}, "Nothing beside it.")):
        story = throughput.tell({"seconds": seconds, "images": 100, "network": "mlp", "rounds": 3})
        assert said in story.short
        assert "\n" not in story.short


def test_the_short_form_of_one_campaign_leaves_out_no_others():
    rows = [{"fault": name, "injected": 1, "missed": [], "right": "it ends"} for name in ("one", "two")]
    assert "with 10% of the faults and without" in faults.tell({"rows": rows, "share": 0.1}).text
    assert "with 10% of the faults." in faults.tell({"rows": rows[:1], "share": 0.1}).text


def test_the_settings_of_xla_are_those_of_a_cpu():
    from experiments.reporting.settings import Settings

    assert [settings.obstacle(Settings(device=device)) != "" for device in ("auto", "cpu", "gpu")] == [
        False,
        False,
        True,
    ]
