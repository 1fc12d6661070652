"""The catalog: which series a selector means, and what there is to select.

Reads the tables the indexer writes; knows nothing of samples. Sync and thread-safe: it runs in the pool.

A look-up has three steps: metrics by name (an index per tenant and days), the series of these metrics that
have data on the days asked for (one narrow read), and their labels (rosters, kept in memory: what a series
is called never changes). When the indexer runs in the same process its `version` says whether anything was
registered since; then the first two steps, and whole selections, are remembered too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.store import Store
from indexer.strings.cache import LruCache
from indexer.strings.record import StringIndexer
from indexer.strings.store import ClickHouseIdStore
from shim.catalog.memory import Memory
from shim.catalog.metadata import Metadata
from shim.catalog.names import KINDS, Metric, Names, exact_values, is_id
from shim.catalog.picked import Picked, pick, selection
from shim.catalog.rosters import Rosters
from shim.catalog.strings import Strings
from shim.catalog.tables import Tables
from shim.catalog.types import Days, Look, Selection
from shim.errors import ExecutionError
from shim.labels import NAME
from shim.matching import Matcher
from shim.metrics import ShimMetrics
from shim.settings import ShimSettings
from shim.tenancy import Tenant

#: How soon an index of names is read again because a name was not in it, in seconds.
_MISS_MAX_AGE_S = 1.0
_INDEXES = 256
#: Series at most that are looked up before anybody asked: they take a second.
_MOST_WARMED = 100_000


@dataclass(frozen=True, slots=True)
class _Index:
    names: Names
    version: int | None
    read_s: float


class Catalog:
    """See the module. `version` is given when the indexer runs in this process."""

    def __init__(
        self,
        store: Store,
        settings: ShimSettings,
        version: Callable[[], int] | None = None,
        metrics: ShimMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._version = version
        self._clock = clock
        self.metrics = metrics or ShimMetrics()
        self.tables = Tables(store)
        self.metadata = Metadata(store)
        # Its own cache of ids, apart from ingest's: a wrong read here cannot poison what is written.
        ids = LruCache(max(2, settings.catalog.cache_strings // 10))
        self._indexer = StringIndexer(ClickHouseIdStore(store), [ids])
        self.strings = Strings(self._indexer, settings.catalog.cache_strings, self.metrics)
        self._rosters = Rosters(self.strings, settings.catalog.cache_series, self.metrics)
        self._indexes: Memory[tuple[Tenant, Days], _Index] = Memory(_INDEXES)
        self._selections: Memory[Look, tuple[int, Selection]] = Memory(
            settings.catalog.cache_selections, settings.catalog.cache_series
        )
        self._unasked: set[Look] = set()  # looked up again after a restart, and not asked for since

    def select(
        self, tenant: Tenant, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, tag: str = ""
    ) -> Selection:
        """The series that match and have data on a day that [start, end] touches.

        `tag` (letters and digits) stands in the statements: Store.kill ends them by it.
        Raises ExecutionError when they are too many, BadData on a bad regex, StoreError.
        """
        look = Look(tenant, tuple(matchers), Days.of(start_ms, end_ms))
        self._unasked.discard(look)
        return self._select(look, tag)

    def _select(self, look: Look, tag: str = "") -> Selection:
        version = self._version() if self._version else None
        remembered = self._selections.get(look) if version is not None else None
        if remembered is not None and remembered[0] == version:
            self.metrics.catalog_lookups.labels("memory").inc()
            return remembered[1]
        self.metrics.catalog_lookups.labels("store").inc()
        picked = self.pick(look.tenant, look.matchers, look.days, tag=tag)
        found = selection(picked, look.tenant, look.matchers, self._settings, self.metrics)
        if version is not None:
            self._selections.put(look, (version, found), found.series)
        return found

    def looked_up(self) -> list[Look]:
        """The look-ups that are remembered and were asked for, the latest last."""
        return [look for look in self._selections.keys() if look not in self._unasked]  # noqa: SIM118

    def look_again(self, look: Look) -> None:
        """Make a look-up before anybody asks for it. Raises as `select` does."""
        self._unasked.intersection_update(self._selections.keys())  # what is held is bounded
        self._unasked.add(look)
        self._select(look)

    def pick(
        self, tenant: Tenant, matchers: Sequence[Matcher], days: Days, *, bounded: bool = True, tag: str = ""
    ) -> list[Picked]:
        """What matches, still in columns. Raises as `select` does; `max_series` only if `bounded`."""
        on_name = [m for m in matchers if m.name == NAME]
        tables = self.tables.tagged(tag)
        targets = self._index(tables, tenant, days, lambda names: not names.find(on_name)).find(on_name)
        if not targets:
            return []
        metric_ids = list(dict.fromkeys(target.metric.id for target in targets))
        needed = self._needed(tenant, matchers)
        alive = self._alive(tables, tenant, days, metric_ids, needed)
        rosters = self._rosters.get(tables, tenant, days, alive, narrowed=bool(needed))
        picked: list[Picked] = []
        series = 0
        for target in targets:
            records = alive.get(target.metric.id)
            if records is None:
                continue
            roster = rosters[target.metric.id]
            for part in pick(
                target, roster, records, tenant, matchers, self._settings, narrowed=bool(needed)
            ):
                series += len(part.rows)
                picked.append(part)
        if bounded and series > self._settings.max_series:
            raise ExecutionError(
                f"selector {{{','.join(map(str, matchers))}}} matches {series} series,"
                f" more than the limit of {self._settings.max_series} (setting max_series)"
            )
        return picked

    def warm(self, tenant: Tenant, now_ms: int) -> None:
        """Take in what the tenant has today: names, and series unless they are many.

        The first query after a start would look it up, in a statement for each step. Raises StoreError.
        """
        days = Days.of(now_ms, now_ms)
        metric_ids = [metric.id for metric in self.names(tenant, days).metrics]
        most = min(self._settings.catalog.cache_series // 2, _MOST_WARMED)
        if len(self.tables.alive(tenant, days, metric_ids, (), most + 1)) <= most:
            self.pick(tenant, (), days, bounded=False)
        self.names(tenant, Days(days.first - 1, days.last))  # which a dashboard of 24 hours looks for

    def names(self, tenant: Tenant, days: Days) -> Names:
        return self._index(self.tables, tenant, days, lambda _: False)

    def buckets_of(self, tenant: Tenant, name: str) -> tuple[float, ...]:
        """The boundaries that a mapping file gives a stored metric, ascending, without +Inf; often none.

        Raises StoreError.
        """
        return self.metadata.of(tenant, name).buckets

    def _needed(self, tenant: Tenant, matchers: Sequence[Matcher]) -> Sequence[Sequence[int]]:
        """What a series' tag values must hold one of each, by id: a first sieve, done where the series are.

        Only conditions that a tag's very value has to meet; which tag it is, is looked at afterwards.
        """
        wanted = [exact_values(matcher, org_wide=tenant.project_id is None) for matcher in matchers]
        wanted = [texts for texts in wanted if texts]
        if not wanted:
            return []
        ids = self._indexer.bulk_resolve(tenant.org_id, frozenset[str]().union(*wanted))
        # Digits may be an id that has no string.
        return [
            sorted({ids[t] for t in texts if t in ids} | {int(t) for t in texts if is_id(t)})
            for texts in wanted
        ]

    def _alive(
        self,
        tables: Tables,
        tenant: Tenant,
        days: Days,
        metric_ids: Sequence[int],
        needed: Sequence[Sequence[int]],
    ) -> Mapping[int, npt.NDArray[Any]]:
        """ALIVE records by metric, series ascending."""
        if not all(needed):  # a value nobody ever sent
            return {}
        most = self._settings.catalog.max_scanned_series
        records = tables.alive(tenant, days, metric_ids, needed, most + 1)
        if len(records) > most:
            raise ExecutionError(
                f"selector looks at more than {most} series (setting max_scanned_series);"
                " name a metric or shorten the time range"
            )
        records = records[np.lexsort((records["series_id"], records["metric_id"]))]
        found, starts = np.unique(records["metric_id"], return_index=True)
        wanted = set(metric_ids)
        parts = np.split(records, starts[1:]) if len(found) else []
        return {i: part for i, part in zip(found.tolist(), parts, strict=True) if i in wanted}

    def _index(self, tables: Tables, tenant: Tenant, days: Days, misses: Callable[[Names], bool]) -> Names:
        """The names of a scope, as new as they have to be."""
        key = (tenant, days)
        version = self._version() if self._version else None
        held = self._indexes.get(key)
        if held is not None:
            if version is not None:
                if held.version == version:
                    return held.names
            else:
                age_s = self._clock() - held.read_s
                if age_s < self._settings.catalog.names_max_age_s and not (
                    age_s >= _MISS_MAX_AGE_S and misses(held.names)
                ):
                    return held.names
        read_s = self._clock()
        names = self._read_names(tables, tenant, days)
        self._indexes.put(key, _Index(names, version, read_s))
        return names

    def _read_names(self, tables: Tables, tenant: Tenant, days: Days) -> Names:
        kinds: dict[int, set[int]] = {}
        for metric_id, kind in tables.metrics(tenant, days).tolist():
            kinds.setdefault(metric_id, set()).add(kind)
        texts, _ = self.strings.texts(tenant.org_id, kinds)
        return Names(
            Metric(i, texts[i], frozenset(KINDS[kind] for kind in of_metric))
            for i, of_metric in kinds.items()
        )
