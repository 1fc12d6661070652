"""count_values: the number of series with each value, with the value as a label."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from shim.eval.aggregator import AddCounts, AggregationInput, AggregationOperator
from shim.eval.budget import Take, free
from shim.eval.grouping import group_labels
from shim.eval.histogram.buckets import CLOSED, OPEN_LEFT, BucketTable, bucket_table
from shim.model import labels as lbl
from shim.model.errors import ExecutionError
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.labels import Labels
from shim.model.messages import quote
from shim.model.number_format import plain_text
from shim.model.values import Bools, Floats, Histogram, Ints, Vector
from shim.promql.go_strings import is_label_name, quoted


def count_values(
    vector: Vector,
    grouping: Collection[str],
    without: bool,
    label: str,
    take: Take = free,
    naming: LabelNaming = EXACT,
) -> Vector:
    """Return one series per group and value, with the value as `label`, which may be one of the grouping's.

    `take` is asked before they are made: values that never repeat give as many series as points.
    """
    if not is_label_name(label):
        raise ExecutionError(f"invalid label name {quoted(quote(label))}")
    points = _points(vector)
    labels = [*vector.labels, *vector.histogram_labels]
    found = naming.found(grouping, labels)
    # The label belongs to the result, even if `by` does not list it.
    own = {label, *naming.answering(label, labels)}.difference(set(grouping) - {label})
    shows_value = not without or label not in {*grouping, *found.names, lbl.NAME}
    owner, rests = _groups([found.of(one) for one in labels], found.names, without, own)
    texts = points.texts if shows_value else [""]
    codes = points.codes if shows_value else np.zeros_like(points.codes)
    rows, at = _distinct(owner[points.rows] * len(texts) + codes, len(rests) * len(texts))
    take(len(rows) * vector.steps)
    flat = np.bincount(at * vector.steps + points.steps, minlength=len(rows) * vector.steps)
    counts = flat.reshape(len(rows), vector.steps).astype(np.float64)
    keys = ((rests[key // len(texts)], texts[key % len(texts)]) for key in rows.tolist())
    made = [lbl.make((*rest, (label, text))) for rest, text in keys]  # an empty label is dropped
    return Vector(vector.steps, made, counts, counts > 0)


class _Points(NamedTuple):
    """Every present value: its row (floats, then histograms), its step and its text, by index."""

    rows: Ints
    steps: Ints
    codes: Ints
    texts: list[str]


def _points(vector: Vector) -> _Points:
    rows, steps = np.nonzero(vector.present)
    values = vector.values[rows, steps]
    # Values are compared by their bits: -0 and 0 have different texts, and all NaN have one. Most series
    # keep a value for some steps, so only one value of each run is looked up.
    bits = np.where(np.isnan(values), np.nan, values).view(np.uint64)
    changes = np.append(True, bits[1:] != bits[:-1]) if len(bits) else np.zeros(0, dtype=bool)
    starts = np.flatnonzero(changes)
    distinct, of_runs = np.unique(bits[starts], return_inverse=True)
    codes = np.repeat(of_runs.ravel(), np.diff(starts, append=len(bits)))
    numbers: dict[str, int] = {}
    for value in distinct.view(np.float64).tolist():
        numbers.setdefault(plain_text(value), len(numbers))
    found = [(rows, steps, codes)]
    for row, histogram in enumerate(vector.histograms, start=len(vector.labels)):
        for text, where in _histogram_texts(histogram):
            at = np.flatnonzero(where)
            number = numbers.setdefault(text, len(numbers))
            found.append((np.full(len(at), row), at, np.full(len(at), number)))
    all_rows, all_steps, all_codes = (np.concatenate(column) for column in zip(*found, strict=True))
    return _Points(all_rows, all_steps, all_codes, list(numbers))


def _distinct(keys: Ints, size: int) -> tuple[Ints, Ints]:
    """Return the distinct keys, ascending, and the index of each key among them; keys are below `size`."""
    if size > 2 * len(keys):
        found, at = np.unique(keys, return_inverse=True)
        return found, at.ravel()
    occurs = np.bincount(keys, minlength=size) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[keys]


def _groups(
    labels: Sequence[Labels], grouping: Collection[str], without: bool, own: Collection[str]
) -> tuple[Ints, list[Labels]]:
    """Return the group of each row, and the labels of each group without `own`, the labels of the value."""
    groups: dict[Labels, int] = {}
    rests = (lbl.without(group_labels(one, grouping, without), own) for one in labels)
    return np.array([groups.setdefault(rest, len(groups)) for rest in rests], dtype=np.int64), list(groups)


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
    """Format as Prometheus' FloatHistogram.String(): `{count:3, sum:4, [-2,-1):1, (0.5,1]:2}`."""
    parts = [f"count:{plain_text(float(facts[0]))}", f"sum:{plain_text(float(facts[1]))}"]
    for column in np.flatnonzero(facts[2:]):
        low, high = plain_text(float(table.lower[column])), plain_text(float(table.upper[column]))
        rule = table.rule[column]
        left = "(" if rule == OPEN_LEFT else "["
        right = "]" if rule in (OPEN_LEFT, CLOSED) else ")"
        parts.append(f"{left}{low},{high}{right}:{plain_text(float(facts[2 + column]))}")
    return "{" + ", ".join(parts) + "}"


def _apply(given: AggregationInput) -> Vector:
    return count_values(given.vector, given.grouping, given.without, given.text, given.take, given.naming)


AGGREGATIONS = (
    AggregationOperator(
        "count_values",
        "The number of series with each value; the parameter is the label for the value",
        _apply,
        parameter="string",
        chunks=AddCounts(),
    ),
)
