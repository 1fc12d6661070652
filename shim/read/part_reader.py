"""Reads one part of a selector by its type: its values, a function of its windows, or its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from shim.catalog.types import Kind, Part, View
from shim.eval.merge import relabelled
from shim.eval.subquery import samples_from
from shim.eval.window.extended import extended, smoothed_at
from shim.eval.window.function import RangeFunction
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.eval.window.stored import (
    Answer,
    FromDeltas,
    FromObservations,
    FromSamples,
    GaugeColumn,
    LatestValue,
    Presence,
    Refused,
    UnionOfMembers,
)
from shim.model import labels as lb
from shim.model.errors import BadData, Unsupported
from shim.model.grid import Grid
from shim.model.messages import not_a_gauge
from shim.model.numbered_labels import each_changed
from shim.model.values import Annotations, Ints, Samples, Value, Vector
from shim.plan.nodes import RangeCall, Select, Window
from shim.read import classic_series, counters, distributions, gauges, sets
from shim.read.reader import Keys, Reader, each
from shim.read.sample_functions import over_windows, scalars


@dataclass(frozen=True, slots=True)
class PartReader:
    """Gives each part to the reader of its type."""

    reader: Reader
    bounds_of: Callable[[Part], Sequence[float]]  # of `x_bucket`, ascending
    notes: Annotations

    def instant(self, part: Part, leaf: Select) -> tuple[Vector, Ints | None]:
        """Read values, and the times of the samples in ms where they have times of their own."""
        at, lookback_ms = leaf.at, leaf.lookback_ms
        match part.kind, part.view:
            case "gauge", _ if leaf.smoothed:
                samples = self.samples(part, Window(leaf.matchers, leaf.read_at, leaf.back_ms))
                self.reader.check_cells(len(samples.labels) * at.steps)
                return smoothed_at(samples, at, lookback_ms), None
            case "gauge", _:
                return gauges.select(self.reader, part, at, lookback_ms)
            case "set", _:
                return marked(sets.latest(self.reader, part, each(part), at, lookback_ms)), None
            case "histogram", "":
                return distributions.totals(
                    self.reader, part, at, leaf.deltas_ms, observed=leaf.observed
                ), None
            case "histogram", "bucket":
                return self._buckets(part).totals(at, leaf.deltas_ms), None
            case "histogram", "quantile":
                return distributions.quantiles(self.reader, part, at, lookback_ms), None
        return counters.totals(self.reader, part, at, leaf.deltas_ms), None

    # One case for each way in which a stored type answers.
    def window(  # noqa: C901
        self, part: Part, keys: Keys, leaf: RangeCall, args: Sequence[Value]
    ) -> Vector:
        """Evaluate a range function over one part, per key (groups only for functions that merge)."""
        ends, window_ms = leaf.window.ends, leaf.window.window_ms
        function = RANGE_FUNCTIONS[leaf.function]
        if function.expects_gauge and (part.kind, part.view) == ("histogram", ""):
            for metric in {lb.get(labels, lb.NAME): None for labels in part.labels}:
                self.notes.at(leaf.place).argument(0).warn(not_a_gauge(metric))
        how = answer_of(part.kind, part.view, function)
        match how:
            case FromSamples():
                return self._over_samples(part, leaf, function, args)
            case FromDeltas():
                if leaf.observed and (part.kind, part.view) == ("histogram", ""):
                    return distributions.observed(self.reader, part, keys, ends, window_ms, leaf.deltas_ms)
                return self._sums_of_deltas(part, keys, how, ends, window_ms, leaf.deltas_ms)
            case FromObservations():
                parameters = [arg.values for arg in scalars(args)]
                if function.check is not None:
                    function.check(parameters, self.notes.at(leaf.place))
                return distributions.observations(self.reader, part, keys, how, ends, window_ms, parameters)
            case LatestValue():
                return self.instant(part, Select(leaf.grid, leaf.window.matchers, ends, window_ms))[0]
            case UnionOfMembers():
                return marked(sets.unions(self.reader, part, keys, ends, window_ms, leaf.lookback_ms))
            case Presence():
                if part.kind == "set":
                    found = sets.unions(self.reader, part, keys, ends, window_ms, 10_000)
                else:
                    found = self._sums_of_deltas(part, keys, FromDeltas(), ends, window_ms, 10_000)
                return replace(found, values=np.ones_like(found.values))
            case Refused(reason):
                raise BadData(f"{leaf.function}() of a {_word(part)}: {reason}")
            case None:
                raise Unsupported(f"{leaf.function}() over a {_word(part)} is not supported yet")
        assert_never(how)

    def _sums_of_deltas(
        self, part: Part, keys: Keys, deltas: FromDeltas, ends: Grid, window_ms: int, lookback_ms: int
    ) -> Vector:
        """Sum the deltas of each key in each window, by the reader of the part's view."""
        how = (keys, deltas, ends, window_ms, lookback_ms)
        match part.kind, part.view:
            case "histogram", "bucket":
                return self._buckets(part).increases(*how)
            case "histogram", "":
                return distributions.histograms(self.reader, part, *how)
        return counters.increases(self.reader, part, *how)

    def _over_samples(
        self, part: Part, leaf: RangeCall, function: RangeFunction, args: Sequence[Value]
    ) -> Vector:
        """Evaluate a function on samples, without regard to their stored type."""
        name, window = leaf.function, leaf.window
        if function.compute is None:
            raise Unsupported(f"{name}() is for sets, not for a {part.kind}")
        samples = self.samples(part, window.reading(leaf.lookback_ms), function.gauge)
        self.check_histograms(samples, window.ends.steps)
        self.reader.check_cells(len(samples.labels) * window.ends.steps)
        if window.extended and function.extended is not None:
            return extended(
                function.extended, window.extended, samples, window.ends, window.window_ms, leaf.lookback_ms
            )
        return over_windows(
            name, samples, leaf.grid, window.ends, window.window_ms, scalars(args), self.notes.at(leaf.place),
            self.reader.check_cells,
        )  # fmt: skip

    def check_histograms(self, samples: Samples, steps: int) -> None:
        """Check the size of the histograms of `steps` windows. Raises ExecutionError if too large."""
        buckets = sum(s.counts.shape[1] for h in samples.histograms for s in (h.positive, h.negative))
        self.reader.check_cells(buckets * steps)

    def samples(self, part: Part, window: Window, aggregated: Sequence[GaugeColumn] = ()) -> Samples:
        """Read the samples; those of gauges with columns that their buckets aggregated."""
        match part.kind, part.view:
            case "gauge", _:
                return gauges.window_samples(self.reader, part, window.ends, window.window_ms, aggregated)
            case ("counter", _) | (_, "count" | "sum"):
                return counters.samples(self.reader, part, window.ends, window.window_ms)
        grid = self._bucket_ends(window)
        if grid is None:
            return samples_from(Vector.empty(1), Grid.instant(0))
        self.reader.check_cells(len(part.labels) * grid.steps)
        one_bucket = Select(grid, window.matchers, grid, grid.step_ms)
        return samples_from(relabelled(self.instant(part, one_bucket)[0], lb.final_labels), grid)

    def _bucket_ends(self, window: Window) -> Grid | None:
        """Return the ends of the finest buckets that lie in the windows; None if there are none."""
        ends, window_ms = window.ends, window.window_ms
        g = self.reader.granularity_s(ends, window_ms)
        last_s = ends.end_ms // (1000 * g) * g
        if self.reader.limits.settled_s is not None:
            last_s = min(last_s, self.reader.limits.settled_s // g * g)
        first_s = ((ends.start_ms - window_ms) // (1000 * g) + 1) * g
        return None if last_s < first_s else Grid(first_s * 1000, last_s * 1000, g * 1000)

    def _buckets(self, part: Part) -> classic_series.Buckets:
        return classic_series.Buckets(self.reader, part, self.bounds_of(part))


def answer_of(kind: Kind, view: View, function: RangeFunction) -> Answer | None:
    """Return how a function is answered from stored state; None if it is not."""
    match kind, view:
        case "gauge", _:
            return FromSamples()
        case "set", _:
            return function.members
        case "histogram", "":
            return function.distribution
        case "histogram", "bucket" if function.buckets is not None:
            return function.buckets
        case "histogram", "quantile" if not isinstance(function.counter, LatestValue):
            return FromSamples()
    return function.counter


def merges(kind: Kind, view: View, function: str) -> bool:
    """Return whether a function of the sum of a group is the sum of the function."""
    record = RANGE_FUNCTIONS[function]
    return record.merges and isinstance(answer_of(kind, view, record), FromDeltas | UnionOfMembers)


def _word(part: Part) -> str:
    return "distribution" if part.kind == "histogram" else part.kind


def marked(vector: Vector) -> Vector:
    """Mark the values of a vector as sizes of sets."""
    return replace(vector, labels=each_changed(vector.labels, lb.of_set))
