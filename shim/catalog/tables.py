"""The catalog's SQL: what it reads of `series`, `strings` and the tag tables. All user text is bound.

Days are numbers (days since 1970), both ends included; `project_id` None reads all projects of the org. The
tenant's condition stands in every statement, and is made in one place (`_scope`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.store import Store
from shim.catalog.types import Days
from shim.tenancy import Tenant

#: More ids than this are not sent along; the reader filters what it gets.
MAX_BOUND_IDS: Final = 2_000

METRIC: Final = np.dtype([("metric_id", "<u8"), ("kind", "u1")])
ALIVE: Final = np.dtype([("metric_id", "<u8"), ("series_id", "<u8"), ("project_id", "<u4"), ("kind", "u1")])
TAG: Final = np.dtype([("metric_id", "<u8"), ("series_id", "<u8"), ("key", "<u8"), ("value", "<u8")])
PAIR: Final = np.dtype([("key", "<u8"), ("value", "<u8")])


class Tables:
    """Reads. Every method raises StoreError.

    `tag` stands in the statements that a selector needs, so that they can be ended with their query.
    """

    def __init__(self, store: Store, tag: str = "") -> None:
        self._store = store
        self._tag = tag

    def tagged(self, tag: str) -> Tables:
        return Tables(self._store, tag)

    def _selected(self, sql: str, dtype: np.dtype[Any], bound: Mapping[str, Any]) -> npt.NDArray[Any]:
        return self._store.fetch(f"{sql} /* {self._tag} */" if self._tag else sql, dtype, bound)

    def metrics(self, tenant: Tenant, days: Days) -> npt.NDArray[Any]:
        """METRIC records: each metric with each type it has."""
        where, bound = _scope(tenant, days)
        return self._selected(
            f"SELECT metric_id, toUInt8(CAST(type, 'Int8')) AS kind FROM series WHERE {where}"
            " GROUP BY metric_id, kind",
            METRIC,
            bound,
        )

    def alive(
        self,
        tenant: Tenant,
        days: Days,
        metric_ids: Sequence[int],
        needed: Sequence[Sequence[int]],
        most_rows: int,
    ) -> npt.NDArray[Any]:
        """ALIVE records: the series with data in those days, each once; `most_rows` of them.

        Only such whose tags have one of the values of each of `needed`.
        """
        where, bound = _scope(tenant, days, metric_ids)
        for number, values in enumerate(needed):
            where += f" AND hasAny(tag_values, {{needed{number}:Array(UInt64)}})"
            bound[f"needed{number}"] = list(values)
        return self._selected(
            "SELECT DISTINCT metric_id, series_id, project_id, toUInt8(CAST(type, 'Int8')) AS kind"
            f" FROM series WHERE {where} LIMIT {{most:UInt64}}",
            ALIVE,
            {**bound, "most": most_rows},
        )

    def tags(
        self,
        tenant: Tenant,
        days: Days,
        metric_ids: Sequence[int],
        series_ids: npt.NDArray[np.uint64] | None,
    ) -> npt.NDArray[Any]:
        """TAG records of those series of those metrics, None for all; in any order. More may come along."""
        where, bound = _scope(tenant, days, metric_ids)
        if series_ids is not None and len(series_ids) <= MAX_BOUND_IDS:
            where += " AND series_id IN {series:Array(UInt64)}"
            bound["series"] = series_ids.tolist()
        return self._selected(
            "SELECT metric_id, series_id, key, value FROM ("
            "SELECT metric_id, series_id, any(tag_keys) AS tag_keys, any(tag_values) AS tag_values"
            f" FROM series WHERE {where} GROUP BY metric_id, series_id"
            ") ARRAY JOIN tag_keys AS key, tag_values AS value",
            TAG,
            bound,
        )

    def tag_keys(self, tenant: Tenant, days: Days) -> list[int]:
        """The keys that any series has in those days."""
        where, bound = _scope(tenant, None)
        return self._ids(
            f"SELECT DISTINCT tag_key FROM metric_tag_keys WHERE {where} AND {_SEEN}",
            {**bound, **_days(days)},
        )

    def tag_values(self, tenant: Tenant, days: Days, keys: Collection[int]) -> list[int]:
        """The values those keys have in those days."""
        where, bound = _scope(tenant, None)
        return self._ids(
            "SELECT DISTINCT tag_value FROM metric_tag_values"
            f" WHERE {where} AND {_SEEN} AND tag_key IN {{keys:Array(UInt64)}}",
            {**bound, **_days(days), "keys": list(keys)},
        )

    def projects(self, tenant: Tenant, days: Days) -> list[int]:
        where, bound = _scope(tenant, days)
        rows = self._store.rows(f"SELECT DISTINCT project_id FROM series WHERE {where}", bound)
        return sorted(project for (project,) in rows)

    def _ids(self, sql: str, bound: Mapping[str, Any]) -> list[int]:
        ids: list[int] = self._store.fetch(sql, np.dtype("<u8"), bound).tolist()
        return ids

    # ---- cardinality

    def count_series(self, tenant: Tenant, days: Days) -> tuple[int, int]:
        """Series, and distinct label pairs."""
        where, bound = _scope(tenant, days)
        ((series,),) = self._store.rows(f"SELECT uniqExact(series_id) FROM series WHERE {where}", bound)
        where, bound = _scope(tenant, None)
        ((pairs,),) = self._store.rows(
            f"SELECT uniqExact(tag_key, tag_value) FROM metric_tag_values WHERE {where} AND {_SEEN}",
            {**bound, **_days(days)},
        )
        return series, pairs

    def top_metrics(self, tenant: Tenant, days: Days, limit: int) -> list[tuple[int, int]]:
        """(metric_id, series), the largest first."""
        where, bound = _scope(tenant, days)
        return self._store.rows(
            f"SELECT metric_id, uniqExact(series_id) AS n FROM series WHERE {where}"
            " GROUP BY metric_id ORDER BY n DESC, metric_id LIMIT {limit:UInt64}",
            {**bound, "limit": limit},
        )

    def top_keys(self, tenant: Tenant, days: Days, limit: int) -> list[tuple[int, int, int]]:
        """(tag key, distinct values, bytes of these values), most values first."""
        where, bound = _scope(tenant, None)
        return self._store.rows(
            "SELECT tag_key, count() AS n, sum(length(string)) FROM ("
            f"SELECT DISTINCT tag_key, tag_value FROM metric_tag_values WHERE {where} AND {_SEEN}"
            ") AS pairs LEFT ANY JOIN (SELECT id, string FROM strings WHERE org_id = {org:UInt32}) AS texts"
            " ON texts.id = pairs.tag_value"
            " GROUP BY tag_key ORDER BY n DESC, tag_key LIMIT {limit:UInt64}",
            {**bound, **_days(days), "limit": limit},
        )

    def top_pairs(self, tenant: Tenant, days: Days, limit: int) -> list[tuple[int, int, int]]:
        """(tag key, tag value, series), most series first."""
        where, bound = _scope(tenant, days)
        return self._store.rows(
            "SELECT key, value, uniqExact(series_id) AS n"
            f" FROM series ARRAY JOIN tag_keys AS key, tag_values AS value WHERE {where}"
            " GROUP BY key, value ORDER BY n DESC, key, value LIMIT {limit:UInt64}",
            {**bound, "limit": limit},
        )


_SEEN: Final = "first_day <= toDate({last:UInt16}) AND last_day >= toDate({first:UInt16})"


def _days(days: Days) -> Mapping[str, Any]:
    return {"first": days.first, "last": days.last}


def _scope(
    tenant: Tenant, days: Days | None, metric_ids: Sequence[int] | None = None
) -> tuple[str, dict[str, Any]]:
    """The conditions that keep a statement inside its tenant, and what they bind."""
    where = ["org_id = {org:UInt32}"]
    bound: dict[str, Any] = {"org": tenant.org_id}
    if tenant.project_id is not None:
        where.append("project_id = {project:UInt32}")
        bound["project"] = tenant.project_id
    if metric_ids is not None and len(metric_ids) <= MAX_BOUND_IDS:
        where.append("metric_id IN {metrics:Array(UInt64)}")
        bound["metrics"] = list(metric_ids)
    if days is not None:
        where.append("day BETWEEN toDate({first:UInt16}) AND toDate({last:UInt16})")
        bound |= _days(days)
    return " AND ".join(where), bound
