"""Finds faults in the stored data: detached parts, differing rollups, rows without their catalog rows.

Reads only, a day or a partition of the finer rollup in turn, so that memory does not grow with the store.
Rollups are compared while both are kept: totals of a day first, then by metric if these differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from indexer.clickhouse.granularities import Granularity
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import read_eras
from indexer.clickhouse.schema.metric_types import KINDS, Kind
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store
from indexer.integrity.verify_statements import (
    PAIRS,
    STRINGS_A_TURN,
    Quantity,
    RollupPair,
    compare,
    excess,
    live,
    quantities,
    samples_without_series,
    series_without_strings,
)

_NEAR: Final = 1e-9
#: New rows reach one rollup before another: the latest are left out on a shared store.
SETTLE_S: Final = 300
#: Metrics that the findings of a day and table name; one finding counts the others.
_METRICS: Final = 20
#: A difference counts if it lasts this long, as a row may still be on its way.
_AGAIN_S: Final = 1.0
#: Parts that ClickHouse detaches although their rows are in the table.
_HARMLESS: Final = ("ignored", "clone", "cloned", "attaching", "deleting", "noquorum", "covered-by-broken")
_EPOCH: Final = date(1970, 1, 1)


class FindingKind(StrEnum):
    """Kinds of findings, as `--json` and the metric name them."""

    DETACHED = "detached_part"
    ROLLUP = "rollup_differs"
    NO_SERIES = "samples_without_series"
    NO_STRINGS = "series_without_strings"


LOOK: Final = "meterhouse verify says of which metrics, and what can be done"
DERIVE: Final = "meterhouse repair --yes derives it from {finer}"
UNCLEAR: Final = (
    "{finer} has fewer or other rows, so nothing follows from it: repair that first, if it can be"
)
RESEND: Final = "meterhouse repair --yes makes caches new; agents then send it with their next frames"
DETACHED: Final = (
    "meterhouse repair --yes derives what a finer rollup has; then ALTER TABLE {table} DROP DETACHED PART"
)


class Finding(msgspec.Struct, frozen=True):
    """A fault: its kind, place, amount and remedy. `kind` and `pair` are those of rollups."""

    what: FindingKind
    table: str
    partition: str
    metric: str
    amount: str
    remedy: str
    derivable: bool = False
    day: int = -1
    kind: Kind | None = None
    pair: RollupPair | None = None

    def public(self) -> dict[str, Any]:
        """Return the finding as `--json` prints it."""
        names = ("table", "partition", "metric", "amount", "remedy")
        return {"what": self.what.value, **{name: getattr(self, name) for name in names}}

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.table, self.partition, self.metric)))
        return f"{self.what.value}: {where}: {self.amount}; {self.remedy}"


class Verifier:
    """Examines a store whose tables exist.

    `deadline_s`: of `time.monotonic`; longer statements end with StoreError. `quiet`: no other process
    writes. `short`: totals of days only, without counting series and buckets.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention,
        *,
        quiet: bool,
        short: bool = False,
        deadline_s: float = math.inf,
        now_s: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._quiet = quiet
        self._short = short
        self._deadline_s = deadline_s
        self._pause = pause
        self._now_s = int(now_s())
        self.today = self._now_s // 86_400
        self._kept = [retention, *(era.retention for era in read_eras(store))]
        self._names: dict[tuple[int, int], str] = {}

    def all(self) -> Iterator[Finding]:
        """Yield every finding; the latest days first. Raises StoreError."""
        yield from self.detached()
        for pair in PAIRS:
            yield from self.rollups(pair)
        yield from self.catalog()

    def detached(self) -> Iterator[Finding]:
        """Yield parts that are on the disk but not in their table. Raises StoreError."""
        for table, part, reason, partition in self._rows(
            f"SELECT table, name, coalesce(reason, ''), coalesce(partition_id, '')"
            f" FROM {self._system('detached_parts')} WHERE database = currentDatabase()"
            f" AND NOT startsWith(table, 'repair_') ORDER BY table, name"
        ):
            if reason not in _HARMLESS:
                amount = f"part {part} ({reason or 'detached by a statement'})"
                remedy = DETACHED.format(table=table)
                yield Finding(FindingKind.DETACHED, table, partition, "", amount, remedy)

    def rollups(self, pair: RollupPair) -> Iterator[Finding]:
        """Yield the rollups that differ from the finer ones. Raises StoreError."""
        kept = min(min(r.days(pair.finer.name), r.days(pair.coarser.name)) for r in self._kept)
        first = self.today - kept + 2
        for kind in KINDS:
            days = self._days(f"{kind}_{pair.finer.name}") | self._days(f"{kind}_{pair.coarser.name}")
            for begin, end in _spans(sorted(day for day in days if day >= first), pair.finer):
                for day in self._differing(pair, kind, max(begin, first), end):
                    yield from self._of_day(pair, kind, day)

    def catalog(self) -> Iterator[Finding]:
        """Yield samples without series, and series without strings. Raises StoreError."""
        for kind in KINDS:
            for day in sorted(self._days(f"{kind}_1d"), reverse=True):
                where = live(day, day + 1, self._until_s(86_400), self.today)
                sql = samples_without_series(kind, day, where)
                yield from self._orphans(FindingKind.NO_SERIES, f"{kind}_1d", _iso(day), sql)
        ((strings,),) = self._rows("SELECT count() FROM strings")
        turns = 1 + int(strings) // STRINGS_A_TURN
        for (month,) in self._rows("SELECT DISTINCT toYYYYMM(day) AS month FROM series ORDER BY month DESC"):
            for turn in range(turns):
                sql = series_without_strings(month, turn, turns)
                yield from self._orphans(FindingKind.NO_STRINGS, "series", str(month), sql)

    def _orphans(self, what: FindingKind, table: str, partition: str, sql: str) -> Iterator[Finding]:
        found = self._rows(sql)
        if found and not self._quiet:
            self._pause(_AGAIN_S)
            found = self._rows(sql)
        for org_id, project_id, metric_id, series in found[:_METRICS]:
            metric = self._metric(org_id, project_id, metric_id)
            yield Finding(what, table, partition, metric, f"{series} series", RESEND)
        if rest := found[_METRICS:]:
            amount = f"{sum(row[3] for row in rest)} series of {len(rest)} more metrics"
            yield Finding(what, table, partition, "", amount, RESEND)

    def _differing(self, pair: RollupPair, kind: Kind, begin: int, end: int) -> list[int]:
        """Return the days whose totals differ, and still do a moment later if others write."""
        found = self._different(pair, kind, begin, end, by_metric=False)
        if found and not self._quiet:
            self._pause(_AGAIN_S)
            found = self._different(pair, kind, begin, end, by_metric=False)
        return sorted({key[0] for key in found}, reverse=True)

    def _of_day(self, pair: RollupPair, kind: Kind, day: int) -> Iterator[Finding]:
        """Yield the findings of a day whose totals differ."""
        if not self._short:
            yield from self._by_metric(pair, kind, day)
            return
        amount = f"totals differ from {kind}_{pair.finer.name}"
        yield Finding(FindingKind.ROLLUP, f"{kind}_{pair.coarser.name}", _iso(day), "", amount, LOOK)

    def _by_metric(self, pair: RollupPair, kind: Kind, day: int) -> Iterator[Finding]:
        finer, coarser = (f"{kind}_{g.name}" for g in (pair.finer, pair.coarser))
        found = self._different(pair, kind, day, day + 1, by_metric=True)
        ((more,),) = self._rows(excess(kind, pair, self._where(pair, day, day + 1)))
        remedy = (UNCLEAR if more else DERIVE).format(finer=finer)

        def finding(metric: str, amount: str) -> Finding:
            return Finding(
                FindingKind.ROLLUP, coarser, _iso(day), metric, amount, remedy, not more, day, kind, pair
            )

        for (_, *metric), amount in list(found.items())[:_METRICS]:
            yield finding(self._metric(*metric), f"{amount} in {finer}")
        if len(found) > _METRICS:
            yield finding("", f"{len(found) - _METRICS} more metrics differ from {finer}")

    def _different(
        self, pair: RollupPair, kind: Kind, begin: int, end: int, *, by_metric: bool
    ) -> dict[tuple[int, ...], str]:
        """Return the numbers of the coarser and the finer rollup by day and metric."""
        where = self._where(pair, begin, end)
        seconds = pair.coarser.seconds
        finer, coarser = (
            {
                row[:4]: row[4:]
                for row in self._rows(
                    compare(kind, g, seconds, where, by_metric=by_metric, short=self._short)
                )
            }
            for g in (pair.finer, pair.coarser)
        )
        asked = quantities(kind, short=self._short)
        nothing = (0.0,) * (2 * len(asked))
        found = {}
        for key in sorted(finer.keys() | coarser.keys()):
            first = _first_difference(asked, coarser.get(key, nothing), finer.get(key, nothing))
            if first:
                found[key] = first
        return found

    def _where(self, pair: RollupPair, begin: int, end: int) -> str:
        return live(begin, end, self._until_s(pair.coarser.seconds), self.today)

    def _until_s(self, seconds: int) -> int:
        """Return the time until which rows are settled, at an edge of cells."""
        if self._quiet:
            return 2**32 - 1
        return (self._now_s - SETTLE_S) // seconds * seconds

    def _days(self, table: str) -> set[int]:
        """Return the days (since 1970) that each part spans; some may have no rows."""
        local = f"{table}_local" if self._store.cluster else table
        return {
            day
            for first, last in self._rows(
                "SELECT DISTINCT intDiv(toUInt32(min_time), 86400), intDiv(toUInt32(max_time), 86400)"
                f" FROM {self._system('parts')} WHERE active AND database = currentDatabase()"
                f" AND table = '{local}'"
            )
            for day in range(first, last + 1)
        }

    def _metric(self, org_id: int, project_id: int, metric_id: int) -> str:
        key = (org_id, metric_id)
        if key not in self._names:
            found = self._rows(
                f"SELECT string FROM strings WHERE org_id = {org_id} AND id = {metric_id} LIMIT 1"
            )
            self._names[key] = str(found[0][0]) if found else f"id {metric_id}"
        return f"{self._names[key]} (org {org_id}, project {project_id})"

    def _system(self, name: str) -> str:
        if self._store.cluster is None:
            return f"system.{name}"
        return f"clusterAllReplicas({quote_name(self._store.cluster)}, system.{name})"

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        if self._deadline_s == math.inf:
            return self._store.rows(sql)
        left_s = max(0.01, self._deadline_s - time.monotonic())
        joined = ", " if " SETTINGS " in sql else " SETTINGS "
        return self._store.rows(f"{sql}{joined}max_execution_time = {left_s:.3f}")


def _spans(days: list[int], finer: Granularity) -> Iterator[tuple[int, int]]:
    """Yield first day and end of each comparison: a partition of the finer rollup."""
    spans: dict[tuple[int, int], None] = {}
    for day in reversed(days):
        at = _EPOCH + timedelta(day)
        if finer.seconds < 60:
            begin, end = at, at + timedelta(1)
        elif finer.seconds < 3600:
            begin = at - timedelta(at.weekday())
            end = begin + timedelta(7)
        else:
            begin = at.replace(day=1)
            end = (begin + timedelta(32)).replace(day=1)
        spans[(begin - _EPOCH).days, (end - _EPOCH).days] = None
    yield from spans


def _first_difference(
    asked: tuple[Quantity, ...], coarser: tuple[float, ...], finer: tuple[float, ...]
) -> str:
    """Return the first quantity that differs, with both numbers; empty if none does."""
    for n, quantity in enumerate(asked):
        (ours, our_scale), (theirs, their_scale) = (row[2 * n : 2 * n + 2] for row in (coarser, finer))
        if not math.isfinite(ours) and not math.isfinite(theirs):
            continue
        if not abs(ours - theirs) <= _NEAR * max(our_scale, their_scale):
            return f"{quantity.name} {ours:.15g} instead of {theirs:.15g}"
    return ""


def _iso(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
