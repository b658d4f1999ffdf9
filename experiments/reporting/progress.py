"""How far the parts are, and how long they will take: a line that is rewritten on a terminal, lines in a log."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

LOG_SECONDS = 30.0
TRUSTED_SECONDS = 300.0


class Progress:
    """The progress view of several parts, on stderr.

    The time left is the parts' expected minutes, times how much slower than expected the finished ones were; the
    expectation counts as much as TRUSTED_SECONDS of finished parts, so that a first short one does not decide.
    """

    def __init__(
        self,
        expected: Sequence[tuple[str, float]],
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Names and expected minutes of the parts that are to be done, in their order."""
        self.expected, self.stream, self.clock = list(expected), stream or sys.stderr, clock
        self.started = self.part_started = self.said = clock()
        self.index = -1
        self.measured = self.foreseen = 0.0

    def begin(self) -> None:
        """The next part begins."""
        self.index += 1
        self.part_started = self.clock()
        self.write("begins", True)

    def say(self, text: str) -> None:
        """Something happens within the part: shown at once on a terminal, now and then in a log."""
        self.write(text, self.clock() - self.said >= LOG_SECONDS)

    def end(self, text: str = "done") -> None:
        """The part is over."""
        seconds = self.clock() - self.part_started
        self.measured += seconds
        self.foreseen += self.expected[self.index][1] * 60
        self.write(f"{text}, {seconds:.0f} s", True)

    def left(self) -> float:
        """Seconds that are probably left."""
        factor = (self.measured + TRUSTED_SECONDS) / (self.foreseen + TRUSTED_SECONDS)
        current = self.expected[self.index][1] * 60 * factor - (self.clock() - self.part_started)
        later = sum(minutes for _, minutes in self.expected[self.index + 1 :]) * 60 * factor
        return max(current, 0.0) + later

    def write(self, text: str, lasting: bool) -> None:
        """Show a line: on a terminal in the place of the last one unless that was lasting, in a log only if lasting."""
        now, name = self.clock(), self.expected[self.index][0]
        passed = f"{clock_text(now - self.started)} passed, {clock_text(self.left())} left"
        line = f"[{self.index + 1}/{len(self.expected)}] {passed}: {name}: {text}"
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[K{line[:118]}" + ("\n" if lasting else ""))
        elif lasting:
            self.stream.write(line + "\n")
            self.said = now
        self.stream.flush()


def clock_text(seconds: float) -> str:
    """Minutes and seconds, such as 4:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
