"""The standard streams: output may be lost, but never stops a command."""

import contextlib
import io
import os
import sys
from typing import TextIO


def open_streams() -> None:
    """Prepare the standard streams so that any text can be written to them.

    A stream that was closed before the start is opened on the null device: otherwise the next opened file would take
    its descriptor, and receive what libraries print. A character that an encoding lacks is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest free number
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout(code: int) -> int:
    """Discard what could not be written to stdout, so that exiting does not try again; return the exit code."""
    discard(sys.stdout)
    return code


def discard(stream: TextIO | None) -> None:
    """Let a standard stream's file be the null device, whose writes cannot fail: else Python exits with 120."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


def printable(text: str) -> str:
    """Return a text in one line, with unprintable characters, such as a path's line break, escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
