"""The rows of a vector by group of an aggregation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from operator import itemgetter
from typing import Any

import numpy as np

from shim.eval.budget import Take, free
from shim.model import labels as lbl
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.labels import Labels
from shim.model.values import Bools, Floats, Histogram, Ints, Vector


def group_labels(labels: Labels, grouping: Collection[str], without: bool) -> Labels:
    """Return the labels of the group that a series belongs to (Prometheus' `by` and `without`)."""
    if without:
        return lbl.unmarked(lbl.without(labels, {*grouping, lbl.NAME}))
    return lbl.only(labels, grouping)


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows of a vector in groups; float rows are sorted by group, otherwise in their original order."""

    vector: Vector
    labels: Sequence[Labels]  # one per group, in order of first appearance
    order: Ints  # the float rows, by group
    owner: Ints  # the group of each float row, in `order`
    histogram_rows: Sequence[Sequence[int]]  # per group
    take: Take = free

    @property
    def sizes(self) -> Ints:
        """The number of float rows per group."""
        return np.bincount(self.owner, minlength=len(self.labels)).astype(np.int64)

    @property
    def with_floats(self) -> Ints:
        """The groups that have float rows."""
        return np.flatnonzero(self.sizes)

    @property
    def starts(self) -> Ints:
        """The index in `order` at which the rows of each group of `with_floats` begin."""
        sizes = self.sizes[self.with_floats]
        return np.cumsum(sizes) - sizes

    @property
    def values(self) -> Floats:
        """The float rows by group."""
        return self.vector.values[self.order]

    @property
    def present(self) -> Bools:
        """Whether each value of the float rows is present."""
        return self.vector.present[self.order]

    def counts(self) -> Floats:
        """Count the floats present per group and step, shape `(groups, steps)`."""
        return self.spread(np.add.reduceat(self.present.astype(np.float64), self.starts, axis=0))

    def histogram_counts(self) -> Floats:
        """Count the histograms present per group and step, shape `(groups, steps)`."""
        out = np.zeros((len(self.labels), self.vector.steps))
        for group, rows in enumerate(self.histogram_rows):
            for row in rows:
                out[group] += self.vector.histograms[row].present
        return out

    def spread(self, per_group: Floats) -> Floats:
        """Spread rows of the groups with floats over all groups, 0 for the others."""
        if len(per_group) == len(self.labels):
            return per_group
        out = np.zeros((len(self.labels), *per_group.shape[1:]))
        out[self.with_floats] = per_group
        return out

    def histograms_of(self, group: int) -> list[Histogram]:
        """Return the histograms of a group."""
        return [self.vector.histograms[row] for row in self.histogram_rows[group]]


def by_columns(labels: Sequence[Labels], names: Collection[str]) -> tuple[Ints, list[Labels]] | None:
    """Return the group of each label set under `by (names)`, and the groups in order of first appearance.

    Returns None where the sets do not all have these labels at the same places. Most metrics do, and then no
    Python code runs per set. Names in METADATA, whose groups may lose them, are left to `grouped`.
    """
    if not labels or not lbl.METADATA.isdisjoint(names):
        return None
    places = [i for i, (name, _) in enumerate(labels[0]) if name in names]
    if not places or len(places) != len(set(names)):
        return None
    pick: Callable[[Labels], Any] = itemgetter(*places)
    try:
        keys = list(map(pick, labels))
    except IndexError:
        return None
    numbers: dict[Any, int] = dict(zip(dict.fromkeys(keys), count()))
    found = [key if len(places) > 1 else (key,) for key in numbers]
    own = [labels[0][i][0] for i in places]
    if any([name for name, _ in one] != own for one in found):
        return None
    return np.fromiter(map(numbers.__getitem__, keys), dtype=np.int64, count=len(keys)), found


def grouped(vector: Vector, grouping: Collection[str], without: bool, naming: LabelNaming = EXACT) -> Groups:
    """Return the vector's rows by group."""
    if not grouping and not without:
        return _all(vector)
    found = naming.found(grouping, vector.labels, vector.histogram_labels)
    names = found.names
    if not without and not found.renamed and not vector.histogram_labels:
        columns = by_columns(vector.labels, names)
        if columns is not None:
            owner, labels = columns
            order = np.argsort(owner, kind="stable")
            return Groups(vector, labels, order, owner[order], [[] for _ in labels])
    metadata = without or not lbl.METADATA.isdisjoint(names)
    numbers: dict[Labels, int] = {}
    going: set[int] = set()  # groups with a member that loses its name: these lose it too, with its metadata

    def number(labels: Labels) -> int:
        group = numbers.setdefault(group_labels(found.of(labels), names, without), len(numbers))
        if metadata and lbl.drops_name(labels):
            going.add(group)
        return group

    owner = np.array([number(labels) for labels in vector.labels], dtype=np.int64)
    histogram_owner = [number(labels) for labels in vector.histogram_labels]
    rows: list[list[int]] = [[] for _ in numbers]
    for row, group in enumerate(histogram_owner):
        rows[group].append(row)
    order = np.argsort(owner, kind="stable")
    shown = [lbl.dropping_name(one) if n in going else one for one, n in numbers.items()]
    return Groups(vector, shown, order, owner[order], rows)


def _all(vector: Vector) -> Groups:
    """Return all rows as one group, without reading their labels."""
    floats, histograms = len(vector.labels), len(vector.histogram_labels)
    if not floats and not histograms:
        return Groups(vector, [], np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), [])
    owner = np.zeros(floats, dtype=np.int64)
    return Groups(vector, [lbl.EMPTY], np.arange(floats), owner, [list(range(histograms))])
