"""The kept report: it follows from the kept results, and its parts open briefly, for a reader with ten minutes."""

import re
from pathlib import Path

import pytest

from experiments.everything import PARTS
from experiments.reporting.findings import load_findings
from experiments.reporting.report import chapter, report_text
from experiments.trick.page import NAME, trick_page

KEPT = Path(__file__).parents[3] / "experiments" / "report"
FOUND = {part: found for part in PARTS if (found := load_findings(KEPT / part.name))}


def test_it_is_what_the_kept_results_tell():
    """Verbatim, every figure included; `python -m experiments all --retell --output experiments/report` writes it."""
    assert (KEPT / "report.md").read_text() == report_text(
        FOUND, "python -m experiments all --device cpu --output report"
    )


@pytest.mark.parametrize("part", FOUND, ids=lambda part: part.name)
def test_every_part_opens_with_one_table_and_at_most_one_picture(part):
    opening = chapter(part, FOUND[part]).partition("<details>")[0]
    assert len(re.findall(r"^\| ---", opening, flags=re.MULTILINE)) == 1
    assert opening.count("![") <= 1
    assert opening.count("![") == 1 or not re.search(r"!\[", chapter(part, FOUND[part]))


def test_the_kept_page_of_the_trick_is_what_is_written_now():
    assert (KEPT / NAME).read_text(encoding="utf-8") == trick_page()


def test_every_picture_it_shows_is_kept():
    names = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (KEPT / "report.md").read_text())
    assert len(names) > 20
    assert not [name for name in names if not (KEPT / name).is_file()]
