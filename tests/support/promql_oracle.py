"""promql-parser, a parser by others, as an oracle for the trees of ours.

It gives a tree in the form of `shim/promql/ast_json.py`, without the signs that it forgets.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import promql_parser as pp

from shim.eval.functions.registry import FUNCTIONS
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.number_format import float_text
from shim.plan.parse import parse
from shim.plan.supported import signature
from shim.promql.ast_json import ast_json

_TYPES: Final = {
    "vector": pp.ValueType.Vector,
    "matrix": pp.ValueType.Matrix,
    "scalar": pp.ValueType.Scalar,
    "string": pp.ValueType.String,
}
_MATCH_OPS: Final = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_SET_OPERATORS: Final = ("and", "or", "unless")
_CARDS: Final = {"OneToOne": "one-to-one", "ManyToOne": "many-to-one", "OneToMany": "one-to-many"}


def oracle_tree(text: str) -> dict[str, Any] | None:
    """Return the oracle's tree of a query; None where it refuses the query, or panics."""
    _register()
    try:
        return _tree(pp.parse(text))
    except (ValueError, OverflowError):
        return None
    except BaseException as e:
        if type(e).__name__ != "PanicException":  # of its native code: not an Exception, and not importable
            raise
        return None


def our_tree(text: str) -> dict[str, Any]:
    """Return our tree of a query in the oracle's form. Raises BadData."""
    tree: dict[str, Any] = _without_plus(ast_json(parse(text)))
    return tree


def _without_plus(part: Any) -> Any:
    match part:
        case {"type": "unaryExpr", "op": "+", "expr": inner}:
            return _without_plus(inner)
        case dict():
            return {key: _without_plus(value) for key, value in part.items()}
        case list():
            return [_without_plus(value) for value in part]
    return part


def _register() -> None:
    """Tell the oracle the functions that it does not know."""
    unknown = [name for name in (*FUNCTIONS, *RANGE_FUNCTIONS) if not _knows(name)]
    if not unknown:
        return
    functions = []
    for name in unknown:
        found = signature(name)
        assert found is not None
        args = [_TYPES[arg] for arg in found.args]
        functions.append(pp.Function(name, args, _TYPES[found.returns], found.variadic))
    pp.register_extra_functions(functions)


def _knows(name: str) -> bool:
    """Return whether the oracle has a function of this name: without arguments it refuses those."""
    try:
        pp.parse(f"{name}()")
    except ValueError as e:
        return "unknown function" not in str(e)
    return True


def _tree(node: Any) -> dict[str, Any]:
    match node:
        case pp.AggregateExpr():
            return _aggregate(node)
        case pp.BinaryExpr():
            return _binary(node)
        case pp.Call():
            return _call(node)
        case pp.MatrixSelector():
            range_ms = _milliseconds(node.range)
            return {**_selector(node.vector_selector), "type": "matrixSelector", "range": range_ms}
        case pp.VectorSelector():
            return _selector(node)
        case pp.SubqueryExpr():
            return _subquery(node)
        case pp.NumberLiteral():
            return {"type": "numberLiteral", "val": float_text(node.val)}
        case pp.StringLiteral():
            return {"type": "stringLiteral", "val": node.val}
        case pp.ParenExpr():
            return {"type": "parenExpr", "expr": _tree(node.expr)}
    assert isinstance(node, pp.UnaryExpr)
    return {"type": "unaryExpr", "op": "-", "expr": _tree(node.expr)}


def _aggregate(node: Any) -> dict[str, Any]:
    modifier = node.modifier
    return {
        "type": "aggregation",
        "op": str(node.op),
        "expr": _tree(node.expr),
        "param": None if node.param is None else _tree(node.param),
        "grouping": [] if modifier is None else list(modifier.labels),
        "without": modifier is not None and _name(modifier.type) == "Without",
    }


def _binary(node: Any) -> dict[str, Any]:
    left, right, op = _tree(node.lhs), _tree(node.rhs), str(node.op)
    vectors = _type_of(left) == _type_of(right) == "vector"
    return {
        "type": "binaryExpr",
        "op": op,
        "lhs": left,
        "rhs": right,
        "matching": _matching(node.modifier, is_set=op in _SET_OPERATORS) if vectors else None,
        "bool": node.modifier is not None and node.modifier.return_bool,
    }


def _matching(modifier: Any, *, is_set: bool) -> dict[str, Any]:
    labels = None if modifier is None else modifier.matching
    fill = None if modifier is None else modifier.fill_values
    card = "one-to-one" if modifier is None else _CARDS.get(_name(modifier.card), "many-to-many")
    return {
        "card": "many-to-many" if is_set else card,
        "labels": [] if labels is None else list(labels.labels),
        "on": labels is not None and _name(labels.type) == "Include",
        "include": [] if modifier is None else list(modifier.group_labels or ()),
        "fillValues": {"lhs": fill and fill.lhs, "rhs": fill and fill.rhs},
    }


def _call(node: Any) -> dict[str, Any]:
    return {
        "type": "call",
        "func": {
            "name": node.func.name,
            "argTypes": [_name(type_).lower() for type_ in node.func.arg_types],
            "variadic": node.func.variadic,
            "returnType": _name(node.func.return_type).lower(),
        },
        "args": [_tree(argument) for argument in node.args],
    }


def _selector(node: Any) -> dict[str, Any]:
    matchers = [{"name": "__name__", "value": node.name, "type": "="}] if node.name else []
    matchers += [
        {"name": m.name, "value": m.value, "type": _MATCH_OPS[_name(m.op)]} for m in node.matchers.matchers
    ]
    out = {"type": "vectorSelector", "name": node.name or "", "matchers": matchers, **_modifiers(node)}
    return out | ({"or": True} if node.matchers.or_matchers else {})


def _subquery(node: Any) -> dict[str, Any]:
    return {
        "type": "subquery",
        "expr": _tree(node.expr),
        "range": _milliseconds(node.range),
        "step": _milliseconds(node.step),
        **_modifiers(node),
    }


def _modifiers(node: Any) -> dict[str, Any]:
    edge = None if node.at is None else _name(node.at.type)
    # The text: the field has no times that are far from ours.
    time_ms = round(float(str(node.at).lstrip("@ ")) * 1000) if edge == "At" else None
    return {
        "offset": _milliseconds(node.offset),
        "timestamp": time_ms,
        "startOrEnd": None if edge in (None, "At") else str(edge).lower(),
    }


def _type_of(tree: dict[str, Any]) -> str:
    match tree["type"]:
        case "numberLiteral":
            return "scalar"
        case "stringLiteral":
            return "string"
        case "matrixSelector" | "subquery":
            return "matrix"
        case "call":
            return str(tree["func"]["returnType"])
        case "parenExpr" | "unaryExpr":
            return _type_of(tree["expr"])
        case "binaryExpr":
            sides = {_type_of(tree["lhs"]), _type_of(tree["rhs"])}
            return "scalar" if sides == {"scalar"} else "vector"
    return "vector"


def _milliseconds(span: timedelta | None) -> int:
    return 0 if span is None else round(span / timedelta(milliseconds=1))


def _name(member: object) -> str:
    """Return the name of a member: the oracle's enums are not Python's."""
    return str(member).rpartition(".")[2]
