"""How an injection ends: in a text, whatever it meets, and with no process left."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from jvae.errors import first_line


def outcome(inject: Callable[[], str]) -> str:
    """Return what an injection returns, or the first line of what it raises: then the fault was not handled."""
    try:
        return inject()
    except Exception as error:
        return f"raises {type(error).__name__}: {first_line(error)}"


@contextlib.contextmanager
def ended(process: "subprocess.Popen[Any]") -> Iterator[Any]:
    """Kill a process at the end of this context, if it still runs then."""
    with process:
        try:
            yield process
        finally:
            process.kill()
