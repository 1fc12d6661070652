"""A plan answered: its leaves are read, put side by side by group and cell, and made into rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from shim.catalog import Catalog
from shim.catalog.types import Days
from shim.model.errors import BadData
from shim.model.values import Ints
from shim.read.reader import Reader
from shim.read.side_by_side import side_by_side
from shim.snql.aggregates import EMPTY
from shim.snql.columns import ColumnType, ResultColumn, objects
from shim.snql.expressions import Evaluation
from shim.snql.lowered import Lowered, StoredBuckets
from shim.snql.processors.storage_selector import BucketSpan
from shim.snql.series import GroupNumbers, SeriesSelector, empty_type, number_texts, shown_key
from shim.snql.stored_statement import Measured, measure, statement_text
from shim.snql.syntax import Expression, Ordering
from shim.snql.syntax_errors import place
from shim.sql.render import render


@dataclass(slots=True)
class LanguageAnswer:
    """The answer to a query in SnQL or MQL, JSON-ready."""

    data: list[dict[str, Any]]
    meta: list[dict[str, str]]
    totals: dict[str, Any] | None = None
    infos: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    granularity_s: int = 0
    rows_read: int = 0


def answer(
    lowered: Lowered, reader: Reader, catalog: Catalog, pool: Executor, *, dry_run: bool = False
) -> LanguageAnswer:
    """Read the leaves of a plan, side by side in `pool`, and make its rows. Raises QueryError.

    `dry_run` reads no bucket.
    """
    return _Answering(lowered, reader, catalog, pool, dry_run).answer()


@dataclass(slots=True)
class _Answering:
    of: Lowered
    reader: Reader
    catalog: Catalog
    pool: Executor
    dry_run: bool
    statements: list[str] = field(default_factory=list)

    def answer(self) -> LanguageAnswer:
        self.reader.tenant = self.of.tenant  # inside the caller's
        selector = self._selector()
        table = self._table(selector, self.of.keys, self.of.span, grouped=self.of.grouped)
        chosen = self._chosen(table)
        columns = [(name, chosen.column(of)) for name, of in self.of.output]
        totals = self._totals(selector) if self.of.totals else None
        infos = [*self.of.infos, *dict.fromkeys(selector.infos)]
        if self.of.span.snapped:
            infos.append(
                f"finer data than {self.of.span.read_s}s is gone for this time: whole buckets are read"
            )
        statements = self.statements or [s.sql for s in self.reader.statements]
        return LanguageAnswer(
            _rows(columns),
            [{"name": name, "type": column.type} for name, column in columns],
            totals,
            infos,
            self.of.lines(),
            statements,
            self.of.span.read_s,
            sum(s.rows for s in self.reader.statements),
        )

    def _selector(self) -> SeriesSelector:
        span, catalog = self.of.span, self.catalog
        pick = partial(catalog.pick, tag=self.reader.tag)
        return SeriesSelector(
            self.of.tenant,
            Days.of(span.lo_s * 1000, max(span.lo_s, span.hi_s - 1) * 1000),
            pick,
            number_texts(catalog.strings.texts, self.of.tenant.org_id),
            self._complain,
            self.reader.check_time,
        )

    def _complain(self, of: Expression, problem: str) -> BadData:
        return BadData(f"{problem} (at {place(self.of.text, of.at)})")

    # ------------------------------------------------------------ rows before they are chosen

    def _table(
        self, selector: SeriesSelector, keys: Sequence[Expression], span: BucketSpan, *, grouped: bool
    ) -> Evaluation:
        """Make a row for each group and cell that any leaf has; one row where nothing is grouped."""
        groups = GroupNumbers(self.reader.max_cells)
        measured = self._measured(selector, keys, groups, span)
        cells = max(1, span.cells)
        places = [one.groups * cells + one.cells for parts in measured for one in parts]
        if grouped:
            rows = np.unique(np.concatenate(places)) if places else np.zeros(0, dtype=np.int64)
        else:
            rows = np.zeros(1, dtype=np.int64)
        self.reader.hold(len(rows) * (1 + len(keys) + len(self.of.slots)))
        known = self._keys(rows, list(groups.numbers), keys, selector.types)
        for of in self.of.time_keys:
            starts = span.origin_s + rows % cells * span.bucket_s
            known[of] = ResultColumn("DateTime", starts)
        for of, slot in self.of.slots.items():
            leaf = self.of.leaves[slot.leaf]
            known[of] = self._slot(leaf, slot.measure, measured[slot.leaf], rows, cells)
        return Evaluation(len(rows), known, self._complain, self.of.aliases)

    def _measured(
        self, selector: SeriesSelector, keys: Sequence[Expression], groups: GroupNumbers, span: BucketSpan
    ) -> list[list[Measured]]:
        """Return the rows of each leaf. The statements of all leaves and types run side by side."""
        out: list[list[Measured]] = [[] for _ in self.of.leaves]
        calls: list[Callable[[], Measured]] = []
        places: list[list[Measured]] = []
        for leaf, rows in zip(self.of.leaves if span.cells else (), out, strict=False):
            if leaf.meta:
                numbers, counts = selector.count_tags(leaf, keys, groups)
                rows.append(Measured(numbers, np.zeros_like(numbers), [[counts]] * len(leaf.measures)))
                continue
            for found in selector.select(leaf, keys, groups):
                if self.dry_run:
                    text = render(statement_text(self.reader, found, leaf.measures, span)).text
                    self.statements.append(text)
                else:
                    calls.append(partial(measure, self.reader, found, leaf.measures, span))
                    places.append(rows)
        for rows, found_rows in zip(places, side_by_side(self.pool, calls), strict=True):
            rows.append(found_rows)
        return out

    def _keys(
        self,
        rows: Ints,
        tuples: Sequence[tuple[Any, ...]],
        keys: Sequence[Expression],
        types: Mapping[Expression, ColumnType],
    ) -> dict[Expression, ResultColumn]:
        groups = (rows // max(1, self.of.span.cells)).tolist()
        known: dict[Expression, ResultColumn] = {}
        for number, of in enumerate(keys):
            kind = types.get(of) or empty_type(of)
            values: Any = objects([tuples[g][number] for g in groups])
            if kind in ("Float64", "UInt8", "DateTime"):
                values = values.astype(np.float64 if kind == "Float64" else np.int64)
            known[of] = shown_key(of, ResultColumn(kind, values))
        return known

    def _slot(
        self, leaf: StoredBuckets, number: int, measured: Sequence[Measured], rows: Ints, cells: int
    ) -> ResultColumn:
        """Return a measure over all rows; of several types of one leaf only one has a row."""
        of = leaf.measures[number]
        arrays = [np.full(len(rows), EMPTY.get(of.function, math.nan)) for _ in range(max(1, len(of.levels)))]
        for one in measured:
            at = np.searchsorted(rows, one.groups * cells + one.cells)
            for array, values in zip(arrays, one.columns[number], strict=True):
                array[at] = values
        if of.function == "quantiles":
            lists = np.stack(arrays, axis=1).tolist() if len(rows) else []
            return ResultColumn("Array(Float64)", objects(lists))
        if of.function == "uniq":
            return ResultColumn("UInt64", objects([int(v) for v in arrays[0].tolist()]))
        return ResultColumn("Float64", arrays[0])

    # ------------------------------------------------------------ rows that are shown

    def _chosen(self, table: Evaluation) -> Evaluation:
        """Return the rows after HAVING, ORDER BY and the limits."""
        rows = np.arange(table.rows)
        if self.of.having is not None:
            rows = rows[table.column(self.of.having).truths()]
        keys = [Ordering(of) for of in (*self.of.time_keys, *self.of.keys)]
        for by in reversed(self.of.order_by or keys):
            ranks = table.column(by.of).ranks()[rows]
            if by.descending:
                ranks = (
                    np.where(np.isnan(ranks), ranks, -ranks)
                    if ranks.dtype.kind == "f"
                    else -ranks.astype(float)
                )
            rows = rows[np.argsort(ranks, kind="stable")]
        if self.of.limit_by is not None:
            rows = _limited_by(rows, [table.column(of) for of in self.of.limit_by.of], self.of.limit_by.count)
        rows = rows[self.of.offset : self.of.offset + self.of.limit]
        known = {of: column.take(rows) for of, column in table.known.items()}
        return replace(table, rows=len(rows), known=known)

    def _totals(self, selector: SeriesSelector) -> dict[str, Any]:
        """Evaluate every aggregate over all that the query selects, keys NULL."""
        table = self._table(selector, (), self.of.span.whole(), grouped=False)
        for of in (*self.of.keys, *self.of.time_keys):
            table.known[of] = ResultColumn("Float64", np.array([math.nan]))
        out: dict[str, Any] = {}
        for name, of in self.of.output:
            try:
                out[name] = _json(table.column(of))[0]
            except BadData:  # of a key that has no value here
                out[name] = None
        return out


def _limited_by(rows: Ints, columns: Sequence[ResultColumn], count: int) -> Ints:
    seen: dict[tuple[Any, ...], int] = {}
    kept = []
    values = [column.values[rows].tolist() for column in columns]
    for row, *key in zip(rows.tolist(), *values, strict=True):
        of = tuple(tuple(v) if isinstance(v, list) else v for v in key)
        seen[of] = seen.get(of, 0) + 1
        if seen[of] <= count:
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _rows(columns: Sequence[tuple[str, ResultColumn]]) -> list[dict[str, Any]]:
    names = [name for name, _ in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*(_json(c) for _, c in columns), strict=True)]


def _json(column: ResultColumn) -> list[Any]:
    """Convert values to JSON's: no NaN and no infinity, times in ISO 8601."""
    values = column.values.tolist()
    match column.type:
        case "DateTime":
            return [datetime.fromtimestamp(v, UTC).isoformat() for v in values]
        case "Float64":
            return [_finite(v) for v in values]
        case "Array(Float64)":
            return [[_finite(v) for v in row] for row in values]
    return list(values)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
