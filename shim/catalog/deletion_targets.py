"""Finds the series to delete: the ids of those that selectors match, or whole metrics.

A whole metric needs no ids, however many series it has. Names that are a view of a distribution (`x_bucket`,
`x_count`, `x_sum`) name no stored series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from indexer.clickhouse.schema.metric_types import METRIC_TYPES
from indexer.clickhouse.schema.metric_types import Kind as TableKind
from indexer.deletion.deletion_request import MAX_SERIES, MetricSeries
from indexer.intern.series import U64s
from shim.catalog.catalog import Catalog
from shim.catalog.large_selection import LargeSelection
from shim.catalog.names import Target
from shim.catalog.scope import of_metrics
from shim.catalog.selection import PickedSeries
from shim.catalog.types import Days
from shim.model.errors import BadData, ExecutionError
from shim.model.labels import NAME
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant

_TABLES: Final[Mapping[str, TableKind]] = {t.name: t.kind for t in METRIC_TYPES}
#: Project, table and metric.
_Key = tuple[int, TableKind, int]


@dataclass(slots=True)
class _Found:
    """Metrics found whole, and ids of series of others."""

    whole: set[_Key] = field(default_factory=set)
    ids: dict[_Key, list[U64s]] = field(default_factory=dict)

    def metrics(self) -> list[MetricSeries]:
        parts = [
            MetricSeries(*key, np.unique(np.concatenate(ids)).astype("<u8").tobytes())
            for key, ids in self.ids.items()
            if key not in self.whole
        ]
        found = [*(MetricSeries(*key) for key in self.whole), *parts]
        return sorted(found, key=lambda one: (one.project_id, one.kind, one.metric_id))


def find_series(
    catalog: Catalog, tenant: Tenant, sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
) -> list[MetricSeries]:
    """Return the series that any set of matchers selects and that have data on a day of the time.

    Raises BadData for selectors of views alone, ExecutionError for too many series, StoreError.
    """
    found, days = _Found(), Days.of(start_ms, end_ms)
    for matchers in sets:
        targets = catalog.targets(tenant, days, matchers)
        stored = [target for target in targets if not target.view]
        if targets and not stored:
            raise BadData(
                f"{targets[0].metric.name} is stored as one distribution: expected a selector of that name,"
                " as its buckets, count and sum cannot be deleted alone"
            )
        if all(matcher.name == NAME for matcher in matchers):
            _add_whole(found, catalog, tenant, days, stored)
        elif stored:
            _add_series(found, catalog, tenant, days, matchers)
    return found.metrics()


def _add_whole(
    found: _Found, catalog: Catalog, tenant: Tenant, days: Days, targets: Sequence[Target]
) -> None:
    for target in targets:
        projects = [tenant.project_id] if tenant.project_id is not None else None
        if projects is None:
            projects = catalog.tables.projects_of(of_metrics(tenant, days, [target.metric.id]))
        found.whole.update(
            (project, _TABLES[kind], target.metric.id) for project in projects for kind in target.kinds
        )


def _add_series(
    found: _Found, catalog: Catalog, tenant: Tenant, days: Days, matchers: Sequence[Matcher]
) -> None:
    picked = catalog.find(tenant, matchers, days, MAX_SERIES)
    if isinstance(picked, LargeSelection):
        raise ExecutionError(
            f"the selector matches {picked.series:,} series: expected at most {MAX_SERIES:,},"
            " or a name alone; add a matcher, or delete a shorter time first"
        )
    for one in picked:
        if not one.target.view:
            _add_picked(found, one)


def _add_picked(found: _Found, one: PickedSeries) -> None:
    """Add the ids of series, also where they are all of a metric: one that comes later may not match."""
    kind, metric_id = _TABLES[one.kind], one.target.metric.id
    projects, ids = one.roster.project_ids[one.rows], one.roster.series_ids[one.rows]
    for project in np.unique(projects).tolist():
        found.ids.setdefault((project, kind, metric_id), []).append(ids[projects == project])
