"""Nested functions are checked however often they are made, though their checkers are written once."""

import numpy as np
import pytest
import typechecking
from jaxtyping import Float, TypeCheckError, jaxtyped

checked = jaxtyped(typechecker=typechecking.typechecked)


def make_column(shape="n 2"):
    @checked
    def column(x: Float[np.ndarray, shape], rows: int) -> Float[np.ndarray, " n"]:
        return x[:rows, 0]

    return column


def make_default(value):
    @checked
    def default(x: int = value) -> int:
        return x

    return default


def test_a_wrong_shape_is_refused_by_a_nested_function_that_is_made_again():
    for _ in range(2):
        column = make_column()
        assert column(np.zeros((3, 2)), 3).shape == (3,)
        for wrong in (np.zeros((3, 3)), np.zeros(3), np.zeros((3, 2), int), [[0.0, 0.0]]):
            with pytest.raises(TypeCheckError, match="parameter 'x'"):
                column(wrong, 3)
        with pytest.raises(TypeCheckError, match="return value"):
            column(np.zeros((3, 2)), 2)


def test_nested_functions_of_other_shapes_do_not_share_a_checker():
    for shape, size in (("n 2", 2), ("n 5", 5), ("n 2", 2)):
        column = make_column(shape)
        assert column(np.zeros((3, size)), 3).shape == (3,)
        with pytest.raises(TypeCheckError, match="parameter 'x'"):
            column(np.zeros((3, size + 1)), 3)


def test_a_nested_function_keeps_its_own_default():
    for value in (3, 4):
        assert make_default(value)() == value
        with pytest.raises(TypeCheckError, match="parameter 'x'"):
            make_default(value)("5")


def test_the_checkers_of_a_nested_function_are_written_once(monkeypatch):
    written, write = [], typechecking.checked
    monkeypatch.setattr(typechecking, "MADE", {})
    monkeypatch.setattr(typechecking, "checked", lambda stub: (written.append(stub), write(stub))[1])
    for _ in range(3):
        make_column()(np.zeros((3, 2)), 3)
    assert len(written) == 2  # of its arguments, and of its result
