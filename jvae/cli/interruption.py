"""Interruption: SIGINT and SIGTERM as a question that a training asks at its safe points."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interruption:
    """Whether the process was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """By custom, 128 and the signal's number."""
        return 0 if self.signal is None else EXIT_CODES[self.signal]

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: set a flag and nothing else, for it may come in the midst of a computation.

        The second time the signal does what it did before.
        """
        self.signal = signal.Signals(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def name_of(exit_code: int) -> str:
    """Return the signal that an exit code stands for."""
    return next(number.name for number, code in EXIT_CODES.items() if code == exit_code)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let the signals ask instead of kill meanwhile; in the main thread only, elsewhere they do what they did."""
    interruption = Interruption()
    before = {}
    try:
        for number in EXIT_CODES:
            with contextlib.suppress(ValueError):  # not in the main thread
                before[number] = signal.signal(number, interruption.ask)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
