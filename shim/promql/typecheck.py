"""Whether the types in a query go together, in Prometheus' order and words. Pure.

Source: Prometheus 3.x `promql/parser/parse.go`, checkAST.
"""

from __future__ import annotations

from typing import Final

from shim.model.labels import NAME
from shim.model.messages import quote
from shim.promql.ast import (
    SET_OPERATORS,
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
from shim.promql.functions import Signature, ValueType
from shim.promql.lexer import COMPARISONS, PromQLSyntaxError

_SHOWN: Final = {"vector": "instant vector", "matrix": "range vector", "scalar": "scalar", "string": "string"}
_OPERANDS: Final = ("scalar", "vector")
_INFO: Final = "info"


def type_of(node: Expr) -> ValueType:
    """Return the type of an expression's value."""
    match node:
        case NumberLiteral():
            return "scalar"
        case StringLiteral():
            return "string"
        case MatrixSelector() | SubqueryExpr():
            return "matrix"
        case ParenExpr() | UnaryExpr():
            return type_of(node.expr)
        case CallExpr():
            return node.signature.returns
        case BinaryExpr():
            return "scalar" if type_of(node.lhs) == type_of(node.rhs) == "scalar" else "vector"
    return "vector"


def check(node: Expr, *, of_info: bool = False) -> ValueType:
    """Return the type of an expression; `of_info`: it is the second argument of info().

    Raises PromQLSyntaxError at the first error in Prometheus' order.
    """
    match node:
        case NumberLiteral() | StringLiteral():
            return type_of(node)
        case VectorSelector():
            return _selector(node, of_info=of_info)
        case MatrixSelector():
            _selector(node.vector_selector, of_info=False)
            return "matrix"
        case ParenExpr():
            return check(node.expr)
        case UnaryExpr():
            return _unary(node)
        case SubqueryExpr():
            return _subquery(node)
        case CallExpr():
            return _call(node)
        case AggregateExpr():
            return _aggregation(node)
        case BinaryExpr():
            return _binary(node)


def _expect(node: Expr, wanted: ValueType, context: str, *, of_info: bool = False) -> None:
    found = check(node, of_info=of_info)
    if found != wanted:
        reason = f"expected type {_SHOWN[wanted]} in {context}, got {_SHOWN[found]}"
        raise PromQLSyntaxError(node.start, reason)


def _unary(node: UnaryExpr) -> ValueType:
    found = check(node.expr)
    if found not in _OPERANDS:
        reason = "unary expression only allowed on expressions of type scalar or instant vector, got "
        raise PromQLSyntaxError(node.start, reason + quote(_SHOWN[found]))
    return found


def _subquery(node: SubqueryExpr) -> ValueType:
    found = check(node.expr)
    if found != "vector":
        reason = f"subquery is only allowed on instant vector, got {found} instead"
        raise PromQLSyntaxError(node.start, reason)
    return "matrix"


def _aggregation(node: AggregateExpr) -> ValueType:
    _expect(node.expr, "vector", "aggregation expression")
    if node.param is not None:
        wanted: ValueType = "string" if node.op == "count_values" else "scalar"
        _expect(node.param, wanted, "aggregation parameter")
    return "vector"


def _call(node: CallExpr) -> ValueType:
    wanted, given = node.signature.args, len(node.args)
    if expected := _expected_count(node.signature, given):
        reason = f"expected {expected} argument(s) in call to {quote(node.name)}, got {given}"
        raise PromQLSyntaxError(node.start, reason)
    context = f"call to function {quote(node.name)}"
    if node.name == _INFO and given > 1:
        _labels_alone(node, context)
    for i, argument in enumerate(node.args):
        of_info = node.name == _INFO and i == 1
        _expect(argument, wanted[min(i, len(wanted) - 1)], context, of_info=of_info)
    return node.signature.returns


def _expected_count(signature: Signature, given: int) -> str:
    """Return how many arguments a function takes, "" where the number given is right."""
    wanted, variadic = len(signature.args), signature.variadic
    if signature.accepts(given):
        return ""
    if not variadic:
        return f"{wanted}"
    return f"at least {wanted - 1}" if given < wanted else f"at most {wanted - 1 + variadic}"


def _labels_alone(node: CallExpr, context: str) -> None:
    """Check that the second argument of info() is a selector without a name."""
    labels = node.args[1]
    if (found := type_of(labels)) != "vector":
        raise PromQLSyntaxError(node.start, f"expected type instant vector in {context}, got {_SHOWN[found]}")
    if not isinstance(labels, VectorSelector):
        raise PromQLSyntaxError(labels.start, "expected label selectors only")
    if labels.name:
        raise PromQLSyntaxError(labels.start, "expected label selectors only, got vector selector instead")


def _binary(node: BinaryExpr) -> ValueType:
    left, right = check(node.lhs), check(node.rhs)
    scalars = left == right == "scalar"
    if node.return_bool and node.op not in COMPARISONS:
        raise PromQLSyntaxError(node.op_start, "bool modifier can only be used on comparison operators")
    if node.op in COMPARISONS and not node.return_bool and scalars:
        raise PromQLSyntaxError(node.op_start, "comparisons between scalars must use BOOL modifier")
    both = next((label for label in node.labels if label in node.include), None)
    if both is not None and node.on:
        reason = f"label {quote(both)} must not occur in ON and GROUP clause at once"
        raise PromQLSyntaxError(node.op_start, reason)
    for side, found in ((node.lhs, left), (node.rhs, right)):
        if found not in _OPERANDS:
            reason = "binary expression must contain only scalar and instant vector types"
            raise PromQLSyntaxError(side.start, reason)
    if problem := _matching_problem(node, vectors=left == right == "vector"):
        raise PromQLSyntaxError(node.start, problem)
    return "scalar" if scalars else "vector"


def _matching_problem(node: BinaryExpr, *, vectors: bool) -> str:
    """Return Prometheus' words about a wrong matching, "" for a right one."""
    is_set = node.op in SET_OPERATORS
    fills = node.fill_left is not None or node.fill_right is not None
    if not vectors:
        if node.labels:
            return "vector matching only allowed between instant vectors"
        if fills:
            return "filling in missing series only allowed between instant vectors"
        if is_set:
            return f"set operator {quote(node.op)} not allowed in binary scalar expression"
    elif is_set and node.group:
        return f"no grouping allowed for {quote(node.op)} operation"
    elif is_set and fills:
        return "filling in missing series not allowed for set operators"
    return ""


def _selector(node: VectorSelector, *, of_info: bool) -> ValueType:
    named = [m for m in node.matchers if m.name == NAME and (m.op == "=" or node.name)]
    if len(named) > 1 and not of_info:
        reason = f"metric name must not be set twice: {quote(named[0].value)} or {quote(named[1].value)}"
        raise PromQLSyntaxError(node.start, reason)
    if not node.name and not of_info and all(m.matches("") for m in node.matchers):
        reason = "vector selector must contain at least one non-empty matcher"
        raise PromQLSyntaxError(node.start, reason)
    return "vector"
