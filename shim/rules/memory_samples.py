"""Samples in memory, and the leaves of plans read from them: no store, no catalog. Pure.

Every series is a gauge, so a query has the same meaning as in Prometheus. A stale marker ends its series.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shim.eval.budget import free
from shim.eval.merge import relabelled
from shim.model import labels as lb
from shim.model.errors import Unsupported
from shim.model.grid import Grid
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.values import Annotations, Bools, Floats, Samples, Scalar, Value, Vector
from shim.plan.nodes import Merged, RangeCall, RawRange, SampleTimes, Select, Total, Window
from shim.read.sample_functions import over_windows, scalars

#: A value that ends its series.
STALE: Final = None


@dataclass(slots=True)
class MemorySeries:
    """Samples of one series, times ascending."""

    labels: Labels
    times_ms: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    stale: bytearray = field(default_factory=bytearray)

    def at(self, time_ms: int, lookback_ms: int) -> int:
        """Return the index of the sample that a selector finds, -1 for none."""
        i = bisect_right(self.times_ms, time_ms) - 1
        return -1 if i < 0 or self.times_ms[i] <= time_ms - lookback_ms or self.stale[i] else i


class MemorySamples:
    """All series by name."""

    def __init__(self) -> None:
        self._series: dict[Labels, MemorySeries] = {}
        self._of_name: dict[str, list[MemorySeries]] = defaultdict(list)

    def append(self, labels: Labels, time_ms: int, value: float | None) -> None:
        """Add a sample; one that is not later than the last of its series is left out."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = MemorySeries(labels)
            self._of_name[lb.get(labels, lb.NAME)].append(series)
        if series.times_ms and time_ms <= series.times_ms[-1]:
            return
        series.times_ms.append(time_ms)
        series.values.append(0.0 if value is STALE else value)
        series.stale.append(value is STALE)

    def append_histogram(self, labels: Labels, time_ms: int, value: object) -> None:
        """Leave out a histogram: these samples are numbers."""

    def has(self, name: str | None) -> bool:
        """Return whether there are series of a metric; None: of any."""
        return bool(self._series) if name is None else name in self._of_name

    def select(self, matchers: Sequence[Matcher]) -> list[MemorySeries]:
        """Return the series that meet all conditions."""
        name = next((m.value for m in matchers if m.name == lb.NAME and m.op == "="), None)
        among = self._series.values() if name is None else self._of_name.get(name, ())
        return [s for s in among if all(m.matches(lb.get(s.labels, m.name)) for m in matchers)]


class Unbounded:
    """Grants every request for memory and time: the samples are in memory already."""

    def check_cells(self, count: int) -> None:
        """Grant memory."""
        free(count)

    def check_time(self) -> None:
        """Grant time."""


@dataclass(frozen=True, slots=True)
class MemoryLeaves:
    """Reads the leaves of one query."""

    samples: MemorySamples
    notes: Annotations
    naming: LabelNaming = EXACT
    reader: Unbounded = field(default_factory=Unbounded)

    def read(self, leaf: Select | SampleTimes | RangeCall | Merged, args: Sequence[Value]) -> Vector:
        """Return the leaf's value; one step if `@` fixes it. Raises QueryError."""
        match leaf:
            case Select():
                return self._instant(leaf)
            case SampleTimes():
                return relabelled(self._instant(leaf.select, times=True), lb.dropping_name)
            case RangeCall():
                samples = self._window(leaf.window)
                notes, window = self.notes.at(leaf.place), leaf.window
                return over_windows(
                    leaf.function,
                    samples,
                    leaf.grid,
                    window.ends,
                    window.window_ms,
                    scalars(args),
                    notes,
                    free,
                )
        raise Unsupported("sums of stored state are not in memory")

    def _range_call(self, leaf: RangeCall, args: Sequence[Scalar]) -> Vector:
        window, notes = leaf.window, self.notes.at(leaf.place)
        samples = self._window(window)
        return over_windows(
            leaf.function, samples, leaf.grid, window.ends, window.window_ms, args, notes, free
        )

    def total(self, node: Total, args: Sequence[Value]) -> Vector | None:
        """Return nothing: labels are always there."""
        del node, args
        return None

    def raw(self, node: RawRange) -> Samples:
        """Return the samples of a range vector."""
        return self._window(node.window)

    def check_histograms(self, samples: Samples, steps: int) -> None:
        """Accept all samples: there are no histograms."""

    def _instant(self, leaf: Select, *, times: bool = False) -> Vector:
        found = self.samples.select(leaf.matchers)
        shape = (len(found), leaf.at.steps)
        values, present = np.zeros(shape), np.zeros(shape, dtype=bool)
        for row, series in enumerate(found):
            _fill(series, leaf.at, leaf.lookback_ms, values[row], present[row], times=times)
        kept = np.flatnonzero(present.any(axis=1))
        labels = [found[row].labels for row in kept]
        return Vector(leaf.at.steps, labels, values[kept], present[kept])

    def _window(self, window: Window) -> Samples:
        if window.extended:
            raise Unsupported(f"the modifier {window.extended} is not supported here")
        after_ms, until_ms = window.ends.start_ms - window.window_ms, window.ends.end_ms
        labels, all_times, all_values, offsets = [], [], [], [0]
        for series in self.samples.select(window.matchers):
            begin, end = (bisect_right(series.times_ms, ms) for ms in (after_ms, until_ms))
            if begin == end:
                continue
            live = np.frombuffer(series.stale[begin:end], dtype=np.bool_) == 0
            all_times.append(np.array(series.times_ms[begin:end], dtype=np.int64)[live])
            all_values.append(np.array(series.values[begin:end])[live])
            labels.append(series.labels)
            offsets.append(offsets[-1] + int(live.sum()))
        return Samples(
            labels,
            np.array(offsets, dtype=np.int64),
            np.concatenate(all_times) if labels else np.zeros(0, dtype=np.int64),
            np.concatenate(all_values) if labels else np.zeros(0),
        )


def _fill(
    series: MemorySeries, at: Grid, lookback_ms: int, values: Floats, present: Bools, *, times: bool
) -> None:
    """Write the values that a selector finds, or the times of their samples in seconds."""
    for step, time_ms in enumerate(range(at.start_ms, at.end_ms + 1, at.step_ms)):
        if (i := series.at(time_ms, lookback_ms)) >= 0:
            present[step] = True
            values[step] = series.times_ms[i] / 1000 if times else series.values[i]
