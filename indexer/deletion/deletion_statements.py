"""The SQL of deletions: the conditions of rows to delete, of rows to derive again, and of catalog rows. Pure.

All numbers are our own. The ids of few series are in the text; those of many are in a table of their own,
which a statement names (`ids_table`), because the text of a statement is bounded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema.metric_types import BY_KIND, KINDS, Kind
from indexer.deletion.deletion_range import DeletionRange, Rederived
from indexer.deletion.deletion_request import MAX_S, MetricSeries

#: Ids in the text of a statement: 20 bytes each, of the 262,144 that a statement may have.
MAX_LISTED: Final = 4_000
_BOUNDED: Final = "SETTINGS max_bytes_before_external_group_by = 256000000, max_threads = 2"
_INSERT: Final = "SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0, max_threads = 2"
_KEY: Final = "org_id, project_id, metric_id, series_id"
#: Ids of well-known strings have this bit.
_STATIC_BIT: Final = 63


@dataclass(frozen=True, slots=True)
class DeletedRows:
    """Conditions of the rows of some series of an org. `ids_table`: the qualified table of their ids."""

    org_id: int
    metrics: Sequence[MetricSeries]
    ids_table: str = ""

    @property
    def kinds(self) -> list[Kind]:
        """The types that it has series of."""
        return [kind for kind in KINDS if any(one.kind == kind for one in self.metrics)]

    def of(self, kind: Kind) -> str:
        """Return the condition of the series of a kind, in a rollup or in `series`."""
        if self.ids_table:
            of_kind = f"FROM {self.ids_table} WHERE kind = {BY_KIND[kind].number}"
            return (
                f"org_id = {self.org_id} AND metric_id IN (SELECT metric_id {of_kind})"
                f" AND ((project_id, metric_id) IN"
                f" (SELECT project_id, metric_id {of_kind} AND series_id = 0)"
                f" OR (project_id, metric_id, series_id) IN"
                f" (SELECT project_id, metric_id, series_id {of_kind} AND series_id != 0))"
            )
        whole: dict[int, list[int]] = defaultdict(list)
        parts = []
        for one in (m for m in self.metrics if m.kind == kind):
            if one.series:
                parts.append(
                    f"(project_id = {one.project_id} AND metric_id = {one.metric_id}"
                    f" AND series_id IN ({_listed(one.ids.tolist())}))"
                )
            else:
                whole[one.project_id].append(one.metric_id)
        parts += [f"(project_id = {p} AND metric_id IN ({_listed(ids)}))" for p, ids in whole.items()]
        return f"org_id = {self.org_id} AND ({' OR '.join(parts)})"

    def of_metrics(self) -> str:
        """Return the condition of all rows of its metrics, of any type."""
        if self.ids_table:
            found = f"SELECT project_id, metric_id FROM {self.ids_table}"
            return f"org_id = {self.org_id} AND (project_id, metric_id) IN ({found})"
        pairs = sorted({(one.project_id, one.metric_id) for one in self.metrics})
        return f"org_id = {self.org_id} AND (project_id, metric_id) IN ({', '.join(map(str, pairs))})"


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def within(start_s: int, end_s: int) -> str:
    """Return the condition of rows in `[start_s, end_s)`, with AND before it; MAX_S: no end."""
    text = f" AND timestamp >= toDateTime({start_s}, 'UTC')" if start_s else ""
    return text + (f" AND timestamp < toDateTime({end_s}, 'UTC')" if end_s != MAX_S else "")


def count_rows(rows: DeletedRows, kind: Kind, table: str, start_s: int, end_s: int) -> str:
    """Return the statement that counts rows of a rollup."""
    return f"SELECT count() FROM {table} WHERE {rows.of(kind)}{within(start_s, end_s)} {_BOUNDED}"


def count_series(rows: DeletedRows, span: DeletionRange) -> str:
    """Return the statement that counts the series with rows in the range."""
    parts = " UNION ALL ".join(
        f"SELECT {_KEY} FROM {kind}_{g.name} WHERE {rows.of(kind)}{within(*span.whole(g.seconds))}"
        for kind in rows.kinds
        for g in GRANULARITIES
    )
    return f"SELECT count() FROM (SELECT {_KEY} FROM ({parts}) GROUP BY {_KEY}) {_BOUNDED}"


def rederive(rows: DeletedRows, kind: Kind, span: DeletionRange, one: Rederived, kept: str) -> str:
    """Return the statement that derives the rows of buckets from the rows that a finer rollup keeps.

    `kept`: the expression of the days that a derived row is kept.
    """
    seconds = one.coarser.seconds
    states = ", ".join(column.name for column in BY_KIND[kind].state)
    buckets = " OR ".join(f"(1{within(start_s, start_s + seconds)})" for start_s in one.starts_s)
    source = (
        f"SELECT * FROM {kind}_{one.finer.name} WHERE {rows.of(kind)} AND ({buckets})"
        f" AND NOT (1{within(span.start_s, span.end_s)})"
    )
    at = f"toDateTime(intDiv(toUInt32(timestamp), {seconds}) * {seconds}, 'UTC')"
    return (
        f"INSERT INTO {kind}_{one.coarser.name} ({_KEY}, timestamp, retention_days, {states})"
        f" SELECT {_KEY}, {at}, {kept}, {states} FROM ({source}) {_INSERT}"
    )


def longest_kept(rows: DeletedRows, kind: Kind, one: Rederived) -> str:
    """Return the statement of the longest retention of the rows in the buckets of a rollup."""
    buckets = " OR ".join(f"(1{within(s, s + one.coarser.seconds)})" for s in one.starts_s)
    return (
        f"SELECT max(retention_days) FROM {kind}_{one.coarser.name}"
        f" WHERE {rows.of(kind)} AND ({buckets}) {_BOUNDED}"
    )


def gone_series(rows: DeletedRows, kind: Kind, span: DeletionRange, daily: str) -> str:
    """Return the condition of rows of `series` on days of which `daily` has no samples left.

    `daily`: the qualified name of the kind's rollup of days; empty: every day of the range has lost all.
    """
    first, last = span.days
    days = f"day >= toDate({first}) AND day <= toDate({last})"
    where = f"{rows.of(kind)} AND type = '{BY_KIND[kind].name}' AND {days}"
    if not daily:
        return where
    left = f"{rows.of(kind)}{within(*span.touched(86_400))}"
    return (
        f"{where} AND (project_id, metric_id, series_id, day) NOT IN"
        f" (SELECT project_id, metric_id, series_id, toDate(timestamp) FROM {daily} WHERE {left})"
    )


def gone_tag_keys(where: str, series: str) -> str:
    """Return the condition of tag keys that no series of their metric has.

    `where`: of the rows looked at, in any table; `series`: the qualified table.
    """
    return (
        f"{where} AND (project_id, metric_id, tag_key) NOT IN"
        f" (SELECT DISTINCT project_id, metric_id, arrayJoin(tag_keys) FROM {series} WHERE {where})"
    )


def gone_tag_values(where: str, series: str, turn: int, turns: int) -> str:
    """Return the condition of tag values that no series of their metric has, of one of several turns."""
    tags = (
        f"SELECT project_id, metric_id, arrayJoin(arrayZip(tag_keys, tag_values)) AS tag"
        f" FROM {series} WHERE {where}"
    )
    return (
        f"{where} AND tag_value % {turns} = {turn} AND (project_id, metric_id, tag_key, tag_value) NOT IN"
        f" (SELECT DISTINCT project_id, metric_id, tag.1, tag.2 FROM ({tags}) WHERE tag.2 % {turns} = {turn})"
    )


def gone_strings(org_id: int, series: str, turn: int, turns: int) -> str:
    """Return the condition of an org's strings that no series of it uses, of one of several turns."""
    ids = (
        "SELECT arrayJoin(arrayDistinct(arrayConcat([metric_id], tag_keys, tag_values))) AS used"
        f" FROM {series} WHERE org_id = {org_id}"
    )
    return (
        f"org_id = {org_id} AND NOT bitTest(id, {_STATIC_BIT}) AND id % {turns} = {turn}"
        f" AND id NOT IN (SELECT DISTINCT used FROM ({ids}) WHERE used % {turns} = {turn})"
    )
