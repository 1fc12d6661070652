"""The record of an aggregation operator, and its input. Pure.

A record holds everything the product knows of an operator besides PromQL's grammar: its computation, its
parameter, and how chunks of series combine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shim.eval.budget import Take, free
from shim.eval.grouping import Groups, grouped
from shim.eval.merge import without_empty_rows
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.values import Annotations, Floats, Scalar, String, Vector
from shim.promql.functions import ValueType

#: Floats that are reduced together: 16 MiB.
_MAX_FLOATS: Final = 1 << 21


@dataclass(frozen=True, slots=True)
class AggregationInput:
    """A vector to aggregate; `param` is k, q or a label, and `take` is asked for memory and time."""

    vector: Vector
    grouping: Collection[str]
    without: bool
    param: Scalar | String | None
    notes: Annotations
    take: Take = free
    naming: LabelNaming = EXACT

    def groups(self) -> Groups:
        """Return the rows of the vector by group."""
        return replace(grouped(self.vector, self.grouping, self.without, self.naming), take=self.take)

    @property
    def numbers(self) -> Floats:
        """The scalar parameter, one value per step."""
        assert isinstance(self.param, Scalar)
        return self.param.values

    @property
    def text(self) -> str:
        """The string parameter."""
        assert isinstance(self.param, String)
        return self.param.text


@dataclass(frozen=True, slots=True)
class Combine:
    """Combine the values of chunks with the operator `by`."""

    by: str


@dataclass(frozen=True, slots=True)
class Mean:
    """Divide the sum of all chunks by their count."""


@dataclass(frozen=True, slots=True)
class AddCounts:
    """Add the counts of each value."""


@dataclass(frozen=True, slots=True)
class KeepBest:
    """Keep the series that may be among the best k."""

    descending: bool


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keep all values: the operator has to see them at once."""


#: How the value over all series follows from chunks of them.
Chunks = Combine | Mean | AddCounts | KeepBest | KeepAll


@dataclass(frozen=True, slots=True)
class AggregationOperator:
    """An operator that aggregates the series of each group at every step."""

    name: str
    doc: str  # one line for the documentation
    apply: Callable[[AggregationInput], Vector]
    parameter: ValueType | None = None
    experimental: bool = False
    chunks: Chunks | None = None  # None: it needs all series with their labels
    only_presence: bool = False  # whether only the presence of series counts, not their values


def plain(reduce: Callable[[Groups, Annotations], Vector]) -> Callable[[AggregationInput], Vector]:
    """Return the `apply` of an operator without parameter, given its reduction of groups."""

    def apply(given: AggregationInput) -> Vector:
        found = some_steps_at_once(given.groups(), lambda groups, _: reduce(groups, given.notes))
        return without_empty_rows(found)

    return apply


def some_steps_at_once(groups: Groups, reduce: Callable[[Groups, slice], Vector]) -> Vector:
    """Return one row per group.

    Reduces some steps at once, because intermediate results take several times their memory.
    """
    vector = groups.vector
    if vector.histograms or vector.values.size <= _MAX_FLOATS:
        return reduce(groups, slice(0, vector.steps))
    width = max(1, _MAX_FLOATS // len(vector.labels))
    found: list[Vector] = []
    for first in range(0, vector.steps, width):
        groups.take(0)
        at = slice(first, min(first + width, vector.steps))
        values, present = vector.values[:, at], vector.present[:, at]
        some = replace(vector, steps=at.stop - at.start, values=values, present=present)
        found.append(reduce(replace(groups, vector=some), at))
    values = np.concatenate([one.values for one in found], axis=1)
    present = np.concatenate([one.present for one in found], axis=1)
    return replace(found[0], steps=vector.steps, values=values, present=present)
