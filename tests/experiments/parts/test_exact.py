"""The exact log-evidence: the story of made-up results, and the errors that a bound is judged by."""

import numpy as np
import pytest
from click.testing import CliRunner

from experiments.__main__ import experiments
from experiments.parts import exact


def of_exact(off=0.0, error=0.1, share=1.0, grid_error=1e-4):
    """Make results of two images for two priors, with one image this far from its log p(x)."""
    each = {
        "log_px": [-90.0, -100.0], "grid_error": [1e-4, grid_error], "iwae": [-90.0 + np.log(share), -100.0 + off],
        "standard_error": [0.1, error], "bias": [float(np.log(share)), 0.0], "share": [share, 1.0],
        "own_error": [0.1] * 2, "own_bias": [0.0] * 2, "effective_sample_size": [900.0, 500.0],
        "elbo": -97.0, "bounds": [-97.0, -95.0], "spacing": [0.01, 0.02], "border": 1e-9,
    }  # fmt: skip
    rows = [{**each, "name": "one"}, {**each, "name": "another", "iwae": each["log_px"], "bias": [0.0] * 2}]
    return {"rows": rows, "draws": [1, 5000], "images": 2, "side": 100, "finer": 50}


@pytest.mark.parametrize(
    ("values", "sound", "own"),
    [
        (of_exact(), True, 0),
        (of_exact(off=0.49), True, 0),
        (of_exact(off=-0.6), False, 1),  # too far
        (of_exact(off=0.6), False, 1),  # above log p(x)
        (of_exact(share=0.05), True, 1),  # the grid knows what no draw reaches, the draws do not
        (of_exact(error=np.nan), False, 0),  # undefined
    ],
)
def test_every_image_must_be_as_near_to_its_evidence_as_its_error_says(values, sound, own):
    story = exact.tell(values)
    assert story.sound == sound
    assert ("all, for every prior" in story.short) == sound
    assert ("one (1)" in story.short) == (not sound)
    assert [exact.beyond(exact.distances(row, "own_")) for row in values["rows"]] == [own, 0]
    assert "lies 2.00 to 2.00 nats below" in story.short  # -95 and the ELBO's -97


def test_the_mean_of_the_images_has_a_distance_of_its_own():
    (row, other) = of_exact(off=0.6)["rows"]
    assert exact.mean_distance(row) == pytest.approx(0.6 / np.hypot(0.1, 0.1), rel=1e-4)
    assert exact.mean_distance(other) == 0


def test_an_evidence_that_no_grid_resolves_is_not_told_as_exact():
    assert exact.tell(of_exact(grid_error=0.009)).sound
    story = exact.tell(of_exact(grid_error=0.5))
    assert not story.sound
    assert "For one, another log p(x) is not known to 0.01 nats" in story.text


def test_the_errors_of_a_mean_weight_are_those_of_repetition():
    """For log-normal weights of mean 1, bias and standard error from one set of draws are those over many sets."""
    log_w = 0.6 * np.random.default_rng(0).normal(size=(500, 2000)) - 0.18  # 2,000 sets of 500 draws
    found = exact.Importance(log_w.mean(axis=0), log_w)
    bound = found.bound(500)
    np.testing.assert_allclose(found.standard_error().mean(), bound.std(), rtol=0.06)
    assert abs(bound.mean() - found.bias().mean()) < 5 * bound.std() / np.sqrt(2000)
    np.testing.assert_allclose(found.bias().mean(), -np.expm1(0.36) / (2 * 500), rtol=0.05)
    np.testing.assert_allclose(found.bound(1), found.elbo)
    assert np.all(np.diff([found.bound(k).mean() for k in (1, 10, 100, 500)]) > 0)


def test_bounds_measures_this_part_in_its_place(monkeypatch):
    calls = []

    def fake(part, settings, output, choices):
        calls.append((part.name, choices))

    monkeypatch.setattr("experiments.reporting.command.run_part", fake)
    run = CliRunner().invoke
    assert run(experiments, ["bounds", "--exact", "--images", "7"]).exit_code == 0
    assert run(experiments, ["bounds", "--draws", "3"]).exit_code == 0
    assert calls == [
        ("exact", {"images": 7, "most": None}),
        ("bounds", {"images": None, "most": None, "draws": 3}),
    ]
    refused = run(experiments, ["bounds", "--exact", "--draws", "3"])
    assert (refused.exit_code, len(calls)) == (2, 2)
    assert "--draws cannot be used with --exact" in refused.stderr
