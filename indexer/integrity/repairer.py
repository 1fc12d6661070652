"""Derives rollups again from finer ones, a day of a kind and table in turn.

The rows are made in a table of their own, together with those of the partition's other days. They then
replace the whole partition in one statement of ClickHouse. No view sees them, and no token is needed. After
an interruption the next run finds the rest and does it. Two runs at once have tables of their own.

Partitions in which nothing can be derived are not touched. A replaced partition never has too many rows in
the meantime: first go those that rows leave, then by the days that rows are kept.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from indexer.clickhouse.abandoned_tables import MAX_USE_S, abandoned_tables
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import read_eras
from indexer.clickhouse.schema.metric_types import BY_KIND, Kind
from indexer.clickhouse.store import Store, StoreError
from indexer.integrity.verifier import Finding
from indexer.integrity.verify_statements import RollupPair

_EPOCH: Final = date(1970, 1, 1)
_KEY: Final = ("org_id", "project_id", "metric_id", "series_id")
_MAX_S: Final = 2**32 - 1
#: How the names of the tables begin.
_PREFIX: Final = "repair_"
_INSERT: Final = "SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0, max_threads = 2"


class RepairError(Exception):
    """The repair cannot continue; the text says why. Finished steps stay, and another run does the rest."""


@dataclass(frozen=True, slots=True)
class RepairStep:
    """Days of one partition of a rollup that are derived again."""

    kind: Kind
    pair: RollupPair
    days: tuple[int, ...]

    @property
    def table(self) -> str:
        """The rollup to write."""
        return f"{self.kind}_{self.pair.coarser.name}"

    @property
    def finer(self) -> str:
        """The finer rollup that it is derived from."""
        return f"{self.kind}_{self.pair.finer.name}"

    def __str__(self) -> str:
        days = ", ".join((_EPOCH + timedelta(day)).isoformat() for day in self.days)
        return f"{self.table} from {self.finer}: {days}"


def steps(findings: Iterable[Finding]) -> list[RepairStep]:
    """Return the steps by kind, table and partition. Pure."""
    groups: dict[tuple[Kind, RollupPair, date], set[int]] = defaultdict(set)
    for one in findings:
        if one.derivable and one.kind is not None and one.pair is not None:
            groups[one.kind, one.pair, _partition(one.pair, one.day)].add(one.day)
    return [RepairStep(kind, pair, tuple(sorted(days))) for (kind, pair, _), days in groups.items()]


def _partition(pair: RollupPair, day: int) -> date:
    """Return the first day of the coarser rollup's partition of this day."""
    at = _EPOCH + timedelta(day)
    if pair.coarser.seconds < 3600:
        return at - timedelta(at.weekday())
    return at.replace(day=1) if pair.coarser.seconds < 86_400 else at.replace(month=1, day=1)


class Repairer:
    """Executes steps. `today`: days since 1970, as for the verifier that found them.

    `max_use_s`: how long another run on the same server may use its table.
    """

    def __init__(self, store: Store, retention: Retention, today: int, max_use_s: int = MAX_USE_S) -> None:
        self._store = store
        self._max_use_s = max_use_s
        self._retention = retention
        self._today = today
        self._kept = [retention, *(era.retention for era in read_eras(store))]

    def clean(self) -> None:
        """Drop the remains of interrupted runs. Raises StoreError."""
        for name in abandoned_tables(self._store, _PREFIX, self._max_use_s):
            self._store.command(f"DROP TABLE IF EXISTS {name} SYNC")

    def do(self, step: RepairStep) -> None:
        """Derive the days of a step. Raises RepairError, StoreError."""
        made = f"{_PREFIX}{step.table}_{uuid.uuid4().hex}"
        self._store.command(f"CREATE TABLE {made} AS {step.table}")
        try:
            self._replace(step, made)
        except BaseException:
            with suppress(StoreError):  # the first error is the reason
                self._store.command(f"DROP TABLE {made} SYNC")
            raise
        self._store.command(f"DROP TABLE {made} SYNC")

    def _replace(self, step: RepairStep, made: str) -> None:
        """Make the rows in an empty table, and replace the partitions by its own."""
        here = self._live(step)
        before = self._blocks(step)
        self._derive(step, made, here)
        left, new = (self._partitions(step.table, here), self._partitions(made, "1"))
        touched = left | new
        listed = ", ".join(f"'{one}'" for one in touched)
        self._store.command(
            f"INSERT INTO {made} SELECT * FROM {step.table} WHERE _partition_id IN ({listed})"
            f" AND NOT ({here}) {_INSERT}"
        )
        full = self._partitions(made, "1")
        if self._blocks(step) != before:
            raise RepairError(f"{step.table} was written meanwhile: stop all indexers, then run it again")
        for one in sorted(touched, key=lambda name: (name in full, touched[name])):
            if one in full:
                self._store.command(f"ALTER TABLE {step.table} REPLACE PARTITION ID '{one}' FROM {made}")
            else:
                self._store.command(f"ALTER TABLE {step.table} DROP PARTITION ID '{one}'")

    def _derive(self, step: RepairStep, made: str, here: str) -> None:
        """Write the days' rows of the finer rollup at the coarser one's times."""
        seconds = step.pair.coarser.seconds
        states = ", ".join(column.name for column in BY_KIND[step.kind].state)
        key = ", ".join(_KEY)
        at = f"toDateTime(intDiv(toUInt32(timestamp), {seconds}) * {seconds}, 'UTC')"
        ((longest,),) = self._store.rows(f"SELECT max(retention_days) FROM {step.table} WHERE {here}")
        days = max(int(longest), self._retention.days(step.pair.coarser.name))
        whole = ", ".join(sorted({str(r.days(step.pair.finer.name)) for r in self._kept}))
        # A row that the finer rollup keeps as long as possible is kept by the coarser one as long as
        # possible.
        kept = f"if(retention_days IN ({whole}), toUInt16({days}), retention_days)"
        self._store.command(
            f"INSERT INTO {made} ({key}, timestamp, retention_days, {states})"
            f" SELECT {key}, {at}, {kept}, {states} FROM (SELECT * FROM {step.finer} WHERE {here}) {_INSERT}"
        )

    def _live(self, step: RepairStep) -> str:
        """Return the condition of the derived rows: those that were compared."""
        days = ", ".join(map(str, step.days))
        begin, end = step.days[0] * 86_400, (step.days[-1] + 1) * 86_400
        return (
            f"timestamp >= toDateTime({begin}, 'UTC') AND timestamp < toDateTime({min(end, _MAX_S)}, 'UTC')"
            f" AND toUInt32(toDate(timestamp)) IN ({days})"
            f" AND toUInt32(toDate(timestamp)) + retention_days > {self._today + 1}"
        )

    def _partitions(self, table: str, where: str) -> dict[str, int]:
        """Return the ids of partitions with such rows, and the days that these are kept."""
        sql = f"SELECT _partition_id, max(retention_days) FROM {table} WHERE {where} GROUP BY _partition_id"
        return {str(name): int(days) for name, days in self._store.rows(sql)}

    def _blocks(self, step: RepairStep) -> list[tuple[Any, ...]]:
        """Return a value that changes when rows are written, and not when parts are merged."""
        return self._store.rows(
            "SELECT partition_id, max(max_block_number) FROM system.parts"
            f" WHERE active AND database = currentDatabase() AND table = '{step.table}'"
            " GROUP BY partition_id ORDER BY partition_id"
        )
