"""The state that all readers of a query share: store, tenant, limits, and a record of each statement."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.store import SentTable, Store, StoreError
from indexer.intern.sorted_ids import find_ids
from shim.catalog.types import Part
from shim.model.errors import ExecutionError, TimedOut
from shim.model.fine_ranges import is_fine_range
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.model.values import Bools, Ints
from shim.read.cell_cache.setup import CellCache
from shim.read.sent_tables import sent_tables
from shim.read.series_slices import MAX_CELLS
from shim.read.shown_steps import Seen
from shim.read.statement_deadline import ended_after
from shim.read.store_errors import query_error
from shim.read.window_plan import Limits, WindowPlan, plan_windows
from shim.sql import nodes as sql
from shim.sql.render import render

T = TypeVar("T")

#: Up to about this many rows are added up here: that costs less than planning a GROUP BY.
FEW_ROWS = 1 << 13


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that was run, for `explain` and `stats`."""

    sql: str
    rows: int
    wall_ms: float
    sent: Mapping[str, int]  # lists that travelled beside the text, and their lengths


@dataclass(frozen=True, slots=True)
class Recalled:
    """One reading, or a part of it, that was made of blocks in memory; for `explain` and `stats`."""

    blocks: Mapping[str, int]  # how many of which rollup
    rows: int
    wall_ms: float


@dataclass(slots=True)
class Reader:
    """Runs the statements of one query. Used by several threads; raises QueryError."""

    store: Store
    tenant: Tenant
    limits: Limits
    max_rows: int
    max_cells: int
    deadline_s: float  # time.monotonic() at which the query is given up
    few_rows: int = FEW_ROWS
    slice_cells: int = MAX_CELLS  # more are read in slices of the series
    blocks: CellCache | None = None
    recalled: list[Recalled] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    snapped_to_s: set[int] = field(default_factory=set)  # rollups taken because retention dropped finer ones
    widened_ms: set[int] = field(default_factory=set)  # windows that are counted in whole buckets
    fine_s: dict[int, int] = field(
        default_factory=dict
    )  # long ranges, by a fine granularity they are read at
    seen: list[Seen] = field(default_factory=list)  # when selectors were read at
    tag: str = field(default_factory=lambda: uuid.uuid4().hex)  # written into every statement
    _held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def max_held(self) -> int:
        """How many series of a metric may have their cells in memory; of more none are kept."""
        return 0 if self.blocks is None else self.blocks.max_series

    def fetch(
        self,
        query: sql.Query,
        dtype: npt.DTypeLike,
        count: Callable[[npt.NDArray[np.void]], int] = len,
    ) -> npt.NDArray[np.void]:
        """Return the rows of a query as records; `count` returns the number of their samples.

        Raises ExecutionError over `max_rows`, TimedOut past the deadline.
        """
        return self._run(query, lambda text, sent: self.store.fetch(text, dtype, sent=sent), len, count)

    def columns(
        self,
        query: sql.Query,
        dtype: npt.DTypeLike,
        count: Callable[[Mapping[str, npt.NDArray[Any]]], int] | None = None,
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Return the columns of a query of many rows; each row is a sample, or as `count` says."""
        return self._run(
            query,
            lambda text, sent: self.store.columns(text, dtype, sent=sent),
            _rows_of,
            count or _rows_of,
        )

    def _run(
        self,
        query: sql.Query,
        ask: Callable[[str, Sequence[SentTable]], T],
        rows_of: Callable[[T], int],
        count: Callable[[T], int],
    ) -> T:
        left_s = self._left_s()
        settings = (*query.settings, ("max_execution_time", max(1, round(left_s))))
        bounded = replace(query, settings=settings, limit=self.max_rows + 1)
        rendered = render(bounded, with_settings=self.store.takes_settings)
        start = time.perf_counter()
        try:
            with ended_after(self.store, self.tag, left_s):
                found = ask(f"{rendered.text} /* {self.tag} */", sent_tables(rendered))
        except StoreError as e:
            raise query_error(e, self.tag) from e
        wall_ms = (time.perf_counter() - start) * 1000
        lengths = {name: len(values) for name, values in rendered.arrays.items()}
        self.statements.append(Statement(rendered.text, count(found), wall_ms, lengths))
        if rows_of(found) > self.max_rows:
            raise ExecutionError(
                f"query processing would load too many samples into memory: more than {self.max_rows} rows"
            )
        return found

    def note_recalled(self, tables: Sequence[str], rows: int, begun_s: float) -> None:
        """Record an answer made of chunks since `begun_s` (time.perf_counter()); `tables`: of each chunk.

        Raises TimedOut.
        """
        self._left_s()
        wall_ms = (time.perf_counter() - begun_s) * 1000
        self.recalled.append(Recalled(Counter(tables), rows, wall_ms))

    def _left_s(self) -> float:
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimedOut("query timed out in expression evaluation")
        return left_s

    def check_time(self) -> None:
        """Raise TimedOut past the deadline, or after `cancel`."""
        self._left_s()

    def cancel(self) -> None:
        """End running statements and begin no more: no client waits. Never raises StoreError."""
        self.deadline_s = -math.inf
        with suppress(StoreError):  # then they end at their own deadline
            self.store.kill(self.tag)

    def check_cells(self, count: int) -> None:
        """Check that `count` values at once are allowed. Raises ExecutionError, TimedOut."""
        self.check_time()
        if count > self.max_cells:
            raise ExecutionError(
                "query processing would load too many samples into memory: "
                f"{count} values, at most {self.max_cells} (shim.max_samples)"
            )

    def check_reading(self, keys: int, reading: WindowPlan, columns: int = 1) -> None:
        """Check, as `check_cells` does, the cells of a reading and the steps that are made of them."""
        self.check_cells(keys * max(reading.cells, len(reading.end)) * max(1, columns))

    def hold(self, count: int) -> None:
        """Count values that stay in memory to the query's end. Raises ExecutionError as `check_cells`."""
        with self._lock:
            self._held += count
            self.check_cells(self._held)

    def windows(self, ends: Grid, window_ms: int | None, lookback_ms: int) -> WindowPlan:
        """Plan windows within the limits; note those that only coarser rollups still hold."""
        reading = plan_windows(ends, window_ms, lookback_ms, self.limits)
        snapped_ms = reading.snapped_s * 1000
        if (window_ms or 0) % snapped_ms or (ends.times_ms % snapped_ms).any():
            self._note(reading.snapped_s)
        if reading.snapped_s == _FINEST_S and (window_ms or 0) % snapped_ms:
            assert window_ms is not None
            self.widened_ms.add(window_ms)
        if (run := reading.run) is not None:
            self._note_range(run.granularity_s, run.cells * (run.keep_s or run.size_s))
        return reading

    def granularity_s(self, ends: Grid, window_ms: int) -> int:
        """Return the finest rollup that still holds these windows: one sample per bucket."""
        found = plan_windows(Grid.instant(ends.start_ms), window_ms, 10_000, self.limits).snapped_s
        self._note(found)
        span_ms = min(ends.end_ms - ends.start_ms + window_ms, ends.steps * window_ms)
        self._note_range(found, span_ms // 1000)
        return found

    def _note_range(self, granularity_s: int, range_s: int) -> None:
        if is_fine_range(range_s, granularity_s):
            self.fine_s[granularity_s] = max(range_s, self.fine_s.get(granularity_s, 0))

    def _note(self, snapped_s: int) -> None:
        if snapped_s > 10 and not self.limits.forced_s:
            self.snapped_to_s.add(snapped_s)

    def source(self, table: str, granularity_s: int) -> sql.Table:
        """Return a rollup's table."""
        return sql.Table(self.store.database, f"{table}_{_SUFFIX[granularity_s]}")

    def conditions(self, part: Part) -> list[sql.Expr]:
        """Return the conditions for the tenant's and the part's rows of a rollup table."""
        out: list[sql.Expr] = [sql.op("=", "org_id", self.tenant.org_id)]
        if self.tenant.project_id is not None:
            out.append(sql.op("=", "project_id", self.tenant.project_id))
        out.append(sql.member("metric_id", np.array(part.metric_ids, np.uint64)))
        if part.span is not None:
            low, high = part.span
            out += [sql.op(">=", "series_id", low), sql.op("<=", "series_id", high)]
        elif not part.whole:
            out.append(sql.member("series_id", part.series_ids))
        return out


def _rows_of(columns: Mapping[str, npt.NDArray[Any]]) -> int:
    return len(next(iter(columns.values())))


_FINEST_S: Final = min(g.seconds for g in GRANULARITIES)
_SUFFIX: Final = {g.seconds: g.name for g in GRANULARITIES}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that rows are added up by: each series of a part, or groups of series.

    `group` is, for every series of the part, the index of its group in `labels`; None: series `i` is key `i`.
    `everything`: all rows of the part belong to the only group, so the part need not know its series.
    """

    labels: Sequence[Labels]
    group: Ints | None = None
    everything: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def expr(self, part: Part) -> sql.Expr:
        """UInt64: the group's index, or the series' id where there are no groups."""
        if self.group is None:
            return sql.col("series_id")
        if self._one_of_all(part):
            return sql.call("toUInt64", 0)
        nobody = sql.call("toUInt64", _NO_GROUP)
        return sql.call("transform", "series_id", sql.Ints(part.series_ids), sql.Ints(self.group), nobody)

    def over(self, own: Keys, part: Part, name: str) -> sql.Expr:
        """Return `expr` over rows that were grouped by `own`, whose keys are in the column `name`."""
        if own.group is None or self.group is None:
            return self.expr(part)
        if self.group is own.group:
            return sql.col(name)
        if self._one_of_all(part):
            return sql.call("toUInt64", 0)
        group = np.zeros(len(own), dtype=np.int64)
        group[own.group] = self.group
        nobody = sql.call("toUInt64", _NO_GROUP)
        return sql.call("transform", name, sql.Ints(np.arange(len(own))), sql.Ints(group), nobody)

    def high_bits(self, part: Part, bits: int) -> sql.Expr:
        """Return the group's index above `bits` zero bits, all bits set for no group; see `high_type`."""
        assert self.group is not None
        kind = self.high_type(bits)
        if self._one_of_all(part):
            return sql.call(f"to{kind}", 0)
        nobody = sql.call(f"to{kind}", _ALL_BITS[kind])
        ids, groups = sql.Ints(part.series_ids), sql.Ints(self.group << bits, kind)
        return sql.call("transform", "series_id", ids, groups, nobody)

    def high_type(self, bits: int) -> str:
        """Return the smallest type for `high_bits`: ClickHouse groups by 16 bits without hashing."""
        return next(kind for kind, nobody in _ALL_BITS.items() if len(self) << bits <= nobody)

    def _one_of_all(self, part: Part) -> bool:
        """Return whether all series are one group, and no row of another series is read."""
        return self.everything or (len(self.labels) == 1 and not part.whole)

    def index(self, part: Part, keys: npt.NDArray[np.uint64]) -> tuple[Ints, Bools]:
        """Return the index in `labels` of each fetched key, and which keys are known."""
        if self.group is not None:
            known = keys < len(self.labels)
            return np.where(known, keys, 0).astype(np.int64), known
        return find_ids(part.series_ids, keys)


#: Above the index of every group.
_NO_GROUP = (1 << 32) - 1
_ALL_BITS = {"UInt16": (1 << 16) - 1, "UInt32": _NO_GROUP}


def each(part: Part, labels: Sequence[Labels] | None = None) -> Keys:
    """Group every series by itself, those that are one as one; under their own labels or the given ones."""
    return Keys(part.labels if labels is None else labels, part.group)


def singly(part: Part) -> Keys:
    """Group every stored series by itself, without labels."""
    return Keys(((),) * len(part.series_ids))
