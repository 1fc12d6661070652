"""A selector that matches more series than are read one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shim.catalog.names import Target
from shim.catalog.scope import Scope
from shim.catalog.types import Days, Kind
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings


@dataclass(frozen=True, slots=True)
class LargeSelection:
    """The series of a selector: `scope` is their condition, `sizes` their numbers by metric and type."""

    tenant: Tenant
    days: Days
    matchers: tuple[Matcher, ...]
    targets: tuple[Target, ...]
    scope: Scope
    sizes: Mapping[tuple[int, Kind], int] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()  # labels that keep their UTF-8 names

    @property
    def stored(self) -> int:
        """How many series are stored."""
        return sum(self.sizes.values())

    @property
    def series(self) -> int:
        """How many series match: a distribution has one for each view of it that was asked for."""
        return sum(self.size(target) for target in self.targets)

    @property
    def largest(self) -> tuple[Target, int]:
        """The target with most series, and how many those are."""
        target = max(self.targets, key=self.size)
        return target, self.size(target)

    def size(self, target: Target) -> int:
        """Return the number of series of one target: under a view, of the distribution only."""
        metric_id = target.metric.id
        if target.view:
            return self.sizes.get((metric_id, "histogram"), 0)
        return sum(n for (i, _), n in self.sizes.items() if i == metric_id)

    def refusal(self, settings: ShimSettings, label: tuple[str, int] | None) -> str:
        """Say why these series are not read, and how to narrow the query.

        `label`: the label of the largest metric with most values, and their number.
        """
        target, series = self.largest
        selector = ",".join(map(str, self.matchers))
        text = (
            f"selector {{{selector}}} matches {self.series} series, more than the limit"
            f" of {settings.max_series} (setting max_series)"
        )
        if len(self.targets) > 1:
            text += f'; most are of "{target.shown(settings.names)}" ({series})'
        if label is not None:
            name, values = label
            text += f'; its label "{name}" has {"about " if values > 1_000 else ""}{values} values'
        return (
            f"{text}: match fewer values, or aggregate all series of one metric without by or without"
            " (sum, count, avg, min, max, group, quantile, count_values, topk, bottomk),"
            " which needs few labels"
        )
