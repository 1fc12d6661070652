"""Formats text tables: columns as wide as their widest cell, numbers aligned right. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

#: Significant digits of the largest and of the smallest number of a table.
_DIGITS: Final = 6
_MIN_DIGITS: Final = 3
#: More digits than a float has: such numbers are written with an exponent.
_MAX_DIGITS: Final = 15


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Format rows below their header, one line each; columns in `right` are aligned right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    out = []
    for line in lines:
        cells = (
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def number(value: float) -> str:
    """Format a number briefly: six significant digits, integers in full."""
    if abs(value) < 1e15 and value == int(value):  # NaN and the infinities are not below 1e15
        return str(int(value))
    return f"{value:.6g}"


def numbers(values: Sequence[float]) -> list[str]:
    """Format the numbers of a table alike: all with the same decimals, or all with an exponent."""
    finite = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not finite:
        return [f"{v:.0f}" for v in values]
    above, below = (math.floor(math.log10(v)) for v in (max(finite), min(finite)))
    whole = all(v == int(v) for v in finite) and above < _MAX_DIGITS
    decimals = 0 if whole else max(0, _DIGITS - 1 - above, _MIN_DIGITS - 1 - below)
    if above + decimals >= _MAX_DIGITS:
        return [f"{v:.{_DIGITS - 1}e}" for v in values]
    texts = [f"{v:.{decimals}f}" for v in values]
    while decimals and all(t.endswith("0") for t, v in zip(texts, values, strict=True) if math.isfinite(v)):
        decimals -= 1
        texts = [f"{v:.{decimals}f}" for v in values]
    return texts
