"""The fields of a Config as values: types, choices and rules, from which options and checks are built."""

import dataclasses
import math
import re
from collections.abc import Collection
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from jvae.errors import LARGEST, SMALLEST

MOST_NUMBERS = 100
DATA_FIELDS = ("dataset", "test_share", "resize", "transpose")
"""The Config fields that say where data are, and how they are read; they may be given again for a trained model."""
FEWEST_SNAPSHOTS, MOST_SNAPSHOTS = 2, 1000
"""Limits of the number of snapshots: the first holds the initial parameters, the last those at the end."""
KINDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    tuple: "whole numbers, such as 512,512",
}
"""What a field's value must be, in words."""


class Range(NamedTuple):
    """A rule for a number, or each of several: finite and low <= number <= high, or low < number with `above`."""

    low: float
    """The lower limit."""
    high: float = math.inf
    """The upper limit, which the number may reach."""
    above: bool = False
    """True if the number may not be the lower limit itself."""

    def admits(self, number: Any) -> bool:
        """Return True if a number satisfies the rule."""
        return (number > self.low if self.above else number >= self.low) and number <= self.high

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:.10g}"


class OnlyWith(NamedTuple):
    """A rule for a field that applies only if another field has one of these values."""

    name: str
    """The name of the other field."""
    values: tuple[Any, ...]
    """The values of the other field with which this one applies."""

    def __str__(self) -> str:
        return f"{self.name} {' or '.join(map(str, self.values))}"


class ConfigField(NamedTuple):
    """A field of `Config`, as a command line needs it."""

    name: str
    """The field's name, with underscores."""
    type: type
    """The field's type; `tuple` is a tuple of whole numbers."""
    default: Any
    """The default value."""
    help: str
    """What the field is, in words."""
    choices: tuple[str, ...]
    """The texts to choose from; empty if there is no such list."""
    range: Range | None
    """The rule for the number, or each of several; None if there is none."""
    needs: tuple[OnlyWith, ...]
    """The rules for when the field applies; all must hold."""

    def parse(self, text: str) -> Any:
        """Return the value of a text; several whole numbers are separated by commas or by x.

        Raises:
            ValueError: the text has no value of the field's type, or one that breaks a rule.
        """
        truths = {"true": True, "yes": True, "false": False, "no": False}
        try:
            if self.type is tuple:
                value: Any = tuple(map(int, re.split("[,x]", text)))
            else:
                value = truths[text.lower()] if self.type is bool else self.type(text)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{self.name} is {text!r}: must be {KINDS[self.type]}") from error
        self.check(value)
        return value

    def plain(self, value: Any) -> Any:
        """Return the value with a NumPy or JAX number as Python's, and a list or an array as a tuple."""
        if self.type is tuple and hasattr(value, "tolist"):
            value = value.tolist()
        if self.type is tuple and isinstance(value, (list, tuple)):
            return tuple(self._replace(type=int).plain(number) for number in value)
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            number = value.item()
            return float(number) if self.type is float and type(number) is int else number
        return value

    def checked(self, value: Any) -> Any:
        """Return `plain(value)`, after `check`.

        Raises:
            ValueError: as `check`.
        """
        value = self.plain(value)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise a ValueError that names the field, the value and the rule if the value breaks a rule."""
        if self.type is tuple:
            if not isinstance(value, tuple) or not 1 <= len(value) <= MOST_NUMBERS:
                raise ValueError(f"{self.name} is {value!r}: must be a tuple of 1 to {MOST_NUMBERS} whole numbers")
            for number in value:
                self._replace(type=int).check(number)
            return
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} is {value!r}: must be one of {', '.join(self.choices)}")
        wanted = (int, float) if self.type is float else self.type
        if not isinstance(value, wanted) or (isinstance(value, bool) and self.type is not bool):
            raise ValueError(f"{self.name} is {value!r}: must be {KINDS[self.type]}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"{self.name} is a number of {len(str(abs(value)))} digits: must be below 2^63")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{self.name} is {value}: must be a finite number")
        if isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST:
            raise ValueError(f"{self.name} is {value}: must be 0, or from 1.2e-38 to 3.4e38 in size, as float32 is")
        if self.range is not None and not self.range.admits(value):
            raise ValueError(f"{self.name} is {value}: must be {self.range}")


def split_values(text: str) -> tuple[str, list[str]]:
    """Return the name and the values in a text NAME=VALUE,VALUE,...; no values where nothing follows the name."""
    name, _, values = text.partition("=")
    return name.strip(), [value.strip() for value in values.split(",")] if values else []


def text_of(value: Any, separator: str = ",") -> str:
    """Return a field's value as on a command line."""
    return separator.join(map(str, value)) if isinstance(value, tuple) else str(value)


def numbers_in(there: range) -> str:
    """Return the numbers of a range in words: from the first to the last, or the only one."""
    return f"from {there[0]} to {there[-1]}" if len(there) > 1 else str(there[0])


def check_together(fields: list[ConfigField], config: Any, given: Collection[str] = ()) -> None:
    """Raise a ValueError that names the first field that does not apply with a configuration's other values.

    Such a field may have its default value, unless it was given explicitly.
    """
    for field in fields:
        value = getattr(config, field.name)
        for rule in field.needs:
            other = getattr(config, rule.name)
            if (value != field.default or field.name in given) and other not in rule.values:
                raise ValueError(f"{field.name} is {text_of(value)}: applies only with {rule}, not {other}")


def fields_of(config: type) -> list[ConfigField]:
    """Return the fields of a dataclass whose annotations are `Annotated[type, help, *rules]`, in order."""
    hints = get_type_hints(config, include_extras=True)
    fields = []
    for field in dataclasses.fields(config):
        kind, text, *rules = get_args(hints[field.name])
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        ranges = [rule for rule in rules if isinstance(rule, Range)]
        needs = tuple(rule for rule in rules if isinstance(rule, OnlyWith))
        kind = str if choices else get_origin(kind) or kind
        fields.append(ConfigField(field.name, kind, field.default, text, choices, next(iter(ranges), None), needs))
    return fields
