"""MQL -> the query in SnQL that means the same: one -If aggregate for each aggregate of a metric. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from shim.model.errors import BadData
from shim.mql.mql_syntax import MqlCall, MqlFormula, MqlMetric, MqlNumber, MqlScoped
from shim.snql.aggregates import aggregate_name
from shim.snql.name_scope import SERIES_COLUMNS
from shim.snql.scalar_functions import FUNCTIONS
from shim.snql.syntax import (
    Aliased,
    ColumnRef,
    Constant,
    Expression,
    FunctionCall,
    Ordering,
    SnqlQuery,
    TagRef,
    TupleOf,
)
from shim.snql.syntax_errors import misplaced

#: The column of the answer that has the formula's value, and that of the start of a bucket.
VALUE: Final = "aggregate_value"
TIME: Final = "time"


@dataclass(frozen=True, slots=True)
class MqlContext:
    """The parts of a request other than its query's text. `mappings`: ids or MRIs by name."""

    granularity_s: int | None = None
    interval_s: int | None = None
    totals: bool = False
    descending: bool | None = None  # ORDER BY of the value; None without
    use_case: str | None = None
    limit: int | None = None
    offset: int = 0
    mappings: Mapping[str, str | int] | None = None


def to_snql(text: str, formula: MqlFormula, context: MqlContext) -> SnqlQuery:
    """Translate a query. Raises BadData with the place of the error."""
    run = _Translation(text, context)
    value = run.expression(formula, None, None)
    keys = [run.key(name) for name in run.keys or ()]
    taken = {VALUE, *([TIME] if context.interval_s else [])}
    named: list[Expression] = [
        Aliased(of, f"tags[{name}]" if name in taken else name)
        for name, of in zip(run.keys or (), keys, strict=True)
    ]
    if context.interval_s:
        seconds = FunctionCall("toIntervalSecond", (Constant(context.interval_s),))
        named.insert(0, Aliased(FunctionCall("toStartOfInterval", (ColumnRef("timestamp"), seconds)), TIME))
    order = () if context.descending is None else (Ordering(ColumnRef(VALUE), context.descending),)
    return SnqlQuery(
        None,
        (*named, Aliased(value, VALUE)),
        group_by=tuple(named),
        where=run.where(),
        order_by=order,
        limit=context.limit,
        offset=context.offset,
        totals=context.totals,
    )


@dataclass(slots=True)
class _Translation:
    text: str
    context: MqlContext
    keys: tuple[str, ...] | None = None  # of the first aggregate
    aggregates: int = 0

    def expression(
        self, of: MqlFormula, condition: Expression | None, keys: tuple[str, ...] | None
    ) -> Expression:
        """Translate a formula under the condition and keys of the scopes around it."""
        match of:
            case MqlNumber():
                return Constant(int(of.value) if of.value.is_integer() else of.value, of.at)
            case MqlScoped():
                if keys is not None and of.keys is not None and set(keys) != set(of.keys):
                    raise self._error(of.at, "other keys than the BY around it", "expected one BY")
                both = _and(condition, of.condition)
                return self.expression(of.of, both, keys if of.keys is None else of.keys)
            case MqlCall() if aggregate_name(of.name) is not None:
                return self._aggregate(of, condition, keys or ())
            case MqlCall():
                return self._function(of, condition, keys)
            case MqlMetric():
                raise self._error(of.at, f'metric "{of.name}" by itself', "expected an aggregate of it")

    def _function(
        self, of: MqlCall, condition: Expression | None, keys: tuple[str, ...] | None
    ) -> Expression:
        if of.name not in FUNCTIONS or of.parameters:
            raise self._error(of.at, f"unknown function {of.name}()", "expected an aggregate or a formula")
        return FunctionCall(
            of.name, tuple(self.expression(arg, condition, keys) for arg in of.args), at=of.at
        )

    def _aggregate(self, of: MqlCall, condition: Expression | None, keys: tuple[str, ...]) -> Expression:
        named = aggregate_name(of.name)
        assert named is not None
        (metric, *more) = of.args
        if isinstance(metric, MqlScoped) and metric.keys is None:
            condition, metric = _and(condition, metric.condition), metric.of
        if more or not isinstance(metric, MqlMetric) or named.conditional:
            raise self._error(of.at, f"{of.name}() of something else", "expected one metric")
        if self.aggregates and set(self.keys or ()) != set(keys):
            raise self._error(of.at, "other keys than the first aggregate", "expected one BY for all")
        self.aggregates += 1
        self.keys = keys if self.keys is None else self.keys
        parameters = tuple(self.expression(p, None, None) for p in of.parameters)
        mapped = self._mapped(metric.name)
        column = ColumnRef("" if isinstance(mapped, int) else mapped, metric.at)
        if isinstance(mapped, int):
            condition = _and(FunctionCall("equals", (ColumnRef("metric_id"), Constant(mapped))), condition)
        if condition is None:
            return FunctionCall(named.function, (column,), parameters, of.at)
        return FunctionCall(f"{named.function}If", (column, self._with_ids(condition)), parameters, of.at)

    def key(self, name: str) -> ColumnRef | TagRef:
        """Return the expression of a key."""
        if name in SERIES_COLUMNS:
            return ColumnRef(name)
        mapped = self._mapped(name)
        return TagRef(mapped, raw=not isinstance(mapped, int))

    def where(self) -> Expression | None:
        """Return the conditions of the context."""
        parts: list[Expression] = []
        if self.context.granularity_s is not None:
            asked = Constant(self.context.granularity_s)
            parts.append(FunctionCall("equals", (ColumnRef("granularity"), asked)))
        if self.context.use_case is not None:
            cases = TupleOf((Constant(self.context.use_case), Constant("")))
            parts.append(FunctionCall("in", (ColumnRef("use_case_id"), cases)))
        if len(parts) < 2:
            return parts[0] if parts else None
        return FunctionCall("and", tuple(parts))

    def _mapped(self, name: str) -> str | int:
        """Return the id that the request maps a name to, or the name (of an MRI: the MRI)."""
        mappings = self.context.mappings or {}
        found = mappings.get(name, name)
        return mappings.get(found, found) if isinstance(found, str) else found

    def _with_ids(self, of: Expression) -> Expression:
        match of:
            case TagRef(key=str(name)):
                return replace(self.key(name), at=of.at)
            case FunctionCall():
                return replace(of, args=tuple(self._with_ids(arg) for arg in of.args))
            case TupleOf():
                return replace(of, items=tuple(self._with_ids(item) for item in of.items))
            case Constant() if isinstance(of.value, str) and self.context.mappings:
                found = self.context.mappings.get(of.value)
                return replace(of, value=found) if isinstance(found, int) else of
        return of

    def _error(self, at: int, problem: str, accepted: str) -> BadData:
        return misplaced(self.text, at, problem, accepted)


def _and(left: Expression | None, right: Expression | None) -> Expression | None:
    if left is None or right is None:
        return left if right is None else right
    parts = [p for side in (left, right) for p in (side.args if _is_and(side) else (side,))]  # type: ignore[union-attr]
    return FunctionCall("and", tuple(parts), at=left.at)


def _is_and(of: Expression) -> bool:
    return isinstance(of, FunctionCall) and of.name == "and"
