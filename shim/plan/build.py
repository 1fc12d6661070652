"""Syntax tree -> plan: one function a kind of node, all times made absolute. Pure.

Source of behaviour: Prometheus 3.x engine (`@` and offset, subquery alignment, default subquery step) and its
parser's checks that promql-parser leaves out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal

import promql_parser as pp

from shim.eval.binary import NO_FILL, Fill, Matching
from shim.eval.info import info_matchers
from shim.eval.window.registry import RANGE_FUNCTIONS, extended_functions
from shim.model import labels as lb
from shim.model.errors import BadData, ExecutionError, Unsupported
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.plan import supported
from shim.plan.conditions import absent_labels, conditions, matchers_of, unwrap
from shim.plan.experimental import check_fill, check_function
from shim.plan.nodes import (
    Aggregate,
    Binary,
    Call,
    Context,
    Grouping,
    Info,
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
    Window,
)
from shim.promql.rewrite import EXTENDED_LABEL, at_ms

_CARDS: Final = {
    "OneToOne": "one-to-one",
    "ManyToOne": "many-to-one",
    "OneToMany": "one-to-many",
    "ManyToMany": "many-to-many",
}
_SET_OPS: Final = ("and", "or", "unless")
#: Points a subquery may be evaluated at: all of them are in memory at a time.
_MAX_SUBQUERY_STEPS: Final = 1_000_000


def build(tree: pp.Expr, context: Context) -> Node:
    """The plan of a whole query over `context.grid`. Raises QueryError, naming the construct."""
    grid = context.grid
    step_ms = 0 if grid == Grid.instant(grid.start_ms) else grid.step_ms
    context = replace(context, start_ms=grid.start_ms, end_ms=grid.end_ms, step_ms=step_ms)
    try:
        return _build(tree, context)
    except RecursionError:
        raise BadData("parse error: nested too deep") from None


def _build(tree: Any, ctx: Context) -> Node:
    match tree:
        case pp.NumberLiteral():
            return Number(ctx.grid, float(tree.val))
        case pp.StringLiteral():
            return Text(ctx.grid, tree.val)
        case pp.ParenExpr():
            return _build(tree.expr, _inside(ctx))
        case pp.UnaryExpr():
            return Negate(ctx.grid, _build(tree.expr, _inside(ctx)))
        case pp.VectorSelector():
            return _select(tree, ctx)
        case pp.MatrixSelector():
            return RawRange(ctx.grid, _window(tree, ctx))
        case pp.SubqueryExpr():
            return RawSubquery(ctx.grid, _subquery_inner(tree, ctx)[0])
        case pp.Call():
            return _call(tree, ctx)
        case pp.AggregateExpr():
            return _aggregate(tree, ctx)
        case pp.BinaryExpr():
            return _binary(tree, ctx)
    raise Unsupported(f"{type(tree).__name__} is not supported")


def _inside(ctx: Context, child: int = 0) -> Context:
    """The context of a child of what is being built."""
    return replace(ctx, place=(*ctx.place, child))


# ---------------------------------------------------------------- selectors


def _select(tree: pp.VectorSelector, ctx: Context) -> Select:
    mode = _extended(tree)
    if mode == "anchored":
        raise ExecutionError("anchored modifier can only be used with range vector selectors")
    at, smoothed = _looked_at(tree, ctx), mode == "smoothed"
    return Select(ctx.grid, matchers_of(tree), at, ctx.lookback_ms, smoothed, ctx.counter_lookback_ms)


def _window(tree: pp.MatrixSelector, ctx: Context) -> Window:
    inner = tree.vector_selector
    window_ms = _ms(tree.range)
    if window_ms <= 0:
        raise BadData("parse error: duration must be greater than 0")
    return Window(matchers_of(inner), _looked_at(inner, ctx), window_ms, _extended(inner))


def _extended(tree: pp.VectorSelector) -> Literal["", "anchored", "smoothed"]:
    """What shim/promql/behind.py has marked."""
    for m in tree.matchers.matchers:
        if m.name == EXTENDED_LABEL:
            return "anchored" if m.value == "anchored" else "smoothed"
    return ""


def _looked_at(tree: pp.VectorSelector | pp.SubqueryExpr, ctx: Context) -> Grid:
    """Where in the data's time a selector looks: `@` fixes it, `offset` moves it."""
    fixed = _at_ms(tree, ctx)
    grid = ctx.grid if fixed is None else Grid.instant(fixed)
    return grid.shifted(-_ms(tree.offset)) if tree.offset is not None else grid


def _at_ms(tree: pp.VectorSelector | pp.SubqueryExpr, ctx: Context) -> int | None:
    if tree.at is None:
        return None
    match str(tree.at.type).rsplit(".", 1)[-1]:
        case "Start":
            return ctx.start_ms
        case "End":
            return ctx.end_ms
    # The text, not `.at.at`: that one has no times that are far from ours.
    return at_ms(str(tree.at))


def _ms(duration: timedelta | None) -> int:
    return 0 if duration is None else round(duration / timedelta(milliseconds=1))


# ---------------------------------------------------------------- calls


def _call(tree: pp.Call, ctx: Context) -> Node:
    name = tree.func.name
    check_function(name, ctx)
    if name in supported.OF_THE_QUERY:
        return Number(ctx.grid, _of_the_query(name, ctx))
    if name == "info":
        return _info(tree, ctx)
    arguments = list(tree.args)
    ranged = next((i for i, a in enumerate(arguments) if _is_range(a)), None)
    if ranged is not None:
        args = tuple(_build(a, _inside(ctx, i)) for i, a in enumerate(arguments) if i != ranged)
        return _range_call(name, arguments[ranged], args, ctx, ranged)
    if name not in supported.functions():
        raise Unsupported(f"function {name}() is not supported yet")
    args = tuple(_build(a, _inside(ctx, i)) for i, a in enumerate(arguments))
    if name == "timestamp" and isinstance(args[0], Select):
        return SampleTimes(args[0])
    absent = absent_labels(arguments[0]) if name == "absent" else lb.EMPTY
    return Call(ctx.grid, name, args, absent, ctx.place)


def _info(tree: pp.Call, ctx: Context) -> Info:
    given: tuple[Matcher, ...] | None = None
    if len(tree.args) > 1:
        selector = unwrap(tree.args[1])
        if not isinstance(selector, pp.VectorSelector) or selector.name:
            raise BadData("parse error: expected label selectors only, got vector selector instead")
        given = conditions(selector)
    at = _first_look(tree.args[0], ctx) or ctx.grid
    matchers = info_matchers(given or ())
    source = Select(ctx.grid, matchers, at, ctx.lookback_ms, counter_lookback_ms=ctx.counter_lookback_ms)
    return Info(ctx.grid, _build(tree.args[0], _inside(ctx)), SampleTimes(source, of_info=True), given)


def _first_look(tree: Any, ctx: Context) -> Grid | None:
    """Where the first selector of an expression looks: info series are looked for there, too.

    Source: Prometheus 3.x promql/info.go, infoSelectHints, and info.test for subqueries.
    """
    match tree:
        case pp.VectorSelector():
            return _looked_at(tree, ctx)
        case pp.MatrixSelector():
            return _looked_at(tree.vector_selector, ctx)
        case pp.SubqueryExpr():
            return _first_look(tree.expr, replace(ctx, grid=_looked_at(tree, ctx)))
        case pp.ParenExpr() | pp.UnaryExpr() | pp.AggregateExpr():
            return _first_look(tree.expr, ctx)
        case pp.BinaryExpr():
            return _first_look(tree.lhs, ctx) or _first_look(tree.rhs, ctx)
        case pp.Call():
            return next((at for a in tree.args if (at := _first_look(a, ctx)) is not None), None)
    return None


def _of_the_query(name: str, ctx: Context) -> float:
    """start(), end(), range() and step() of the whole query in seconds, also inside a subquery."""
    ms = {
        "start": ctx.start_ms,
        "end": ctx.end_ms,
        "range": ctx.end_ms - ctx.start_ms,
        "step": ctx.step_ms,
    }
    return ms[name] / 1000


def _range_call(name: str, ranged: Any, args: tuple[Node, ...], ctx: Context, number: int) -> Node:
    """A function of `ranged`, its argument of that number, and of `args`, the others."""
    source = unwrap(ranged)
    if name not in supported.range_functions():
        raise Unsupported(f"function {name}() is not supported yet")
    node: RangeCall | SubqueryCall
    if isinstance(source, pp.SubqueryExpr):
        inner, ends, range_ms = _subquery_inner(source, _inside(ctx, number), _parens(ranged))
        node = SubqueryCall(ctx.grid, name, inner, ends, range_ms, args, ctx.place)
    else:
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


def _subquery_inner(tree: pp.SubqueryExpr, ctx: Context, parens: int = 0) -> tuple[Node | None, Grid, int]:
    """What is evaluated, the ends of its windows and their length; `parens` stand around the subquery.

    Inner times are the multiples of the step in (first end - range, last end]: left-open, as in 3.x.
    """
    range_ms, step_ms = _ms(tree.range), _ms(tree.step) or ctx.subquery_step_ms
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


def _is_range(tree: Any) -> bool:
    return isinstance(unwrap(tree), pp.MatrixSelector | pp.SubqueryExpr)


def _parens(tree: Any) -> int:
    """How many parentheses stand around an expression."""
    return 1 + _parens(tree.expr) if isinstance(tree, pp.ParenExpr) else 0


# ---------------------------------------------------------------- operators


def _aggregate(tree: pp.AggregateExpr, ctx: Context) -> Aggregate:
    op = str(tree.op)
    if op not in supported.aggregations():
        raise Unsupported(f"aggregation {op} is not supported yet")
    check_function(op, ctx)
    grouping = Grouping()
    if tree.modifier is not None:
        without = str(tree.modifier.type).endswith("Without")
        grouping = Grouping(tuple(tree.modifier.labels), without)
    param = None if tree.param is None else _build(tree.param, _inside(ctx, 0))
    return Aggregate(ctx.grid, op, grouping, _build(tree.expr, _inside(ctx, 1)), param, ctx.place)


def _binary(tree: pp.BinaryExpr, ctx: Context) -> Binary:
    op = str(tree.op).lower()
    if op not in supported.OPERATORS:
        raise Unsupported(f"operator {op} is not supported yet")
    left, right = _build(tree.lhs, _inside(ctx, 0)), _build(tree.rhs, _inside(ctx, 1))
    mod = tree.modifier
    return_bool = bool(mod and mod.return_bool)
    fill = _fill(tree, op, ctx)
    return Binary(ctx.grid, op, left, right, _matching(mod, op), return_bool, fill, ctx.place)


def _fill(tree: pp.BinaryExpr, op: str, ctx: Context) -> Fill:
    """The fill modifiers, which only operators between vectors take, and no set operator.

    Source: Prometheus 3.x parser, checkAST.
    """
    mod = tree.modifier
    if mod is None or mod.fill_values is None:
        return NO_FILL
    fill = Fill(mod.fill_values.lhs, mod.fill_values.rhs)
    if fill == NO_FILL:
        return NO_FILL
    check_fill(ctx)
    if op in _SET_OPS:
        raise BadData("parse error: filling in missing series not allowed for set operators")
    if not (_is_vector(tree.lhs) and _is_vector(tree.rhs)):
        raise BadData("parse error: filling in missing series only allowed between instant vectors")
    return fill


def _is_vector(tree: Any) -> bool:
    """Whether an operand is an instant vector (others the parser lets through are numbers)."""
    match tree:
        case pp.NumberLiteral() | pp.StringLiteral():
            return False
        case pp.ParenExpr() | pp.UnaryExpr():
            return _is_vector(tree.expr)
        case pp.BinaryExpr():
            return _is_vector(tree.lhs) or _is_vector(tree.rhs)
        case pp.Call():
            return str(tree.func.return_type).endswith("Vector")
    return True


def _matching(mod: pp.BinModifier | None, op: str) -> Matching:
    card: Any = "many-to-many" if op in _SET_OPS else "one-to-one"
    if mod is None:
        return Matching(card, on=False, labels=(), include=())
    if op not in _SET_OPS:
        card = _CARDS[str(mod.card).rsplit(".", 1)[-1]]
    on = False
    names: tuple[str, ...] = ()
    if mod.matching is not None:
        on = str(mod.matching.type).endswith("Include")
        names = tuple(mod.matching.labels)
    return Matching(card, on=on, labels=names, include=tuple(mod.group_labels or ()))
