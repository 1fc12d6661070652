"""From a roster to what a selector means: series picked by matchers, label sets, parts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shim.catalog.names import (
    KINDS,
    MADE_LABELS,
    PROJECT,
    Key,
    Target,
    make_key,
    reserved_labels,
)
from shim.catalog.roster import Roster, Rows
from shim.catalog.types import Kind, Part, Selection, View
from shim.labels import NAME, TYPE, Labels
from shim.matching import Matcher
from shim.metrics import ShimMetrics
from shim.numeric_labels import LE, QUANTILE, quantiles
from shim.settings import ShimSettings
from shim.tenancy import Tenant

_KIND_NUMBERS: Mapping[Kind, int] = {kind: number for number, kind in KINDS.items()}
#: Among series of equal labels that are no histograms, which type answers.
_PRECEDENCE: Sequence[Kind] = ("counter", "gauge", "set", "histogram")


@dataclass(frozen=True, slots=True)
class Picked:
    """Series of one metric, one type and one view; `rows` of the roster, ascending."""

    target: Target
    kind: Kind
    roster: Roster
    rows: Rows
    whole: bool
    keys: Mapping[str, Key]
    kept: frozenset[str] = frozenset()

    @property
    def variant(self) -> str:
        """What tells apart the label sets that one series can have."""
        kept = sorted(self.kept.intersection(self.roster.columns))
        return "\0".join((self.target.view, *kept)) if kept else self.target.view


def pick(
    target: Target,
    roster: Roster,
    alive: npt.NDArray[Any],
    tenant: Tenant,
    matchers: Sequence[Matcher],
    settings: ShimSettings,
    *,
    narrowed: bool,
    kept: frozenset[str] = frozenset(),
) -> Iterable[Picked]:
    """What of a metric's living series meets the matchers (those on the name did already), by type.

    `narrowed`: `alive` is not all of them, so that nothing can be said to be whole. `kept` are labels that
    keep their UTF-8 names.
    """
    org_wide = tenant.project_id is None
    reserved = reserved_labels(org_wide=org_wide, view=target.view)
    keys = {name: make_key(name, settings.names, reserved=reserved, kept=kept) for name in roster.columns}
    for number in np.unique(alive["kind"]).tolist():
        kind = KINDS[number]
        if target.view and kind != "histogram":
            continue
        all_rows = roster.rows(alive["series_id"][alive["kind"] == number])
        rows = all_rows
        if target.view == "quantile" and _have_tag(roster, rows, keys, QUANTILE):
            continue  # a stored tag says what `quantile` means
        for matcher in matchers:
            if matcher.name in (NAME, MADE_LABELS.get(target.view)):
                continue
            if matcher.name == TYPE:
                rows = _of_type(roster, rows, matcher, "counter" if target.view else kind)
            elif matcher.name == PROJECT and org_wide:
                rows = _of_projects(roster, rows, matcher)
            else:
                rows = roster.matching(rows, matcher, keys)
        if len(rows):
            whole = not narrowed and len(rows) == len(all_rows)
            yield Picked(target, kind, roster, rows, whole, keys, kept)


def _have_tag(roster: Roster, rows: Rows, keys: Mapping[str, Key], label: str) -> bool:
    """Whether any of the series was sent with a tag that is shown as this label."""
    columns = (column for stored, column in roster.columns.items() if keys[stored].answers_to(label))
    return any(column.texts[code] for column in columns for code in np.unique(column.codes[rows]).tolist())


def _of_type(roster: Roster, rows: Rows, matcher: Matcher, kind: Kind) -> Rows:
    """A series sent with a tag `__type__` is of the type it says, as in Prometheus; any other of its own."""
    column = roster.columns.get(TYPE)
    if column is None:
        return rows if matcher.matches(kind) else rows[:0]
    met = column.met(matcher).copy()
    met[0] = matcher.matches(kind)
    kept: Rows = rows[met[column.codes[rows]]]
    return kept


def _of_projects(roster: Roster, rows: Rows, matcher: Matcher) -> Rows:
    projects = roster.project_ids[rows]
    met = [p for p in np.unique(projects).tolist() if matcher.matches(str(p))]
    kept: Rows = rows[np.isin(projects, met)]
    return kept


def label_sets(picked: Picked, tenant: Tenant, settings: ShimSettings) -> list[Labels]:
    """The label sets of what was picked, in the order of its rows."""
    extra: Callable[[int], tuple[str, str]] | None = None
    if tenant.project_id is None:
        projects = picked.roster.project_ids

        def extra(row: int) -> tuple[str, str]:
            return PROJECT, str(projects[row])

    name = picked.target.metric.shown(settings.names, picked.target.view)
    return picked.roster.labels(picked.rows, name, picked.keys, extra, variant=picked.variant)


def selection(
    picked: Sequence[Picked],
    tenant: Tenant,
    matchers: Sequence[Matcher],
    settings: ShimSettings,
    metrics: ShimMetrics,
) -> Selection:
    """The parts of a selection: one per type and view, and per metric where each has its own boundaries."""
    notices = _Notices(picked, settings)
    grouped: dict[tuple[Kind, View, str], list[Picked]] = {}
    for one in sorted(picked, key=lambda p: _PRECEDENCE.index(p.kind)):
        # Each metric has boundaries of its own.
        metric = one.target.metric.shown(settings.names) if one.target.view == "bucket" else ""
        grouped.setdefault((one.kind, one.target.view, metric), []).append(one)
    seen = _Seen(len(picked) > 1)
    parts: list[Part] = []
    for (kind, view, _), members in grouped.items():
        ids, projects, labels, whole = [], [], [], True
        # The metric that is really called as it is shown comes first: it keeps the label set.
        for one in sorted(members, key=lambda p: (len(p.target.metric.forms), p.target.metric.name)):
            sets = label_sets(one, tenant, settings)
            rows, sets, left_out = seen.new(one, sets, histogram=kind == "histogram" and not view)
            if left_out:
                metrics.name_collisions.inc(left_out)
                notices.left_out(one, left_out)
            whole = whole and one.whole and not left_out
            ids.append(one.roster.series_ids[rows])
            projects.append(one.roster.project_ids[rows])
            labels.extend(sets)
        le = tuple(m for m in matchers if m.name == LE) if view == "bucket" else ()
        metric_ids = tuple(dict.fromkeys(one.target.metric.id for one in members))
        part = _part(kind, view, metric_ids, ids, projects, labels, whole, le)
        parts.append(replace(part, quantiles=quantiles(matchers)) if view == "quantile" else part)
    return Selection(tuple(parts), notices.texts())


def _part(
    kind: Kind,
    view: View,
    metric_ids: tuple[int, ...],
    ids: Sequence[npt.NDArray[np.uint64]],
    projects: Sequence[npt.NDArray[np.uint32]],
    labels: Sequence[Labels],
    whole: bool,
    le_matchers: tuple[Matcher, ...],
) -> Part:
    """Ids ascend over all metrics of the part."""
    series_ids, project_ids = np.concatenate(ids), np.concatenate(projects)
    if len(ids) > 1:
        order = np.argsort(series_ids, kind="stable")
        series_ids, project_ids = series_ids[order], project_ids[order]
        labels = [labels[i] for i in order.tolist()]
    return Part(kind, view, metric_ids, series_ids, project_ids, labels, whole, le_matchers)


class _Seen:
    """Label sets given away already: each stands once among the histograms and once among the others.

    One metric of one type cannot repeat itself but by tags that are shown alike, which a roster keeps apart;
    so there is nothing to look at unless several were picked.
    """

    def __init__(self, several: bool) -> None:
        self._several = several
        self._floats: set[Labels] = set()
        self._histograms: set[Labels] = set()

    def new(self, picked: Picked, labels: list[Labels], *, histogram: bool) -> tuple[Rows, list[Labels], int]:
        """The rows and labels that are new, and how many are not."""
        given = self._histograms if histogram else self._floats
        if not self._several:
            distinct = set(labels)
            if len(distinct) == len(labels):
                return picked.rows, labels, 0
        kept: list[int] = []
        for i, one in enumerate(labels):
            if one not in given:
                given.add(one)
                kept.append(i)
        if len(kept) == len(labels):
            return picked.rows, labels, 0
        return picked.rows[kept], [labels[i] for i in kept], len(labels) - len(kept)


class _Notices:
    """What an asker should know: names used with several types, and series that are not shown. Each once."""

    def __init__(self, picked: Sequence[Picked], settings: ShimSettings) -> None:
        self._settings = settings
        kinds: dict[str, dict[Kind, None]] = {}
        for one in picked:
            if not one.target.view:
                kinds.setdefault(one.target.metric.shown(settings.names), {})[one.kind] = None
        self._several = {name: " and ".join(sorted(found)) for name, found in kinds.items() if len(found) > 1}
        self._twins: dict[str, list[str]] = {name: [] for name in self._several}
        self._collisions: list[str] = []

    def left_out(self, picked: Picked, count: int) -> None:
        """So many series have the labels of others, which answer."""
        metric, kind = picked.target.metric, picked.kind
        shown = metric.shown(self._settings.names, picked.target.view)
        if shown in self._twins:
            self._twins[shown].append(f"{count} series of the {kind}")
        else:
            self._collisions.append(
                f'{count} series of "{metric.name}" ({kind}) are left out: series of another name or type'
                f' have the same labels as "{shown}"'
            )

    def texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*map(self._of_types, self._several), *self._collisions]))

    def _of_types(self, name: str) -> str:
        twins = self._twins[name]
        what = "both answer, unless __type__ picks one"
        if twins:
            left_out = " and ".join(twins)
            what = f"{left_out} are left out, since others have the same labels; __type__ picks one"
        return f'metric "{name}" was sent as {self._several[name]}: {what}'
