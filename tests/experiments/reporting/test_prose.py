"""Templates are filled completely: no field without a value, no value without a field, no unused section."""

import re

import pytest

from experiments.everything import PARTS
from experiments.parts import baseline
from experiments.reporting.prose import Prose


@pytest.fixture
def prose(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "made.md").write_text("<!-- one -->\n{a[x]:.1f} of {b}\n\n<!-- rows -->\n| {row} |\n")
    return Prose(str(tmp_path / "made.py"))


def test_a_section_is_filled(prose):
    assert prose("one", a={"x": 1.25}, b="c") == "1.2 of c"
    assert prose.each("rows", "ab") == "| a |\n| b |"


@pytest.mark.parametrize("values", [{"a": {"x": 1}}, {"a": {"x": 1}, "b": 1, "c": 1}, {"a": {"y": 1}, "b": 1}])
def test_a_field_or_a_value_too_many_is_an_error(prose, values):
    with pytest.raises(KeyError):
        prose("one", **values)


def test_a_section_that_is_not_there_is_an_error(prose):
    with pytest.raises(KeyError, match="another"):
        prose("another")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_section_is_told(part):
    """By its name, or by the start of its name: `helps: better` by "helps" and a verdict."""
    prose = Prose(baseline.__file__.replace("baseline", part.name))
    code = prose.path.parents[1].joinpath(f"{part.name}.py").read_text()
    for section in prose.sections:
        name = rf"{re.escape(section)}|{re.escape(section.split(':')[0])}(: .*)?"
        assert re.search(rf"[\"']({name})[\"']", code), section
