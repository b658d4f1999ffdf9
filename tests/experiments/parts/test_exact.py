"""The exact log-evidence: the story of made-up results, and the errors that a bound is judged by."""

import numpy as np
import pytest
from click.testing import CliRunner

from experiments.__main__ import experiments
from experiments.parts import exact


def of_exact(off=0.0, error=0.1, share=1.0, grid_error=1e-4, rare=None):
    """Make results of three images for two priors, with one image this far from its log p(x)."""
    each = {
        "log_px": [-90.0, -100.0, -95.0], "grid_error": [1e-4, grid_error, 1e-4],
        "iwae": [-90.0 + np.log(share), -100.0 + off, -95.0], "standard_error": [0.1, error, 0.1],
        "bias": [float(np.log(share)), 0.0, 0.0], "share": [share, 1.0, 1.0],
        "own_error": [0.1] * 3, "own_bias": [0.0] * 3, "effective_sample_size": [900.0, 500.0, 800.0],
        "elbo": [-97.0] * 3, "bounds": [-97.0, -95.0], "spacing": [0.01, 0.02], "border": 1e-9,
        "rare": {} if rare is None else {"1": rare},
    }  # fmt: skip
    rows = [each, {**each, "iwae": each["log_px"], "bias": [0.0] * 3, "share": [1.0] * 3, "rare": {}}]
    rows = [{**row, "name": name} for row, name in zip(rows, ("one", "another"), strict=True)]
    return {"rows": rows, "draws": [1, 5000], "images": 3, "side": 100, "finer": 50}


@pytest.mark.parametrize(
    ("values", "sound", "own"),
    [
        (of_exact(), True, 0),
        (of_exact(off=0.49), True, 0),
        (of_exact(off=-0.6, rare=0), False, 1),  # too far
        (of_exact(off=0.6, rare=0), False, 1),  # above log p(x)
        (of_exact(off=0.6, rare=7), True, 1),  # as others of its bounds are
        (of_exact(share=0.05), True, 1),  # the grid knows what no draw reaches, the draws do not
        (of_exact(error=np.nan, rare=0), False, 0),  # undefined
    ],
)
def test_every_image_must_be_as_near_to_its_evidence_as_its_errors_say(values, sound, own):
    story, row = exact.tell(values), values["rows"][0]
    assert story.sound == sound
    assert ("further from the mean of others than their errors let them: one (1)" in story.short) == (not sound)
    assert np.sum(exact.is_beyond(exact.distances(row))) == len(row["rare"])
    assert ("All 6 IWAE-bounds lie within 5 standard errors" in story.short) == (not row["rare"])
    assert ("Of 6 IWAE-bounds 5 lie within 5 standard errors" in story.short) == (row["rare"] == {"1": 7})
    assert [np.sum(exact.is_beyond(exact.distances(row, "own_"))) for row in values["rows"]] == [own, 0]
    assert "the ELBO lies 2.00 to 2.00 nats below" in story.short  # -95 and the ELBO's -97
    assert "| 2.00 ± 2.89 |" in story.text  # of 7, -3 and 2


@pytest.mark.parametrize(
    ("shares", "agreed"), [((1.0, 1.0, 0.1), True), ((1.0, 0.9, 0.1), False), ((1.02, 1, 1), False)]
)
def test_a_second_integral_must_be_the_same_where_draws_reach(shares, agreed):
    values = of_exact()
    values["rows"][0]["share"] = list(shares)
    assert exact.tell(values).sound == agreed
    assert ("agrees with log p(x) to 1% for 5 of 6 images" in exact.tell(values).short) == (shares[1] == 1 and agreed)
    assert ("does not agree with log p(x) for one" in exact.tell(values).text) == (not agreed)


def test_means_that_few_images_dominate_stand_beside_medians():
    story = exact.tell(of_exact(share=0.05))  # one image of three is log 20 below
    assert "IWAE-5000 0.00 to 0.999: means over 3 images" in story.short
    assert "at the median 2.00 to 2.00 and 0.00 to 0.00." in story.short
    assert "| 1.00 ± 1.00 | 2.000 | 0.000 |" in story.text


def test_the_mean_of_the_images_has_a_distance_of_its_own():
    (row, other) = of_exact(off=0.6)["rows"]
    assert exact.mean_distance(row) == pytest.approx(0.6 / np.sqrt(3 * 0.01), rel=1e-3)
    assert exact.mean_distance(other) == 0


def test_an_evidence_that_no_grid_resolves_is_not_told_as_exact():
    assert exact.tell(of_exact(grid_error=0.009)).sound
    story = exact.tell(of_exact(grid_error=0.5))
    assert not story.sound
    assert "For one, another log p(x) is not known to 0.01 nats" in story.text


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
