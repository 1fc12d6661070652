"""Picks series of a series index by matchers, and makes their label sets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.intern.use_case import USE_CASE_TAG
from shim.catalog.names import (
    KINDS,
    MADE_LABELS,
    PROJECT,
    Key,
    Target,
    make_key,
    reserved_labels,
)
from shim.catalog.series_index import Rows, SeriesIndex
from shim.catalog.types import Kind
from shim.model.labels import NAME, TYPE, USE_CASE, Labels
from shim.model.matchers import Matcher
from shim.model.name_forms import Style
from shim.model.numeric_labels import QUANTILE
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings


@dataclass(frozen=True, slots=True)
class PickedSeries:
    """Series of one metric, one type and one view; `rows` of the roster, ascending."""

    target: Target
    kind: Kind
    roster: SeriesIndex
    rows: Rows
    whole: bool
    keys: Mapping[str, Key]
    kept: frozenset[str] = frozenset()

    def variant(self, style: Style) -> str:
        """Return the part of the key that tells label sets of one series apart."""
        shown, own = self.target.shown(style), self.target.metric.shown(style, self.target.view)
        kept = sorted(self.kept.intersection(self.roster.columns))
        if not kept and shown == own:
            return self.target.view
        return "\0".join((self.target.view, shown, *kept))


def pick(
    target: Target,
    roster: SeriesIndex,
    alive: npt.NDArray[Any],
    tenant: Tenant,
    matchers: Sequence[Matcher],
    settings: ShimSettings,
    *,
    narrowed: bool,
    kept: frozenset[str] = frozenset(),
) -> Iterable[PickedSeries]:
    """Pick the living series of a metric that meet the matchers (those on the name did already), by type.

    `narrowed`: `alive` does not hold all of them, so that no result is whole. `kept` are labels that keep
    their UTF-8 names.
    """
    org_wide = tenant.project_id is None
    reserved = reserved_labels(org_wide=org_wide, view=target.view)
    keys = {
        name: make_key(name, settings.names, reserved=reserved, kept=kept)
        for name in roster.columns
        if name != USE_CASE_TAG
    }
    for number in np.unique(alive["kind"]).tolist():
        kind = KINDS[number]
        if target.view and kind != "histogram":
            continue
        all_rows = roster.rows(alive["series_id"][alive["kind"] == number])
        rows = all_rows
        if target.view == "quantile" and _have_tag(roster, rows, keys, QUANTILE):
            continue  # a stored tag `quantile` wins
        for matcher in matchers:
            if matcher.name in (NAME, MADE_LABELS.get(target.view)):  # met by the target
                continue
            if matcher.name == TYPE:
                rows = _of_hidden(roster, rows, matcher, TYPE, "counter" if target.view else kind)
            elif matcher.name == USE_CASE:
                rows = _of_hidden(roster, rows, matcher, USE_CASE_TAG, target.metric.use_case)
            elif matcher.name == PROJECT and org_wide:
                rows = _of_projects(roster, rows, matcher)
            else:
                rows = roster.matching(rows, matcher, keys)
        if len(rows):
            whole = not narrowed and len(rows) == len(all_rows)
            yield PickedSeries(target, kind, roster, rows, whole, keys, kept)


def _have_tag(roster: SeriesIndex, rows: Rows, keys: Mapping[str, Key], label: str) -> bool:
    """Return whether any of the series was sent with a tag that is shown as this label."""
    columns = (column for stored, column in roster.columns.items() if keys[stored].answers_to(label))
    return any(column.texts[code] for column in columns for code in np.unique(column.codes[rows]).tolist())


def _of_hidden(roster: SeriesIndex, rows: Rows, matcher: Matcher, tag: str, otherwise: str) -> Rows:
    """Return the rows that meet a matcher on a hidden label: that tag's value, or else the metric's."""
    column = roster.columns.get(tag)
    if column is None:
        return rows if matcher.matches(otherwise) else rows[:0]
    met = column.met(matcher).copy()
    met[0] = matcher.matches(otherwise)
    kept: Rows = rows[met[column.codes[rows]]]
    return kept


def _of_projects(roster: SeriesIndex, rows: Rows, matcher: Matcher) -> Rows:
    projects = roster.project_ids[rows]
    met = [p for p in np.unique(projects).tolist() if matcher.matches(str(p))]
    kept: Rows = rows[np.isin(projects, met)]
    return kept


def label_sets(picked: PickedSeries, tenant: Tenant, settings: ShimSettings) -> list[Labels]:
    """Return the label sets of picked series, in the order of their rows."""
    extra: Callable[[int], tuple[str, str]] | None = None
    if tenant.project_id is None:
        projects = picked.roster.project_ids

        def extra(row: int) -> tuple[str, str]:
            return PROJECT, str(projects[row])

    name = picked.target.shown(settings.names)
    return picked.roster.labels(picked.rows, name, picked.keys, extra, variant=picked.variant(settings.names))
