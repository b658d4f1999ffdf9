"""Interruption: the signals by which a person, a terminal or a cluster asks a process to end.

A command ends at once, with one line and the exit code 128 + n: the main thread unwinds, so that no half-written file
is left. If a library swallows the exception, it is raised again; if the main thread cannot unwind soon, because it
compiles, a second thread ends the process. A training instead checks for signals at its safe points; a second signal
ends it at once, and the last saved file is intact. A signal that is ignored when the process starts, as under nohup,
stays ignored.
"""

import _thread
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
"""Sent by Ctrl-C; by most programs; on a lost terminal; by SLURM on request; by LSF; at a CPU-time limit."""
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
GRACE_SECONDS = 3.0
"""The time that the main thread has to unwind."""
AGAIN_SECONDS = 0.1
"""The time after which it is asked whether the main thread unwinds."""
ECHO_SECONDS = 0.5
"""A repeated signal within this time is the same request: a shell forwards a SIGHUP that the terminal sends too."""


class Interruption:
    """The request to end the process, if any: which signal made it, and how it is handled."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.asks = False
        """True if a training checks at safe points; otherwise a signal ends the command."""
        self.ending = False
        """True once a signal has begun to end the command."""
        self.hint = ""
        """How to continue, printed at the end."""

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The conventional exit code: 128 plus the signal's number."""
        return 0 if self.signal is None else 128 + self.signal

    def describe(self, exit_code: int) -> str:
        """Return in words the signal of an exit code, and how to continue."""
        return f"stopped by {signal.Signals(exit_code - 128).name}{self.hint and ': '}{self.hint}"

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the main thread: set a flag, and raise `Ended` unless a training checks the flag.

        It is raised again if it was lost: a module may swallow it, and a finaliser does.
        """
        if self.signal is None:
            self.signal = signal.Signals(number)
            self.ending = not self.asks
        if self.ending and not unwinds():
            if starts_extension(frame):
                self.end_process(number)
            raise Ended(self)

    def watch(self, pipe: int) -> None:
        """Read signal numbers from the pipe until it is closed, whatever the main thread does."""
        first, came, patience, sent = 0, 0.0, None, 0
        while True:
            if not select.select([pipe], [], [], patience)[0]:
                if time.monotonic() - came > GRACE_SECONDS:
                    self.end_process(first)
                _thread.interrupt_main(signal.Signals(first))  # calls `handle` again, and writes to the pipe
                sent += 1
                continue
            number, now = os.read(pipe, 1), time.monotonic()
            if not number:
                return
            if number[0] not in SIGNALS:
                continue
            if sent and number[0] == first:
                sent -= 1
            elif first == 0:
                first, came, patience = number[0], now, None if self.asks else AGAIN_SECONDS
                if self.asks:
                    say(f"{signal.Signals(first).name}: ends at the next safe point; a second signal ends at once")
            elif not is_echo(first, number[0], now - came):
                self.end_process(number[0])

    def end_process(self, number: int) -> None:
        """End the process at once; no file is half-written, because each is renamed into place."""
        say(f"jvae: error: {self.describe(128 + number)}")
        os._exit(128 + number)


class Ended(SystemExit):
    """A signal's end of the command, raised in the main thread; it ends the process without a traceback."""

    code: int

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption.exit_code)
        self.line = interruption.describe(interruption.exit_code)


def unwinds() -> bool:
    """Return True if an `Ended` is being handled: its cleanup runs, which another one would cut short."""
    found = sys.exception()
    while found is not None and not isinstance(found, Ended):
        found = found.__context__
    return found is not None


def starts_extension(frame: FrameType | None) -> bool:
    """Return True if an extension module is being imported: an exception there may abort with a core dump."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        frame = frame.f_back
    return False


def is_echo(first: int, number: int, seconds: float) -> bool:
    """Return True if a signal repeats the first, `seconds` later, as the same request; SIGXCPU comes every second."""
    again = seconds < ECHO_SECONDS or signal.Signals(number).name == "SIGXCPU"
    return number == first and again


def say(line: str) -> None:
    """Write a line to stderr from any thread, and show a terminal's cursor, which a progress bar hides."""
    with contextlib.suppress(OSError):
        os.write(2, (f"\r\x1b[?25h\n{line}\n" if os.isatty(2) else f"{line}\n").encode(errors="replace"))


def standing() -> Interruption | None:
    """Return the process's signal handler if it is an `Interruption`, else None."""
    owners = (getattr(signal.getsignal(number), "__self__", None) for number in SIGNALS)
    return next((owner for owner in owners if isinstance(owner, Interruption)), None)


@contextlib.contextmanager
def listening() -> Iterator[Interruption]:
    """Let signals end the command cleanly inside this context; in other threads than the main one, do nothing.

    Raises:
        Ended: a signal came, whatever it raised or whatever swallowed its exception.
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
    """Handle and watch the signals that are not ignored inside this context."""
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
        signal.set_wakeup_fd(woken)
        os.close(told)
        watcher.join()  # before the handlers are restored, which it may call
        os.close(pipe)
        for number in ours:
            signal.signal(number, before[number])
        sys.unraisablehook = hook


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let signals only set a flag inside this context: the computation checks it at safe points."""
    with listening() as interruption:
        for number in SIGNALS:  # again, because JAX takes SIGTERM over when hosts connect
            if getattr(signal.getsignal(number), "__self__", None) is interruption:
                signal.signal(number, interruption.handle)
        interruption.asks = True
        try:
            yield interruption
        finally:
            interruption.asks = False


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process as soon as a command that a signal stopped has cleaned up, without Python's own finalisation.

    XLA's threads may still compute what was stopped, with arrays that the finalisation frees: the process would crash.
    Connected hosts part from each other there.
    """
    try:
        yield
    except SystemExit as end:
        hosts = getattr(sys.modules.get("jax"), "distributed", None)  # None unless all of JAX is imported
        code = end.code if isinstance(end.code, int) else 1
        if code - 128 in SIGNALS and hosts is not None and not hosts.is_initialized():
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)
        raise


def say_at_end(hint: str) -> None:
    """Set the hint how to continue, for the line that a signal ends this command with."""
    if (interruption := standing()) is not None:  # it is false until a signal comes
        interruption.hint = hint
