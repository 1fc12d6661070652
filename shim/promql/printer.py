"""A syntax tree as text, laid out as `promtool promql format` and `/api/v1/format_query` do.

Text of up to 100 characters stays on one line. Pure. Source: Prometheus 3.x, promql/parser/printer.go and
prettier.go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from shim.model.durations import format_duration
from shim.model.labels import NAME
from shim.model.matchers import Matcher
from shim.model.messages import quote
from shim.model.number_format import format_g, plain_text
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

_LINE: Final = 100
_INDENT: Final = "  "
_LEGACY_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def format_query(node: Expr) -> str:
    """Return the text of a whole expression."""
    return _laid_out(node, 0).lines


class _Layout(NamedTuple):
    """A node as text: on one line (None where that is too long), and over lines from its level on."""

    line: str | None
    lines: str


def _laid_out(node: Expr, level: int) -> _Layout:
    """Lay a node out, from a level on."""
    indent = _INDENT * level
    match node:
        case UnaryExpr():
            inner = _laid_out(node.expr, level)
            return _Layout(_joined(node.op, inner.line), f"{indent}{node.op}{inner.lines.strip()}")
        case AggregateExpr():
            head = _aggregation(node)
            arguments = [node.expr] if node.param is None else [node.param, node.expr]
            return _called(head, [_laid_out(one, level + 1) for one in arguments], indent)
        case CallExpr():
            return _called(node.name, [_laid_out(one, level + 1) for one in node.args], indent)
        case BinaryExpr():
            left, right = _laid_out(node.lhs, level + 1), _laid_out(node.rhs, level + 1)
            operator = _operator(node)
            line = _joined(left.line, f" {operator} ", right.line)
            return _fitting(indent, line, f"{left.lines}\n{indent}{operator}\n{right.lines}")
        case ParenExpr():
            return _called("", [_laid_out(node.expr, level + 1)], indent)
        case SubqueryExpr():
            inner, how = _laid_out(node.expr, level), _subquery(node)
            return _fitting(indent, _joined(inner.line, how), inner.lines + how)
        case _:
            line = _leaf(node)
            return _Layout(line if len(line) <= _LINE else None, indent + line)


def _called(head: str, arguments: Sequence[_Layout], indent: str) -> _Layout:
    """Lay out a name with arguments in parentheses."""
    commas = [part for one in arguments for part in (", ", one.line)][1:]
    lines = ",\n".join(one.lines for one in arguments)
    return _fitting(indent, _joined(f"{head}(", *commas, ")"), f"{indent}{head}(\n{lines}\n{indent})")


def _fitting(indent: str, line: str | None, lines: str) -> _Layout:
    return _Layout(line, lines if line is None else indent + line)


def _joined(*parts: str | None) -> str | None:
    """Return the parts as one line, or None where it is too long."""
    if None in parts:
        return None
    line = "".join(part for part in parts if part is not None)
    return line if len(line) <= _LINE else None


def _leaf(node: VectorSelector | MatrixSelector | NumberLiteral | StringLiteral) -> str:
    """Return the text of a node without others below it."""
    match node:
        case VectorSelector():
            return _selector(node) + _modifiers(node)
        case MatrixSelector():
            inner = node.vector_selector
            return f"{_selector(inner)}[{format_duration(node.range_ms)}]{_modifiers(inner)}"
        case NumberLiteral():
            return plain_text(node.val)  # strconv.FormatFloat(value, 'f', -1), as in promql/parser/printer.go
        case StringLiteral():
            return quote(node.val)


def _aggregation(node: AggregateExpr) -> str:
    if node.without:
        return f"{node.op} without ({_label_list(node.grouping)}) "
    return f"{node.op} by ({_label_list(node.grouping)}) " if node.grouping else node.op


def _operator(node: BinaryExpr) -> str:
    """Return the operator with its `bool` and its matching."""
    out = f"{node.op} bool" if node.return_bool else node.op
    grouped = node.card in ("many-to-one", "one-to-many")
    if node.labels or node.on or grouped:
        out += f" {'on' if node.on else 'ignoring'} ({_label_list(node.labels)})"
    if grouped:
        out += f" {node.group} ({_label_list(node.include)})"
    return out + _fill(node.fill_left, node.fill_right)


def _fill(left: float | None, right: float | None) -> str:
    """Return the fill modifiers: one where both sides have the same value."""
    if left is not None and right is not None and repr(left) == repr(right):
        return f" fill ({format_g(left)})"
    sides = (("left", left), ("right", right))
    return "".join(f" fill_{side} ({format_g(value)})" for side, value in sides if value is not None)


def _selector(node: VectorSelector) -> str:
    shown = [m for m in node.matchers if m != Matcher(NAME, "=", node.name) or not node.name]
    inner = ",".join(sorted(_matcher(m) for m in shown))
    return f"{node.name}{{{inner}}}" if inner or not node.name else node.name


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.name)}{matcher.op}{quote(matcher.value)}"


def _modifiers(node: VectorSelector | SubqueryExpr) -> str:
    """Return the modifiers: `anchored` or `smoothed`, `@` and `offset`."""
    out = f" {node.extended}" if isinstance(node, VectorSelector) and node.extended else ""
    if node.start_or_end:
        out += f" @ {node.start_or_end}()"
    if node.timestamp_ms is not None:
        out += f" @ {node.timestamp_ms / 1000:.3f}"
    if node.offset_ms:
        out += f" offset {'-' if node.offset_ms < 0 else ''}{format_duration(abs(node.offset_ms))}"
    return out


def _subquery(node: SubqueryExpr) -> str:
    step = format_duration(node.step_ms) if node.step_ms else ""
    return f"[{format_duration(node.range_ms)}:{step}]{_modifiers(node)}"


def _label_list(labels: Sequence[str]) -> str:
    return ", ".join(map(_label, labels))


def _label(name: str) -> str:
    return name if _LEGACY_LABEL.fullmatch(name) else quote(name)
