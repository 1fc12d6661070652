"""Rows of points as JSON: the definition, in Python, and the choice of who writes them. Pure.

`shim/http/_native` writes the same bytes (tests/property/test_points.py) at a fraction of the CPU, if there
was a compiler when Meterhouse was installed. `write_rows` is the quicker one of those that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Final

from shim.http.number_json import float_tokens, time_tokens
from shim.model.values import Bools, Floats, Ints

__all__ = ["write_rows", "write_rows_in_python"]

#: Values formatted at once: a few rows of a day, or many sparse rows.
_TOKENS_AT_A_TIME: Final = 1 << 13


def write_rows_in_python(times_ms: Ints, values: Floats, present: Bools) -> list[bytes]:
    """Write each row as `[[t,"v"],[t,"v"]]`, only present values; b"" for a row without any.

    `values` and `present` are (rows, times).
    """
    openings = [b'"],[%b,"' % t for t in time_tokens(times_ms)]
    parts: list[bytes] = [b""] * (2 * len(openings))
    parts[0::2] = openings
    rows = []
    for row, tokens in enumerate(_tokens_of_rows(values, present)):
        if not tokens:
            rows.append(b"")
            continue
        if len(tokens) == len(openings):
            parts[1::2] = tokens
            text = b"".join(parts)
        else:
            text = _sparse(openings, tokens, present[row])
        rows.append(b'[%b"]]' % text[3:])  # the first opening's comma and quote are the list's bracket
    return rows


def _tokens_of_rows(values: Floats, present: Bools) -> Iterator[list[bytes]]:
    """Yield the present values of each row as text, formatted for many rows at once."""
    rows, steps = values.shape
    at_a_time = max(1, _TOKENS_AT_A_TIME // max(1, steps))
    for begin in range(0, rows, at_a_time):
        some = slice(begin, begin + at_a_time)
        tokens = float_tokens(values[some][present[some]])
        end = 0
        for count in present[some].sum(axis=1).tolist():
            yield tokens[end : end + count]
            end += count


def _sparse(openings: Sequence[bytes], tokens: Sequence[bytes], present: Bools) -> bytes:
    parts: list[bytes] = [b""] * (2 * len(tokens))
    parts[0::2] = compress(openings, present.tolist())
    parts[1::2] = tokens
    return b"".join(parts)


try:
    from shim.http._native.points import write_rows
except ImportError:  # not compiled
    write_rows = write_rows_in_python
