"""The errors whose messages are written for the user.

A `JvaeError` says in one line what is wrong outside the program: with a file, the network, a device or a training run.
The command line prints it and exits with 1. A wrong *argument* is a plain `ValueError` instead.
"""

from tokenize import TokenError

LONGEST = 300
"""Characters kept of a third party's error message: some quote the bytes that they failed on."""
NPY_ERRORS = (ValueError, TypeError, SyntaxError, TokenError, EOFError, MemoryError, OverflowError, RecursionError)
"""What NumPy raises where a file holds no valid array: it parses the header as Python."""


class JvaeError(Exception):
    """Base of the errors below."""


class DataError(JvaeError):
    """A data set cannot be found, or its files are not what they claim to be."""


class ModelFileError(JvaeError):
    """A model file cannot be read, is damaged, or does not fit the configuration it carries."""


class RecipeNeededError(ModelFileError):
    """A model file must be read with the recipe that it was trained with, or without one."""


class DeviceError(JvaeError):
    """The requested device is not available."""


class NonFiniteError(JvaeError):
    """Training met a value that is not a finite number."""


class NotEnoughMemoryError(JvaeError):
    """A computation needs more memory than is available."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error says that memory ran out: Python's own, or one of JAX's, which is not imported for it."""
    return isinstance(error, MemoryError) or (
        type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(error)
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; its type's name if the message is empty."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
