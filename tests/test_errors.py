"""How an error is described in one line."""

from jvae.errors import first_line


def test_an_error_is_told_by_its_first_line_or_by_its_name():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(MemoryError()) == first_line(MemoryError("\n")) == "MemoryError"


def test_what_an_error_quotes_is_cut():
    assert len(first_line(ValueError("x" * 10_000))) == 300
