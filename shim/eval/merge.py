"""Rows that came to share one label set, by dropped names or replaced labels. Pure.

Prometheus 3.x: two series of one label set may be joined if they never have a value at the same time.
Otherwise the query fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from shim.eval.histogram.merging import combine
from shim.model.errors import ExecutionError
from shim.model.labels import Labels
from shim.model.messages import SAME_LABELSET
from shim.model.values import Bools, Histogram, Ints, Vector


def relabelled(vector: Vector, change: Callable[[Labels], Labels]) -> Vector:
    """Return the vector with new labels; rows of equal labels are joined.

    Raises: ExecutionError where they overlap.
    """
    return merged(
        replace(
            vector,
            labels=[change(labels) for labels in vector.labels],
            histogram_labels=[change(labels) for labels in vector.histogram_labels],
        )
    )


def merged(vector: Vector) -> Vector:
    """Join the floats of each label set to one row, and its histograms to another.

    A float and a histogram may share labels: a name sent as counter and as timer answers with both
    (semantics.md).

    Raises: ExecutionError when a label set has two values of one type at one time.
    """
    return _merge_histograms(_merge_floats(vector))


def first_wins(vectors: Sequence[Vector]) -> tuple[list[Vector], list[int]]:
    """Keep the first vector's value where several vectors have floats of equal labels.

    Also returns the number of rows of each vector that lost a value. For one name sent with two types.
    """
    given: dict[Labels, Bools] = {}
    out: list[Vector] = []
    lost: list[int] = []
    for vector in vectors:
        present, rows = vector.present, 0
        for row, labels in enumerate(vector.labels):
            before = given.get(labels)
            given[labels] = present[row] if before is None else before | present[row]
            if before is not None and (before & present[row]).any():
                present = present.copy() if present is vector.present else present
                present[row] &= ~before
                rows += 1
        out.append(vector if present is vector.present else replace(vector, present=present))
        lost.append(rows)
    return out, lost


def groups_of(labels: Sequence[Labels]) -> dict[Labels, list[int]]:
    """Return the rows of each label set, in order of first appearance."""
    rows: dict[Labels, list[int]] = {}
    for i, one in enumerate(labels):
        rows.setdefault(one, []).append(i)
    return rows


def picked(vector: Vector, rows: Ints) -> Vector:
    """Return some of the float rows, in this order; the vector itself for all of them in order."""
    if len(rows) == len(vector.labels) and (np.diff(rows) == 1).all():
        return vector
    labels = [vector.labels[row] for row in rows.tolist()]
    return replace(vector, labels=labels, values=vector.values[rows], present=vector.present[rows])


def concat_vectors(vectors: Sequence[Vector], steps: int) -> Vector:
    """Concatenate the rows of all vectors; a label set may occur several times."""
    if not vectors:
        return Vector.empty(steps)
    return Vector(
        steps,
        [labels for v in vectors for labels in v.labels],
        np.concatenate([v.values for v in vectors]),
        np.concatenate([v.present for v in vectors]),
        [labels for v in vectors for labels in v.histogram_labels],
        [h for v in vectors for h in v.histograms],
    )


def without_empty_rows(vector: Vector) -> Vector:
    """Return the vector without series that are present nowhere."""
    alive: Bools = np.asarray(vector.present.any(axis=1))
    shown = [h.present.any() for h in vector.histograms]
    if alive.all() and all(shown):
        return vector
    return replace(
        vector,
        labels=[one for one, keep in zip(vector.labels, alive, strict=True) if keep],
        values=vector.values[alive],
        present=vector.present[alive],
        histogram_labels=[one for one, keep in zip(vector.histogram_labels, shown, strict=True) if keep],
        histograms=[h for h, keep in zip(vector.histograms, shown, strict=True) if keep],
    )


def _merge_floats(vector: Vector) -> Vector:
    if len(set(vector.labels)) == len(vector.labels):
        return vector
    rows = groups_of(vector.labels)
    values = np.zeros((len(rows), vector.steps))
    present = np.zeros((len(rows), vector.steps), dtype=bool)
    for target, sources in enumerate(rows.values()):
        for row in sources:
            here = vector.present[row]
            _refuse(present[target] & here)
            values[target, here] = vector.values[row, here]
            present[target] |= here
    return replace(vector, labels=list(rows), values=values, present=present)


def _merge_histograms(vector: Vector) -> Vector:
    if len(set(vector.histogram_labels)) == len(vector.histogram_labels):
        return vector
    histograms: list[Histogram] = []
    rows = groups_of(vector.histogram_labels)
    for sources in rows.values():
        parts = [vector.histograms[i] for i in sources]
        _refuse(np.sum([h.present for h in parts], axis=0) > 1)
        histograms.append(combine(parts))
    return replace(vector, histogram_labels=list(rows), histograms=histograms)


def _refuse(overlap: Bools) -> None:
    """Raise ExecutionError where there is an overlap."""
    if overlap.any():
        raise ExecutionError(SAME_LABELSET)
