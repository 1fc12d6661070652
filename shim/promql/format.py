"""A syntax tree as text, laid out as `promtool promql format` and `/api/v1/format_query` do.

Source: Prometheus 3.x, promql/parser/printer.go and prettier.go: what fits into 100 characters stays on one
line. promql-parser has a printer of its own, but it leaves names that need quotes without them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import promql_parser as pp

from shim.errors import Unsupported
from shim.eval.texts import format_g, quote
from shim.http.numbers import plain_text
from shim.labels import NAME
from shim.matching import Matcher
from shim.plan.build import matchers_of
from shim.promql import tree

_LINE: Final = 100
_INDENT: Final = "  "
_LEGACY_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_UNITS: Final = (
    ("y", 31_536_000_000, True),
    ("w", 604_800_000, True),
    ("d", 86_400_000, False),
    ("h", 3_600_000, False),
    ("m", 60_000, False),
    ("s", 1_000, False),
    ("ms", 1, False),
)


def format_query(node: pp.Expr) -> str:
    """The whole expression. Raises BadData."""
    return _pretty(node, 0)


def _pretty(node: pp.Expr, level: int) -> str:
    """The node on its own lines, from `level` on."""
    indent = _INDENT * level
    line = text(node)
    if isinstance(node, pp.UnaryExpr):
        return f"{indent}-{_pretty(node.expr, level).strip()}"
    if len(line) <= _LINE:
        return indent + line
    match node:
        case pp.AggregateExpr():
            param = f"{_pretty(node.param, level + 1)},\n" if node.param is not None else ""
            return f"{indent}{_aggregation(node)}(\n{param}{_pretty(node.expr, level + 1)}\n{indent})"
        case pp.BinaryExpr():
            left, right = _pretty(node.lhs, level + 1), _pretty(node.rhs, level + 1)
            return f"{left}\n{indent}{_operator(node)}\n{right}"
        case pp.Call():
            arguments = ",\n".join(_pretty(argument, level + 1) for argument in node.args)
            return f"{indent}{node.func.name}(\n{arguments}\n{indent})"
        case pp.ParenExpr():
            return f"{indent}(\n{_pretty(node.expr, level + 1)}\n{indent})"
        case pp.SubqueryExpr():
            return _pretty(node.expr, level) + _subquery(node)
    return indent + line


def text(node: pp.Expr) -> str:
    """The node on one line. Raises BadData."""
    match node:
        case pp.AggregateExpr():
            param = f"{text(node.param)}, " if node.param is not None else ""
            return f"{_aggregation(node)}({param}{text(node.expr)})"
        case pp.BinaryExpr():
            return f"{text(node.lhs)} {_operator(node)} {text(node.rhs)}"
        case pp.Call():
            return f"{node.func.name}({', '.join(map(text, node.args))})"
        case pp.VectorSelector():
            return _selector(node) + _moved(node)
        case pp.MatrixSelector():
            inner = node.vector_selector
            return f"{_selector(inner)}[{duration(tree.milliseconds(node.range))}]{_moved(inner)}"
        case pp.SubqueryExpr():
            return text(node.expr) + _subquery(node)
        case pp.NumberLiteral():
            return plain_text(node.val)  # strconv.FormatFloat(value, 'f', -1), as in promql/parser/printer.go
        case pp.StringLiteral():
            return quote(node.val)
        case pp.ParenExpr():
            return f"({text(node.expr)})"
        case pp.UnaryExpr():
            return f"-{text(node.expr)}"
    raise Unsupported(f"{type(node).__name__} is not supported")


def _aggregation(node: pp.AggregateExpr) -> str:
    labels, without = tree.grouping(node)
    if without:
        return f"{node.op} without ({_label_list(labels)}) "
    return f"{node.op} by ({_label_list(labels)}) " if labels else str(node.op)


def _operator(node: pp.BinaryExpr) -> str:
    """The operator with its `bool` and its matching."""
    out = str(node.op)
    if node.modifier is None:
        return out
    if node.modifier.return_bool:
        out += " bool"
    # Where nothing of matching is said it says nothing, too, of scalars.
    how = tree.stated_matching(node)
    grouped = how["card"] in ("many-to-one", "one-to-many")
    if how["labels"] or how["on"] or grouped:
        out += f" {'on' if how['on'] else 'ignoring'} ({_label_list(how['labels'])})"
    if grouped:
        out += f" group_{'left' if how['card'] == 'many-to-one' else 'right'} ({_label_list(how['include'])})"
    return out + _fill(how["fillValues"])


def _fill(values: Mapping[str, float | None]) -> str:
    """The fill modifiers: one where both sides have the same value."""
    left, right = values["lhs"], values["rhs"]
    if left is not None and right is not None and repr(left) == repr(right):
        return f" fill ({format_g(left)})"
    sides = (("left", left), ("right", right))
    return "".join(f" fill_{side} ({format_g(value)})" for side, value in sides if value is not None)


def _selector(node: pp.VectorSelector) -> str:
    name = node.name or ""
    shown = [m for m in matchers_of(node) if m != Matcher(NAME, "=", name) or not name]
    inner = ",".join(sorted(_matcher(m) for m in shown))
    return f"{name}{{{inner}}}" if inner else name


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.name)}{matcher.op}{quote(matcher.value)}"


def _moved(node: pp.VectorSelector | pp.SubqueryExpr) -> str:
    """`@` and `offset`."""
    at_ms, edge = tree.at_modifier(node)
    out = f" @ {edge}()" if edge else ""
    if at_ms is not None:
        out = f" @ {at_ms / 1000:.3f}"
    offset_ms = tree.milliseconds(node.offset)
    if offset_ms:
        out += f" offset {'-' if offset_ms < 0 else ''}{duration(abs(offset_ms))}"
    return out


def _subquery(node: pp.SubqueryExpr) -> str:
    step = duration(tree.milliseconds(node.step)) if node.step else ""
    return f"[{duration(tree.milliseconds(node.range))}:{step}]{_moved(node)}"


def duration(ms: int) -> str:
    """`1h30m`: as Prometheus writes durations, years and weeks only when they say all."""
    if ms == 0:
        return "0s"
    out = ""
    for unit, unit_ms, exact in _UNITS:
        if ms >= unit_ms and not (exact and ms % unit_ms):
            out += f"{ms // unit_ms}{unit}"
            ms %= unit_ms
    return out


def _label_list(labels: list[str] | tuple[str, ...]) -> str:
    return ", ".join(map(_label, labels))


def _label(name: str) -> str:
    return name if _LEGACY_LABEL.fullmatch(name) else quote(name)
