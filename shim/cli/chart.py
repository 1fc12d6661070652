"""Line charts of Braille dots for terminals: two dots by four in a character. Pure.

Series share one picture; each has its colour when `colour` is on. Where points of a
series are missing, its line has a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from agent.cli.text_table import numbers

Points = Sequence[tuple[float, float]]  # (Unix seconds, value), ascending times

#: The bit of the dot in column x, row y (from the top) of a Braille character, added to U+2800.
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_DAY_S: Final = 86_400
_COLOURS: Final = (32, 33, 36, 35, 31, 34)


def chart(series: Sequence[Points], width: int = 72, height: int = 10, *, colour: bool = False) -> str:
    """Draw the series with a scale, and an axis of times below: `height` + 2 lines, at most `width` wide.

    Return "" without a finite value.
    """
    finite = [[p for p in points if math.isfinite(p[1])] for points in series]
    values = [v for points in finite for _, v in points]
    if not values:
        return ""
    low, high = min(min(values), 0.0) if min(values) < max(values) / 2 else min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1
    times = [t for points in finite for t, _ in points]
    start, end = min(times), max(times)
    labels = _scale(low, high, height)
    margin = max(map(len, labels.values()))
    columns = max(4, width - margin - 2)
    cells = [[0] * columns for _ in range(height)]
    owner = [[0] * columns for _ in range(height)]
    for i, points in enumerate(finite):
        for run in _runs(points):
            dots = [
                (round((t - start) / ((end - start) or 1) * (columns * 2 - 1)),
                 round((high - v) / (high - low) * (height * 4 - 1)))
                for t, v in run
            ]  # fmt: skip
            for x, y in _joined(dots):
                cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
                owner[y // 4][x // 2] = i
    lines = [
        f"{labels.get(row, ''):>{margin}} ┤{_row(cells[row], owner[row], colour)}" for row in range(height)
    ]
    return "\n".join((*lines, *time_axis(start, end, columns, margin)))


def _scale(low: float, high: float, height: int) -> dict[int, str]:
    """Return the labels of the rows at the top, in the middle and at the bottom, in one format."""
    rows = sorted({0, (height - 1) // 2, height - 1})
    at = [high - (high - low) * row / max(1, height - 1) for row in rows]
    return dict(zip(rows, numbers([float(f"{v:.4g}") for v in at]), strict=True))


def time_axis(start: float, end: float, columns: int, margin: int) -> tuple[str, str]:
    """Return an axis of `columns` characters after a margin, and its times: as many as fit."""
    spans_days = end - start >= _DAY_S
    labels = max(2, min(6, columns // (18 if spans_days else 12)))
    line, below = ["─"] * columns, [" "] * (columns + 1)
    for i in range(labels):
        column = round(i * (columns - 1) / (labels - 1))
        line[column] = "┬"
        text = _clock(start + (end - start) * column / max(1, columns - 1), days=spans_days)
        first = min(max(0, column - len(text) // 2), columns - len(text))
        if first >= 0:
            below[first : first + len(text)] = text
    indent = " " * (margin + 1)
    return f"{indent}└{''.join(line)}", f"{indent} {''.join(below).rstrip()}"


def _clock(seconds: float, *, days: bool) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%m-%d %H:%M" if days else "%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.6g}"


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """Split the points where two are more than one step (the smallest distance of neighbours) apart."""
    step = min((b[0] - a[0] for a, b in pairwise(points)), default=0.0)
    runs: list[list[tuple[float, float]]] = []
    for point in points:
        if not runs or point[0] - runs[-1][-1][0] > 1.5 * step:
            runs.append([])
        runs[-1].append(point)
    return runs


def _joined(dots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the dots together with those on straight lines between neighbours."""
    out = list(dots[:1])
    for (x0, y0), (x1, y1) in pairwise(dots):
        n = max(abs(x1 - x0), abs(y1 - y0), 1)
        out += [(x0 + round((x1 - x0) * k / n), y0 + round((y1 - y0) * k / n)) for k in range(1, n + 1)]
    return out


def _row(bits: Sequence[int], owners: Sequence[int], colour: bool) -> str:
    if not colour:
        return "".join(chr(0x2800 + b) for b in bits)
    return "".join(
        f"\x1b[{mark(o)}m{chr(0x2800 + b)}\x1b[0m" if b else chr(0x2800)
        for b, o in zip(bits, owners, strict=True)
    )


def mark(index: int) -> int:
    """Return the ANSI colour of the series at `index`."""
    return _COLOURS[index % len(_COLOURS)]
