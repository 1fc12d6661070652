"""All metrics of a tenant with type, unit, size and the time of their latest data.

The series table knows the days of a series and no more: a row is written when a series is first seen on a
day. So the latest data of one metric is asked of the rollups, from the finest that still has any.
Synchronous; raises StoreError.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema.metric_types import METRIC_TYPES
from indexer.clickhouse.store import Store
from shim.catalog.catalog import Catalog
from shim.catalog.metadata import MetadataQueries
from shim.catalog.names import Metric
from shim.catalog.scope import of_days, of_tenant
from shim.catalog.types import Days
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings

DAY_S: Final = 86_400
_ALL: Final = Days(0, 65_535)
_TABLES: Final = {one.name: one.kind for one in METRIC_TYPES}


@dataclass(frozen=True, slots=True)
class IndexedMetric:
    """One metric as shown. `series`: those of the asked days; `last_day`: Unix seconds of a day's start."""

    name: str
    types: list[str]
    unit: str
    help: str
    series: int
    last_day: int


class MetricIndex:
    """Thread-safe."""

    def __init__(
        self, store: Store, catalog: Catalog, described: MetadataQueries, settings: ShimSettings
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._described = described
        self._settings = settings

    def all(self, tenant: Tenant, start_ms: int, end_ms: int) -> list[IndexedMetric]:
        """Return all metrics that the catalog knows, by name; `series` counts those of the given time."""
        sizes: defaultdict[int, int] = defaultdict(int)
        for metric_id, _, series in self._catalog.tables.sizes(
            of_days(tenant, Days.of(start_ms, end_ms))
        ).tolist():
            sizes[metric_id] += series
        last_days = self._last_days(tenant)
        described = self._described.metadata(tenant, None, 0, _ALL.last * DAY_S * 1000)
        shown: dict[str, list[Metric]] = defaultdict(list)
        for metric in self._catalog.names(tenant, _ALL).metrics:
            shown[metric.shown(self._settings.names)].append(metric)
        return [
            IndexedMetric(
                name=name,
                types=sorted({kind for one in ones for kind in one.kinds}),
                unit=described[name][0]["unit"] if name in described else "",
                help=described[name][0]["help"] if name in described else "",
                series=sum(sizes[one.id] for one in ones),
                last_day=max(last_days.get(one.id, 0) for one in ones) * DAY_S,
            )
            for name, ones in sorted(shown.items())
        ]

    def last_seen(self, tenant: Tenant, name: str) -> int | None:
        """Return the start of the latest bucket with data of a metric, in Unix seconds; None without any."""
        ones = [one for one in self._catalog.names(tenant, _ALL).metrics if name in one.forms]
        last_days = self._last_days(tenant, [one.id for one in ones])
        found = [
            seen
            for one in ones
            for kind in one.kinds
            if (seen := self._latest(tenant, _TABLES[kind], one.id, last_days.get(one.id, 0) * DAY_S))
        ]
        return max(found, default=None)

    def _last_days(self, tenant: Tenant, metric_ids: list[int] | None = None) -> dict[int, int]:
        scope = of_tenant(tenant)
        if metric_ids is not None:
            scope = scope.within("metric_id", metric_ids)
        rows = self._store.rows(
            f"SELECT metric_id, toUInt32(max(day)) FROM series WHERE {scope.text} GROUP BY metric_id",
            scope.bound,
            scope.sent,
        )
        return dict(rows)

    def _latest(self, tenant: Tenant, kind: str, metric_id: int, since_s: int) -> int:
        """Return the latest bucket from a day on, of the finest rollup with any; 0 for none."""
        scope = of_tenant(tenant).also("metric_id = {metric:UInt64}", metric=metric_id)
        scope = scope.also("timestamp >= {since:UInt32}", since=since_s)
        for granularity in GRANULARITIES:
            ((latest,),) = self._store.rows(
                f"SELECT toUInt32(max(timestamp)) FROM {kind}_{granularity.name} WHERE {scope.text}",
                scope.bound,
                scope.sent,
            )
            if latest:
                return int(latest)
        return 0
