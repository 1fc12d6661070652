"""The catalog: finds the series of a selector.

Reads the tables that the indexer writes, never samples. Synchronous and thread-safe: it runs in the pool.

A look-up has three steps: metrics by name (an index per tenant and days), the series of these metrics that
have data on those days (one narrow read), and their labels (series indexes, kept in memory: the labels of a
series never change). If the indexer runs in the same process, its `version` tells whether series were
registered since, and `changes` which. Then the first two steps, and whole selections, are remembered too. A
selection holds until series are registered on its days whose metric its matchers select.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.store import Store
from indexer.intern.series import Change
from shim.catalog.large_selection import LargeSelection
from shim.catalog.lru_cache import LruDict
from shim.catalog.names import KINDS, MADE_LABELS, Metric, Names
from shim.catalog.refusals import Refusals
from shim.catalog.selection import PickedSeries
from shim.catalog.selection_parts import selection
from shim.catalog.series_finder import SeriesFinder
from shim.catalog.tables import Tables
from shim.catalog.types import Days, Selection, SelectionKey
from shim.catalog.unlabelled_series import UnlabelledSeries
from shim.metrics import ShimMetrics
from shim.model.labels import NAME
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings

#: Below it labels cost no more than to look at each series without them.
TOTALS_FROM: Final = 10_000
#: Ids that take about the memory of one series with its labels.
_IDS_A_SERIES: Final = 16


class Catalog(SeriesFinder):
    """See the module. `version` and `changes` are given when the indexer runs in this process.

    `totals_from`: series of one metric above which `total` leaves their labels alone.
    """

    def __init__(
        self,
        store: Store,
        settings: ShimSettings,
        version: Callable[[], int] | None = None,
        metrics: ShimMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        totals_from: int = TOTALS_FROM,
        changes: Callable[[int], Sequence[Change] | None] = lambda _: None,
    ) -> None:
        super().__init__(store, settings, version, metrics, clock)
        self._changes = changes
        self._refusals = Refusals(settings.catalog.names_max_age_s, clock)
        self._totals_from = totals_from
        self._selections: LruDict[SelectionKey, tuple[int, Selection]] = LruDict(
            settings.catalog.cache_selections, settings.catalog.cache_series
        )
        #: By the look-up and the series from which on labels are left alone.
        self._totals: LruDict[tuple[SelectionKey, int], tuple[int, LargeSelection, UnlabelledSeries]] = (
            LruDict(settings.catalog.cache_selections, _IDS_A_SERIES * settings.catalog.cache_series)
        )
        self._unasked: set[SelectionKey] = set()  # looked up again after a restart, and not asked for since

    def select(
        self,
        tenant: Tenant,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        *,
        tag: str = "",
        kept: frozenset[str] = frozenset(),
    ) -> Selection:
        """Return the series that match and have data on a day that [start, end] touches.

        `tag` (letters and digits) is written into the statements: Store.kill ends them by it. `kept` are
        label names that stay in their UTF-8 form, in every style of names. Raises ExecutionError for too many
        series, BadData for a bad regex, StoreError.
        """
        key = SelectionKey(tenant, tuple(matchers), Days.of(start_ms, end_ms), kept)
        self._unasked.discard(key)
        return self._select(key, tag)

    def total(
        self,
        tenant: Tenant,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        max_labelled: int = 0,
        *,
        tag: str = "",
        kept: frozenset[str] = frozenset(),
    ) -> Selection | UnlabelledSeries:
        """Select as `select` does, without reading the labels of many series of one metric and type.

        `max_labelled`: up to this many series come with labels, even if they count as many. Raises as
        `select` does.
        """
        key = SelectionKey(tenant, tuple(matchers), Days.of(start_ms, end_ms), kept)
        self._unasked.discard(key)
        remembered, version = self._remembered(key)
        if remembered is not None:
            return remembered
        most = min(max(self._totals_from, max_labelled), self._settings.max_series)
        known = self._totals.get((key, most)) if version is not None else None
        if known is not None and self._holds(key, known[0], version):
            self.metrics.catalog_lookups.labels("memory").inc()
            self._keep_total(key, most, version, known[1], known[2])
            return self._for_query(known[1], known[2], tag)
        targets = self._targets(self.tables.tagged(tag), tenant, key.days, matchers)
        if len(targets) != 1 or targets[0].view in MADE_LABELS or len(targets[0].kinds) != 1:
            return self._select(key, tag)
        found = self.find(tenant, matchers, key.days, most, count=False, tag=tag, kept=kept)
        if isinstance(found, LargeSelection):
            unlabelled = self._unlabelled(found, tag)
            if unlabelled is None:
                return self._select(key, tag)
            self._keep_total(key, most, version, found, unlabelled)
            return unlabelled
        self.metrics.catalog_lookups.labels("store").inc()
        return self._selected(key, found, version)

    def _keep_total(
        self,
        key: SelectionKey,
        most: int,
        version: int | None,
        wide: LargeSelection,
        unlabelled: UnlabelledSeries,
    ) -> None:
        if version is not None:
            ids = 0 if unlabelled.ids is None else len(unlabelled.ids)
            weight = ids + _IDS_A_SERIES * key.weight
            self._totals.put((key, most), (version, wide, unlabelled), weight)

    def _unlabelled(self, wide: LargeSelection, tag: str) -> UnlabelledSeries | None:
        """Return the series without labels; None where several of their tags are shown as one."""
        (target,) = wide.targets
        (kind,) = target.kinds
        shown = target.metric.shown(self._settings.names, target.view)
        whole = wide.scope.where == self._wide(wide.tenant, wide.days, (), wide.targets, ()).scope.where
        tables = self.tables.tagged(tag)
        if self.sieve(tables, wide).clashes(target):
            return None
        labelled = partial(self._labelled, wide, tables)
        ids = None if whole else np.sort(tables.series_ids(wide.scope))
        return UnlabelledSeries(
            kind, target.view, target.metric.id, shown, whole, tables, wide.scope, labelled, ids
        )

    def _for_query(self, wide: LargeSelection, found: UnlabelledSeries, tag: str) -> UnlabelledSeries:
        """Return an earlier query's result under the tag of this query."""
        tables = self.tables.tagged(tag)
        return replace(found, tables=tables, labelled=partial(self._labelled, wide, tables))

    def _labelled(self, wide: LargeSelection, tables: Tables, ids: npt.NDArray[np.uint64]) -> Selection:
        """Return some series of a large selection. Raises ExecutionError over `max_series`, StoreError."""
        if len(ids) > self._settings.max_series:
            raise self.too_many(self._counted(tables, wide))
        some = replace(wide, scope=wide.scope.within("series_id", ids))
        picked = self._picked(tables, some, tables.alive(some.scope, len(ids)), narrowed=True)
        return selection(picked, wide.tenant, wide.matchers, self._settings, self.metrics)

    def _remembered(self, key: SelectionKey) -> tuple[Selection | None, int | None]:
        """Return the remembered selection if it still holds, and the version to remember a new one at."""
        version = self._version() if self._version else None
        remembered = self._selections.get(key) if version is not None else None
        if remembered is None or not self._holds(key, remembered[0], version):
            return None, version
        self.metrics.catalog_lookups.labels("memory").inc()
        found = remembered[1]
        if version is not None and version != remembered[0]:
            self._selections.put(key, (version, found), found.series + key.weight)
        return found, version

    def _holds(self, key: SelectionKey, at: int, version: int | None) -> bool:
        """Return whether a selection made at version `at` is the same now. Raises StoreError."""
        if at == version:
            return True
        changes = self._changes(at)
        if changes is None:
            return False
        changed = [change.metric_ids for change in changes if _is_within(change, key)]
        if not changed:
            return True
        texts, _ = self.strings.texts(key.tenant.org_id, frozenset[int]().union(*changed))
        kinds = frozenset(KINDS.values())
        names = Names(Metric(i, text, kinds) for i, text in texts.items())
        return not names.find([m for m in key.matchers if m.name == NAME])

    def _select(self, key: SelectionKey, tag: str = "") -> Selection:
        remembered, version = self._remembered(key)
        if remembered is not None:
            return remembered
        self._refusals.check(key)
        self.metrics.catalog_lookups.labels("store").inc()
        with self._refusals.remembering(key):
            picked = self.pick(key.tenant, key.matchers, key.days, tag=tag, kept=key.kept)
        return self._selected(key, picked, version)

    def _selected(self, key: SelectionKey, picked: Sequence[PickedSeries], version: int | None) -> Selection:
        """Make the selection of picked series, and remember it."""
        found = selection(picked, key.tenant, key.matchers, self._settings, self.metrics)
        if version is not None:
            self._selections.put(key, (version, found), found.series + key.weight)
        return found

    def looked_up(self) -> list[SelectionKey]:
        """Return the remembered look-ups that queries used, most recent last."""
        return [key for key in self._selections.keys() if key not in self._unasked]  # noqa: SIM118

    def look_again(self, key: SelectionKey) -> None:
        """Make a look-up before anybody asks for it. Raises as `select` does."""
        self._unasked.intersection_update(
            self._selections.keys()
        )  # bounded, as the remembered selections are
        self._unasked.add(key)
        self._select(key)


def _is_within(change: Change, key: SelectionKey) -> bool:
    """Return whether a registration is of the tenant and the days of a look-up."""
    of, tenant, days = change.tenant, key.tenant, key.days
    return (
        of.org_id == tenant.org_id
        and tenant.project_id in (None, of.project_id)
        and days.first <= change.day <= days.last
    )
