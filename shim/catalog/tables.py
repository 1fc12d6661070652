"""The catalog's SQL: its reads of `series`, `strings` and the tag tables, each over a scope (scope.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.sent_tables import SentTable
from indexer.clickhouse.store import Store
from shim.catalog.scope import SEEN, Scope, of_days, of_metrics, of_tenant, tag_value
from shim.catalog.types import Days
from shim.model.tenancy import Tenant

METRIC: Final = np.dtype([("metric_id", "<u8"), ("kind", "u1")])
SIZE: Final = np.dtype([("metric_id", "<u8"), ("kind", "u1"), ("series", "<u8")])
ALIVE: Final = np.dtype([("metric_id", "<u8"), ("series_id", "<u8"), ("project_id", "<u4"), ("kind", "u1")])
TAG: Final = np.dtype([("metric_id", "<u8"), ("series_id", "<u8"), ("key", "<u8"), ("value", "<u8")])
PAIR: Final = np.dtype([("key", "<u8"), ("value", "<u8")])

EXTENT: Final = np.dtype(
    [("metric_id", "<u8"), ("low", "<f8"), ("high", "<f8"), ("above", "<f8"), ("below", "<f8")]
)
NEAREST: Final = np.dtype([("metric_id", "<u8"), ("positive", "<i4"), ("negative", "<i4")])

_COARSEST: Final = "distributions_1d"
_SIDES: Final = ("positive", "negative")
_KIND: Final = "toUInt8(CAST(type, 'Int8'))"


class Tables:
    """Reads of the catalog. Every method raises StoreError.

    `tag` is written into the statements of a selector, so that they can be ended with their query.
    """

    def __init__(self, store: Store, tag: str = "") -> None:
        self._store = store
        self._tag = tag

    def tagged(self, tag: str) -> Tables:
        """Return the reads with a tag in their statements."""
        return Tables(self._store, tag)

    def _fetch(self, sql: str, dtype: npt.DTypeLike, scope: Scope, **bound: Any) -> npt.NDArray[Any]:
        text = f"{sql} /* {self._tag} */" if self._tag else sql
        return self._store.fetch(text, dtype, {**scope.bound, **bound}, scope.sent)

    def _rows(self, sql: str, scope: Scope, **bound: Any) -> list[tuple[Any, ...]]:
        return self._store.rows(sql, {**scope.bound, **bound}, scope.sent)

    def metrics(self, tenant: Tenant, days: Days) -> npt.NDArray[Any]:
        """METRIC records: each metric with each type it has."""
        scope = of_days(tenant, days)
        return self._fetch(
            f"SELECT metric_id, {_KIND} AS kind FROM series WHERE {scope.text} GROUP BY metric_id, kind",
            METRIC,
            scope,
        )

    # ---- series

    def alive(self, scope: Scope, max_rows: int) -> npt.NDArray[Any]:
        """ALIVE records: the series of a scope, each once; `max_rows` of them at most."""
        return self._fetch(
            f"SELECT DISTINCT metric_id, series_id, project_id, {_KIND} AS kind"
            f" FROM series WHERE {scope.text} LIMIT {{most:UInt64}}",
            ALIVE,
            scope,
            most=max_rows,
        )

    def series_ids(self, scope: Scope) -> npt.NDArray[np.uint64]:
        """Return the ids of the series of a scope, each once, in any order."""
        return self._fetch(f"SELECT DISTINCT series_id FROM series WHERE {scope.text}", "<u8", scope)

    def sizes(self, scope: Scope) -> npt.NDArray[Any]:
        """SIZE records: how many series of a scope each metric and type has."""
        return self._fetch(
            f"SELECT metric_id, {_KIND} AS kind, uniqExact(series_id) AS series"
            f" FROM series WHERE {scope.text} GROUP BY metric_id, kind",
            SIZE,
            scope,
        )

    def has_more(self, scope: Scope, series: int) -> bool:
        """Return whether a scope has more than `series` series."""
        rows = self._fetch(f"SELECT count() FROM series WHERE {scope.text}", "<u8", scope)
        if rows[0] <= series:  # a series may have several rows, and mostly has one a day
            return False
        distinct = f"SELECT DISTINCT series_id FROM series WHERE {scope.text} LIMIT {{most:UInt64}}"
        found = self._fetch(f"SELECT count() FROM ({distinct})", "<u8", scope, most=series + 1)
        return bool(found[0] > series)

    def tags(self, scope: Scope) -> npt.NDArray[Any]:
        """TAG records of the series of a scope; in any order."""
        return self._fetch(
            "SELECT metric_id, series_id, key, value FROM ("
            "SELECT metric_id, series_id, any(tag_keys) AS tag_keys, any(tag_values) AS tag_values"
            f" FROM series WHERE {scope.text} GROUP BY metric_id, series_id"
            ") ARRAY JOIN tag_keys AS key, tag_values AS value",
            TAG,
            scope,
        )

    def keys_of(self, scope: Scope) -> list[int]:
        """Return the tag keys of the series of a scope."""
        return self._ids(f"SELECT DISTINCT arrayJoin(tag_keys) FROM series WHERE {scope.text}", scope)

    def values_of(self, scope: Scope, keys: Sequence[int]) -> list[int]:
        """Return the values of the series of a scope under the first of those keys that each has."""
        found = self._ids(f"SELECT DISTINCT {tag_value(keys)} AS v FROM series WHERE {scope.text}", scope)
        return [i for i in found if i]

    def projects_of(self, scope: Scope) -> list[int]:
        """Return the projects of the series of a scope."""
        rows = self._rows(f"SELECT DISTINCT project_id FROM series WHERE {scope.text}", scope)
        return sorted(project for (project,) in rows)

    def projects(self, tenant: Tenant, days: Days) -> list[int]:
        """Return the projects of a tenant with series on those days."""
        return self.projects_of(of_days(tenant, days))

    # ---- tag tables

    def tag_keys(self, tenant: Tenant, days: Days, metric_ids: Sequence[int] | None = None) -> list[int]:
        """Return the keys that any series, or any of those metrics, has in those days."""
        scope = _seen(tenant, days, metric_ids)
        return self._ids(f"SELECT DISTINCT tag_key FROM metric_tag_keys WHERE {scope.text}", scope)

    def metrics_with_keys(self, tenant: Tenant, days: Days, keys: Collection[int]) -> list[int]:
        """Return the metrics of which any series has one of those tag keys in those days."""
        scope = _seen(tenant, days).within("tag_key", list(keys))
        return self._ids(f"SELECT DISTINCT metric_id FROM metric_tag_keys WHERE {scope.text}", scope)

    def tag_values(
        self, tenant: Tenant, days: Days, keys: Collection[int], metric_ids: Sequence[int] | None = None
    ) -> list[int]:
        """Return the values of those keys in those days, on any of those metrics if they are given."""
        scope = _seen(tenant, days, metric_ids).within("tag_key", list(keys))
        return self._ids(f"SELECT DISTINCT tag_value FROM metric_tag_values WHERE {scope.text}", scope)

    def largest_key(self, tenant: Tenant, days: Days, metric_id: int) -> tuple[int, int] | None:
        """Return the tag key of a metric with the most values, and their approximate number."""
        scope = _seen(tenant, days, [metric_id])
        rows = self._rows(
            f"SELECT tag_key, uniq(tag_value) AS n FROM metric_tag_values WHERE {scope.text}"
            " GROUP BY tag_key ORDER BY n DESC, tag_key LIMIT 1",
            scope,
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def _ids(self, sql: str, scope: Scope) -> list[int]:
        ids: list[int] = self._fetch(sql, "<u8", scope).tolist()
        return ids

    # ---- distributions

    def extents(self, tenant: Tenant, metric_ids: Sequence[int]) -> npt.NDArray[Any]:
        """EXTENT records of all observations that are stored of those metrics.

        `above` is the smallest `min` above zero and `below` the largest `max` below it, infinite for none.
        """
        scope = of_tenant(tenant).within("metric_id", metric_ids)
        return self._fetch(
            "SELECT metric_id, min(min) AS low, max(max) AS high, min(if(min > 0, min, inf)) AS above,"
            f" max(if(max < 0, max, -inf)) AS below FROM {_COARSEST} WHERE {scope.text} GROUP BY metric_id",
            EXTENT,
            scope,
        )

    def nearest_buckets(self, tenant: Tenant, metric_ids: Sequence[int]) -> npt.NDArray[Any]:
        """NEAREST records: the lowest index on each side of zero, of rows with observations on both sides.

        2^31 - 1 for none. Zeros count as both sides.
        """
        scope = of_tenant(tenant).within("metric_id", metric_ids).also("min <= 0 AND max >= 0")
        nearest = (f"min(arrayMin(arrayPushBack(mapKeys({s}), toInt32(2147483647))))" for s in _SIDES)
        return self._fetch(
            f"SELECT metric_id, {', '.join(nearest)} FROM {_COARSEST} WHERE {scope.text} GROUP BY metric_id",
            NEAREST,
            scope,
        )

    # ---- cardinality

    def count_series(self, tenant: Tenant, days: Days) -> tuple[int, int]:
        """Return the number of series, and of distinct label pairs."""
        scope = of_days(tenant, days)
        ((series,),) = self._rows(f"SELECT uniqExact(series_id) FROM series WHERE {scope.text}", scope)
        scope = _seen(tenant, days)
        ((pairs,),) = self._rows(
            f"SELECT uniqExact(tag_key, tag_value) FROM metric_tag_values WHERE {scope.text}", scope
        )
        return series, pairs

    def top_metrics(
        self, tenant: Tenant, days: Days, limit: int, as_one: Mapping[int, int]
    ) -> list[tuple[int, int]]:
        """Return (metric_id, series), the largest first. `as_one`: ids that count as another."""
        metric, scope = _counted_as("metric_id", of_days(tenant, days), as_one)
        return self._rows(
            f"SELECT {metric} AS metric, uniqExact(series_id) AS n FROM series WHERE {scope.text}"
            " GROUP BY metric ORDER BY n DESC, metric LIMIT {limit:UInt64}",
            scope,
            limit=limit,
        )

    def top_keys(
        self, tenant: Tenant, days: Days, limit: int, as_one: Mapping[int, int]
    ) -> list[tuple[int, int, int]]:
        """Return (tag key, distinct values, bytes of these values), most values first."""
        key, scope = _counted_as("tag_key", _seen(tenant, days), as_one)
        return self._rows(
            "SELECT key, count() AS n, sum(length(string)) FROM ("
            f"SELECT DISTINCT {key} AS key, tag_value FROM metric_tag_values WHERE {scope.text}"
            ") AS pairs LEFT ANY JOIN (SELECT id, string FROM strings WHERE org_id = {org:UInt32}) AS texts"
            " ON texts.id = pairs.tag_value"
            " GROUP BY key ORDER BY n DESC, key LIMIT {limit:UInt64}",
            scope,
            limit=limit,
        )

    def top_pairs(
        self, tenant: Tenant, days: Days, limit: int, as_one: Mapping[int, int]
    ) -> list[tuple[int, int, int]]:
        """Return (tag key, tag value, series), most series first."""
        key, scope = _counted_as("tag", of_days(tenant, days), as_one)
        return self._rows(
            f"SELECT {key} AS key, value, uniqExact(series_id) AS n"
            f" FROM series ARRAY JOIN tag_keys AS tag, tag_values AS value WHERE {scope.text}"
            " GROUP BY key, value ORDER BY n DESC, key, value LIMIT {limit:UInt64}",
            scope,
            limit=limit,
        )


def _counted_as(what: str, scope: Scope, as_one: Mapping[int, int]) -> tuple[str, Scope]:
    """Return the expression for the id that an id counts as, and the scope with its parameters."""
    if not as_one:
        return what, scope
    ids, ones = (np.fromiter(side, np.uint64, len(as_one)) for side in (as_one.keys(), as_one.values()))
    sent = SentTable.of_arrays("as_one", {"ids": ids, "ones": ones})
    expr = f"transform({what}, (SELECT ids FROM as_one), (SELECT ones FROM as_one), {what})"
    return expr, replace(scope, sent=(*scope.sent, sent))


def _seen(tenant: Tenant, days: Days, metric_ids: Sequence[int] | None = None) -> Scope:
    """Return the rows of the tag tables."""
    if metric_ids is None:
        return of_days(tenant, days, SEEN)
    return of_metrics(tenant, days, metric_ids, SEEN)
