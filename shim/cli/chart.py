"""Line charts of Braille dots for terminals: two dots by four in a character. Pure.

Series share one picture; each has its colour when `colour` is on. Where points of a
series are missing, its line has a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from agent.cli.text_table import number

Points = Sequence[tuple[float, float]]  # (Unix seconds, value), ascending times

#: The bit of the dot in column x, row y (from the top) of a Braille character, added to U+2800.
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_COLOURS: Final = (32, 33, 36, 35, 31, 34)


def chart(series: Sequence[Points], width: int = 72, height: int = 10, *, colour: bool = False) -> str:
    """Draw the series with a scale: `height` lines of at most `width` characters, and a line of times below.

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
    scale = [number(round(high, 12)), number(round(low, 12))]
    margin = max(map(len, scale))
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
    lines = []
    for row in range(height):
        label = scale[0] if row == 0 else scale[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin}} ┤{_row(cells[row], owner[row], colour)}")
    return "\n".join(lines)


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
