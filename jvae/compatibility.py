"""What tensorflow-probability, and so distrax, still asks of a jax that has dropped it."""

import sys

READER = "tensorflow_probability.substrates.jax"
"""The module whose import reads the name."""
NAME = "pytype_aval_mappings"
"""Of `jax.core`, deprecated there: array types -> abstract values, in which TFP enters a type that nobody here uses."""


class GiveBeforeImport:
    """A finder of no module, that gives `jax.core` the name when its reader is about to be imported, by whomever."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Leave the search to the finders after this one."""
        if fullname == READER:
            sys.meta_path.remove(self)
            give_name()


def give_name() -> None:
    """Set the name in `jax.core`: to what jax has by it, without its warning, or else to a table of NumPy's arrays."""
    import warnings

    import jax.core
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        table = getattr(jax.core, NAME, {np.ndarray: np.asarray})
    setattr(jax.core, NAME, table)


def watch_imports() -> None:
    """Watch for the import of the reader; cheap, and without effect where it was imported before."""
    if READER not in sys.modules:
        sys.meta_path.insert(0, GiveBeforeImport())
