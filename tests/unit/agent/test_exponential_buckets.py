"""Bucket indexes at the places where a logarithm would be off by one."""

from __future__ import annotations

import math
import sys

import pytest

from agent.aggregate.exponential_buckets import EDGES, index_of


@pytest.mark.parametrize(
    ("value", "index"),
    [
        (1.0, 0),
        (math.nextafter(1.0, 2.0), 1),
        (math.nextafter(1.0, 0.0), 0),
        (2.0, 32),
        (math.nextafter(2.0, 3.0), 33),
        (0.5, -32),
        (5e-324, -1074 * 32),
        (sys.float_info.min, -1022 * 32),
        (sys.float_info.max, 1024 * 32),
        (1000.0, 319),
        (3.0, 51),
    ],
)
def test_known(value: float, index: int) -> None:
    assert index_of(value) == index


def test_every_power_of_two_ends_its_bucket() -> None:
    for exponent in range(-1074, 1024):
        edge = math.ldexp(1.0, exponent)
        assert index_of(edge) == 32 * exponent
        above = index_of(math.nextafter(edge, math.inf))
        # The next float is in the next bucket, unless floats are as coarse as buckets (subnormals).
        assert above == 32 * exponent + 1 if exponent >= -1069 + 53 else above > 32 * exponent


def test_edges_are_rounded_down() -> None:
    """`EDGES[j]` and its successor lie on both sides of 2^(j/32 - 1); checked as x^32 on integers."""
    for j, edge in enumerate(EDGES):
        numerator, denominator = edge.as_integer_ratio()
        assert numerator**32 << 32 <= denominator**32 << j
        numerator, denominator = math.nextafter(edge, 1.0).as_integer_ratio()
        assert numerator**32 << 32 > denominator**32 << j
