"""Finds matching series: by name, then by id, compared in columns without making label sets.

Reads the tables that the indexer writes. Synchronous and thread-safe: it runs in the pool. Remembers names
per tenant and days, strings, and series indexes; catalog.py remembers selections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.store import Store
from indexer.intern.cache import LruCache
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.string_indexer import StringIndexer
from indexer.intern.use_case import USE_CASE_TAG
from shim.catalog.classic_bounds import ClassicBounds
from shim.catalog.large_selection import LargeSelection
from shim.catalog.lru_cache import LruDict
from shim.catalog.matcher_conditions import MatcherConditions
from shim.catalog.metric_descriptions import MetricDescriptions
from shim.catalog.names import (
    KINDS,
    MADE_LABELS,
    Metric,
    Names,
    Target,
    exact_values,
    is_id,
    of_use_cases,
    with_quantiles,
)
from shim.catalog.scope import of_metrics
from shim.catalog.selection import PickedSeries, pick
from shim.catalog.series_index_cache import SeriesIndexCache
from shim.catalog.strings import Strings
from shim.catalog.tables import Tables
from shim.catalog.types import Days
from shim.metrics import ShimMetrics
from shim.model.errors import ExecutionError
from shim.model.labels import NAME, USE_CASE
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings

#: How soon an index of names is read again because a name was not in it, in seconds.
_MISS_MAX_AGE_S: Final = 1.0
_INDEXES: Final = 256
#: Series at most that are looked up before anybody asked: they take a second.
_MAX_WARMED: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Index:
    names: Names
    version: int | None
    read_s: float


class SeriesFinder:
    """See the module. `version` is given when the indexer runs in this process."""

    def __init__(
        self,
        store: Store,
        settings: ShimSettings,
        version: Callable[[], int] | None,
        metrics: ShimMetrics | None,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._version = version
        self._clock = clock
        self.metrics = metrics or ShimMetrics()
        self.tables = Tables(store)
        self.metadata = MetricDescriptions(store)
        self.ladders = ClassicBounds(
            self.tables, self._mapped_buckets, settings.catalog.names_max_age_s, clock
        )
        # Its own cache of ids, apart from ingest's: a wrong read here cannot poison writes.
        ids = LruCache(max(2, settings.catalog.cache_strings // 10))
        self._indexer = StringIndexer(ClickHouseIdStore(store), [ids])
        self.strings = Strings(self._indexer, settings.catalog.cache_strings, self.metrics)
        self._rosters = SeriesIndexCache(self.strings, settings.catalog.cache_series, self.metrics)
        self._indexes: LruDict[tuple[Tenant, Days], _Index] = LruDict(_INDEXES)

    def pick(
        self,
        tenant: Tenant,
        matchers: Sequence[Matcher],
        days: Days,
        *,
        tag: str = "",
        kept: frozenset[str] = frozenset(),
    ) -> list[PickedSeries]:
        """Return the matching series in columns. Raises as `select` does."""
        found = self.find(tenant, matchers, days, self._settings.max_series, tag=tag, kept=kept)
        if isinstance(found, LargeSelection):
            raise self.too_many(found)
        return found

    def find(
        self,
        tenant: Tenant,
        matchers: Sequence[Matcher],
        days: Days,
        max_series: int,
        *,
        count: bool = True,
        tag: str = "",
        kept: frozenset[str] = frozenset(),
    ) -> list[PickedSeries] | LargeSelection:
        """Return the matching series in columns, or a LargeSelection if there are more than `max_series`.

        Series are counted before they are read. Without `count`, a selector of the name alone is not counted.
        Raises ExecutionError over max_scanned_series, BadData for a bad regex, StoreError.
        """
        tables = self.tables.tagged(tag)
        targets = self._targets(tables, tenant, days, matchers)
        made = {MADE_LABELS.get(target.view) for target in targets}
        needed = self._needed(tenant, [m for m in matchers if m.name not in made])
        if not targets or not all(needed):  # a name or a value that was never sent
            return []
        wide = replace(self._wide(tenant, days, matchers, targets, needed), kept=kept)
        most = min(max_series, self._settings.catalog.max_scanned_series)
        records = tables.alive(wide.scope, most + 1)
        narrowed = bool(needed)
        if len(records) > most:
            if not count and all(m.name == NAME for m in matchers):
                return wide
            wide = self._counted(tables, wide)
            if wide.series > max_series:
                return wide
            narrowed = True
            records = tables.alive(wide.scope, wide.stored)
        picked = self._picked(tables, wide, records, narrowed=narrowed)
        if sum(len(one.rows) for one in picked) > max_series:  # several views of the same distributions
            return self._counted(tables, wide)
        return picked

    def targets(self, tenant: Tenant, days: Days, matchers: Sequence[Matcher]) -> Sequence[Target]:
        """Return the metrics that the matchers on the name select, and views of them. Raises StoreError."""
        return self._targets(self.tables, tenant, days, matchers)

    def _targets(
        self, tables: Tables, tenant: Tenant, days: Days, matchers: Sequence[Matcher]
    ) -> Sequence[Target]:
        """Return the metrics that the matchers on the name select."""
        on_name = [m for m in matchers if m.name == NAME]
        names = self._index(tables, tenant, days, lambda names: not names.find(on_name))
        tagged: Collection[int] = ()
        if any(m.name == USE_CASE for m in matchers):
            keys = self._ids_of(tenant.org_id, [USE_CASE_TAG])[USE_CASE_TAG]
            tagged = tables.metrics_with_keys(tenant, days, keys) if keys else ()
        return with_quantiles(of_use_cases(names.find(on_name), matchers, tagged), matchers)

    def some(self, wide: LargeSelection, series: int) -> list[PickedSeries]:
        """Return any `series` of the series of a large selection. Raises StoreError."""
        return self._picked(self.tables, wide, self.tables.alive(wide.scope, series), narrowed=True)

    @staticmethod
    def _wide(
        tenant: Tenant,
        days: Days,
        matchers: Sequence[Matcher],
        targets: Sequence[Target],
        needed: Sequence[Sequence[int]],
    ) -> LargeSelection:
        """Return a selector's scope before its series are counted."""
        scope = of_metrics(tenant, days, list(dict.fromkeys(target.metric.id for target in targets)))
        for ids in needed:
            scope = scope.with_value_of(ids)
        return LargeSelection(tenant, days, tuple(matchers), tuple(targets), scope)

    def _counted(self, tables: Tables, wide: LargeSelection) -> LargeSelection:
        """Return the selection with all conditions in SQL, and its series counted.

        Raises ExecutionError if even scanning them would exceed the limit.
        """
        most = self._settings.catalog.max_scanned_series
        if tables.has_more(wide.scope, most):
            raise ExecutionError(
                f"selector looks at more than {most} series (setting max_scanned_series);"
                " name a metric or shorten the time range"
            )
        scope = self.sieve(tables, wide).narrow(wide.scope, wide.targets, wide.matchers)
        sizes = {(m, KINDS[kind]): n for m, kind, n in tables.sizes(scope).tolist()}
        return replace(wide, scope=scope, sizes=sizes)

    def sieve(self, tables: Tables, wide: LargeSelection) -> MatcherConditions:
        """Return the translator of matchers to SQL for a large selection."""
        org_id = wide.tenant.org_id
        return MatcherConditions(
            tables,
            wide.tenant,
            wide.days,
            self._settings,
            lambda ids: self.strings.texts(org_id, ids)[0],
            lambda texts: [i for ids in self._ids_of(org_id, texts).values() for i in ids],
        )

    def _picked(
        self, tables: Tables, wide: LargeSelection, records: npt.NDArray[Any], *, narrowed: bool
    ) -> list[PickedSeries]:
        alive = _by_metric(records)
        rosters = self._rosters.get(tables, wide.tenant, wide.days, alive, narrowed=narrowed)
        how = partial(pick, narrowed=narrowed, kept=wide.kept)
        return [
            part
            for target in wide.targets
            if (of_metric := alive.get(target.metric.id)) is not None
            for part in how(
                target, rosters[target.metric.id], of_metric, wide.tenant, wide.matchers, self._settings
            )
        ]

    def too_many(self, wide: LargeSelection) -> ExecutionError:
        """Return the error that names the largest metric and its largest label. Raises StoreError."""
        target, _ = wide.largest
        largest = self.tables.largest_key(wide.tenant, wide.days, target.metric.id)
        if largest is None:
            return ExecutionError(wide.refusal(self._settings, None))
        key, values = largest
        name = self.strings.texts(wide.tenant.org_id, [key])[0][key]
        shown = USE_CASE if name == USE_CASE_TAG else name
        return ExecutionError(wide.refusal(self._settings, (shown, values)))

    def warm(self, tenant: Tenant, now_ms: int) -> None:
        """Load today's names of the tenant, and its series unless they are many.

        Otherwise the first query after a start would look them up, one statement per step. Raises StoreError.
        """
        days = Days.of(now_ms, now_ms)
        most = min(self._settings.catalog.cache_series // 2, _MAX_WARMED)
        wide = self._wide(tenant, days, (), self.names(tenant, days).find(()), ())
        records = self.tables.alive(wide.scope, most + 1)
        if len(records) <= most:
            self._picked(self.tables, wide, records, narrowed=False)
        self.names(tenant, Days(days.first - 1, days.last))  # which a dashboard of 24 hours looks for

    def names(self, tenant: Tenant, days: Days) -> Names:
        """Return the metric names and tag keys of a tenant on those days. Raises StoreError."""
        return self._index(self.tables, tenant, days, lambda _: False)

    def buckets_of(self, tenant: Tenant, name: str) -> tuple[float, ...]:
        """Return the boundaries that a mapping file gives a stored metric, ascending, without +Inf.

        Raises StoreError.
        """
        return self.metadata.of(tenant, name).buckets

    def _mapped_buckets(self, tenant: Tenant, metric_ids: Sequence[int]) -> Collection[float]:
        """Return the boundaries that mapping files give any of those metrics."""
        names = self.strings.texts(tenant.org_id, metric_ids)[0].values()
        return {bound for name in names for bound in self.buckets_of(tenant, name)}

    def _needed(self, tenant: Tenant, matchers: Sequence[Matcher]) -> Sequence[Sequence[int]]:
        """Return lists of value ids; a matching series has a tag value of each list. A first filter in SQL.

        Only equality conditions on a value take part; the tag's key is checked afterwards.
        """
        wanted = [exact_values(matcher, org_wide=tenant.project_id is None) for matcher in matchers]
        wanted = [texts for texts in wanted if texts]
        ids = self._ids_of(tenant.org_id, frozenset[str]().union(*wanted)) if wanted else {}
        return [sorted({i for text in texts for i in ids[text]}) for texts in wanted]

    def _ids_of(self, org_id: int, texts: Collection[str]) -> Mapping[str, list[int]]:
        """Return the ids that each string may mean: its own and, for digits, an id without a string."""
        ids = self._indexer.bulk_resolve(org_id, frozenset(texts))
        return {t: [*([ids[t]] if t in ids else []), *([int(t)] if is_id(t) else [])] for t in texts}

    def _index(self, tables: Tables, tenant: Tenant, days: Days, misses: Callable[[Names], bool]) -> Names:
        """Return the names of a scope, as fresh as required."""
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


def _by_metric(records: npt.NDArray[Any]) -> Mapping[int, npt.NDArray[Any]]:
    """ALIVE records by metric, series ascending."""
    records = records[np.lexsort((records["series_id"], records["metric_id"]))]
    found, starts = np.unique(records["metric_id"], return_index=True)
    parts = np.split(records, starts[1:]) if len(found) else []
    return dict(zip(found.tolist(), parts, strict=True))
