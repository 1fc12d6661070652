"""Formats text tables: columns as wide as their widest cell, numbers aligned right. Pure."""

from __future__ import annotations

from collections.abc import Sequence


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
