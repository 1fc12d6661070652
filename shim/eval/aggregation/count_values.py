"""count_values: how many series have each value, the value as a label."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np

from shim import labels as lbl
from shim.errors import ExecutionError
from shim.eval.grouping import group_labels
from shim.eval.histogram.buckets import CLOSED, OPEN_LEFT, BucketTable, bucket_table
from shim.eval.texts import format_float, quote
from shim.labels import Labels
from shim.promql.escapes import is_label_name, quoted
from shim.values import Bools, Floats, Histogram, Vector


def count_values(vector: Vector, grouping: Collection[str], without: bool, label: str) -> Vector:
    """One series per group and value; the value stands in `label`, which may be one of the grouping's."""
    if not is_label_name(label):
        raise ExecutionError(f"invalid label name {quoted(quote(label))}")
    counts: dict[Labels, Floats] = {}

    def add(labels: Labels, text: str, where: Bools) -> None:
        named = lbl.make({**dict(labels), label: text})
        kept = group_labels(named, wanted, without)
        counts.setdefault(kept, np.zeros(vector.steps))[where] += 1

    # The label belongs to the result, whatever `by` says.
    wanted = set(grouping) if without else {*grouping, label}
    for i, labels in enumerate(vector.labels):
        for text, where in _float_texts(vector.values[i], vector.present[i]):
            add(labels, text, where)
    for labels, histogram in zip(vector.histogram_labels, vector.histograms, strict=True):
        for text, where in _histogram_texts(histogram):
            add(labels, text, where)
    if not counts:
        return Vector.empty(vector.steps)
    values = np.array(list(counts.values()))
    return Vector(vector.steps, list(counts), values, values > 0)


def _float_texts(values: Floats, present: Bools) -> Iterator[tuple[str, Bools]]:
    for value in np.unique(values[present]):
        same = np.isnan(values) if np.isnan(value) else values == value
        yield format_float(float(value)), same & present


def _histogram_texts(h: Histogram) -> Iterator[tuple[str, Bools]]:
    table = bucket_table(h)
    facts = np.concatenate([h.count[:, None], h.sum[:, None], table.counts], axis=1)
    distinct, which = np.unique(facts[h.present], axis=0, return_inverse=True)
    steps = np.flatnonzero(h.present)
    for i, row in enumerate(distinct):
        where = np.zeros(len(h.present), dtype=bool)
        where[steps[which.ravel() == i]] = True
        yield _histogram_text(row, table), where


def _histogram_text(facts: Floats, table: BucketTable) -> str:
    """As FloatHistogram.String() of Prometheus: `{count:3, sum:4, [-2,-1):1, (0.5,1]:2}`."""
    number: Callable[[float], str] = format_float
    parts = [f"count:{number(float(facts[0]))}", f"sum:{number(float(facts[1]))}"]
    for column in np.flatnonzero(facts[2:]):
        low, high = number(float(table.lower[column])), number(float(table.upper[column]))
        rule = table.rule[column]
        left = "(" if rule == OPEN_LEFT else "["
        right = "]" if rule in (OPEN_LEFT, CLOSED) else ")"
        parts.append(f"{left}{low},{high}{right}:{number(float(facts[2 + column]))}")
    return "{" + ", ".join(parts) + "}"
