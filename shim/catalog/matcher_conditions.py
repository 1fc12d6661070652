"""Matchers as conditions in SQL, for metrics whose series are too many to have their labels read.

A matcher looks at each distinct value of its label once, as a roster's columns do; which series have those
values is left to the engine. Series that only a metric's several types, its views or a tag `__type__` leave
out may be counted too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from indexer.intern.use_case import USE_CASE_TAG
from shim.catalog.names import KINDS, MADE_LABELS, PROJECT, Target, exact_values, make_key, reserved_labels
from shim.catalog.scope import Scope, TagCondition, of_metrics, tag_value
from shim.catalog.tables import Tables
from shim.catalog.types import Days
from shim.model.labels import NAME, TYPE, USE_CASE
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings

_KIND: Final = "toUInt64(CAST(type, 'Int8'))"
_HISTOGRAM: Final = next(number for number, kind in KINDS.items() if kind == "histogram")


@dataclass(frozen=True, slots=True)
class MatcherConditions:
    """Makes the conditions of one tenant and span of days. Raises StoreError, BadData on a bad regex."""

    tables: Tables
    tenant: Tenant
    days: Days
    settings: ShimSettings
    texts: Callable[[Collection[int]], Mapping[int, str]]  # the strings of ids
    ids: Callable[[Collection[str]], Collection[int]]  # the ids that strings may mean

    def narrow(self, scope: Scope, targets: Sequence[Target], matchers: Sequence[Matcher]) -> Scope:
        """Narrow `scope`, which has the metrics of `targets`, to the series that meet the matchers."""
        metric_ids = list(dict.fromkeys(target.metric.id for target in targets))
        views = {target.view for target in targets}
        if "" not in views:
            scope = scope.within(_KIND, [_HISTOGRAM])
        keys = self.keys(metric_ids, targets)
        for matcher in matchers:
            if matcher.name == NAME or any(matcher.name == MADE_LABELS.get(view) for view in views):
                continue
            if matcher.name == TYPE:
                if TYPE not in keys and views == {""}:
                    met = [number for number, kind in KINDS.items() if matcher.matches(kind)]
                    scope = scope.within(_KIND, met)
            elif matcher.name == USE_CASE:
                scope = self._of_use_case(scope, targets, keys.get(USE_CASE, []), matcher)
            elif matcher.name == PROJECT and self.tenant.project_id is None:
                projects = self.tables.projects_of(scope)
                scope = scope.within("toUInt64(project_id)", [p for p in projects if matcher.matches(str(p))])
            else:
                scope = self._tagged(scope, metric_ids, keys.get(matcher.name, []), matcher)
        return scope

    def keys(self, metric_ids: Sequence[int], targets: Sequence[Target]) -> Mapping[str, list[int]]:
        """By label: the ids of the tag keys of those metrics that are shown as it, the first ruling."""
        ids = self.tables.tag_keys(self.tenant, self.days, metric_ids)
        texts = self.texts(ids)
        views = dict.fromkeys(target.view for target in targets)
        found: dict[str, list[tuple[bool, str, int]]] = {}
        for view in views:
            reserved = reserved_labels(org_wide=self.tenant.project_id is None, view=view)
            for i in ids:
                key = make_key(texts[i], self.settings.names, reserved=reserved)
                for label in key.labels:
                    entry = (texts[i] != label, texts[i], i)
                    if entry not in found.setdefault(label, []):
                        found[label].append(entry)
        return {label: [i for _, _, i in sorted(entries)] for label, entries in found.items()}

    def clashes(self, target: Target) -> bool:
        """Return whether several series of a metric may be shown with the same labels."""
        ids = self.tables.tag_keys(self.tenant, self.days, [target.metric.id])
        org_wide = self.tenant.project_id is None
        reserved = reserved_labels(org_wide=org_wide, view=target.view)
        texts = self.texts(ids)
        hidden = [i for i in ids if texts[i] == USE_CASE_TAG]
        shown = {make_key(texts[i], self.settings.names, reserved=reserved).shown for i in ids}
        return len(shown) < len(ids) or (bool(hidden) and self._several(target, hidden))

    def _several(self, target: Target, keys: Sequence[int]) -> bool:
        """Return whether series of a metric differ in a hidden tag."""
        if len(self.tables.tag_values(self.tenant, self.days, keys, [target.metric.id])) > 1:
            return True
        scope = of_metrics(self.tenant, self.days, [target.metric.id])
        return self.tables.has_more(scope.within(tag_value(keys), [0]), 0)

    def _of_use_case(
        self, scope: Scope, targets: Sequence[Target], keys: Sequence[int], matcher: Matcher
    ) -> Scope:
        """Narrow to series whose tag meets the matcher, or whose metric does if they have none."""
        metric_ids = list(dict.fromkeys(target.metric.id for target in targets))
        met = {target.metric.id for target in targets if matcher.matches(target.metric.use_case)}
        if not keys:
            return scope.within("metric_id", sorted(met))
        texts = self.texts(self.tables.tag_values(self.tenant, self.days, keys, metric_ids))
        tagged = sorted(i for i, text in texts.items() if matcher.matches(text))
        tag = tag_value(keys)
        scope = scope.within(f"if({tag} = 0, metric_id, 0)", [0, *sorted(met)])
        return scope.within(tag, [0, *tagged])

    def _tagged(
        self, scope: Scope, metric_ids: Sequence[int], keys: Sequence[int], matcher: Matcher
    ) -> Scope:
        empty = matcher.matches("")
        if not keys:
            return scope if empty else scope.also("0")
        wanted = exact_values(matcher, org_wide=self.tenant.project_id is None)
        if wanted:
            values = np.array(sorted(self.ids(wanted)), dtype=np.uint64)
            return scope.with_tag(TagCondition(tuple(keys), values, among=True))
        ids = self.tables.tag_values(self.tenant, self.days, keys, metric_ids)
        texts = self.texts(ids)
        met = [i for i in ids if matcher.matches(texts[i]) is not empty]
        return scope.with_tag(TagCondition(tuple(keys), np.array(met, dtype=np.uint64), among=not empty))
