"""What an evaluation of many draws says about its time."""

import pytest

from jvae.cli.counting import Counting, duration


def test_it_is_said_before_and_once_the_pace_is_known():
    lines, now = [], iter([100.0, 103.0, 105.0, 106.0, 900.0])
    with Counting(10_000, 10**8, lines.append, lambda: next(now)) as count:
        assert len(lines) == 1
        assert "1e+12 draws" in lines[0]
        for done in (0.5, 1.0, 1.5, 2.0):
            count(done)
        assert len(lines) == 2
        assert "14 hours" in lines[1]
        count(50)
    assert "50 of 10,000" in lines[2]


def test_nothing_is_said_of_a_short_one():
    lines, now = [], iter([0.0, 1.0, 2.0])
    with Counting(1000, 500, lines.append, lambda: next(now)) as count:
        for done in (300, 600, 1000):
            count(done)
    with Counting(1000, 0, lines.append):
        pass
    assert lines == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90 seconds"), (600, "10 minutes"), (7200, "2 hours"), (1e6, "12 days")]
)
def test_a_duration_is_in_its_unit(seconds, text):
    assert duration(seconds) == text
