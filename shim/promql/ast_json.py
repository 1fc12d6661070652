"""A syntax tree as the JSON of `/api/v1/parse_query`, for Prometheus' tree view.

Source of the shape: Prometheus 3.x, web/api/v1/translate_ast.go. Times are milliseconds. Pure.
"""

from __future__ import annotations

from typing import Any

from shim.model.number_format import float_text
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
from shim.promql.typecheck import type_of


def ast_json(node: Expr) -> dict[str, Any]:
    """Return the node with all below it."""
    match node:
        case NumberLiteral():
            return {"type": "numberLiteral", "val": float_text(node.val)}
        case StringLiteral():
            return {"type": "stringLiteral", "val": node.val}
        case ParenExpr():
            return {"type": "parenExpr", "expr": ast_json(node.expr)}
        case UnaryExpr():
            return {"type": "unaryExpr", "op": node.op, "expr": ast_json(node.expr)}
        case VectorSelector() | MatrixSelector():
            return _selector(node)
        case SubqueryExpr():
            return _subquery(node)
        case CallExpr():
            return _call(node)
        case AggregateExpr():
            return _aggregate(node)
        case BinaryExpr():
            return _binary(node)


def _aggregate(node: AggregateExpr) -> dict[str, Any]:
    return {
        "type": "aggregation",
        "op": node.op,
        "expr": ast_json(node.expr),
        "param": ast_json(node.param) if node.param is not None else None,
        "grouping": list(node.grouping),
        "without": node.without,
    }


def _binary(node: BinaryExpr) -> dict[str, Any]:
    return {
        "type": "binaryExpr",
        "op": node.op,
        "lhs": ast_json(node.lhs),
        "rhs": ast_json(node.rhs),
        "matching": _matching(node),
        "bool": node.return_bool,
    }


def _matching(node: BinaryExpr) -> dict[str, Any] | None:
    """Return how the sides are matched; None when a side is not a vector."""
    if type_of(node.lhs) != "vector" or type_of(node.rhs) != "vector":
        return None
    return {
        "card": node.card,
        "labels": list(node.labels),
        "on": node.on,
        "include": list(node.include),
        "fillValues": {"lhs": node.fill_left, "rhs": node.fill_right},
    }


def _call(node: CallExpr) -> dict[str, Any]:
    return {
        "type": "call",
        "func": {
            "name": node.name,
            "argTypes": list(node.signature.args),
            "variadic": node.signature.variadic,
            "returnType": node.signature.returns,
        },
        "args": [ast_json(argument) for argument in node.args],
    }


def _selector(node: VectorSelector | MatrixSelector) -> dict[str, Any]:
    if isinstance(node, MatrixSelector):
        return {**_selector(node.vector_selector), "type": "matrixSelector", "range": node.range_ms}
    return {
        "type": "vectorSelector",
        "name": node.name,
        "matchers": [{"name": m.name, "value": m.value, "type": m.op} for m in node.matchers],
        **_modifiers(node),
    }


def _subquery(node: SubqueryExpr) -> dict[str, Any]:
    return {
        "type": "subquery",
        "expr": ast_json(node.expr),
        "range": node.range_ms,
        "step": node.step_ms,
        **_modifiers(node),
    }


def _modifiers(node: VectorSelector | SubqueryExpr) -> dict[str, Any]:
    """Return `offset` and `@`."""
    return {
        "offset": node.offset_ms,
        "timestamp": node.timestamp_ms,
        "startOrEnd": node.start_or_end or None,
    }
