"""The errors whose messages are written for the user, and checks of arguments.

A `JvaeError` says in one line what is wrong outside the program: with a file, the network, a device or a training run.
The command line prints it and exits with 1. A wrong *argument* is a plain `ValueError` instead.
"""

import math
import operator
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from tokenize import TokenError
from typing import Any, SupportsIndex

LONGEST = 300
"""Characters kept of a third party's error message: some quote the bytes that they failed on."""
SMALLEST, LARGEST = 2.0**-126, (2 - 2**-23) * 2.0**127
"""Limits of float32's normal numbers above 0: others become 0 or infinite where they are used."""
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


def whole_number(name: str, value: SupportsIndex) -> int:
    """Return a whole number of Python, NumPy or JAX as an int.

    Raises:
        ValueError: it is not a whole number; a truth value is none.
    """
    try:
        if str(getattr(value, "dtype", type(value).__name__)) in ("bool", "bool_"):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} is {shown(value)}: must be a whole number") from error


def at_least_one(name: str, number: SupportsIndex) -> int:
    """Return a whole number as an int, checked: raise a ValueError that names it unless it is above 0."""
    whole = whole_number(name, number)
    if whole < 1:
        raise ValueError(f"{name} is {whole}: must be at least 1")
    return whole


def positive(name: str, value: Any) -> float:
    """Return a number as a float, checked: raise a ValueError that names it unless it is above 0 in float32."""
    try:
        if isinstance(value, str):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {shown(value)}: must be a number") from error
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {number}: must be above 0 and finite")
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(f"{name} is {number}: must be from 1.2e-38 to 3.4e38, as float32 is")
    return number


def take_sizes(module: object, counts: Iterable[str] = (), shapes: Iterable[str] = ()) -> None:
    """Make the sizes of a Flax module ints from 1, or tuples of them, before it is frozen: they are hashable then.

    Raises:
        ValueError: an attribute is not a size, or not a sequence of them.
    """
    for name in counts:
        object.__setattr__(module, name, at_least_one(name, getattr(module, name)))
    for name in shapes:
        values = getattr(module, name)
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise ValueError(f"{name} is {shown(values)}: must be a sequence of whole numbers")
        object.__setattr__(module, name, tuple(at_least_one(name, value) for value in values))


def shown(value: object) -> str:
    """Return a wrong value as an error names it: text and numbers as they are, anything else by its type."""
    if value is None or isinstance(value, (str, bool, int, float, complex)) or hasattr(value, "__fspath__"):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    return f"of the type {type(value).__name__}"


def check_hashable(name: str, value: object) -> None:
    """Raise a ValueError that names a module's attribute without a hash: equal modules share compiled programs."""
    try:
        hash(value)
    except TypeError as error:
        for field in fields(value) if is_dataclass(value) else ():
            check_hashable(f"{name}.{field.name}", getattr(value, field.name, None))  # the one to blame
        rule = "must be hashable, such as a number or a tuple; an array can be made in setup"
        raise ValueError(f"{name} is {shown(value)}: {rule}") from error
