"""Evaluates a plan: shim/read reads the leaves, shim/eval computes everything above in NumPy.

Each kind of node has one function. Equal leaves are read once, and all leaves are read concurrently before
anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar, assert_never

import numpy as np

from shim.eval.aggregate import aggregate
from shim.eval.binary import NO_FILL, ONE_TO_ONE, binary, negate
from shim.eval.broadcast import repeated
from shim.eval.budget import Take
from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext, all_labels
from shim.eval.info import info
from shim.eval.merge import relabelled
from shim.eval.subquery import samples_from
from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.model.label_naming import LabelNaming, final_labels
from shim.model.values import Annotations, Samples, Scalar, String, Value, Vector
from shim.plan.nodes import (
    Aggregate,
    Binary,
    Call,
    Info,
    Merged,
    Negate,
    Node,
    Number,
    RangeCall,
    RawRange,
    RawSubquery,
    SampleTimes,
    Select,
    SubqueryCall,
    Text,
    Total,
    children,
)
from shim.read.sample_functions import over_windows, scalars
from shim.read.side_by_side import side_by_side

Leaf = Select | SampleTimes | RangeCall | Merged
L = TypeVar("L")
V = TypeVar("V")


class QueryLimits(Protocol):
    """Bounds of one query's memory and time."""

    def check_cells(self, count: int, /) -> None:
        """Refuse arrays of this number of values if they are too many. Raises QueryError."""

    def check_time(self) -> None:
        """Refuse to go on after the deadline. Raises QueryError."""


class LeafReader(Protocol):
    """Reads the leaves of one query: from the store (shim/read/selectors.py), or from memory."""

    @property
    def naming(self) -> LabelNaming:
        """The names of labels in this query."""

    @property
    def reader(self) -> QueryLimits:
        """The limits of this query."""

    def read(self, leaf: Leaf, args: Sequence[Value], /) -> Vector:
        """Return the leaf's value; one step if `@` fixes it. Raises QueryError."""

    def total(self, node: Total, args: Sequence[Value], /) -> Vector | None:
        """Aggregate all series without their labels; None if labels have to be read. Raises QueryError."""

    def raw(self, node: RawRange, /) -> Samples:
        """Return the samples of a range vector. Raises QueryError."""

    def check_histograms(self, samples: Samples, steps: int, /) -> None:
        """Refuse histograms that need too much memory. Raises QueryError."""


@dataclass(slots=True)
class Evaluator:
    """Evaluates one plan; `pool` runs the reads."""

    leaves: LeafReader
    notes: Annotations
    pool: ThreadPoolExecutor

    def run(self, plan: Node) -> Value | Samples:
        """Return the value of the plan over its grid. Raises QueryError."""
        try:
            return self._run(plan)
        except RecursionError:
            raise BadData("parse error: nested too deep") from None  # as plan/build.py says it

    def _run(self, plan: Node) -> Value | Samples:
        if isinstance(plan, RawRange):
            return self.leaves.raw(plan)
        run = _Run(self, self._read(plan))
        if isinstance(plan, RawSubquery):
            return run.points(plan)
        value = run.value(plan)
        return self.finished(value) if isinstance(value, Vector) else value

    def finished(self, value: Vector) -> Vector:
        """Return the value under the labels that the answer shows."""
        shown = self.leaves.naming.shown(all_labels(value))
        return relabelled(value, partial(final_labels, shown=shown))

    def _read(self, plan: Node) -> dict[Leaf | Total, Vector]:
        """Read every leaf, after the arguments of range functions.

        Totals come first: one that turns out to need the labels of its series is aggregated from a leaf.
        """
        leaves = dict.fromkeys(_leaves_of(plan))
        totals = [leaf for leaf in leaves if isinstance(leaf, Total)]
        found = self._side_by_side(self.leaves.total, totals, lambda total: total.child)
        read: dict[Leaf | Total, Vector] = {leaf: one for leaf, one in found.items() if one is not None}
        others = (leaf.child if isinstance(leaf, Total) else leaf for leaf in leaves if leaf not in read)
        return read | self._side_by_side(self.leaves.read, list(dict.fromkeys(others)), lambda leaf: leaf)

    def _side_by_side(
        self, read: Callable[[L, Sequence[Value]], V], leaves: Sequence[L], called: Callable[[L], Node]
    ) -> dict[L, V]:
        """Call `read` for each leaf, with the arguments of its range function, in parallel."""
        run = _Run(self, {})
        asked: list[tuple[L, Sequence[Value]]] = []
        for leaf in leaves:
            call = called(leaf)
            asked.append((leaf, [run.value(a) for a in call.args] if isinstance(call, RangeCall) else []))
        found = side_by_side(self.pool, [partial(read, leaf, args) for leaf, args in asked])
        return dict(zip(leaves, found, strict=True))


@dataclass(slots=True)
class _Run:
    of: Evaluator
    read: dict[Leaf | Total, Vector]
    waiting: int = 0  # numbers held by operands that wait for others; leaves are counted already

    @property
    def take(self) -> Take:
        return self.of.leaves.reader.check_cells

    def value(self, node: Node) -> Value:
        """Return the value of a node over its grid. Raises QueryError."""
        self.of.leaves.reader.check_time()  # between nodes: a NumPy call cannot be interrupted
        match node:
            case Number():
                self.take(node.grid.steps)
                return Scalar(np.full(node.grid.steps, node.value))
            case Text():
                return String(node.text)
            case Select() | SampleTimes() | RangeCall() | Merged():
                return self._leaf(node)
            case RawRange() | RawSubquery():
                raise BadData("a range vector can only be the argument of a function")
            case Binary():  # here, not below: a chain of 300 operators needs few frames each
                return self._binary(node)
            case Total():
                return self._total(node)
        return self._computed(node)

    def _computed(self, node: SubqueryCall | Call | Info | Aggregate | Negate) -> Value:
        """Evaluate a node that is computed from the values of others."""
        match node:
            case SubqueryCall():
                return self._subquery(node)
            case Call():
                return self._call(node)
            case Info():
                return self._info(node)
            case Aggregate():
                return self._aggregate(node)
            case Negate():
                return negate(self.value(node.child), self.of.notes)
        assert_never(node)

    def _call(self, node: Call) -> Value:
        self.take(node.grid.steps)
        args = self.values(node.args)
        notes, naming = self.of.notes.at(node.place), self.of.leaves.naming
        context = CallContext(node.grid, notes, node.absent_labels, naming, self.take)
        return call(node.function, args, context)

    def _leaf(self, node: Leaf) -> Vector:
        if node not in self.read:  # a leaf inside the arguments of another leaf
            args = [self.value(a) for a in node.args] if isinstance(node, RangeCall) else []
            self.read[node] = self.of.leaves.read(node, args)
        return repeated(self.read[node], node.grid.steps, self.take)

    def _binary(self, node: Binary) -> Value:
        left, right = self.values((node.left, node.right))
        notes, naming = self.of.notes.at(node.place), self.of.leaves.naming
        matching = node.matching
        if node.fill != NO_FILL:
            matching = replace(matching or ONE_TO_ONE, fill=node.fill)
        return binary(node.op, left, right, matching, node.return_bool, notes, naming, self.take)

    def values(self, nodes: Sequence[Node]) -> list[Value]:
        """Evaluate the nodes in order; values that wait for later ones count as held memory."""
        before, out = self.waiting, []
        for node in nodes:
            found = self.value(node)
            out.append(found)
            if isinstance(found, Vector) and not any(found is one for one in self.read.values()):
                self.waiting += found.cells
                self.take(self.waiting)
        self.waiting = before
        return out

    def _total(self, node: Total) -> Vector:
        if node in self.read:
            return repeated(self.read[node], node.grid.steps, self.take)
        return self._aggregate(
            Aggregate(node.grid, node.op, node.grouping, node.child, node.param, node.place)
        )

    def _subquery(self, node: SubqueryCall) -> Vector:
        if node.inner is None:
            return Vector.empty(node.grid.steps)
        self.take(node.inner.grid.steps)
        inner = self._inner(node.inner)
        args = scalars([self.value(a) for a in node.args])
        samples = samples_from(inner, node.inner.grid)
        self.of.leaves.check_histograms(samples, node.ends.steps)
        found = over_windows(
            node.function, samples, node.grid, node.ends, node.window_ms, args, self.of.notes.at(node.place),
            self.take,
        )  # fmt: skip
        return repeated(found, node.grid.steps, self.take)

    def points(self, node: RawSubquery) -> Samples:
        """Return the points of a subquery that is the whole query, as the answer shows them."""
        if node.inner is None:
            return samples_from(Vector.empty(1), Grid.instant(0))
        return samples_from(self.of.finished(self._inner(node.inner)), node.inner.grid)

    def _inner(self, node: Node) -> Vector:
        """Evaluate the expression of a subquery; a scalar becomes a series without labels."""
        inner = self.value(node)
        if isinstance(inner, Scalar):
            steps = len(inner.values)
            return Vector(steps, [()], inner.values[None, :], np.ones((1, steps), bool))
        if isinstance(inner, String):
            raise BadData("subquery is only allowed on instant vector, got string")
        return inner

    def _info(self, node: Info) -> Vector:
        base = self.value(node.base)
        if not isinstance(base, Vector):
            raise BadData("expected type instant vector in call to function info")
        return info(base, self._leaf(node.source), node.given, self.of.leaves.naming)

    def _aggregate(self, node: Aggregate) -> Vector:
        vector = self.value(node.child)
        if not isinstance(vector, Vector):
            raise BadData(f"expected type instant vector in aggregation expression {node.op}")
        param = None if node.param is None else self.value(node.param)
        if isinstance(param, Vector):
            raise BadData(f"expected type scalar in aggregation parameter of {node.op}")
        grouping = node.grouping
        notes = self.of.notes.at(node.place)
        naming = self.of.leaves.naming
        return aggregate(node.op, vector, grouping.labels, grouping.without, param, notes, self.take, naming)


def _leaves_of(node: Node) -> Iterator[Leaf | Total]:
    """Yield the leaves in the order they are evaluated."""
    if isinstance(node, Leaf | Total):
        yield node
        return
    for child in children(node):
        yield from _leaves_of(child)
