"""The aggregates of a query as leaves of its plan: one leaf a selection, whatever is measured of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from shim.snql.aggregates import COLUMNS, PREFERRED, Measure, aggregate_name, kinds_of
from shim.snql.entities import Entity
from shim.snql.lowered import MeasureSlot, StoredBuckets
from shim.snql.name_scope import NameScope, walk
from shim.snql.syntax import ColumnRef, Constant, Expression, FunctionCall

_MAX_AGGREGATES: Final = 100


class AggregateLeaves:
    """Collects aggregates. `series`: the query's conditions on series."""

    def __init__(self, scope: NameScope, series: Sequence[Expression]) -> None:
        self._scope = scope
        self._series = series
        self._leaves: dict[StoredBuckets, list[Measure]] = {}  # by the leaf without measures
        self._slots: dict[Expression, tuple[StoredBuckets, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._leaves)

    @property
    def leaves(self) -> tuple[StoredBuckets, ...]:
        """The leaves, each with all that is measured of it."""
        return tuple(replace(leaf, measures=tuple(m)) for leaf, m in self._leaves.items())

    @property
    def slots(self) -> dict[Expression, MeasureSlot]:
        """Where each aggregate is measured."""
        order = list(self._leaves)
        return {of: MeasureSlot(order.index(leaf), number) for of, (leaf, number) in self._slots.items()}

    def add_presence(self) -> None:
        """Add a leaf that measures nothing: groups that have a bucket."""
        kinds = PREFERRED if self._scope.entity is None else (self._scope.entity.kind,)
        self._leaf(StoredBuckets(tuple(kinds), ()), self._series)

    def find(self, expressions: Sequence[Expression]) -> None:
        """Collect the aggregates of expressions. Raises BadData."""
        for of in expressions:
            for part in walk(of):
                if isinstance(part, FunctionCall) and part not in self._slots:
                    self._take_aggregate(part)
                if len(self._slots) > _MAX_AGGREGATES:
                    raise self._scope.error(part.at, f"more than {_MAX_AGGREGATES} aggregates")

    def _take_aggregate(self, of: FunctionCall) -> None:
        named = aggregate_name(of.name)
        if named is None:
            return
        args = of.args
        series = list(self._series)
        if named.conditional:
            if len(args) != 2 and not (len(args) == 1 and named.function == "count"):
                raise self._scope.error(
                    of.at, f"{of.name}() of {len(args)} arguments", "expected a column, a condition"
                )
            self._scope.check_series(args[-1])
            series.append(args[-1])
            args = args[:-1]
        if len(args) > 1 or (not args and named.function != "count"):
            raise self._scope.error(of.at, f"{of.name}() of {len(of.args)} arguments", "expected one column")
        column = args[0] if args else ColumnRef("count", of.at)
        if not isinstance(column, ColumnRef):
            raise self._scope.error(of.at, f"{of.name}() of an expression", "expected a column")
        measure = Measure(named.function, self._levels(of, named.function))
        if self._scope.entity is None:
            kinds = kinds_of(named.function)
            leaf = self._leaf(StoredBuckets(kinds, (), column.name, first_kind=True, at=of.at), series)
        else:
            self._check_column(of, named.function, column, self._scope.entity)
            leaf = self._leaf(StoredBuckets((self._scope.entity.kind,), (), at=of.at), series)
        measures = self._leaves[leaf]
        if measure not in measures:
            measures.append(measure)
        self._slots[of] = leaf, measures.index(measure)

    def _leaf(self, of: StoredBuckets, series: Sequence[Expression]) -> StoredBuckets:
        """Return the leaf that reads this of some series: a known one where it reads the same."""
        condition = None
        meta = "" if self._scope.entity is None else self._scope.entity.meta
        if series:
            condition = series[0] if len(series) == 1 else FunctionCall("and", tuple(series), at=series[0].at)
        leaf = replace(of, condition=condition, meta=meta)
        same = next((one for one in self._leaves if replace(one, kinds=leaf.kinds) == leaf), None)
        if same is None:
            self._leaves[leaf] = []
            return leaf
        both = tuple(kind for kind in same.kinds if kind in leaf.kinds)
        if not both:
            problem = f'aggregates of "{of.metric}" fit no stored type together'
            raise self._scope.error(of.at, problem, f"{'|'.join(same.kinds)} beside {'|'.join(leaf.kinds)}")
        if both != same.kinds:
            renamed = replace(same, kinds=both)
            self._leaves = {renamed if one == same else one: m for one, m in self._leaves.items()}
            self._slots = {of: (renamed if one == same else one, n) for of, (one, n) in self._slots.items()}
            return renamed
        return same

    def _levels(self, of: FunctionCall, function: str) -> tuple[float, ...]:
        if function not in ("quantile", "quantiles"):
            if of.parameters:
                raise self._scope.error(of.at, f"{of.name}() takes no parameters")
            return ()
        levels = [p.value for p in of.parameters if isinstance(p, Constant)]
        good = [
            float(q) for q in levels if isinstance(q, int | float) and not isinstance(q, bool) and 0 <= q <= 1
        ]
        if len(good) != len(of.parameters) or not good or (function == "quantile" and len(good) != 1):
            accepted = "one number" if function == "quantile" else "numbers"
            raise self._scope.error(
                of.at, f"{of.name}() with other parameters", f"expected {accepted} from 0 to 1"
            )
        return tuple(good)

    def _check_column(self, of: FunctionCall, function: str, column: ColumnRef, entity: Entity) -> None:
        columns = {"count": frozenset({"count"})} if entity.meta else COLUMNS[entity.kind]
        if function not in columns:
            raise self._scope.error(
                of.at, f"{of.name}() of {entity.name}", f"expected {', '.join(sorted(columns))}"
            )
        if column.name not in columns[function]:
            known = ", ".join(sorted(columns[function]))
            raise self._scope.error(
                column.at, f"{of.name}() of {column.name} in {entity.name}", f"expected {known}"
            )
