"""Help, boundaries and lifetimes of exposed metrics, from the mapping file. Bounded; for several threads."""

from __future__ import annotations

import math
from typing import Final

from agent.wire.metadata import MetricDescription
from agent.wire.underscore_forms import metric_form

#: Metrics with something of their own; further ones have the defaults.
MAX_NAMES: Final = 10_000
_NOTHING: Final = MetricDescription()


class DescribedMetrics:
    """Facts by exposed name. Of two entries for one name the first help counts, and the longest lifetime."""

    def __init__(self, default_lifetime_s: float, *, utf8: bool) -> None:
        self._default_s = default_lifetime_s or math.inf
        self._utf8 = utf8
        self._described: dict[str, MetricDescription] = {}
        self._lifetimes_s: dict[str, float] = {}

    def describe(self, name: str, described: MetricDescription) -> None:
        """Add help and boundaries of a metric."""
        name = self._shown(name)
        before = self._described.get(name)
        if before is not None or len(self._described) < MAX_NAMES:
            self._described[name] = described if before is None else before.filled(described)

    def keep(self, name: str, lifetime_s: float) -> None:
        """Set how long series of a metric are kept after their last line; 0: for ever."""
        name, lifetime_s = self._shown(name), lifetime_s or math.inf
        before = self._lifetimes_s.get(name)
        if before is not None or len(self._lifetimes_s) < MAX_NAMES:
            self._lifetimes_s[name] = max(lifetime_s, before or 0.0)

    def forget(self, default_lifetime_s: float) -> None:
        """Forget all metrics and the default lifetime, as a changed mapping file has its own."""
        self._default_s = default_lifetime_s or math.inf
        self._described, self._lifetimes_s = {}, {}

    def described(self, name: str) -> MetricDescription:
        """Return the facts about an exposed name."""
        return self._described.get(name, _NOTHING)

    def lifetime_s(self, name: str) -> float:
        """Return how long series of an exposed name are kept."""
        return self._lifetimes_s.get(name, self._default_s)

    def _shown(self, name: str) -> str:
        return name if self._utf8 else metric_form(name)
