"""Vector matching: which series of both sides belong together, and the labels of their result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from shim.eval.label_bytes import LabelBytes
from shim.model import labels as lbl
from shim.model.label_naming import AS_CALLED, LabelNaming, NamedLabels
from shim.model.labels import Labels
from shim.model.values import Bools, Histogram, Ints, Vector

Cardinality = Literal["one-to-one", "many-to-one", "one-to-many", "many-to-many"]


@dataclass(frozen=True, slots=True)
class Fill:
    """The value of a partner that is missing, by the side it is missing on; None: no value."""

    left: float | None = None
    right: float | None = None


NO_FILL: Final = Fill()


@dataclass(frozen=True, slots=True)
class Matching:
    """`on(labels)` or `ignoring(labels)`, `group_left(include)` or `group_right(include)`, and fill values.

    `matched` and `included` hold the labels that these names refer to.
    """

    card: Cardinality
    on: bool
    labels: tuple[str, ...]
    include: tuple[str, ...] = ()
    fill: Fill = NO_FILL
    matched: NamedLabels = field(default=AS_CALLED, compare=False, repr=False)
    included: NamedLabels = field(default=AS_CALLED, compare=False, repr=False)

    def meant(self, naming: LabelNaming, left: Vector, right: Vector) -> Matching:
        """Return the matching with its names replaced by those of the labels on both sides."""
        if not naming.loose:
            return self
        sets = [labels for v in (left, right) for of in (v.labels, v.histogram_labels) for labels in of]
        matched, included = naming.found(self.labels, sets), naming.found(self.include, sets)
        labels, include = tuple(sorted(matched.names)), tuple(sorted(included.names))
        return replace(self, labels=labels, include=include, matched=matched, included=included)

    def signature(self, labels: Labels) -> Labels:
        """Return the labels that must be equal on both sides."""
        if self.on:
            return lbl.only(self.matched.of(labels), self.labels)
        return lbl.unmarked(lbl.without(labels, {*self.labels, lbl.NAME}))

    def signatures(self, series: Sequence[Labels]) -> list[Labels]:
        """Return the signature of each series."""
        if self.on:
            return [self.signature(labels) for labels in series]
        gone = {*self.labels, lbl.NAME, *lbl.MARKS}
        return [tuple([p for p in labels if p[0] not in gone]) for labels in series]

    def results(self, pairs: Iterable[tuple[Labels, Labels]], *, drop_name: bool) -> list[Labels]:
        """Return the labels of the result of each pair of series, the many side's first.

        Raises ExecutionError where labels that are copied are too long in all of them together.
        """
        if self.on or self.card != "one-to-one" or self.include or not drop_name:
            copied = LabelBytes("group_left" if self.card == "many-to-one" else "group_right")
            return [self._result(many, one, copied, drop_name=drop_name) for many, one in pairs]
        gone = {*self.labels, *lbl.METADATA, *lbl.MARKS}
        return [tuple([p for p in many if p[0] not in gone]) for many, _ in pairs]

    def _result(self, many: Labels, one: Labels, copied: LabelBytes, *, drop_name: bool) -> Labels:
        copied.take(len(lbl.get(one, name)) for name in self.include)
        return self.result_labels(many, one, drop_name=drop_name)

    def result_labels(self, many: Labels, one: Labels, *, drop_name: bool) -> Labels:
        """Return the labels of the result; `many` is the left side of one-to-one. Source: resultMetric."""
        many, one = self.included.of(many), self.included.of(one)
        if self.on and self.card == "one-to-one":
            many = self.matched.of(many)
        counts_members = lbl.is_set(many) and not drop_name
        # Labels that the result loses are dropped first, so that `group_left (__name__)` may set them again.
        goes = drop_name or lbl.NAME in self.include
        kept = dict(lbl.unmarked(many) if goes else many)
        if drop_name:
            kept = {k: v for k, v in kept.items() if k not in lbl.METADATA}
        if self.card == "one-to-one":
            kept = {k: v for k, v in kept.items() if (k in self.labels) == self.on}
        for name in self.include:
            kept[name] = lbl.get(one, name)  # "" removes it
        plain = lbl.without(lbl.make(kept), ())
        return lbl.of_set(plain) if counts_members else plain


ONE_TO_ONE = Matching("one-to-one", on=False, labels=())
"""Without on, ignoring or group: all labels but the name."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand: its series, floats first and then histograms, each with the number of its signature."""

    vector: Vector
    labels: list[Labels]
    present: Bools  # (series, steps)
    signatures: Ints  # (series,)

    @property
    def floats(self) -> int:
        """The number of series that are floats: those come first."""
        return len(self.vector.labels)

    def histogram(self, row: int) -> Histogram:
        """Return the histogram in a row that is none of the floats."""
        return self.vector.histograms[row - self.floats]

    def signatures_present(self, count: int) -> Bools:
        """Return where each signature has any series, shape `(count, steps)`."""
        out = np.zeros((count, self.vector.steps), dtype=bool)
        np.logical_or.at(out, self.signatures, self.present)
        return out


def sides(left: Vector, right: Vector, matching: Matching) -> tuple[Operand, Operand, list[Labels]]:
    """Return both operands with common numbers of signatures, and the signatures themselves."""
    numbers: dict[Labels, int] = {}

    def side(vector: Vector) -> Operand:
        labels = [*vector.labels, *vector.histogram_labels]
        found = [numbers.setdefault(one, len(numbers)) for one in matching.signatures(labels)]
        present = vector.present
        if vector.histograms:
            present = np.concatenate([present, np.array([h.present for h in vector.histograms])])
        return Operand(vector, labels, present, np.array(found, dtype=np.int64))

    first = side(left)
    return first, first if right is left else side(right), list(numbers)
