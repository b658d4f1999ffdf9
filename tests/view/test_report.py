"""The remarks beside an evaluation's figures."""

import pytest

from jvae.diagnostics import Diagnostics, LevelDiagnostics
from jvae.evaluation import Estimate, ImportanceEvaluation
from jvae.view.report import (
    describe_diagnostics,
    describe_discrete,
    describe_estimate,
    describe_looseness,
    is_loose,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("error", "rise", "effective", "loose"),
    [
        (0.03, 0.2, 100.0, True),  # the bound rises by more than its error says
        (0.03, 0.05, 100.0, False),
        (0.001, 0.009, 100.0, False),  # it rises, but negligibly
        (0.5, 0.3, 4.0, True),  # few draws count
        (NAN, NAN, 1.0, True),  # a single draw
    ],
)
def test_a_bound_is_loose_where_it_still_rises_or_few_draws_count(error, rise, effective, loose):
    found = ImportanceEvaluation(Estimate(-90.0, 0.5, error), effective, effective, 100, 5000, rise)
    assert is_loose(found) == loose
    tight = found._replace(iwae=Estimate(-90.0, 0.5, 1.0), rise=0.0, median_effective_sample_size=100.0)
    assert len(describe_looseness([tight, found, tight])) == loose


def test_bits_are_those_of_a_pixel_only_where_that_is_one_number():
    """A density of 1 says nothing about the 8 bits of each number."""
    for shape, of in (((8, 8, 1), "pixel"), ((8, 8), "pixel"), ((8, 8, 3), "dimension"), ((64,), "dimension")):
        assert describe_discrete(Estimate(0.0, 1.0, 0.1), shape).endswith(f"8.000 bits per {of}")


def test_an_error_that_is_unknown_is_left_out():
    """Of one image, and of one draw."""
    assert describe_estimate("elbo", Estimate(-90.0, NAN, NAN)).split() == ["elbo", "-90.000"]
    one = ImportanceEvaluation(Estimate(-90.0, NAN, NAN), 1.0, 1.0, 1, 1, NAN)
    assert describe_looseness([one])[0].startswith("  1 draw is too few")


@pytest.mark.parametrize("closed", [True, False])
def test_a_kl_without_dimensions_says_whether_it_is_drawn(closed):
    level = LevelDiagnostics(2, 2, 1.0, closed, None, None, None)
    assert describe_diagnostics(Diagnostics([level], None)).endswith("KL 1.00" if closed else "KL 1.00 (one draw)")
