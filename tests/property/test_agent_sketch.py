"""`sketch.index_of` against exact arithmetic on integers."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.aggregate.exponential_buckets import index_of


def exact_at_most(value: float, index: int) -> bool:
    """Is value <= 2^(index/32)? As value^32 <= 2^index, on integers."""
    numerator, denominator = value.as_integer_ratio()
    left, right = numerator**32, denominator**32
    return left <= right << index if index >= 0 else left << -index <= right


positive = st.floats(min_value=5e-324, allow_infinity=False, allow_nan=False)


def lies_in_its_bucket(value: float) -> None:
    index = index_of(value)
    assert exact_at_most(value, index)
    assert not exact_at_most(value, index - 1)


@given(positive)
def test_value_lies_in_its_bucket(value: float) -> None:
    lies_in_its_bucket(value)


@given(st.integers(-34000, 32700), st.integers(-3, 3))
def test_around_every_edge(index: int, ulps: int) -> None:
    value = math.ldexp(2.0 ** ((index % 32) / 32), index // 32)
    for _ in range(abs(ulps)):
        value = math.nextafter(value, math.inf if ulps > 0 else 0.0)
    if 0.0 < value < math.inf:
        lies_in_its_bucket(value)
