"""Which rows of a rollup lie in a span of time, as conditions that its primary key can answer. Pure.

The tables of fine granularity sort by metric, then by the hour (or day) of the row, then by series
(indexer/clickhouse/schema/tables.py). ClickHouse does not conclude from a time to its hour: without a
condition on the hour it reads the whole partition of a day (or week).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shim.sql import nodes as sql

#: By granularity: the function of time in the primary key, and its seconds.
KEY_TERMS: Final[Mapping[int, tuple[str, int]]] = {10: ("toStartOfHour", 3_600), 60: ("toStartOfDay", 86_400)}
#: By granularity: spans, in seconds, that leave much of a partition out; longer ones would only pay for it.
_WORTH_S: Final[Mapping[int, int]] = {10: 12 * 3_600, 60: 4 * 86_400}


def clusters(granularity_s: int, lo_s: int, hi_s: int) -> range:
    """The values of the term that rows of `[lo_s, hi_s)` can have: starts of hours (or days)."""
    size_s = KEY_TERMS[granularity_s][1]
    return range(lo_s // size_s * size_s, hi_s, size_s)


def within(granularity_s: int, lo_s: int, hi_s: int) -> list[sql.Expr]:
    """Rows of `[lo_s, hi_s)`, Unix seconds; nothing is asked of the start when `lo_s` is 0 or before."""
    hi_s = max(0, hi_s)
    out: list[sql.Expr] = [sql.op("<", "timestamp", hi_s)]
    if lo_s > 0:
        out.append(sql.op(">=", "timestamp", lo_s))
        if granularity_s in KEY_TERMS and lo_s < hi_s <= lo_s + _WORTH_S[granularity_s]:
            function, size_s = KEY_TERMS[granularity_s]
            term = sql.call(function, "timestamp")
            out.append(sql.op(">=", term, lo_s // size_s * size_s))
            out.append(sql.op("<=", term, (hi_s - 1) // size_s * size_s))
    return out
