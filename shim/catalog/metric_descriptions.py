"""Help, unit and bucket boundaries of metrics from mapping files, by stored name.

Reads the table `metric_metadata` and remembers it briefly by tenant. A tenant's rows are few (the indexer
bounds each request), so all are read at once. Synchronous and thread-safe.

For a whole org, a name of several projects takes the help and unit of the latest row, and the boundaries of
all: one ladder for the metric, for series of any project.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from indexer.clickhouse.store import Store, StoreError
from shim.catalog.lru_cache import LruDict
from shim.model.name_forms import metric_form
from shim.model.tenancy import Tenant

#: Seconds for which a read counts as fresh.
MAX_AGE_S: Final = 15.0
#: Names of one tenant that are read; further ones have no metadata.
MAX_NAMES: Final = 100_000
_TENANTS: Final = 256
_UNKNOWN_TABLE: Final = 60


@dataclass(frozen=True, slots=True)
class Described:
    """The metadata of one metric; fields without an entry in a mapping file are empty."""

    help: str = ""
    unit: str = ""
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    by_name: Mapping[str, Described]
    read_s: float


class MetricDescriptions:
    """See the module. Every method raises StoreError."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._held: LruDict[Tenant, _Held] = LruDict(_TENANTS)

    def of(self, tenant: Tenant, name: str) -> Described:
        """Return the metadata of a metric by its stored name, or by its underscore form."""
        found = self.all(tenant)
        return found.get(name) or found.get(metric_form(name)) or Described()

    def all(self, tenant: Tenant) -> Mapping[str, Described]:
        """Return all metadata of a tenant by stored name, and underscore form where no other has it."""
        held = self._held.get(tenant)
        if held is None or self._clock() - held.read_s >= MAX_AGE_S:
            held = _Held(self._read(tenant), self._clock())
            self._held.put(tenant, held)
        return held.by_name

    def _read(self, tenant: Tenant) -> Mapping[str, Described]:
        where, bound = "org_id = {org:UInt32}", {"org": tenant.org_id, "most": MAX_NAMES}
        if tenant.project_id is not None:
            where += " AND project_id = {project:UInt32}"
            bound["project"] = tenant.project_id
        try:
            rows = self._store.rows(
                "SELECT name, argMax(said, seen) AS latest, arraySort(groupUniqArrayArray(said.3)) FROM ("
                "SELECT project_id, name, max(updated_ms) AS seen,"
                " argMax((help, unit, buckets), updated_ms) AS said"
                f" FROM metric_metadata WHERE {where} GROUP BY project_id, name"
                ") GROUP BY name ORDER BY name LIMIT {most:UInt64}",
                bound,
            )
        except StoreError as e:
            if e.code != _UNKNOWN_TABLE:
                raise
            return {}  # the indexer that makes the table has not been started since it exists
        stored = {
            name: Described(latest[0], latest[1], tuple(map(float, buckets)))
            for name, latest, buckets in rows
        }
        return {metric_form(name): one for name, one in reversed(stored.items())} | stored
