"""The progress and remaining time of an importance-weighted bound of many draws: a bar on a terminal, else lines."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

LONG = 60.0
"""The least remaining time, in seconds, that is reported."""
OFTEN = 600.0
"""The seconds between two lines."""
SETTLED = 5.0
"""The least seconds after the first report from which a pace is told: a device may compile in between."""


class Counting:
    """A context whose value is called with the number of data, of `num_data`, whose bound is known."""

    def __init__(
        self, num_data: int, draws: int, log: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.num_data, self.draws, self.log, self.clock = num_data, draws, log, clock
        self.started: float | None = None
        self.first, self.said = 0.0, -OFTEN
        self.hidden = not draws or not sys.stderr.isatty()
        bar: Any = click.progressbar(length=num_data, label=f"iwae-{draws}", file=sys.stderr, hidden=self.hidden)
        self.bar = bar

    def __enter__(self) -> "Counting":
        if self.draws * self.num_data >= 10**9:
            self.log(f"iwae-{self.draws}: {self.draws * self.num_data:.3g} draws for {self.num_data:,} images")
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)

    def __call__(self, done: float) -> None:
        """Report the progress, and some seconds after the first call the remaining time if it is long."""
        now = self.clock()
        self.bar.update(done - self.bar.pos)
        if self.started is None:  # the first call's time includes compilation
            self.started, self.first = now, done
        if done <= self.first or now - self.started < SETTLED:
            return
        left = (now - self.started) / (done - self.first) * (self.num_data - done)
        if self.hidden and left >= LONG and now - self.said >= OFTEN:
            self.said = now
            self.log(f"iwae-{self.draws}: {done:,.0f} of {self.num_data:,} images, about {duration(left)} left")


def duration(seconds: float) -> str:
    """Return a time as text, in the largest unit of days, hours and minutes that fits."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
