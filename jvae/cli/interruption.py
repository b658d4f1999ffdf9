"""Interruption: the signals by which a person, a terminal or a cluster asks a process to end.

A command ends where it stands, with one line and the exit code 128 + n: the main thread unwinds, so that nothing
half-written is left, and where it cannot soon, for it compiles or a library swallows what was raised, a thread beside
it ends the process. A training is asked instead at its safe points; then the second signal ends it at once, and what
was saved last is whole. A signal that is ignored when the process starts, as under nohup, stays ignored.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""Of a person; of most who end a process; of a lost terminal; of SLURM, if asked for; of LSF; of a CPU-time limit."""
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
GRACE_SECONDS = 3.0
"""How long the main thread may unwind."""
ECHO_SECONDS = 0.5
"""Within them the same signal is the same request: a shell passes a SIGHUP on that the terminal has sent already."""


class Interruption:
    """Whether the process was asked to end, by which signal, and what is done then."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.asks = False
        """Whether a training asks at safe points; else a signal ends the command."""
        self.ending = False
        """Whether a signal has begun to end the command."""
        self.hint = ""
        """How to go on, to be said at the end."""

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """By custom, 128 and the signal's number."""
        return 0 if self.signal is None else 128 + self.signal

    def describe(self, exit_code: int) -> str:
        """Return which signal has ended the command, by the exit code, and how to go on."""
        return f"stopped by {signal.Signals(exit_code - 128).name}{self.hint and ': '}{self.hint}"

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the main thread: set a flag, and unless a training asks for it, unwind from here."""
        if self.signal is None:
            self.signal = signal.Signals(number)
            if not self.asks:
                self.ending = True
                if starts_extension(frame):
                    self.end_process(number)
                raise Ended(self)

    def watch(self, pipe: int) -> None:
        """Read the signals' numbers as they come, whatever the main thread does; until the pipe is closed."""
        first, came, patience = 0, 0.0, None
        while True:
            if not select.select([pipe], [], [], patience)[0]:
                self.end_process(first)
            number, now = os.read(pipe, 1), time.monotonic()
            if not number:
                return
            if number[0] not in SIGNALS:
                continue
            if first == 0:
                first, came, patience = number[0], now, None if self.asks else GRACE_SECONDS
                if self.asks:
                    say(f"{signal.Signals(first).name}: ends at the next safe point; a second signal ends at once")
            elif not is_echo(first, number[0], now - came):
                self.end_process(number[0])

    def end_process(self, number: int) -> None:
        """End the process where it stands; no file is half-written, for each is renamed into its place."""
        say(f"jvae: error: {self.describe(128 + number)}")
        os._exit(128 + number)


class Ended(SystemExit):
    """Raised in the main thread where a signal ends the command; ends a process without a traceback."""

    code: int

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption.exit_code)
        self.line = interruption.describe(interruption.exit_code)


def starts_extension(frame: FrameType | None) -> bool:
    """Return True if a module in C or C++ is being imported, which an exception may abort with a core dump."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        frame = frame.f_back
    return False


def is_echo(first: int, number: int, seconds: float) -> bool:
    """Return True if a signal says again what the first, some seconds before, has said; SIGXCPU comes every second."""
    again = seconds < ECHO_SECONDS or signal.Signals(number).name == "SIGXCPU"
    return number == first and again


def say(line: str) -> None:
    """Write a line on stderr from any thread, with the cursor of a terminal that a progress bar has hidden."""
    with contextlib.suppress(OSError):
        os.write(2, (f"\r\x1b[?25h\n{line}\n" if os.isatty(2) else f"{line}\n").encode())


def standing() -> Interruption | None:
    """Return what handles the process's signals, if it is one of ours."""
    owners = (getattr(signal.getsignal(number), "__self__", None) for number in SIGNALS)
    return next((owner for owner in owners if isinstance(owner, Interruption)), None)


@contextlib.contextmanager
def listening() -> Iterator[Interruption]:
    """Let signals end the command well meanwhile; in the main thread only, elsewhere they do what they did.

    Raises:
        Ended: one did, whatever else was raised by it, or swallowed it.
    """
    known = standing()
    with contextlib.nullcontext(known) if known is not None else taken_over() as interruption:
        try:
            yield interruption
        except BaseException:
            if not interruption.ending:
                raise
        if interruption.ending:
            raise Ended(interruption)


@contextlib.contextmanager
def taken_over() -> Iterator[Interruption]:
    """Handle the signals that are not ignored, and watch them, meanwhile."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    pipe, told = os.pipe()
    os.set_blocking(told, False)
    hook, woken = sys.unraisablehook, signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    watcher = threading.Thread(target=interruption.watch, args=(pipe,), name="signals", daemon=True)
    try:
        watcher.start()
        sys.unraisablehook = lambda found: None if isinstance(found.exc_value, Ended) else hook(found)
        for number in ours:
            signal.signal(number, interruption.handle)
        yield interruption
    finally:
        for number in ours:
            signal.signal(number, before[number])
        signal.set_wakeup_fd(woken)
        sys.unraisablehook = hook
        os.close(told)
        watcher.join()
        os.close(pipe)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let the signals ask instead of end meanwhile: whoever computes looks now and then whether one has come."""
    with listening() as interruption:
        for number in SIGNALS:  # once more, for jax takes SIGTERM when hosts meet
            if getattr(signal.getsignal(number), "__self__", None) is interruption:
                signal.signal(number, interruption.handle)
        interruption.asks = True
        try:
            yield interruption
        finally:
            interruption.asks = False


def say_at_end(hint: str) -> None:
    """Let the line of a signal that ends this command say how to go on."""
    if interruption := standing():
        interruption.hint = hint
