"""Which rows of a rollup lie in a span of time, as conditions that its primary key can answer. Pure.

The tables of fine granularity sort by metric, then by the hour (or day) of the row, then by series
(indexer/clickhouse/schema/tables.py). ClickHouse does not conclude from a time to its hour: without a
condition on the hour it reads the whole partition of a day (or week).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from indexer.clickhouse.granularities import GRANULARITIES, ClusterTerm
from shim.sql import nodes as sql

#: By granularity: the term of time in the primary key.
KEY_TERMS: Final[Mapping[int, ClusterTerm]] = {g.seconds: g.cluster for g in GRANULARITIES if g.cluster}


def clusters(granularity_s: int, lo_s: int, hi_s: int) -> range:
    """Return the values that the key term of rows of `[lo_s, hi_s)` can have: starts of hours (or days)."""
    size_s = KEY_TERMS[granularity_s].seconds
    return range(lo_s // size_s * size_s, hi_s, size_s)


def within(granularity_s: int, lo_s: int, hi_s: int) -> list[sql.Expr]:
    """Return the condition of rows in `[lo_s, hi_s)`, Unix seconds; a `lo_s` of 0 or less bounds nothing."""
    hi_s = max(0, hi_s)
    out: list[sql.Expr] = [sql.op("<", "timestamp", hi_s)]
    if lo_s > 0:
        out.append(sql.op(">=", "timestamp", lo_s))
        key_term = KEY_TERMS.get(granularity_s)
        if key_term is not None and lo_s < hi_s <= lo_s + key_term.max_span_s:
            size_s = key_term.seconds
            term = sql.call(key_term.function, "timestamp")
            out.append(sql.op(">=", term, lo_s // size_s * size_s))
            out.append(sql.op("<=", term, (hi_s - 1) // size_s * size_s))
    return out
