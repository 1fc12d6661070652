"""A syntax tree as JSON, for `/api/v1/parse_query`: what Prometheus' tree view reads.

Source of the shape: Prometheus 3.x, web/api/v1/translate_ast.go. Times are milliseconds. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal, cast

import promql_parser as pp

from shim.http.number_json import float_text
from shim.model.errors import Unsupported
from shim.plan.conditions import matchers_of
from shim.promql.rewrite import at_ms

ValueType = Literal["scalar", "string", "vector", "matrix"]

CARDS: Final[Mapping[str, str]] = {
    "OneToOne": "one-to-one",
    "ManyToOne": "many-to-one",
    "OneToMany": "one-to-many",
    "ManyToMany": "many-to-many",
}
SET_OPERATORS: Final = frozenset({"and", "or", "unless"})


def tree(node: pp.Expr) -> dict[str, Any]:
    """The node and all below it. Raises BadData."""
    match node:
        case pp.AggregateExpr():
            return _aggregate(node)
        case pp.BinaryExpr():
            return _binary(node)
        case pp.Call():
            return _call(node)
        case pp.MatrixSelector():
            out = _selector(node.vector_selector)
            return {**out, "type": "matrixSelector", "range": milliseconds(node.range)}
        case pp.VectorSelector():
            return _selector(node)
        case pp.SubqueryExpr():
            return {
                "type": "subquery",
                "expr": tree(node.expr),
                "range": milliseconds(node.range),
                "step": milliseconds(node.step),
                **_moved(node),
            }
        case pp.NumberLiteral():
            return {"type": "numberLiteral", "val": float_text(node.val)}
        case pp.StringLiteral():
            return {"type": "stringLiteral", "val": node.val}
        case pp.ParenExpr():
            return {"type": "parenExpr", "expr": tree(node.expr)}
        case pp.UnaryExpr():
            return {"type": "unaryExpr", "op": "-", "expr": tree(node.expr)}
    raise Unsupported(f"{type(node).__name__} is not supported")


def _aggregate(node: pp.AggregateExpr) -> dict[str, Any]:
    labels, without = grouping(node)
    return {
        "type": "aggregation",
        "op": str(node.op),
        "expr": tree(node.expr),
        "param": tree(node.param) if node.param is not None else None,
        "grouping": list(labels),
        "without": without,
    }


def _binary(node: pp.BinaryExpr) -> dict[str, Any]:
    return {
        "type": "binaryExpr",
        "op": str(node.op),
        "lhs": tree(node.lhs),
        "rhs": tree(node.rhs),
        "matching": matching(node),
        "bool": node.modifier is not None and node.modifier.return_bool,
    }


def _call(node: pp.Call) -> dict[str, Any]:
    return {
        "type": "call",
        "func": {
            "name": node.func.name,
            "argTypes": [_type_name(t) for t in node.func.arg_types],
            "variadic": node.func.variadic,
            "returnType": _type_name(node.func.return_type),
        },
        "args": [tree(argument) for argument in node.args],
    }


def _selector(node: pp.VectorSelector) -> dict[str, Any]:
    return {
        "type": "vectorSelector",
        "name": node.name or "",
        "matchers": [{"name": m.name, "value": m.value, "type": m.op} for m in matchers_of(node)],
        **_moved(node),
    }


def _moved(node: pp.VectorSelector | pp.SubqueryExpr) -> dict[str, Any]:
    """`offset` and `@`."""
    at, edge = at_modifier(node)
    return {"offset": milliseconds(node.offset), "timestamp": at, "startOrEnd": edge}


# ---- what the printer needs, too


def at_modifier(node: pp.VectorSelector | pp.SubqueryExpr) -> tuple[int | None, str | None]:
    """The time of `@`, or "start" or "end". Raises BadData for a time nobody can mean."""
    if node.at is None:
        return None, None
    name = _name(node.at.type)
    if name != "At":
        return None, name.lower()
    # The text, not `.at.at`: that one has no times that are far from ours.
    return at_ms(str(node.at)), None


def grouping(node: pp.AggregateExpr) -> tuple[tuple[str, ...], bool]:
    """The labels of `by` or `without`, and whether it is `without`."""
    if node.modifier is None:
        return (), False
    return tuple(node.modifier.labels), _name(node.modifier.type) == "Without"


def matching(node: pp.BinaryExpr) -> dict[str, Any] | None:
    """How the sides are matched; None when a side is no vector."""
    if value_type(node.lhs) != "vector" or value_type(node.rhs) != "vector":
        return None
    return stated_matching(node)


def stated_matching(node: pp.BinaryExpr) -> dict[str, Any]:
    """As `matching`, of an operator that is known to stand between vectors: looks at nothing below it."""
    modifier = node.modifier
    is_set = str(node.op).lower() in SET_OPERATORS
    if modifier is None:
        return {
            "card": CARDS["ManyToMany" if is_set else "OneToOne"],
            "labels": [],
            "on": False,
            "include": [],
            "fillValues": {"lhs": None, "rhs": None},
        }
    given, fill = modifier.matching, modifier.fill_values
    return {
        "card": CARDS["ManyToMany" if is_set else _name(modifier.card)],
        "labels": list(given.labels) if given is not None else [],
        "on": given is not None and _name(given.type) == "Include",
        "include": list(modifier.group_labels or ()),
        "fillValues": {"lhs": fill and fill.lhs, "rhs": fill and fill.rhs},
    }


def value_type(node: pp.Expr) -> ValueType:
    """What the node gives."""
    match node:
        case pp.NumberLiteral():
            return "scalar"
        case pp.StringLiteral():
            return "string"
        case pp.MatrixSelector() | pp.SubqueryExpr():
            return "matrix"
        case pp.Call():
            return _type_name(node.func.return_type)
        case pp.ParenExpr() | pp.UnaryExpr():
            return value_type(node.expr)
        case pp.BinaryExpr():
            scalars = value_type(node.lhs) == value_type(node.rhs) == "scalar"
            return "scalar" if scalars else "vector"
    return "vector"


def milliseconds(span: timedelta | None) -> int:
    return 0 if span is None else round(span / timedelta(milliseconds=1))


def _type_name(type_: pp.ValueType) -> ValueType:
    return cast("ValueType", _name(type_).lower())


def _name(member: object) -> str:
    """`AggModifierType.By` -> `By`: the parser's enums are not Python's."""
    return str(member).rpartition(".")[2]
