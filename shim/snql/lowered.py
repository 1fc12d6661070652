"""The plan of a query: which stored buckets it reads, and how rows are made of them. Frozen values; pure.

`StoredBuckets` is the one leaf that PromQL's plan has not: aggregates of stored buckets by the buckets' own
start, per group of series. It has no lookback and no live edge; everything it measures of one selection and
type is one statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shim.catalog.types import Kind
from shim.model.tenancy import Tenant
from shim.snql.aggregates import Measure
from shim.snql.processors.storage_selector import BucketSpan
from shim.snql.syntax import Expression, LimitBy, Ordering
from shim.snql.unparse import unparse

#: Rows of an answer at most, and where a query names no LIMIT.
MAX_ROWS = 10_000
DEFAULT_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class StoredBuckets:
    """Aggregates of stored buckets, per group of series and cell of the span.

    `metric`: the name of the metric, "" for any. `condition`: on series. `kinds`: the stored types that
    answer; where `first_kind`, the first of them that a metric has. `meta`: the tags of series, of which
    `count` counts the series.
    """

    kinds: tuple[Kind, ...]
    measures: tuple[Measure, ...]
    metric: str = ""
    condition: Expression | None = None
    first_kind: bool = False
    meta: Literal["", "keys", "values"] = ""
    at: int = field(default=0, compare=False)  # where the text has the first aggregate

    def __str__(self) -> str:
        measures = ", ".join(map(str, self.measures)) or "nothing"
        of = f" of {unparse(self.condition)}" if self.condition is not None else ""
        name = f" {self.metric}" if self.metric else ""
        if self.meta:
            return f"{measures} of series by tag {self.meta} {'|'.join(self.kinds)}{of}"
        return f"stored {measures}{name} {'|'.join(self.kinds)}{of}"


@dataclass(frozen=True, slots=True)
class MeasureSlot:
    """Where an aggregate of the query is measured."""

    leaf: int
    measure: int


@dataclass(frozen=True, slots=True)
class Lowered:
    """One query as a plan. `keys`: expressions over series; `time_keys`: those that are the cell's start.

    `output`: the columns of the answer. Times, limits and orders are resolved.
    """

    text: str
    tenant: Tenant
    span: BucketSpan
    leaves: tuple[StoredBuckets, ...]
    slots: Mapping[Expression, MeasureSlot]
    keys: tuple[Expression, ...]
    time_keys: tuple[Expression, ...]
    output: tuple[tuple[str, Expression], ...]
    aliases: Mapping[str, Expression]
    having: Expression | None = None
    order_by: tuple[Ordering, ...] = ()
    limit_by: LimitBy | None = None
    limit: int = DEFAULT_ROWS
    offset: int = 0
    totals: bool = False
    infos: tuple[str, ...] = field(default=())

    @property
    def grouped(self) -> bool:
        """Whether there are keys: without, an answer is one row, whatever is stored."""
        return bool(self.keys or self.time_keys)

    def lines(self) -> list[str]:
        """Describe the plan, a line a step."""
        span = self.span
        every = f" every {span.bucket_s}s" if span.bucket_s else ""
        out = [
            f"buckets [{span.lo_s}, {span.hi_s}){every}",
            f"granularity {span.granularity_s}s, read from {span.read_s}s",
            *map(str, self.leaves),
        ]
        if self.grouped:
            out.append("by " + ", ".join(map(unparse, (*self.time_keys, *self.keys))))
        if self.having is not None:
            out.append(f"having {unparse(self.having)}")
        if self.order_by:
            keys = (f"{unparse(o.of)}{' desc' if o.descending else ''}" for o in self.order_by)
            out.append(f"order by {', '.join(keys)}")
        if self.limit_by is not None:
            out.append(f"limit {self.limit_by.count} by {', '.join(map(unparse, self.limit_by.of))}")
        return [*out, f"limit {self.limit} offset {self.offset}"]
