"""Texts, sums and sliding windows at their edges."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval import numerics, sliding_windows
from shim.eval.sample_windows import blocks
from shim.eval.window.function import WindowCells
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model import messages
from shim.model.number_format import format_g, plain_text
from shim.model.values import Samples
from tests.unit.shim.eval.make import INF, NAN, labels


@pytest.mark.parametrize(
    ("value", "general", "plain"),
    [
        (2.0, "2", "2"),
        (1.001, "1.001", "1.001"),
        (123456.0, "123456", "123456"),
        (1234567.0, "1.234567e+06", "1234567"),
        (1e-5, "1e-05", "0.00001"),
        (-0.5, "-0.5", "-0.5"),
        (0.0, "0", "0"),
        (INF, "+Inf", "+Inf"),
        (-INF, "-Inf", "-Inf"),
        (NAN, "NaN", "NaN"),
    ],
)
def test_numbers_as_go_writes_them(value: float, general: str, plain: str) -> None:
    assert format_g(value) == general
    assert plain_text(value) == plain


def test_label_sets_as_prometheus_writes_them() -> None:
    assert messages.format_labels(labels("m{a=1}")) == '{__name__="m", a="1"}'
    assert messages.format_labels((("http.code", 'a"b\n'),)) == '{"http.code"="a\\"b\\n"}'
    assert messages.format_labels(()) == "{}"


def test_compensated_sums() -> None:
    assert numerics.compensated_sum(np.array([[1.0, 1e100, 1.0, -1e100], [0.1] * 4])).tolist() == [2.0, 0.4]
    assert numerics.compensated_sum(np.zeros((2, 0))).tolist() == [0, 0]
    assert numerics.compensated_sum(np.array([[INF, 1.0]])).tolist() == [INF]
    assert numerics.compensated_mean(np.array([[1.7e308] * 3]), np.array([3.0]))[0] == pytest.approx(1.7e308)
    grouped = numerics.grouped_sum(np.array([[1.0], [1e100], [1.0], [-1e100], [5.0]]), np.array([4, 1]))
    assert grouped.tolist() == [[2.0], [5.0]]


def test_blocks_of_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert list(blocks(none, none)) == []


def test_one_long_window_does_not_stretch_the_short_ones() -> None:
    lengths = np.array([1] * 1000 + [5000], dtype=np.int64)
    end = np.cumsum(lengths)
    assert sum(block.index.size for block in blocks(end - lengths, end)) == 6000


def test_sliding_windows_refuse_what_is_none() -> None:
    for width, stride in ((0, 1), (1, 0), (5, 1)):
        with pytest.raises(ValueError, match="window"):
            sliding_windows.window_sums(np.zeros(4), width, stride=stride)


def test_infinity_leaves_the_window_with_its_cell() -> None:
    found = sliding_windows.window_sums(np.array([1.0, INF, 2.0, 3.0, 4.0]), 2)
    assert found.tolist() == [INF, INF, 5, 7]


@pytest.mark.parametrize(
    "values",
    [[3.0, -1.0, 0.0, 7.0, 2.0**52], [2.0**53, 1.0, -(2.0**53), 1.0, 5.0], [1.0, INF, 2.0, -INF, 3.0],
     [1.0, NAN, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 1e300, -1e300]],
)  # fmt: skip
def test_sums_of_windows_are_those_of_their_samples(values: list[float]) -> None:
    """Whole numbers are not gathered; those too large for it, fractions and values without a number are."""
    flat = np.array(values)
    begin, end = (
        np.array(ends) for ends in zip(*((a, b) for a in range(5) for b in range(a + 1, 6)), strict=True)
    )
    samples = Samples([labels("m")], np.array([0, 5]), np.arange(5), flat, total=flat, count=np.ones(5))
    window = WindowCells(samples, begin, end, end, end, 1, ())
    total, number = (RANGE_FUNCTIONS[name].compute for name in ("sum_over_time", "count_over_time"))
    assert total is not None
    assert number is not None
    found = total(window)
    assert number(window).tolist() == (end - begin).tolist()
    with np.errstate(all="ignore"):
        wanted = [numerics.compensated_sum(flat[a:b]) for a, b in zip(begin, end, strict=True)]
    assert np.array_equal(found, np.array(wanted), equal_nan=True)
