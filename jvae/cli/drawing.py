"""Drawing with matplotlib's defaults, so that a command's pictures are the same for every user."""

import contextlib
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from jvae.errors import JvaeError, first_line


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Use matplotlib's default settings inside this context, whatever the user's matplotlibrc, style, fonts or backend.

    Raises:
        JvaeError: matplotlib cannot be imported.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of unused settings
    found = find_spec("matplotlib")
    own = "" if found is None or found.origin is None else str(Path(found.origin).parent / "mpl-data" / "matplotlibrc")
    try:
        with changed_environment(MPLBACKEND="agg", MATPLOTLIBRC=own):
            import matplotlib
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise JvaeError(f"matplotlib cannot be imported: {first_line(error)}") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@contextlib.contextmanager
def changed_environment(**variables: str) -> Iterator[None]:
    """Change environment variables inside this context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
