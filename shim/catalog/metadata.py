"""Label names and values, series, types and cardinality.

For Grafana's pickers and `/api/v1/status/tsdb`. Synchronous; raises the catalog's errors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from shim.catalog.cardinality import Cardinality, cardinality
from shim.catalog.catalog import Catalog
from shim.catalog.large_selection import LargeSelection
from shim.catalog.metric_descriptions import Described
from shim.catalog.names import MADE_LABELS, PROJECT, Key, Names, Target, make_key, reserved_labels
from shim.catalog.selection import PickedSeries, label_sets
from shim.catalog.types import Days, Kind
from shim.model.labels import NAME, TYPE, USE_CASE, Labels
from shim.model.matchers import Matcher
from shim.model.numeric_labels import LE, named, number_text, quantiles, with_label
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings

MatcherSets = Sequence[Sequence[Matcher]]

#: Types as Prometheus' metadata knows them, and the help of a metric that no mapping file describes.
_METADATA: Final[dict[Kind, tuple[str, str]]] = {
    "counter": ("counter", "StatsD counter {}"),
    "gauge": ("gauge", "StatsD gauge {}"),
    "histogram": ("histogram", "StatsD distribution {}"),
    "set": ("gauge", "StatsD set {}: number of distinct members"),
}
_NOTHING: Final = Described()
#: Units that names end in, by the conventions of OpenMetrics and Prometheus.
_UNITS: Final = frozenset(
    {
        *("seconds", "milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days"),
        *("bytes", "kilobytes", "megabytes", "bits", "ratio", "percent", "celsius", "meters", "volts"),
        *("amperes", "joules", "watts", "grams", "hertz"),
    }
)


class MetadataQueries:
    """Answers questions about the catalog. Thread-safe."""

    def __init__(self, catalog: Catalog, settings: ShimSettings) -> None:
        self._catalog = catalog
        self._settings = settings

    @property
    def catalog(self) -> Catalog:
        """The catalog that is asked."""
        return self._catalog

    def label_names(self, tenant: Tenant, sets: MatcherSets, start_ms: int, end_ms: int) -> list[str]:
        """Return the names of all labels in use, or of those of the series that any set matches; sorted."""
        days = Days.of(start_ms, end_ms)
        if not _everything(sets):
            return sorted({name for m in sets for name in self._names(tenant, m, days)})
        metrics = self._catalog.names(tenant, days)
        if not metrics.metrics:
            return []
        keys = self._keys(tenant, days)
        names = {key.shown for key in keys.values()} - {USE_CASE} | {NAME}
        if any("histogram" in metric.kinds for metric in metrics.metrics):
            names.add(LE)
        if tenant.project_id is None:
            names.add(PROJECT)
        return sorted(names)

    def label_values(
        self, tenant: Tenant, label: str, sets: MatcherSets, start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the values of a label, or those it has on the series that any set matches; sorted."""
        days = Days.of(start_ms, end_ms)
        if not _everything(sets):
            return sorted({value for m in sets for value in self._values(tenant, label, m, days)})
        if label == NAME:
            return sorted(self._catalog.names(tenant, days).shown(self._settings.names))
        if label == PROJECT and tenant.project_id is None:
            return sorted(map(str, self._catalog.tables.projects(tenant, days)))
        ladders = self._all_boundaries(tenant, days) if label == LE else set[str]()
        keys = self._keys(tenant, days).items()
        wanted = [i for i, key in keys if key.shown != USE_CASE and key.answers_to(label)]
        if not wanted:
            return sorted(ladders)
        ids = self._catalog.tables.tag_values(tenant, days, wanted)
        texts, _ = self._catalog.strings.texts(tenant.org_id, ids)
        return sorted(set(texts.values()) - {""} | ladders)

    def series(
        self, tenant: Tenant, sets: MatcherSets, start_ms: int, end_ms: int, limit: int = 0
    ) -> list[Labels]:
        """Return the label sets that any set matches; sorted, each once.

        With a `limit`, at most one more than that. Without one, more than `max_series` are an error.
        """
        days = Days.of(start_ms, end_ms)
        found: set[Labels] = set()
        for matchers in sets:
            some = self._some(tenant, matchers, days, limit)
            made = self._made(tenant, [picked.target for picked in some], matchers)
            for picked in some:
                wanted = replace(picked, rows=picked.rows[: limit + 1]) if limit else picked
                labels = label_sets(wanted, tenant, self._settings)
                if (label := MADE_LABELS.get(picked.target.view)) is not None:
                    texts = made[self._shown(picked.target)]
                    labels = [with_label(one, label, text) for one in labels for text in texts]
                found.update(labels)
                if limit and len(found) > limit:
                    return sorted(found)[: limit + 1]
        return sorted(found)

    def metadata(
        self, tenant: Tenant, metric: str | None, start_ms: int, end_ms: int
    ) -> dict[str, list[dict[str, str]]]:
        """Return type, help and unit by shown name; of one metric if it is given (in either form).

        Help and unit come from a mapping file. Without one, the help names the type and the name as sent, and
        the unit is that of the name.
        """
        said = self._catalog.metadata.all(tenant)
        names: Names = self._catalog.names(tenant, Days.of(start_ms, end_ms))
        out: dict[str, list[dict[str, str]]] = {}
        for one in names.metrics:
            if metric is not None and metric not in one.forms:
                continue
            shown = one.shown(self._settings.names)
            described = said.get(one.name, _NOTHING)
            for kind in sorted(one.kinds):
                type_, template = _METADATA[kind]
                help_ = described.help or template.format(one.name)
                entry = {"type": type_, "help": help_, "unit": described.unit or unit_of(shown)}
                if entry not in out.setdefault(shown, []):
                    out[shown].append(entry)
        return out

    def cardinality(self, tenant: Tenant, limit: int, start_ms: int, end_ms: int) -> Cardinality:
        """Return the `limit` largest entries of each kind in those days."""
        days = Days.of(start_ms, end_ms)
        keys = self._keys(tenant, days)
        return cardinality(self._catalog, tenant, days, keys, self._settings.names, limit)

    def _find(
        self, tenant: Tenant, matchers: Sequence[Matcher], days: Days
    ) -> list[PickedSeries] | LargeSelection:
        return self._catalog.find(tenant, matchers, days, self._settings.max_series)

    def _some(
        self, tenant: Tenant, matchers: Sequence[Matcher], days: Days, limit: int
    ) -> Sequence[PickedSeries]:
        """Return all that match, or `limit` and one more where there are too many."""
        found = self._find(tenant, matchers, days)
        if not isinstance(found, LargeSelection):
            return found
        if not limit:
            raise self._catalog.too_many(found)
        return self._catalog.some(found, limit + 1)

    def _names(self, tenant: Tenant, matchers: Sequence[Matcher], days: Days) -> set[str]:
        """Return the label names of the selected series."""
        found = self._find(tenant, matchers, days)
        if not isinstance(found, LargeSelection):
            return _names_of(found, org_wide=tenant.project_id is None)
        ids = self._catalog.tables.keys_of(found.scope)
        texts, _ = self._catalog.strings.texts(tenant.org_id, ids)
        names = {NAME} if tenant.project_id is not None else {NAME, PROJECT}
        for view in {target.view for target in found.targets}:
            reserved = reserved_labels(org_wide=tenant.project_id is None, view=view)
            names.update(make_key(texts[i], self._settings.names, reserved=reserved).shown for i in ids)
            names |= {MADE_LABELS[view]} if view in MADE_LABELS else set()
        return names - {USE_CASE}

    def _values(self, tenant: Tenant, label: str, matchers: Sequence[Matcher], days: Days) -> set[str]:
        """Return the values of a label on the selected series."""
        if label == NAME and all(m.name == NAME for m in matchers):  # no series need be read
            return self._catalog.names(tenant, days).shown(self._settings.names, matchers)
        found = self._find(tenant, matchers, days)
        if not isinstance(found, LargeSelection):
            asked = [p.target for p in found if MADE_LABELS.get(p.target.view) == label]
            if label == NAME:
                return self._shown_by({(p.target, p.kind) for p in found}, matchers)
            made = self._made(tenant, asked, matchers)
            return {value for picked in found for value in self._values_of(picked, label, tenant, made)}
        tables = self._catalog.tables
        if label == NAME:
            sizes = found.sizes.items()
            kinds = {(t, k) for t in found.targets for (i, k), n in sizes if n and i == t.metric.id}
            return self._shown_by(kinds, matchers)
        if label == PROJECT and tenant.project_id is None:
            return set(map(str, tables.projects_of(found.scope)))
        some = [t for t in found.targets if found.size(t) and MADE_LABELS.get(t.view) == label]
        values = set[str]().union(*self._made(tenant, some, matchers).values())
        metric_ids = list(dict.fromkeys(target.metric.id for target in found.targets))
        keys = self._catalog.sieve(tables, found).keys(metric_ids, found.targets).get(label, [])
        if keys:
            ids = tables.values_of(found.scope, keys)
            values.update(self._catalog.strings.texts(tenant.org_id, ids)[0].values())
        return values - {""}

    def _keys(self, tenant: Tenant, days: Days) -> dict[int, Key]:
        ids = self._catalog.tables.tag_keys(tenant, days)
        texts, _ = self._catalog.strings.texts(tenant.org_id, ids)
        reserved = reserved_labels(org_wide=tenant.project_id is None, view="")
        return {i: make_key(texts[i], self._settings.names, reserved=reserved) for i in ids}

    def _made(
        self, tenant: Tenant, targets: Sequence[Target], matchers: Sequence[Matcher]
    ) -> Mapping[str, Sequence[str]]:
        """By shown name, the values of `le` or `quantile` that a query with these matchers shows."""
        on_le = [m for m in matchers if m.name == LE]
        ids: dict[str, dict[int, None]] = {}
        for target in targets:
            if target.view == "bucket":
                ids.setdefault(self._shown(target), {})[target.metric.id] = None
        ladders = self._catalog.ladders
        if named(on_le) is None:
            ladders.prefetch(tenant, [i for of_name in ids.values() for i in of_name])
        asked = list(map(number_text, quantiles(matchers)))
        return {self._shown(target): asked for target in targets if target.view == "quantile"} | {
            name: list(map(number_text, ladders.bounds(tenant, tuple(of_name), on_le)))
            for name, of_name in ids.items()
        }

    def _all_boundaries(self, tenant: Tenant, days: Days) -> set[str]:
        """Return the values of `le` of all distributions."""
        ids = [m.id for m in self._catalog.names(tenant, days).metrics if "histogram" in m.kinds]
        ladders = self._catalog.ladders
        ladders.prefetch(tenant, ids)
        return {number_text(bound) for i in ids for bound in ladders.ladder(tenant, [i])}

    def _shown_by(self, found: Collection[tuple[Target, Kind]], matchers: Sequence[Matcher]) -> set[str]:
        """Return the names of the targets, and the classic names of distributions that the matchers meet."""
        names = {self._shown(target) for target, _ in found}
        if any(m.name == TYPE for m in matchers):  # a distribution is a histogram, its classic names counters
            return names
        for target, kind in found:
            if kind == "histogram" and not target.view:
                names |= target.metric.classic_names(self._settings.names, matchers)
        return names

    def _shown(self, target: Target) -> str:
        return target.metric.shown(self._settings.names, target.view)

    def _values_of(
        self, picked: PickedSeries, label: str, tenant: Tenant, made: Mapping[str, Sequence[str]]
    ) -> set[str]:
        if label == PROJECT and tenant.project_id is None:
            return {str(p) for p in np.unique(picked.roster.project_ids[picked.rows]).tolist()}
        if label == MADE_LABELS.get(picked.target.view):
            return set(made[self._shown(picked.target)])
        values: set[str] = set()
        for stored, key in picked.keys.items():
            if key.answers_to(label):
                column = picked.roster.columns[stored]
                codes = np.unique(column.codes[picked.rows]).tolist()
                values.update(column.texts[code] for code in codes)
        return values - {""}


def _everything(sets: MatcherSets) -> bool:
    """Return whether every series meets the sets (Grafana sends `{__name__!=""}`): then none is read."""
    return not sets or any(
        all(m.name == NAME and (m.op, m.value) in (("!=", ""), ("=~", ".+"), ("=~", ".*")) for m in matchers)
        for matchers in sets
    )


def _names_of(picked: Sequence[PickedSeries], *, org_wide: bool) -> set[str]:
    names = {NAME} if picked else set()
    if picked and org_wide:
        names.add(PROJECT)
    for one in picked:
        if one.target.view in MADE_LABELS:
            names.add(MADE_LABELS[one.target.view])
        for stored, key in one.keys.items():
            column = one.roster.columns[stored]
            codes = column.codes[one.rows]
            if any(column.texts[code] for code in np.unique(codes).tolist()):
                names.add(key.shown)
    return names


def unit_of(name: str) -> str:
    """Return the unit that a name ends in: `request_seconds` -> `seconds`; "" when it names none."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in _UNITS else ""
