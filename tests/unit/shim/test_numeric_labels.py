"""Matchers on labels that are numbers, and how numbers are shown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.model.matchers import Matcher, MatchOp
from shim.model.numeric_labels import accepted, named, number_of, number_text, with_le

INF = math.inf


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0"), (0.5, "0.5"), (-0.0, "0.0"), (1e6, "1e+06"), (1234567.0, "1.234567e+06"),
     (123456.5, "123456.5"),
     (1e-4, "0.0001"), (0.00001, "1e-05"), (-2.5e7, "-2.5e+07"), (INF, "+Inf"), (-INF, "-Inf"),
     (1e300, "1e+300"), (2.0**30, "1.073741824e+09")],
)  # fmt: skip
def test_one_spelling(value: float, text: str) -> None:
    """As strconv.FormatFloat(v, 'g', -1, 64) of Go has it, with `.0` where that shows a whole number."""
    assert number_text(value) == text


@given(st.floats(allow_nan=False))
def test_a_spelling_reads_back(value: float) -> None:
    assert number_of(number_text(value)) == value


@pytest.mark.parametrize(
    "text", ["", "x", "1_0", " 1", "1 ", "NaN", "0x10", "1e", "--1", "\u0661", "9" * 500]
)
def test_what_is_no_number(text: str) -> None:
    assert number_of(text) is None


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ([("=", "0.3")], (0.3,)), ([("=", "1.0")], (1.0,)), ([("=", "Inf")], (INF,)), ([("=", "x")], ()),
        ([("=~", "1(\\.0)?")], (1.0,)), ([("!=", "+Inf")], None),
        ([("=~", "0.1|0.30|\\+Inf")], (0.1, 0.3, INF)),
        ([("=~", "0.1|0.3"), ("!=", "0.10")], (0.3,)), ([("=~", "0.1|0.3"), ("!~", "0.1|x")], (0.3,)),
        ([("=~", ".+")], None), ([("=~", "a|b")], None), ([("=", "1"), ("=~", ".*0")], (1.0,)),
        ([("=", "1"), ("=", "2")], ()), ([("!~", "0.*")], None),
    ],
)  # fmt: skip
def test_numbers_that_matchers_name(
    conditions: list[tuple[MatchOp, str]], numbers: tuple[float, ...] | None
) -> None:
    assert named(Matcher("le", op, value) for op, value in conditions) == numbers


def test_matchers_choose_by_number_or_by_any_spelling() -> None:
    ladder = (0.5, 1.0, 10.0, INF)
    for op, value, kept in (
        ("!=", "1", (0.5, 10.0, INF)), ("!~", "1|10", (0.5, INF)), ("=~", "1.*", (1.0, 10.0)),
        ("=~", ".*0", (1.0, 10.0)), ("=~", "[0-9]+", (1.0, 10.0)), ("!=", "", ladder),
        ("!~", ".*Inf", (0.5, 1.0, 10.0)),
    ):  # fmt: skip
        assert accepted(ladder, [Matcher("le", op, value)]) == kept, (op, value)  # type: ignore[arg-type]


def test_a_boundary_is_put_in_order() -> None:
    assert with_le((("a", "1"), ("z", "2")), "0.5") == (("a", "1"), ("le", "0.5"), ("z", "2"))
    assert with_le((("\0goes", "1"), ("__name__", "x")), "+Inf")[-1] == ("le", "+Inf")
