"""Rosters kept in memory, and how they are filled from the tables. Thread-safe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shim.catalog.lru_cache import LruDict
from shim.catalog.scope import of_metrics
from shim.catalog.series_index import Ids, SeriesIndex, empty, grown
from shim.catalog.strings import Strings
from shim.catalog.tables import Tables
from shim.catalog.types import Days
from shim.metrics import ShimMetrics
from shim.model.tenancy import Tenant

_Key = tuple[Tenant, int]


class SeriesIndexCache:
    """By tenant and metric; the least used go when more than `max_series` series are held."""

    def __init__(self, strings: Strings, max_series: int, metrics: ShimMetrics) -> None:
        self._strings = strings
        self._metrics = metrics
        self._held: LruDict[_Key, SeriesIndex] = LruDict(sys.maxsize, max_series)

    def get(
        self,
        tables: Tables,
        tenant: Tenant,
        days: Days,
        alive: Mapping[int, npt.NDArray[Any]],
        *,
        narrowed: bool = True,
    ) -> Mapping[int, SeriesIndex]:
        """Return an index per metric that has at least the series in `alive` (ALIVE records, by metric).

        `narrowed`: the metrics may have more series than these in those days.
        """
        rosters: dict[int, SeriesIndex] = {}
        missing: dict[int, npt.NDArray[Any]] = {}
        for metric_id, records in alive.items():
            roster = rosters[metric_id] = self._held.get((tenant, metric_id)) or empty()
            unknown = records[~roster.knows(records["series_id"])]
            if len(unknown):
                missing[metric_id] = unknown
        if missing:
            all_of_them = not narrowed and all(len(missing[m]) == len(alive[m]) for m in missing)
            rosters |= self._fill(tables, tenant, days, rosters, missing, all_of_them=all_of_them)
        return rosters

    def _fill(
        self,
        tables: Tables,
        tenant: Tenant,
        days: Days,
        rosters: Mapping[int, SeriesIndex],
        missing: Mapping[int, npt.NDArray[Any]],
        *,
        all_of_them: bool,
    ) -> Mapping[int, SeriesIndex]:
        # To name every series costs more than it spares where there are no others.
        scope = of_metrics(tenant, days, list(missing))
        if not all_of_them:
            scope = scope.within("series_id", np.concatenate([r["series_id"] for r in missing.values()]))
        tags = tables.tags(scope)
        ids = np.unique(np.concatenate([np.unique(tags["key"]), np.unique(tags["value"])]))
        texts, complete = self._strings.texts(tenant.org_id, ids.tolist())
        tags = tags[np.argsort(tags["metric_id"], kind="stable")]
        filled: dict[int, SeriesIndex] = {}
        for metric_id, records in missing.items():
            low = np.searchsorted(tags["metric_id"], np.uint64(metric_id), "left")
            high = np.searchsorted(tags["metric_id"], np.uint64(metric_id), "right")
            filled[metric_id] = _extended(rosters[metric_id], records, tags[low:high], texts)
        if complete:
            for metric_id, roster in filled.items():
                self._keep((tenant, metric_id), roster)
        return filled

    def _keep(self, key: _Key, roster: SeriesIndex) -> None:
        evicted = self._held.put(key, roster, weight=len(roster))
        if evicted:
            self._metrics.catalog_evictions.labels("rosters").inc(evicted)
        self._metrics.catalog_series.set(self._held.weight)


def _extended(
    roster: SeriesIndex, records: npt.NDArray[Any], tags: npt.NDArray[Any], texts: Mapping[int, str]
) -> SeriesIndex:
    """Return the index with the series of `records`, whose tags are among `tags`."""
    tags = tags[np.isin(tags["series_id"], records["series_id"])]
    columns: dict[str, tuple[Ids, Sequence[str], npt.NDArray[np.int32]]] = {}
    for key in np.unique(tags["key"]).tolist():
        of_key = tags[tags["key"] == key]
        values, codes = np.unique(of_key["value"], return_inverse=True)
        named = [texts[v] for v in values.tolist()]
        columns[texts[key]] = (of_key["series_id"], named, codes.astype(np.int32))
    return grown(roster, records["series_id"], records["project_id"], records["kind"], columns)
