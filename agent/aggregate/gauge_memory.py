"""The last values of gauges, from which deltas start.

A delta (`+1|g`) starts from the gauge's last value, in this bucket or an earlier one. Without a value within
`last_value_s` it starts from 0. The last value of a gauge outlives its series if a line was seen whose sign
would make a delta. Part of the readable definition of the agent's core (agent/aggregate/aggregator.py).

Pure: `now_ms` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import ReferenceType

from agent.aggregate.generational_cache import GenerationalCache
from agent.aggregate.last_values import decode, encode
from agent.aggregate.state import GaugeCell, Series
from agent.protocol.line import MAX_NUMBER, Line
from agent.settings import AggregateSettings


class GaugeMemory:
    """Keeps at most `2 * max_last_values` values besides those of the series in use."""

    def __init__(self, settings: AggregateSettings) -> None:
        self._settings = settings
        #: Of gauges that may get deltas, by `Series.key`: also of those whose series are forgotten.
        self._cells: GenerationalCache[int, GaugeCell] = GenerationalCache(
            settings.max_last_values, settings.gauge_memory_s * 1000
        )

    @property
    def evicted(self) -> int:
        """Values evicted because `max_last_values` was reached."""
        return self._cells.evicted

    def recall(self, series: Series) -> None:
        """Give a new series the last value of its gauge, if there is one."""
        series.gauge = self._cells.get(series.key)
        series.deltas = series.gauge is not None

    def begin_deltas(self, series: Series) -> None:
        """Keep the last values of a series from now on: a line came whose sign would make a delta."""
        series.deltas = True
        self._keep(series)

    def apply(self, cell: GaugeCell, line: Line, series: Series, time_ms: int, now_ms: int) -> None:
        """Add a line's values and deltas to its cell."""
        oldest_base_ms = now_ms - self._settings.last_value_s * 1000
        for sent, delta in zip(line.values, line.deltas, strict=True):
            value = sent
            if delta:
                base = cell if cell.count else series.gauge
                if base is not None and base.last_ms >= oldest_base_ms:
                    value = _add_within_range(base.last, sent)
            cell.add(value, time_ms)
            self.make_latest(series, cell, time_ms)

    def make_latest(self, series: Series, cell: GaugeCell, time_ms: int) -> None:
        """Let deltas start from a cell that got a value at `time_ms`, unless another has a later one."""
        if series.gauge is not cell and (series.gauge is None or series.gauge.last_ms <= time_ms):
            series.gauge = cell
            self._keep(series)

    def _keep(self, series: Series) -> None:
        if series.deltas and series.gauge and self._settings.max_last_values:
            self._cells.put(series.key, series.gauge)

    def export(self, living: Iterable[ReferenceType[Series]], now_ms: int) -> bytes:
        """Return the records (agent/aggregate/last_values.py) of gauges: forgotten ones, and the `living`."""
        oldest_ms = now_ms - self._settings.last_value_s * 1000
        cells = dict(self._cells.items())
        for reference in living if self._settings.max_last_values else ():
            series = reference()
            if series is not None and series.deltas and series.gauge:
                cells[series.key] = series.gauge
        return encode(
            {
                key: (cell.last, cell.last_ms)
                for key, cell in cells.items()
                if cell.last_ms >= max(oldest_ms, 0)
            }
        )

    def load(self, data: bytes, now_ms: int) -> None:
        """Take such records; to be called before the first line."""
        if not self._settings.max_last_values:
            return
        oldest_ms = now_ms - self._settings.last_value_s * 1000
        latest_ms = now_ms + self._settings.future_s * 1000
        for key, (value, time_ms) in decode(data, oldest_ms, latest_ms).items():
            cell = GaugeCell()
            cell.last, cell.last_ms = value, time_ms
            self._cells.put(key, cell)


def _add_within_range(base: float, delta: float) -> float:
    """Add a delta; a result outside the range of a float is clamped to its edge."""
    return min(max(base + delta, -MAX_NUMBER), MAX_NUMBER)
