"""Heatmaps of histograms for terminals: values upwards (logarithmic), times to the right. Pure.

The darkness of a cell is its share of the most frequent cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from agent.cli.text_table import numbers
from shim.cli.chart import time_axis

_SHADES: Final = " ░▒▓█"
#: Bounds up to here belong to the bucket of zeros.
_MIN: Final = 1e-100


class _Bucket(NamedTuple):
    at: float
    low: float
    high: float
    observations: float


def heatmap(series: Sequence[Mapping[str, Any]], width: int = 72, height: int = 12) -> str:
    """Draw the histograms of all series together: `height` + 2 lines, at most `width` wide.

    Return "" without a bucket of positive values.
    """
    buckets = [bucket for one in series for bucket in _buckets(one.get("histograms", ()))]
    if not buckets:
        return ""
    low, high = math.log(min(b.low for b in buckets)), math.log(max(b.high for b in buckets))
    labels = numbers([float(f"{math.exp(low + (high - low) * row / height):.2g}") for row in range(height)])
    margin = max(map(len, labels))
    columns = max(4, width - margin - 2)
    times = sorted({float(at) for one in series for at, _ in one.get("histograms", ())})
    step = min((b - a for a, b in pairwise(times)), default=1.0)
    slots = min(columns, round((times[-1] - times[0]) / step) + 1)
    cells = [[0.0] * slots for _ in range(height)]
    for bucket in buckets:
        slot = min(slots - 1, int((bucket.at - times[0]) / (times[-1] - times[0] + step) * slots))
        for row, share in _rows(bucket, low, high, height):
            cells[row][slot] += bucket.observations * share
    top = max(map(max, cells))
    lines = []
    for row in reversed(range(height)):
        labelled = row % 3 == 0
        shades = "".join(_shade(cells[row][column * slots // columns], top) for column in range(columns))
        lines.append(f"{labels[row] if labelled else '':>{margin}} {'┤' if labelled else '│'}{shades}")
    return "\n".join((*lines, *time_axis(times[0], times[-1], columns, margin)))


def _buckets(histograms: Sequence[Any]) -> Iterator[_Bucket]:
    """Yield the buckets of positive values; of one that begins at or below 0 the upper half."""
    for at, histogram in histograms:
        for _, low, high, count in histogram.get("buckets") or ():
            lower, upper, n = float(low), float(high), float(count)
            if _MIN < upper < math.inf and n > 0:
                yield _Bucket(float(at), lower if lower > _MIN else upper / 2, upper, n)


def _rows(bucket: _Bucket, low: float, high: float, height: int) -> Iterator[tuple[int, float]]:
    """Yield the rows that the bucket covers, each with its share of the bucket."""
    begin, end = ((math.log(bound) - low) / (high - low) * height for bound in (bucket.low, bucket.high))
    first, last = max(0, min(height - 1, int(begin))), max(0, min(height - 1, math.ceil(end) - 1))
    for row in range(first, last + 1):
        yield row, max(0.0, min(end, row + 1) - max(begin, row)) / ((end - begin) or 1)


def _shade(count: float, top: float) -> str:
    return _SHADES[math.ceil(count / top * (len(_SHADES) - 1))] if count > 0 else " "
