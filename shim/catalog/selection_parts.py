"""Makes the parts of a selection from picked series, with unique label sets. Pure.

Series of one type that are shown with the same labels are one series: readers merge their data. They come
from names of metrics (`a.b`, `a-b`) or tags that are equal in underscores. Among series of several types the
first in the order of PRECEDENCE answers, and a notice says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from shim.catalog.selection import PickedSeries, label_sets
from shim.catalog.series_index import Rows
from shim.catalog.types import Kind, Part, Selection, View
from shim.metrics import ShimMetrics
from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.name_forms import Style
from shim.model.numeric_labels import LE, quantiles
from shim.model.tenancy import Tenant
from shim.model.values import Ints
from shim.settings import ShimSettings

#: Among series of equal labels that are no histograms, which type answers.
PRECEDENCE: Final[Sequence[Kind]] = ("counter", "gauge", "set", "histogram")


def selection(
    picked: Sequence[PickedSeries],
    tenant: Tenant,
    matchers: Sequence[Matcher],
    settings: ShimSettings,
    metrics: ShimMetrics,
) -> Selection:
    """Make the parts: one per type and view, and per metric where each has its own boundaries."""
    notices = _Notices(picked, settings.names)
    grouped: dict[tuple[Kind, View, str], list[PickedSeries]] = {}
    for one in sorted(picked, key=lambda p: PRECEDENCE.index(p.kind)):
        # Each metric has boundaries of its own.
        metric = one.target.shown(settings.names) if one.target.view == "bucket" else ""
        grouped.setdefault((one.kind, one.target.view, metric), []).append(one)
    taken = _Taken()
    parts: list[Part] = []
    for (kind, view, _), members in grouped.items():
        ids, projects, labels, whole = [], [], [], True
        native = kind == "histogram" and not view
        for one in members:
            rows, sets = taken.rest(one.rows, label_sets(one, tenant, settings), native=native)
            if left_out := len(one.rows) - len(rows):
                metrics.name_collisions.inc(left_out)
                notices.left_out(one, left_out)
            whole = whole and one.whole and not left_out
            ids.append(one.roster.series_ids[rows])
            projects.append(one.roster.project_ids[rows])
            labels.extend(sets)
        if len(grouped) > 1:
            taken.add(labels, native=native)
        series_ids, project_ids = np.concatenate(ids), np.concatenate(projects)
        if len(ids) > 1:  # ids ascend over all metrics of the part
            order = np.argsort(series_ids, kind="stable")
            series_ids, project_ids = series_ids[order], project_ids[order]
            labels = [labels[i] for i in order.tolist()]
        shown, group = _merged(labels)
        if group is not None and kind == "gauge":
            notices.merged(members, labels, shown, group)
        le = tuple(m for m in matchers if m.name == LE) if view == "bucket" else ()
        asked = quantiles(matchers) if view == "quantile" else ()
        metric_ids = tuple(dict.fromkeys(one.target.metric.id for one in members))
        parts.append(Part(kind, view, metric_ids, series_ids, project_ids, shown, whole, le, asked, group))
    return Selection(tuple(parts), notices.infos(), tuple(notices.warnings))


def _merged(labels: list[Labels]) -> tuple[list[Labels], Ints | None]:
    """Return the distinct label sets, and the index of each series' set; None if all differ."""
    if len(set(labels)) == len(labels):
        return labels, None
    numbers: dict[Labels, int] = {}
    group = [numbers.setdefault(one, len(numbers)) for one in labels]
    return list(numbers), np.array(group, dtype=np.int64)


class _Taken:
    """Label sets of earlier parts: each is in one part of native histograms, and in one of the others."""

    def __init__(self) -> None:
        self._floats: set[Labels] = set()
        self._histograms: set[Labels] = set()

    def add(self, labels: Iterable[Labels], *, native: bool) -> None:
        (self._histograms if native else self._floats).update(labels)

    def rest(self, rows: Rows, labels: list[Labels], *, native: bool) -> tuple[Rows, list[Labels]]:
        """Return the series whose label sets are in no earlier part."""
        taken = self._histograms if native else self._floats
        if taken.isdisjoint(labels):
            return rows, labels
        kept = [i for i, one in enumerate(labels) if one not in taken]
        return rows[kept], [labels[i] for i in kept]


class _Notices:
    """Notices for the client: names used with several types, and series that are not shown. Each once."""

    def __init__(self, picked: Sequence[PickedSeries], style: Style) -> None:
        self._style: Style = style
        kinds: dict[str, dict[Kind, None]] = {}
        for one in picked:
            if not one.target.view:
                kinds.setdefault(one.target.shown(style), {})[one.kind] = None
        self._several = {name: " and ".join(sorted(found)) for name, found in kinds.items() if len(found) > 1}
        self._twins: dict[str, list[str]] = {name: [] for name in self._several}
        self._collisions: list[str] = []
        self.warnings: list[str] = []

    def left_out(self, picked: PickedSeries, count: int) -> None:
        """Note that `count` series are hidden by series of another type with the same labels."""
        metric, kind, shown = picked.target.metric, picked.kind, picked.target.shown(self._style)
        if shown in self._twins:
            self._twins[shown].append(f"{count} series of the {kind}")
        else:
            self._collisions.append(
                f'{count} series of "{metric.name}" ({kind}) are left out: series of another name or type'
                f' have the same labels as "{shown}"'
            )

    def merged(
        self, members: Sequence[PickedSeries], labels: Sequence[Labels], shown: Sequence[Labels], group: Ints
    ) -> None:
        """Merge gauges that are one: of their values only one can answer."""
        shared = np.bincount(group, minlength=len(shown)) > 1
        sent: dict[str, dict[str, None]] = {}
        for one in members:
            sent.setdefault(one.target.shown(self._style), {})[f'"{one.target.metric.name}"'] = None
        count: dict[str, int] = {}
        for one_set, number in zip(labels, group.tolist(), strict=True):
            if shared[number]:
                name = lb.get(one_set, lb.NAME)
                count[name] = count.get(name, 0) + 1
        self.warnings.extend(
            f'gauge "{name}": {series} series (sent as {", ".join(sorted(sent[name]))}) share labels with'
            " others; of these the latest value answers"
            for name, series in sorted(count.items())
        )

    def infos(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*map(self._of_types, self._several), *self._collisions]))

    def _of_types(self, name: str) -> str:
        twins = self._twins[name]
        what = "both answer, unless __type__ picks one"
        if twins:
            left_out = " and ".join(twins)
            what = f"{left_out} are left out, since others have the same labels; __type__ picks one"
        return f'metric "{name}" was sent as {self._several[name]}: {what}'
