"""Is one better than another? Decided by seed-by-seed differences and their standard error, never beforehand."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

LEVEL = 0.95
SURE = 0.999
"""The level at which a theory is tested: what must hold should fail by an error, not by chance."""


class Verdict(NamedTuple):
    """Of one series of results against another."""

    word: Literal["better", "worse", "equal", "undecided"]
    """equal: no difference beyond the noise; undecided: a single seed knows no noise."""
    difference: float
    error: float
    """The standard error of the mean difference; NaN for one seed."""
    margin: float
    """Half the width of its 95 % interval."""
    runs: int

    @property
    def digits(self) -> int:
        """Decimals that show the uncertainty."""
        return 3 if abs(self.error if self.runs > 1 else self.difference) < 0.05 else 2

    def numbers(self, unit: str = "nats") -> str:
        """The difference with its uncertainty, where there is one."""
        unit = unit and f" {unit}"
        if self.runs == 1:
            return f"{self.difference:+.{self.digits}f}{unit}"
        low, high, digits = self.difference - self.margin, self.difference + self.margin, self.digits
        return (
            f"{self.difference:+.{digits}f} ± {self.error:.{digits}f}{unit}, "
            f"95 % interval {low:+.{digits}f} to {high:+.{digits}f}"
        )

    def brief(self, unit: str = "nats") -> str:
        """The word, and the difference with its standard error."""
        words = {"equal": "no difference beyond the noise", "undecided": "one seed, undecided"}
        noise = "" if self.runs == 1 else f" ± {self.error:.{self.digits}f}"
        return f"{words.get(self.word, self.word)} ({self.difference:+.{self.digits}f}{noise}{unit and ' ' + unit})"

    def says(self, better: str, worse: str, equal: str, unit: str = "nats") -> str:
        """The sentence that the result asks for, with the numbers; all three are whole sentences, without the stop."""
        sentence = {
            "better": better,
            "worse": worse,
            "equal": equal,
            "undecided": "One seed cannot tell a difference from the noise",
        }[self.word]
        return f"{sentence} ({self.numbers(unit)})."


def judge(ours: Sequence[float], theirs: Sequence[float], smaller_is_better: bool = False) -> Verdict:
    """Compare results of the same seeds, larger being better unless said otherwise; the difference is ours - theirs.

    One is better where Student's 95 % interval of the mean difference lies on the better side of zero, and
    worse where on the other.

    Raises:
        ValueError: the series are empty or differ in length.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"ours has {len(ours)} values and theirs {len(theirs)}: must be as many, at least one")
    differences, n = np.subtract(ours, theirs), len(ours)
    mean = float(differences.mean())
    if n == 1:
        return Verdict("undecided", mean, float("nan"), float("nan"), n)
    error = float(differences.std(ddof=1) / np.sqrt(n))
    noise = margin(error, n)
    gain = -mean if smaller_is_better else mean
    word: Literal["better", "worse", "equal"] = "better" if gain > noise else "worse" if gain < -noise else "equal"
    return Verdict(word, mean, error, noise, n)


def margin(error: float, n: int, level: float = LEVEL) -> float:
    """Half the width of Student's interval of a mean of n independent values, given its standard error."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, n - 1)) * error


def mean_and_sd(values: Sequence[float], digits: int = 2) -> str:
    """Mean and, over more than one value, standard deviation (n-1)."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def what_is_shown(seeds: int) -> str:
    """What `mean_and_sd` shows, for the note under a table."""
    return "One seed" if seeds == 1 else f"Mean ± standard deviation over {seeds} seeds"
