"""Better, worse or equal is decided by Student's interval of the paired differences."""

import numpy as np
import pytest

from experiments.reporting.verdicts import judge


@pytest.mark.parametrize(
    ("differences", "word"),
    [([2.7, 2.5, 2.9], "better"), ([-2.7, -2.5, -2.9], "worse"), ([2.7, -2.5, 0.3], "equal"), ([2.7], "undecided")],
)
def test_a_verdict_is_student_s(differences, word):
    from scipy.stats import ttest_1samp

    found = judge(differences, [0.0] * len(differences))
    assert found.word == word
    if len(differences) > 1:
        exact = ttest_1samp(differences, 0)
        assert (exact.pvalue < 0.05) == (word != "equal")
        np.testing.assert_allclose([found.low, found.high], exact.confidence_interval())
        np.testing.assert_allclose(found.error, found.difference / exact.statistic)
    flipped = judge(differences, [0.0] * len(differences), smaller_is_better=True).word
    assert flipped == {"better": "worse", "worse": "better"}.get(word, word)


def test_differences_without_noise_are_decided():
    assert judge([2.0, 3.0], [1.0, 2.0])[:3] == ("better", 1.0, 0.0)
    assert judge([1.0, 2.0], [1.0, 2.0])[:3] == ("equal", 0.0, 0.0)
