"""Numbers as Go writes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.http.number_json import float_tokens, time_text, time_tokens
from shim.model.number_format import float_text, plain_text

CASES = {
    0.0: "0",
    5.0: "5",
    -17.0: "-17",
    0.1: "0.1",
    10.05: "10.05",
    100.0: "100",
    0.1 + 0.2: "0.30000000000000004",
    1e-4: "0.0001",
    1e-5: "0.00001",
    1.5e-6: "0.0000015",
    1e-6: "0.000001",
    9.9e-7: "9.9e-07",
    5e-324: "5e-324",
    1e15: "1000000000000000",
    1e16: "10000000000000000",
    123456789012345680.0: "123456789012345680",
    1e20: "100000000000000000000",
    1e21: "1e+21",
    1.5e300: "1.5e+300",
    math.inf: "+Inf",
    -math.inf: "-Inf",
}


@pytest.mark.parametrize(("value", "text"), CASES.items())
def test_one(value: float, text: str) -> None:
    assert float_text(value) == text


def test_a_scalar_has_no_exponent() -> None:
    cases = {1e21: "1" + "0" * 21, 1e-7: "0.0000001", -1.5e22: "-15" + "0" * 21, 0.5: "0.5", math.inf: "+Inf"}
    assert {value: plain_text(value) for value in cases} == cases


def test_nan_and_negative_zero() -> None:
    assert float_text(-0.0) == "-0"
    assert float_tokens(np.array([-0.0, 0.0])) == [b"-0", b"0"]
    assert float_text(math.nan) == "NaN"
    assert float_tokens(np.array([math.nan, 1.0])) == [b"NaN", b"1"]


def test_many_at_once_are_the_same() -> None:
    values = np.array(list(CASES))
    assert [t.decode() for t in float_tokens(values)] == list(CASES.values())
    assert float_tokens(np.zeros(0)) == []


@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_tokens_are_texts_and_read_back(values: list[float]) -> None:
    tokens = [t.decode() for t in float_tokens(np.array(values))]
    assert tokens == [float_text(v) for v in values]
    for token, value in zip(tokens, values, strict=True):
        read = float(token)
        assert read == value or (math.isnan(read) and math.isnan(value))


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0"),
        (1000, "1"),
        (1500, "1.500"),
        (1001, "1.001"),
        (-1500, "-1.500"),
        (1763766000123, "1763766000.123"),
    ],
)
def test_times(ms: int, text: str) -> None:
    assert time_text(ms) == text
    assert time_tokens([ms, 2000]) == [text.encode(), b"2"]


def test_no_times() -> None:
    assert time_tokens([]) == []
