"""Reads one part of a selector by its type: its values, a function of its windows, or its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shim import labels as lb
from shim.catalog.types import Part
from shim.errors import BadData, Unsupported
from shim.eval.aggregation.quantiles import note_invalid_quantile
from shim.eval.merge import relabelled
from shim.eval.range.extended import extended, smoothed_at
from shim.eval.subquery import samples_from
from shim.eval.texts import not_a_gauge
from shim.grid import Grid
from shim.numbered import each_changed
from shim.plan.nodes import RangeCall, Select, Window
from shim.read import classic, counters, distributions, gauges, sets
from shim.read.functions import over_windows, scalars
from shim.read.reader import Keys, Reader, each
from shim.values import Annotations, Ints, Samples, Scalar, Value, Vector

#: Range functions that Prometheus warns of when they see the histograms of a counter, as distributions are.
_OF_GAUGES = frozenset({"delta", "idelta"})


@dataclass(frozen=True, slots=True)
class PartReader:
    """Gives each part to the reader of its type."""

    reader: Reader
    bounds_of: Callable[[Part], Sequence[float]]  # of `x_bucket`, ascending
    notes: Annotations

    def instant(self, part: Part, leaf: Select) -> tuple[Vector, Ints | None]:
        """Values, and the times of the samples in ms where they have times of their own."""
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
                return distributions.totals(self.reader, part, at, leaf.deltas_ms), None
            case "histogram", "bucket":
                return self._buckets(part).totals(at, leaf.deltas_ms), None
            case "histogram", "quantile":
                return distributions.quantiles(self.reader, part, at, lookback_ms), None
        return counters.totals(self.reader, part, at, leaf.deltas_ms), None

    def window(self, part: Part, keys: Keys, leaf: RangeCall, args: Sequence[Value]) -> Vector:
        """A range function over one part, per key (groups only for what merges)."""
        ends, window_ms, name = leaf.window.ends, leaf.window.window_ms, leaf.function
        how = (self.reader, part, keys, name, ends, window_ms, leaf.deltas_ms)
        if name == "last_over_time" and part.kind != "gauge":
            select = Select(leaf.grid, leaf.window.matchers, ends, window_ms)
            return self.instant(part, select)[0]
        match part.kind, part.view:
            case "set", _:
                return self._set_window(part, keys, leaf)
            case "histogram", "bucket" if name in counters.EXACT:
                return self._buckets(part).increases(*how[2:])
            case "histogram", "bucket" if name == "present_over_time":
                found = self._buckets(part).increases(keys, "increase", ends, window_ms, 10_000)
                return replace(found, values=np.ones_like(found.values))
            case "histogram", "":
                return self._distribution_window(part, keys, leaf, args)
            case ("counter", _) | ("histogram", "count" | "sum") if name in counters.EXACT:
                return counters.increases(*how)
        return self._over_samples(part, leaf, args)

    def _over_samples(self, part: Part, leaf: RangeCall, args: Sequence[Value]) -> Vector:
        """A function that knows samples, and not what they are made of."""
        name, window = leaf.function, leaf.window
        if name == "uniq_over_time":
            raise Unsupported(f"{name}() is for sets, not for a {part.kind}")
        samples = self.samples(part, window.reading(leaf.lookback_ms), name)
        self.check_histograms(samples, window.ends.steps)
        self.reader.check_cells(len(samples.labels) * window.ends.steps)
        if window.extended:
            return extended(name, window.extended, samples, window.ends, window.window_ms, leaf.lookback_ms)
        return over_windows(
            name, samples, leaf.grid, window.ends, window.window_ms, scalars(args), self.notes.at(leaf.place),
            self.reader.check_cells,
        )  # fmt: skip

    def check_histograms(self, samples: Samples, steps: int) -> None:
        """Raises ExecutionError where the histograms of so many windows would be too large."""
        buckets = sum(s.counts.shape[1] for h in samples.histograms for s in (h.positive, h.negative))
        self.reader.check_cells(buckets * steps)

    def _distribution_window(self, part: Part, keys: Keys, leaf: RangeCall, args: Sequence[Value]) -> Vector:
        ends, window_ms, name = leaf.window.ends, leaf.window.window_ms, leaf.function
        if name in _OF_GAUGES:
            for metric in {lb.get(labels, lb.NAME): None for labels in part.labels}:
                self.notes.at(leaf.place).argument(0).warn(not_a_gauge(metric))
        if name in distributions.HISTOGRAMS:
            return distributions.histograms(self.reader, part, keys, name, ends, window_ms, leaf.deltas_ms)
        if name in distributions.SAMPLES:
            return self._over_samples(part, leaf, args)
        if name not in distributions.OBSERVATIONS:
            raise Unsupported(f"{name}() over a distribution is not supported yet")
        q = None
        if name == "quantile_over_time":
            assert isinstance(args[0], Scalar)
            q = args[0].values
            note_invalid_quantile(Scalar(q), self.notes.at(leaf.place).argument(0))
        return distributions.observations(self.reader, part, keys, name, ends, window_ms, q)

    def _set_window(self, part: Part, keys: Keys, leaf: RangeCall) -> Vector:
        ends, window_ms, name = leaf.window.ends, leaf.window.window_ms, leaf.function
        if name in sets.UNIONS:
            return marked(sets.unions(self.reader, part, keys, ends, window_ms, leaf.lookback_ms))
        if name == "present_over_time":
            found = sets.unions(self.reader, part, keys, ends, window_ms, 10_000)
            return replace(found, values=np.ones_like(found.values))
        if name in counters.EXACT:
            raise BadData(f"{name}() of a set: sum_over_time is meant, the union of its members")
        raise Unsupported(f"{name}() over a set is not supported yet")

    def samples(self, part: Part, window: Window, function: str = "") -> Samples:
        """With what `function` needs of what buckets aggregated."""
        match part.kind, part.view:
            case "gauge", _:
                return gauges.window_samples(self.reader, part, window.ends, window.window_ms, function)
            case ("counter", _) | (_, "count" | "sum"):
                return counters.samples(self.reader, part, window.ends, window.window_ms)
        grid = self._bucket_ends(window)
        if grid is None:
            return samples_from(Vector.empty(1), Grid.instant(0))
        self.reader.check_cells(len(part.labels) * grid.steps)
        one_bucket = Select(grid, window.matchers, grid, grid.step_ms)
        return samples_from(relabelled(self.instant(part, one_bucket)[0], lb.finished), grid)

    def _bucket_ends(self, window: Window) -> Grid | None:
        """The ends of the finest buckets that lie in the windows, None when there are none."""
        ends, window_ms = window.ends, window.window_ms
        g = self.reader.granularity_s(ends, window_ms)
        last_s = ends.end_ms // (1000 * g) * g
        if self.reader.limits.settled_s is not None:
            last_s = min(last_s, self.reader.limits.settled_s // g * g)
        first_s = ((ends.start_ms - window_ms) // (1000 * g) + 1) * g
        return None if last_s < first_s else Grid(first_s * 1000, last_s * 1000, g * 1000)

    def _buckets(self, part: Part) -> classic.Buckets:
        return classic.Buckets(self.reader, part, self.bounds_of(part))


def marked(vector: Vector) -> Vector:
    """The vector with its values known as sizes of sets."""
    return replace(vector, labels=each_changed(vector.labels, lb.of_set))
