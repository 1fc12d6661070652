"""Limits the number of series per metric and in total, and keeps the totals of the rest. Pure.

The definition of agent/core/_native/cardinality.pxi. A line whose series is new and beyond a limit is added
to an overflow series: same metric and type, with `__overflow__="true"` and only the static tags. Totals of
counters, distributions and sets therefore stay exact; gauges keep the last value. If the limit of all series
is reached, lines of a metric without any series go to the metric `__overflow__`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, MutableMapping
from typing import Final

from agent.aggregate.state import Series
from agent.protocol.line import Kind

OVERFLOW_KEY: Final = "__overflow__"
OVERFLOW_VALUE: Final = "true"
#: Type, name and tags.
SeriesKey = tuple[Kind, str, tuple[tuple[str, str], ...]]
#: After this many refusals the series of all metrics are counted again: some may have been evicted.
_RECOUNT_AFTER: Final = 10_000
#: Names counted beyond those of cached series before all are counted again.
_SPARE_NAMES: Final = 10_000


class SeriesLimit:
    """Counts cached series by metric name against two limits; 0 means no limit.

    `series` maps type, name and tags to the cached series; its entries disappear by themselves.
    """

    def __init__(self, series: MutableMapping[SeriesKey, Series], per_metric: int, total: int) -> None:
        self._series = series
        self._per_metric = per_metric
        self._total = total
        self._counts: Counter[str] = Counter()  # by name; too high where series were evicted
        self._held: dict[tuple[Kind, str], Series] = {}
        self._refused = 0  # since the last count
        self.new_series = 0  # those counted, and lines beyond a limit

    def count(self, name: str) -> None:
        """Count a new series of a metric."""
        self.new_series += 1
        self._counts[name] += 1
        if len(self._counts) > len(self._series) + _SPARE_NAMES:
            self._recount()

    def overflow(self, kind: Kind, name: str, static: Mapping[str, str]) -> Series:
        """Return the series that keeps the totals of lines beyond a limit, with the static tags.

        It belongs to the metric itself, or to `__overflow__` if the metric has no series. It stays as long as
        its metric has others.
        """
        name = name if self._counts[name] else OVERFLOW_KEY
        key = (kind, name, tuple(sorted({**static, OVERFLOW_KEY: OVERFLOW_VALUE}.items())))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(*key)
            self.count(name)
        series.overflow = True
        self.new_series += 1
        self._held[kind, name] = series
        return series

    def is_beyond(self, name: str) -> bool:
        """Return whether one more series of a metric would exceed a limit."""
        if self._is_full(name):
            self._refused += 1
            if self._refused < _RECOUNT_AFTER:
                return True
            self._recount()
        return self._is_full(name)

    def _is_full(self, name: str) -> bool:
        if self._total and len(self._series) >= self._total:
            return True
        return bool(self._per_metric) and self._counts[name] >= self._per_metric

    def _recount(self) -> None:
        self._refused = 0
        self._counts = Counter(key[1] for key in list(self._series))
        held = Counter(name for _, name in self._held)
        self._held = {key: one for key, one in self._held.items() if self._counts[key[1]] > held[key[1]]}
