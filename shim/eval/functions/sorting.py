"""sort, sort_desc, sort_by_label, sort_by_label_desc: the order of an instant query's answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.eval.functions.signature import (
    CallContext,
    Function,
    all_labels,
    text_of,
    vector_of,
)
from shim.model.label_naming import first_of
from shim.model.labels import Labels
from shim.model.messages import SORT_IN_RANGE
from shim.model.values import Ints, Value, Vector
from shim.promql.functions import UNBOUNDED

_CHUNK = re.compile(r"\d+|\D+", re.ASCII)


def _by_value(name: str, sign: float) -> Function:
    """Sort by value, NaN last; histograms are dropped. A range query only gets a warning."""

    def apply(context: CallContext, args: Sequence[Value]) -> Value:
        floats = replace(vector_of(args[0]), histogram_labels=(), histograms=())
        if context.grid.steps != 1:
            context.notes.warn(SORT_IN_RANGE)
            return floats
        values = sign * floats.values[:, 0]
        order = np.argsort(values, kind="stable")
        if len(np.unique(values)) < len(values):  # of equal values by labels
            rows = np.array(sorted(range(len(values)), key=floats.labels.__getitem__), dtype=np.int64)
            order = rows[np.argsort(values[rows], kind="stable")]
        return _reordered(floats, order)

    return Function(name, ("vector",), "vector", apply)


def _by_label(name: str, *, descending: bool) -> Function:
    """Sort by the given labels in natural order (`a2` before `a10`), then by all labels."""

    def apply(context: CallContext, args: Sequence[Value]) -> Value:
        vector = vector_of(args[0])
        names = [context.naming.answering(text_of(arg), all_labels(vector)) for arg in args[1:]]
        if context.grid.steps != 1:
            context.notes.warn(SORT_IN_RANGE)
            return vector

        def key(labels: Labels) -> tuple[list[list[tuple[int, int, str]]], Labels]:
            return [natural_key(first_of(labels, one)) for one in names], labels

        rows = sorted(range(len(vector.labels)), key=lambda i: key(vector.labels[i]), reverse=descending)
        ordered = _reordered(vector, np.array(rows, dtype=np.int64))
        places = sorted(
            range(len(vector.histograms)), key=lambda i: key(vector.histogram_labels[i]), reverse=descending
        )
        return replace(
            ordered,
            histogram_labels=[vector.histogram_labels[i] for i in places],
            histograms=[vector.histograms[i] for i in places],
        )

    return Function(
        name,
        ("vector", "string"),
        "vector",
        apply,
        optional=UNBOUNDED,
        experimental=True,
        read_labels=slice(1, None),
    )


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key that compares runs of digits as numbers, and puts them before other text."""
    return [(0, int(chunk), chunk) if chunk.isdigit() else (1, 0, chunk) for chunk in _CHUNK.findall(text)]


def _reordered(vector: Vector, rows: Ints) -> Vector:
    return replace(
        vector,
        labels=[vector.labels[row] for row in rows],
        values=vector.values[rows],
        present=vector.present[rows],
        ordered=True,
    )


FUNCTIONS = (
    _by_value("sort", 1.0),
    _by_value("sort_desc", -1.0),
    _by_label("sort_by_label", descending=False),
    _by_label("sort_by_label_desc", descending=True),
)
