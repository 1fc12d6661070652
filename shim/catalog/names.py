"""How stored names are found and shown. Pure.

A name answers to all its forms (shim/model/name_forms.py): `http.requests` also to `http_requests`. A setting
says which form is shown. A negative condition holds only when no form meets its opposite.

A distribution `x` also has classic names: `x_bucket`, `x_count`, `x_sum`. They are found when they are asked
for: by `=`, by an alternation of plain names (`a|x_count`), or by a pattern that matches them and not `x`. So
`{__name__=~".+"}` selects each stored series once. A stored metric of that very name wins.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from indexer.clickhouse.schema.metric_types import METRIC_TYPES
from indexer.intern.use_case import USE_CASE_TAG, namespace
from shim.catalog.types import Kind, View
from shim.model.labels import NAME, TYPE, USE_CASE
from shim.model.matchers import Matcher
from shim.model.name_forms import Style, label_form, label_forms, metric_form, metric_forms
from shim.model.numeric_labels import LE, QUANTILE, quantiles

#: By the number the series table has for them.
KINDS: Final[Mapping[int, Kind]] = {t.number: cast("Kind", t.name) for t in METRIC_TYPES}
CLASSIC: Final[tuple[View, ...]] = ("bucket", "count", "sum")
#: The label that a view adds to those of the series.
MADE_LABELS: Final[Mapping[View, str]] = {"bucket": LE, "quantile": QUANTILE}
PROJECT: Final = "project_id"

_PLAIN_VALUES = re.compile(r"[a-zA-Z0-9_:/ -]+(\|[a-zA-Z0-9_:/ -]+)*", re.ASCII)
_PLAIN_NAMES = re.compile(r"[a-zA-Z0-9_:]+(\|[a-zA-Z0-9_:]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Key:
    """A tag key as a label name: `name` as stored (out of the way of our own labels), `shown`."""

    name: str
    shown: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names that it answers to."""
        return tuple(dict.fromkeys((self.name, self.shown, *label_forms(self.name))))

    def answers_to(self, label: str) -> bool:
        """Return whether a label in a query means this key."""
        return label in self.labels


def make_key(name: str, style: Style, *, reserved: Iterable[str], kept: Collection[str] = frozenset()) -> Key:
    """Return the label of a tag, whose name stays in its UTF-8 form if it is `kept`.

    The hidden tag of the use case is the label of its name. Another tag named like a label of ours is shown
    as `exported_...`, as in Prometheus. A NUL at its start becomes an underscore: it would look like a mark
    (shim/model/labels.py).
    """
    if name == USE_CASE_TAG:
        return Key(USE_CASE, USE_CASE)
    if name.startswith("\0"):
        name = "_" + name[1:]
    if name in reserved or label_form(name) in reserved:
        name = f"exported_{name}"
    return Key(name, label_form(name) if style == "underscore" and name not in kept else name)


def reserved_labels(*, org_wide: bool, view: View) -> frozenset[str]:
    """Return the labels that we set ourselves."""
    names = {NAME, USE_CASE}
    if org_wide:
        names.add(PROJECT)
    if view == "bucket":
        names.add(LE)
    return frozenset(names)


def exact_values(matcher: Matcher, *, org_wide: bool) -> frozenset[str]:
    """Return the strings one of which a tag of every matching series has; empty without such a list."""
    if matcher.name in (NAME, TYPE, USE_CASE, LE) or (matcher.name == PROJECT and org_wide):
        return frozenset()
    if matcher.op == "=":
        values = [matcher.value]
    elif matcher.op == "=~" and _PLAIN_VALUES.fullmatch(matcher.value):
        values = matcher.value.split("|")
    else:
        return frozenset()
    return frozenset() if "" in values else frozenset(values)


def is_id(text: str) -> bool:
    """Return whether the text may be an id without a string: such ids are shown as their digits."""
    return text.isascii() and text.isdigit() and len(text) <= 20 and 0 < int(text) < 2**64


@dataclass(frozen=True, slots=True)
class Metric:
    """One stored metric name of a scope."""

    id: int
    name: str
    kinds: frozenset[Kind]

    @property
    def forms(self) -> tuple[str, ...]:
        """All names that select the metric."""
        return metric_forms(self.name)

    @property
    def use_case(self) -> str:
        """The use case of those of its series that have no tag for it."""
        return namespace(self.name)

    def shown(self, style: Style, view: View = "") -> str:
        """Return the name that answers show."""
        name = metric_form(self.name) if style == "underscore" else self.name
        return f"{name}_{view}" if view in CLASSIC else name

    def classic_names(self, style: Style, matchers: Sequence[Matcher]) -> set[str]:
        """Return its classic names, as shown, that meet all matchers on the name."""
        targets = [Target(self, view) for view in CLASSIC]
        return {t.shown(style) for t in targets if all(_holds(m, t) for m in matchers if m.name == NAME)}


@dataclass(frozen=True, slots=True)
class Target:
    """A metric, and the selected view of it.

    `called`: the one name that selected several metrics, under which they are then shown.
    """

    metric: Metric
    view: View
    called: str = ""

    def shown(self, style: Style) -> str:
        """Return the name that answers show."""
        return self.called or self.metric.shown(style, self.view)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The types that answer: of a view the distribution alone."""
        return self.metric.kinds & {"histogram"} if self.view else self.metric.kinds


def of_use_cases(
    targets: Sequence[Target], matchers: Sequence[Matcher], tagged: Collection[int]
) -> list[Target]:
    """Return the targets with series that may meet the matchers on `__use_case_id__`.

    `tagged`: the ids of metrics some of whose series have a tag for it.
    """
    on_it = [m for m in matchers if m.name == USE_CASE]
    return [t for t in targets if t.metric.id in tagged or all(m.matches(t.metric.use_case) for m in on_it)]


def with_quantiles(targets: Sequence[Target], matchers: Sequence[Matcher]) -> list[Target]:
    """Return the targets, and those whose quantiles are selected as in classic summaries."""
    if not quantiles(matchers):
        return list(targets)
    asked = (t for t in targets if not t.view and "histogram" in t.metric.kinds)
    return [*targets, *(replace(target, view="quantile") for target in asked)]


class Names:
    """The metrics of one scope over some days: an immutable index."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics: Sequence[Metric] = sorted(metrics, key=lambda m: (m.name, m.id))
        self._by_form: dict[str, list[Metric]] = {}
        for metric in self.metrics:
            for form in metric.forms:
                self._by_form.setdefault(form, []).append(metric)

    def find(self, matchers: Sequence[Matcher]) -> list[Target]:
        """Return the targets that the matchers on `__name__` select; without any, all stored metrics."""
        exact = next((m for m in matchers if m.op == "="), None)
        if exact is not None:
            found = self._named(exact.value)
        else:
            pattern = next((m for m in matchers if m.op == "=~"), None)
            if pattern is None:
                found = [Target(metric, "") for metric in self.metrics]
            elif _PLAIN_NAMES.fullmatch(pattern.value):
                found = [t for name in dict.fromkeys(pattern.value.split("|")) for t in self._named(name)]
            else:
                found = self._matching(pattern)
        found = [target for target in found if all(_holds(m, target) for m in matchers)]
        return list(dict.fromkeys(found))

    def shown(self, style: Style, matchers: Sequence[Matcher] = ()) -> set[str]:
        """Return every name that meets the matchers, as shown, with the classic ones."""
        names = {m.shown(style) for m in self.metrics if all(_holds(on, Target(m, "")) for on in matchers)}
        for metric in self.metrics:
            if "histogram" in metric.kinds:
                names |= metric.classic_names(style, matchers)
        return names

    def shared(self, style: Style) -> Mapping[str, Sequence[Metric]]:
        """Shown names that more than one metric has."""
        by_shown: dict[str, list[Metric]] = {}
        for metric in self.metrics:
            by_shown.setdefault(metric.shown(style), []).append(metric)
        return {name: metrics for name, metrics in by_shown.items() if len(metrics) > 1}

    def _named(self, name: str) -> list[Target]:
        stored = self._by_form.get(name)
        if stored:
            return _under(name, [Target(metric, "") for metric in stored])
        for view in CLASSIC:
            base = name.removesuffix(f"_{view}")
            if base != name:
                histograms = (m for m in self._by_form.get(base, ()) if "histogram" in m.kinds)
                return _under(name, [Target(metric, view) for metric in histograms])
        return []

    def _matching(self, pattern: Matcher) -> list[Target]:
        found: list[Target] = []
        for metric in self.metrics:
            if any(pattern.matches(form) for form in metric.forms):
                found.append(Target(metric, ""))
            elif "histogram" in metric.kinds:
                for view in CLASSIC:
                    names = [f"{form}_{view}" for form in metric.forms]
                    if any(map(pattern.matches, names)) and not any(n in self._by_form for n in names):
                        found.append(Target(metric, view))
        return found


def _under(name: str, found: list[Target]) -> list[Target]:
    """Name the targets that one name selected; several metrics of one underscore form are shown as it."""
    if len(found) < 2 or metric_form(name) != name:
        return found
    return [replace(target, called=name) for target in found]


def _holds(matcher: Matcher, target: Target) -> bool:
    suffix = f"_{target.view}" if target.view else ""
    met = [matcher.matches(form + suffix) for form in target.metric.forms]
    return any(met) if matcher.op in ("=", "=~") else all(met)
