"""The leaves of a query over the store, with the results of earlier rules of the same tick on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from shim.engine.evaluator import Leaf, LeafReader, QueryLimits
from shim.eval.merge import relabelled
from shim.model import labels as lb
from shim.model.label_naming import LabelNaming
from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.values import Annotations, Samples, Value, Vector
from shim.plan.nodes import Merged, RangeCall, RawRange, SampleTimes, Select, Total
from shim.promql.ast import Expr, MatrixSelector, VectorSelector, children
from shim.read.sample_functions import over_windows, scalars
from shim.rules.memory_samples import MemorySamples, MemorySeries


def names_read(expr: Expr) -> Iterator[str | None]:
    """Yield the metric names that an expression reads; None for a selector that may read any."""
    waiting = [expr]
    while waiting:
        one = waiting.pop()
        if isinstance(one, MatrixSelector):
            one = one.vector_selector
        if isinstance(one, VectorSelector):
            yield _name_of(one.matchers)
        waiting += [child for _, child in children(one)]


def _name_of(matchers: Sequence[Matcher]) -> str | None:
    return next((m.value for m in matchers if m.name == lb.NAME and m.op == "="), None)


@dataclass(frozen=True, slots=True)
class LeavesOverStore:
    """The base of readers that put samples in memory over the leaves of a store."""

    store: LeafReader
    samples: MemorySamples

    @property
    def naming(self) -> LabelNaming:
        """The names of labels in this query."""
        return self.store.naming

    @property
    def reader(self) -> QueryLimits:
        """The limits of this query."""
        return self.store.reader

    def total(self, node: Total, args: Sequence[Value]) -> Vector | None:
        """Return None: labels have to be read."""
        del node, args
        return None

    def check_histograms(self, samples: Samples, steps: int) -> None:
        """Refuse histograms that need too much memory. Raises QueryError."""
        self.store.check_histograms(samples, steps)


@dataclass(frozen=True, slots=True)
class OverlayLeaves(LeavesOverStore):
    """Reads leaves; `samples` has at most one sample of a series."""

    notes: Annotations = field(default_factory=Annotations)

    def read(self, leaf: Leaf, args: Sequence[Value]) -> Vector:
        """Return the leaf's value. Raises QueryError."""
        match leaf:
            case Select() if self.samples.select(leaf.matchers):
                return self._latest(leaf, self.store.read(leaf, args), times=False)
            case SampleTimes(select) if self.samples.select(select.matchers):
                named = self.store.read(select, args)
                times = self.store.read(leaf, args)  # in the same order, without names
                if len(named.labels) != len(times.labels):
                    return times
                own = self._latest(select, replace(times, labels=named.labels), times=True)
                return relabelled(own, lb.dropping_name)
            case RangeCall() if _name_of(leaf.window.matchers) and self.samples.select(leaf.window.matchers):
                samples = self.raw(RawRange(leaf.grid, leaf.window.reading(leaf.lookback_ms)))
                window = leaf.window
                return over_windows(
                    leaf.function, samples, leaf.grid, window.ends, window.window_ms, scalars(args),
                    self.notes.at(leaf.place), self.reader.check_cells,
                )  # fmt: skip
            case Select() | SampleTimes() | RangeCall() | Merged():
                return self.store.read(leaf, args)

    def raw(self, node: RawRange) -> Samples:
        """Return the samples of a range vector. Raises QueryError."""
        found = self.store.raw(node)
        after_ms, until_ms = node.window.ends.start_ms - node.window.window_ms, node.window.ends.end_ms
        on_top = {
            series.labels: (series.times_ms[-1], series.values[-1])
            for series in self.samples.select(node.window.matchers)
            if not series.stale[-1] and after_ms < series.times_ms[-1] <= until_ms
        }
        return _with(found, on_top) if on_top else found

    def _latest(self, leaf: Select, found: Vector, *, times: bool) -> Vector:
        """Return the values of a selector, those of the tick where a step sees them."""
        at_ms = leaf.at.times_ms
        on_top = self.samples.select(leaf.matchers)
        row_of = {labels: row for row, labels in enumerate(found.labels)}
        for series in on_top:
            row_of.setdefault(series.labels, len(row_of))
        shape = (len(row_of), found.steps)
        values, present = np.zeros(shape), np.zeros(shape, dtype=bool)
        values[: len(found.labels)], present[: len(found.labels)] = found.values, found.present
        for series in on_top:
            row, time_ms = row_of[series.labels], series.times_ms[-1]
            seen = (at_ms >= time_ms) & (at_ms - leaf.lookback_ms < time_ms)
            values[row, seen] = time_ms / 1000 if times else _value(series)
            present[row, seen] = not series.stale[-1]
        kept = np.flatnonzero(present.any(axis=1))
        labels = list(row_of)
        return replace(
            found, labels=[labels[row] for row in kept], values=values[kept], present=present[kept]
        )


def _value(series: MemorySeries) -> float:
    return series.values[-1]


def _with(found: Samples, on_top: dict[Labels, tuple[int, float]]) -> Samples:
    """Return samples with one more at the end of some series, or of new ones."""
    labels, offsets = list(found.labels), [0]
    times_ms, values = [], []
    left = dict(on_top)
    for row, of in enumerate(found.labels):
        some = slice(found.offsets[row], found.offsets[row + 1])
        own = left.pop(of, None)
        own = None if own is not None and own[0] in found.times_ms[some] else own
        times_ms.append(found.times_ms[some] if own is None else np.append(found.times_ms[some], own[0]))
        values.append(found.values[some] if own is None else np.append(found.values[some], own[1]))
        offsets.append(offsets[-1] + len(values[-1]))
    for of, (time_ms, value) in left.items():
        labels.append(of)
        times_ms.append(np.array([time_ms], dtype=np.int64))
        values.append(np.array([value]))
        offsets.append(offsets[-1] + 1)
    return replace(
        found, labels=labels, offsets=np.array(offsets, dtype=np.int64), times_ms=np.concatenate(times_ms),
        values=np.concatenate(values), low=None, high=None, total=None, count=None, upto=None,
    )  # fmt: skip
