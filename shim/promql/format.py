"""A syntax tree as text, laid out as `promtool promql format` and `/api/v1/format_query` do.

Source: Prometheus 3.x, promql/parser/printer.go and prettier.go: what fits into 100 characters stays on one
line. promql-parser has a printer of its own, but it leaves names that need quotes without them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import promql_parser as pp

from shim.http.number_json import plain_text
from shim.model.errors import Unsupported
from shim.model.labels import NAME
from shim.model.matchers import Matcher
from shim.model.messages import format_g, quote
from shim.plan.conditions import matchers_of
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
    """Return the whole expression. Raises BadData."""
    return _laid_out(node, 0).lines


class _Layout(NamedTuple):
    """A node as text: on one line (None where that is too long), and over lines from its level on."""

    line: str | None
    lines: str


def _laid_out(node: pp.Expr, level: int) -> _Layout:
    """Lay a node out. Each node is visited once: reading a child copies all that is below it."""
    indent = _INDENT * level
    match node:
        case pp.UnaryExpr():
            inner = _laid_out(node.expr, level)
            return _Layout(_joined("-", inner.line), f"{indent}-{inner.lines.strip()}")
        case pp.AggregateExpr():
            head = _aggregation(node)
            arguments = [node.expr] if node.param is None else [node.param, node.expr]
            return _called(head, [_laid_out(one, level + 1) for one in arguments], indent)
        case pp.Call():
            return _called(node.func.name, [_laid_out(one, level + 1) for one in node.args], indent)
        case pp.BinaryExpr():
            left, right = _laid_out(node.lhs, level + 1), _laid_out(node.rhs, level + 1)
            operator = _operator(node)
            line = _joined(left.line, f" {operator} ", right.line)
            return _fitting(indent, line, f"{left.lines}\n{indent}{operator}\n{right.lines}")
        case pp.ParenExpr():
            return _called("", [_laid_out(node.expr, level + 1)], indent)
        case pp.SubqueryExpr():
            inner, how = _laid_out(node.expr, level), _subquery(node)
            return _fitting(indent, _joined(inner.line, how), inner.lines + how)
    line = _leaf(node)
    return _Layout(line if len(line) <= _LINE else None, indent + line)


def _called(head: str, arguments: Sequence[_Layout], indent: str) -> _Layout:
    """Lay out what has arguments in parentheses."""
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


def _leaf(node: pp.Expr) -> str:
    """Return a node without others below it. Raises BadData."""
    match node:
        case pp.VectorSelector():
            return _selector(node) + _moved(node)
        case pp.MatrixSelector():
            inner = node.vector_selector
            return f"{_selector(inner)}[{duration(tree.milliseconds(node.range))}]{_moved(inner)}"
        case pp.NumberLiteral():
            return plain_text(node.val)  # strconv.FormatFloat(value, 'f', -1), as in promql/parser/printer.go
        case pp.StringLiteral():
            return quote(node.val)
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
