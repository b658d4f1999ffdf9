"""Verdicts: which of two is better, decided by seed-by-seed differences and their standard error."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

LEVEL = 0.95
SURE = 0.999
"""The level at which a theory is tested: what must hold should fail by an error, not by chance."""
ONE_SEED = "One seed cannot tell a difference from the noise"


class Verdict(NamedTuple):
    """The comparison of one series of results with another."""

    word: Literal["better", "worse", "equal", "undecided"]
    """equal: no difference beyond the noise; undecided: a single seed knows no noise."""
    difference: float
    error: float
    """The standard error of the mean difference; NaN for one seed."""
    low: float
    """The lower end of its 95 % interval; NaN for one seed."""
    high: float
    runs: int

    @property
    def digits(self) -> int:
        """The number of decimals that show the uncertainty."""
        return 3 if abs(self.error if self.runs > 1 else self.difference) < 0.05 else 2

    def numbers(self, unit: str = "nats") -> str:
        """Return the difference with its uncertainty, where there is one."""
        unit = unit and f" {unit}"
        if self.runs == 1:
            return f"{self.difference:+.{self.digits}f}{unit}"
        digits = self.digits
        interval = f"95 % interval {self.low:+.{digits}f} to {self.high:+.{digits}f}"
        return f"{self.difference:+.{digits}f} ± {self.error:.{digits}f}{unit}, {interval}"

    def brief(self, unit: str = "nats") -> str:
        """Return the word, and the difference with its standard error."""
        words = {"equal": "no difference beyond the noise", "undecided": "one seed, undecided"}
        noise = "" if self.runs == 1 else f" ± {self.error:.{self.digits}f}"
        return f"{words.get(self.word, self.word)} ({self.difference:+.{self.digits}f}{noise}{unit and ' ' + unit})"

    def says(self, prose: Callable[..., str], section: str, unit: str = "nats", **values: Any) -> str:
        """Return the sentence that the result asks for, with the numbers.

        Args:
            prose: a section's name, and values for its fields -> its text.
            section: what the names of the sections `SECTION: better`, `: worse` and `: equal` begin with.
            unit: of the difference.
            values: for the sections' fields.
        """
        sentence = ONE_SEED if self.word == "undecided" else prose(f"{section}: {self.word}", **values)
        return f"{sentence} ({self.numbers(unit)})."


def judge(ours: Sequence[float], theirs: Sequence[float], smaller_is_better: bool = False) -> Verdict:
    """Compare results of the same seeds, larger being better unless said otherwise; the difference is ours - theirs.

    One is better where Student's 95 % interval of the mean difference lies on the better side of zero, and
    worse where on the other.

    Raises:
        ValueError: the series are empty or differ in length.
    """
    from scipy.stats import sem, ttest_rel

    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"ours has {len(ours)} values and theirs {len(theirs)}: must be as many, at least one")
    differences, n = np.subtract(ours, theirs), len(ours)
    mean, nan = float(differences.mean()), float("nan")
    if n == 1:
        return Verdict("undecided", mean, nan, nan, nan, n)
    low = high = mean
    if np.ptp(differences) > 0:  # else Student's t is not defined, and there is no noise
        low, high = map(float, ttest_rel(ours, theirs).confidence_interval(LEVEL))
    least, most = (-high, -low) if smaller_is_better else (low, high)
    word: Literal["better", "worse", "equal"] = "better" if least > 0 else "worse" if most < 0 else "equal"
    return Verdict(word, mean, float(sem(differences)), low, high, n)


def margin(error: float, n: int, level: float = LEVEL) -> float:
    """Return half the width of Student's interval of a mean of n independent values, given its standard error."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, n - 1)) * error


def mean_and_sd(values: Sequence[float], digits: int = 2) -> str:
    """Return mean and, over more than one value, standard deviation (n-1)."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def what_is_shown(seeds: int) -> str:
    """Return what `mean_and_sd` shows, for the note under a table."""
    return "One seed" if seeds == 1 else f"Mean ± standard deviation over {seeds} seeds, each in `results.json`"
