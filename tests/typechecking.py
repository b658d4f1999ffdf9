"""The type checker of the tests: beartype, which accepts an int as a float, as PEP 484 says."""

from collections.abc import Callable
from types import CodeType
from typing import Any

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
MADE: dict[tuple, Callable] = {}
"""The checkers of nested functions, by what they check."""


def typechecked(stub: Callable) -> Callable:
    """Return a function that checks its arguments and its result as its annotations say.

    jaxtyping passes stubs, which have a function's signature and nothing else of it: its body checks nothing and binds
    nothing. A nested function is decorated anew whenever its outer function runs, and beartype writes a checker in
    about a millisecond. So nested functions of one signature share theirs, except those with defaults, whose values
    the checker holds.
    """
    if "<locals>" not in stub.__qualname__ or stub.__defaults__ or stub.__kwdefaults__:
        return checked(stub)
    what = signature_of(stub)
    if what not in MADE:
        MADE[what] = checked(stub)
    return MADE[what]


def signature_of(stub: Callable) -> tuple[Any, ...]:
    """Return all that a checker depends on: names and kinds of the arguments, annotations, and what is returned."""
    code: CodeType = stub.__code__
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return stub.__module__, stub.__qualname__, code.co_varnames, counts, code.co_code, repr(stub.__annotations__)
