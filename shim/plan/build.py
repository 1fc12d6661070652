"""Syntax tree -> plan: one function for each kind of node, all times made absolute. Pure.

Source of behaviour: Prometheus 3.x engine (`@` and offset, subquery alignment, default subquery step).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shim.eval.binary import NO_FILL, Fill, Matching
from shim.eval.info import info_matchers
from shim.eval.window.registry import RANGE_FUNCTIONS, extended_functions
from shim.model import labels as lb
from shim.model.errors import BadData, ExecutionError, Unsupported
from shim.model.grid import Grid
from shim.plan import supported
from shim.plan.conditions import absent_labels, unwrap
from shim.plan.experimental import check_fill, check_function
from shim.plan.nodes import (
    Aggregate,
    Binary,
    Call,
    Grouping,
    Info,
    Negate,
    Node,
    Number,
    PlanContext,
    RangeCall,
    RawRange,
    RawSubquery,
    SampleTimes,
    Select,
    SubqueryCall,
    Text,
    Window,
)
from shim.promql.ast import (
    AggregateExpr,
    BinaryExpr,
    CallExpr,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

#: Points a subquery may be evaluated at: all of them are in memory at once.
_MAX_SUBQUERY_STEPS: Final = 1_000_000


def build(tree: Expr, context: PlanContext) -> Node:
    """Return the plan of a whole query over `context.grid`. Raises QueryError, naming the construct."""
    grid = context.grid
    step_ms = 0 if grid == Grid.instant(grid.start_ms) else grid.step_ms
    context = replace(context, start_ms=grid.start_ms, end_ms=grid.end_ms, step_ms=step_ms)
    try:
        return _build(tree, context)
    except RecursionError:
        raise BadData("parse error: nested too deep") from None


def _build(tree: Expr, ctx: PlanContext) -> Node:
    match tree:
        case VectorSelector():
            return _select(tree, ctx)
        case NumberLiteral() | StringLiteral() | MatrixSelector():
            return _leaf(tree, ctx)
        case ParenExpr():
            return _build(tree.expr, _inside(ctx))
        case UnaryExpr():
            inner = _build(tree.expr, _inside(ctx))
            return Negate(ctx.grid, inner) if tree.op == "-" else inner
        case SubqueryExpr():
            return RawSubquery(ctx.grid, _subquery_inner(tree, ctx)[0])
        case CallExpr():
            return _call(tree, ctx)
        case AggregateExpr():
            return _aggregate(tree, ctx)
        case BinaryExpr():
            return _binary(tree, ctx)


def _leaf(tree: NumberLiteral | StringLiteral | MatrixSelector, ctx: PlanContext) -> Node:
    match tree:
        case NumberLiteral():
            return Number(ctx.grid, tree.val)
        case StringLiteral():
            return Text(ctx.grid, tree.val)
        case MatrixSelector():
            return RawRange(ctx.grid, _window(tree, ctx))


def _inside(ctx: PlanContext, child: int = 0) -> PlanContext:
    """Return the context of a child of the node that is being built."""
    return replace(ctx, place=(*ctx.place, child))


# ---------------------------------------------------------------- selectors


def _select(tree: VectorSelector, ctx: PlanContext) -> Select:
    if tree.extended == "anchored":
        raise ExecutionError("anchored modifier can only be used with range vector selectors")
    at, smoothed = _looked_at(tree, ctx), tree.extended == "smoothed"
    return Select(ctx.grid, tree.matchers, at, ctx.lookback_ms, smoothed, ctx.counter_lookback_ms)


def _window(tree: MatrixSelector, ctx: PlanContext) -> Window:
    inner = tree.vector_selector
    if tree.range_ms <= 0:
        raise BadData("parse error: duration must be greater than 0")
    return Window(inner.matchers, _looked_at(inner, ctx), tree.range_ms, inner.extended)


def _looked_at(tree: VectorSelector | SubqueryExpr, ctx: PlanContext) -> Grid:
    """Return where in the data's time a selector looks: `@` fixes it, `offset` moves it."""
    fixed = {"": tree.timestamp_ms, "start": ctx.start_ms, "end": ctx.end_ms}[tree.start_or_end]
    grid = ctx.grid if fixed is None else Grid.instant(fixed)
    return grid.shifted(-tree.offset_ms) if tree.offset_ms else grid


# ---------------------------------------------------------------- calls


def _call(tree: CallExpr, ctx: PlanContext) -> Node:
    name = tree.name
    check_function(name, ctx)
    if name in supported.OF_THE_QUERY:
        return Number(ctx.grid, _of_the_query(name, ctx))
    if name == "info":
        return _info(tree, ctx)
    ranged = next((i for i, a in enumerate(tree.args) if _is_range(a)), None)
    if ranged is not None:
        args = tuple(_build(a, _inside(ctx, i)) for i, a in enumerate(tree.args) if i != ranged)
        return _range_call(tree, ranged, args, ctx)
    args = tuple(_build(a, _inside(ctx, i)) for i, a in enumerate(tree.args))
    if name == "timestamp" and isinstance(args[0], Select):
        return SampleTimes(args[0])
    absent = absent_labels(tree.args[0]) if name == "absent" else lb.EMPTY
    return Call(ctx.grid, name, args, absent, ctx.place)


def _info(tree: CallExpr, ctx: PlanContext) -> Info:
    selector = tree.args[1] if len(tree.args) > 1 else None
    given = selector.matchers if isinstance(selector, VectorSelector) else None
    at = _first_look(tree.args[0], ctx) or ctx.grid
    matchers = info_matchers(given or ())
    source = Select(ctx.grid, matchers, at, ctx.lookback_ms, counter_lookback_ms=ctx.counter_lookback_ms)
    return Info(ctx.grid, _build(tree.args[0], _inside(ctx)), SampleTimes(source, of_info=True), given)


def _first_look(tree: Expr, ctx: PlanContext) -> Grid | None:
    """Return where the first selector of an expression looks: info series are looked for there, too.

    Source: Prometheus 3.x promql/info.go, infoSelectHints, and info.test for subqueries.
    """
    match tree:
        case VectorSelector():
            return _looked_at(tree, ctx)
        case MatrixSelector():
            return _looked_at(tree.vector_selector, ctx)
        case SubqueryExpr():
            return _first_look(tree.expr, replace(ctx, grid=_looked_at(tree, ctx)))
        case ParenExpr() | UnaryExpr() | AggregateExpr():
            return _first_look(tree.expr, ctx)
        case BinaryExpr():
            return _first_look(tree.lhs, ctx) or _first_look(tree.rhs, ctx)
        case CallExpr():
            return next((at for a in tree.args if (at := _first_look(a, ctx)) is not None), None)
    return None


def _of_the_query(name: str, ctx: PlanContext) -> float:
    """Return start(), end(), range() or step() of the whole query in seconds, also inside a subquery."""
    ms = {
        "start": ctx.start_ms,
        "end": ctx.end_ms,
        "range": ctx.end_ms - ctx.start_ms,
        "step": ctx.step_ms,
    }
    return ms[name] / 1000


def _range_call(tree: CallExpr, ranged: int, args: tuple[Node, ...], ctx: PlanContext) -> Node:
    """Build a call whose argument number `ranged` is a range vector, and `args` the others."""
    name = tree.name
    source = unwrap(tree.args[ranged])
    node: RangeCall | SubqueryCall
    if isinstance(source, SubqueryExpr):
        inner, ends, range_ms = _subquery_inner(source, _inside(ctx, ranged), _parens(tree.args[ranged]))
        node = SubqueryCall(ctx.grid, name, inner, ends, range_ms, args, ctx.place)
    else:
        assert isinstance(source, MatrixSelector)
        window = _window(source, ctx)
        if window.extended and name not in (allowed := extended_functions(window.extended)):
            raise ExecutionError(
                f"{window.extended} modifier can only be used with: {', '.join(allowed)} - not with {name}"
            )
        lookbacks = ctx.lookback_ms, ctx.counter_lookback_ms
        node = RangeCall(ctx.grid, name, window, lookbacks[0], args, ctx.place, lookbacks[1])
    if other := RANGE_FUNCTIONS[name].absent_of:
        # The labels are those of the matchers, so `absent` does the rest over whether anything was there.
        return Call(ctx.grid, "absent", (replace(node, function=other),), absent_labels(source))
    return node


def _subquery_inner(tree: SubqueryExpr, ctx: PlanContext, parens: int = 0) -> tuple[Node | None, Grid, int]:
    """Build the inner expression; return it with the ends of its windows and their length.

    `parens` is the number of parentheses around the subquery. Inner times are the multiples of the step in
    (first end - range, last end]: left-open, as in 3.x.
    """
    range_ms, step_ms = tree.range_ms, tree.step_ms or ctx.subquery_step_ms
    if range_ms <= 0:
        raise BadData("parse error: duration must be greater than 0")
    ends = _looked_at(tree, ctx)
    first = ((ends.start_ms - range_ms) // step_ms + 1) * step_ms
    inner: Node | None = None
    if first <= ends.end_ms:
        last = ends.end_ms // step_ms * step_ms
        grid = Grid(first, last, step_ms)
        if grid.steps > _MAX_SUBQUERY_STEPS:
            raise ExecutionError(
                f"subquery of {grid.steps} steps: at most {_MAX_SUBQUERY_STEPS} are evaluated"
            )
        inner = _build(tree.expr, replace(ctx, grid=grid, place=(*ctx.place, *(0,) * (parens + 1))))
    return inner, ends, range_ms


def _is_range(tree: Expr) -> bool:
    return isinstance(unwrap(tree), MatrixSelector | SubqueryExpr)


def _parens(tree: Expr) -> int:
    """Return the number of parentheses around an expression."""
    return 1 + _parens(tree.expr) if isinstance(tree, ParenExpr) else 0


# ---------------------------------------------------------------- operators


def _aggregate(tree: AggregateExpr, ctx: PlanContext) -> Aggregate:
    if tree.op not in supported.aggregations():
        raise Unsupported(f"aggregation {tree.op} is not supported yet")
    check_function(tree.op, ctx)
    grouping = Grouping(tree.grouping, tree.without)
    param = None if tree.param is None else _build(tree.param, _inside(ctx, 0))
    return Aggregate(ctx.grid, tree.op, grouping, _build(tree.expr, _inside(ctx, 1)), param, ctx.place)


def _binary(tree: BinaryExpr, ctx: PlanContext) -> Binary:
    left, right = _build(tree.lhs, _inside(ctx, 0)), _build(tree.rhs, _inside(ctx, 1))
    matching = Matching(tree.card, on=tree.on, labels=tree.labels, include=tree.include)
    fill = Fill(tree.fill_left, tree.fill_right)
    if fill != NO_FILL:
        check_fill(ctx)
    return Binary(ctx.grid, tree.op, left, right, matching, tree.return_bool, fill, ctx.place)
