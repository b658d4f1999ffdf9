"""The one family of errors whose message is written for the user.

A `JvaeError` says in one line what outside the program - a file, the network, a device, a training run - is not
as it must be. The command line prints it and exits with 1. A wrong *argument* is a plain `ValueError` instead.
"""

from tokenize import TokenError

LONGEST = 300
"""Of what others' errors say: some quote what they met, bytes and all."""
NPY_ERRORS = (ValueError, TypeError, SyntaxError, TokenError, EOFError, MemoryError, OverflowError, RecursionError)
"""What NumPy raises where it reads an array, and there is none: a header is parsed as Python."""


class JvaeError(Exception):
    """Base of the errors below."""


class DataError(JvaeError):
    """A data set cannot be found or its files are not what they claim to be."""


class ModelFileError(JvaeError):
    """A model file cannot be read, is damaged, or does not fit the configuration it carries."""


class RecipeNeededError(ModelFileError):
    """A model file must be read with the recipe that it was trained by, or with none."""


class DeviceError(JvaeError):
    """The requested device is not there."""


class NonFiniteError(JvaeError):
    """Training met a value that is not a finite number."""


class NotEnoughMemoryError(JvaeError):
    """What is asked for needs more memory than there is."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error says that memory ran out: Python's, or that of JAX, which need not be imported."""
    return isinstance(error, MemoryError) or (
        type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(error)
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; its type's name where it has none, as a MemoryError's."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
