"""Aggregation of all series of a selector, chunk by chunk. Pure.

The state between chunks is as small as the operator allows: one row for sums, one row per value for
count_values, the candidates of topk and bottomk, and all values for quantile alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol, assert_never

import numpy as np

from shim.eval.aggregate import AGGREGATIONS, aggregate
from shim.eval.aggregation.floats import note_histograms
from shim.eval.aggregation.ranks import contenders, reaching
from shim.eval.aggregator import AddCounts, Combine, KeepAll, KeepBest, Mean
from shim.eval.budget import Take
from shim.eval.grouping import grouped
from shim.eval.histogram.arithmetic import divide
from shim.eval.merge import concat_vectors, picked
from shim.model.errors import Unsupported
from shim.model.labels import EMPTY, Labels
from shim.model.values import Annotations, Bools, Floats, Scalar, String, Vector

#: Choose again when there are more candidates than this factor times those of the last choice.
_GROWTH: Final = 2
_MIN_CHOICE: Final = 1_000


class Fold(Protocol):
    """An aggregation in progress."""

    def add(self, chunk: Vector) -> None:
        """Add a chunk.

        Raises: QueryError.
        """

    def result(self) -> Vector:
        """Return the aggregate of the chunks so far.

        Raises: QueryError.
        """


def fold(op: str, steps: int, param: Scalar | String | None, notes: Annotations, take: Take) -> Fold:
    """Begin an aggregation over all series with a constant `param`; topk and bottomk give candidates."""
    how = AGGREGATIONS[op].chunks
    match how:
        case Combine(by):
            return _Folded(op, by, steps, notes)
        case Mean():
            return _Mean(steps, notes)
        case AddCounts():
            assert isinstance(param, String)
            return _Values(op, steps, param, notes, take)
        case KeepBest(descending):
            assert isinstance(param, Scalar)
            return _Contenders(op, steps, param, notes, take, descending=descending)
        case KeepAll():
            assert isinstance(param, Scalar)
            return _Gathered(op, steps, param, notes, take)
        case None:
            raise Unsupported(f"{op} needs all series at once")
    assert_never(how)


class _Folded:
    def __init__(self, op: str, by: str, steps: int, notes: Annotations) -> None:
        self._op, self._by, self._steps, self._notes = op, by, steps, notes
        self._total = Vector.empty(steps)

    def add(self, chunk: Vector) -> None:
        found = aggregate(self._op, chunk, (), False, None, self._notes)
        both = concat_vectors((self._total, found), self._steps)
        self._total = aggregate(self._by, both, (), False, None, self._notes)

    def result(self) -> Vector:
        return self._total


class _Mean:
    """The sum of all series, divided by their number."""

    def __init__(self, steps: int, notes: Annotations) -> None:
        self._sum, self._count = _Folded("sum", "sum", steps, notes), _Folded("count", "sum", steps, notes)

    def add(self, chunk: Vector) -> None:
        self._sum.add(chunk)
        self._count.add(chunk)

    def result(self) -> Vector:
        total, counts = self._sum.result(), _row(self._count.result())
        with np.errstate(all="ignore"):
            values = total.values / np.maximum(counts, 1)
        histograms = [divide(h, np.maximum(counts, 1)) for h in total.histograms]
        return replace(total, values=values, histograms=histograms)


class _Values:
    """The number of series with each value."""

    def __init__(self, op: str, steps: int, label: String, notes: Annotations, take: Take) -> None:
        self._op, self._steps, self._label, self._notes, self._take = op, steps, label, notes, take
        self._total = Vector.empty(steps)

    def add(self, chunk: Vector) -> None:
        found = aggregate(self._op, chunk, (), False, self._label, self._notes, self._take)
        both = concat_vectors((self._total, found), self._steps)
        self._take(both.values.size)
        self._total = aggregate("sum", both, (self._label.text,), False, None, self._notes, self._take)

    def result(self) -> Vector:
        return self._total


class _Gathered:
    """All values, for an operator that has to see them at once."""

    def __init__(self, op: str, steps: int, q: Scalar, notes: Annotations, take: Take) -> None:
        self._op, self._steps, self._q, self._notes, self._take = op, steps, q, notes, take
        self._values: list[Floats] = []
        self._present: list[Bools] = []
        self._held = 0

    def add(self, chunk: Vector) -> None:
        note_histograms(grouped(chunk, (), False), self._op, self._notes.argument(1))
        self._held += chunk.values.size
        self._take(self._held)
        self._values.append(chunk.values)
        self._present.append(chunk.present)

    def result(self) -> Vector:
        values, present = _rows(self._values, self._steps), _rows(self._present, self._steps)
        self._values.clear()
        self._present.clear()
        every = Vector(self._steps, _Alike(len(values)), values, present.astype(bool))
        return aggregate(self._op, every, (), False, self._q, self._notes, self._take)


class _Contenders:
    """The series that fewer than k others beat at some step, and those equal to the last of the k."""

    def __init__(
        self, op: str, steps: int, k: Scalar, notes: Annotations, take: Take, *, descending: bool
    ) -> None:
        self._descending = descending
        self._op, self._steps, self._notes, self._take = op, steps, notes, take
        self._k = int(max(0.0, k.values[0]))
        self._kept = Vector.empty(steps)
        self._bound: Floats | None = None  # (steps,) the last of the k so far
        self._chosen = 0

    def add(self, chunk: Vector) -> None:
        note_histograms(grouped(chunk, (), False), self._op, self._notes)
        if self._k < 1:
            return
        if self._bound is not None:
            reach = reaching(chunk, self._bound, descending=self._descending)
            chunk = picked(chunk, np.flatnonzero(reach))
        self._kept = concat_vectors(
            (self._kept, replace(chunk, histogram_labels=(), histograms=())), self._steps
        )
        self._take(self._kept.values.size)
        if len(self._kept.labels) > max(self._k, _MIN_CHOICE, _GROWTH * self._chosen) or not self._chosen:
            self._choose()

    def _choose(self) -> None:
        if self._k < len(self._kept.labels):
            keep, self._bound = contenders(self._kept, self._k, descending=self._descending, take=self._take)
            self._kept = picked(self._kept, np.flatnonzero(keep))
            self._chosen = len(self._kept.labels)

    def result(self) -> Vector:
        self._choose()
        return self._kept


class _Alike(Sequence[Labels]):
    """Empty labels for rows that are only counted."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int | slice) -> Labels:  # type: ignore[override]
        return EMPTY


def _rows(chunks: Sequence[Floats] | Sequence[Bools], steps: int) -> Floats:
    found: Floats = np.concatenate(chunks) if chunks else np.zeros((0, steps))
    return found


def _row(vector: Vector) -> Floats:
    return vector.values[0] if len(vector.values) else np.zeros(vector.steps)
