"""Whether the types in a query go together, in Prometheus' order and words: for complain.py. Pure.

Nodes know their type, where they begin (in characters), and as much of themselves as the checks look at.
Source: Prometheus 3.x `promql/parser/parse.go`, checkAST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shim.eval.functions.registry import FUNCTIONS
from shim.eval.functions.signature import UNBOUNDED, Type
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.matchers import Matcher, MatchOp
from shim.model.messages import quote
from shim.plan import supported
from shim.promql.lexer import COMPARISONS, SET_OPERATORS, ComplaintError, Item

_SHOWN: Final = {"vector": "instant vector", "matrix": "range vector", "scalar": "scalar", "string": "string"}
_OPERANDS: Final = ("scalar", "vector")


@dataclass(slots=True)
class Number:
    at: int


@dataclass(slots=True)
class Text:
    at: int


@dataclass(slots=True)
class Selector:
    at: int
    name: str
    matchers: Sequence[tuple[str, str, str]]  # label, operator, value
    marked_at: int  # where a mark would stand among the matchers
    mark: str  # and in what
    has_offset: bool = False
    has_at: bool = False
    extended: str = ""  # smoothed or anchored


@dataclass(slots=True)
class Matrix:
    at: int
    of: Selector


@dataclass(slots=True)
class Subquery:
    at: int
    of: Node
    has_offset: bool = False
    has_at: bool = False


@dataclass(slots=True)
class Paren:
    at: int
    of: Node


@dataclass(slots=True)
class Unary:
    at: int
    of: Node


@dataclass(slots=True)
class Call:
    at: int
    name: str
    args: Sequence[Node]


@dataclass(slots=True)
class Aggregation:
    at: int
    op: str
    args: Sequence[Node]  # the parameter first


@dataclass(slots=True)
class Binary:
    left: Node
    op: Item
    right: Node
    returns_bool: bool
    labels: Sequence[str]
    on: bool
    group: str
    include: Sequence[str]
    fills: bool

    @property
    def at(self) -> int:
        return self.left.at


Node = Number | Text | Selector | Matrix | Subquery | Paren | Unary | Call | Aggregation | Binary


def knows(function: str) -> bool:
    """Whether a function is called so."""
    return function in FUNCTIONS or function in supported.range_functions() or function in _OTHERS


_OTHERS: Final = supported.OF_THE_QUERY | {"info"}


def _signature(name: str) -> tuple[Sequence[Type], int, Type]:
    """The types of arguments, how many of the last may be missing (or UNBOUNDED), the type of the value."""
    if name == "info":
        return ("vector", "vector"), 1, "vector"
    if name in supported.OF_THE_QUERY:
        return (), 0, "scalar"
    if name in FUNCTIONS:
        return FUNCTIONS[name].args, FUNCTIONS[name].optional, FUNCTIONS[name].returns
    return RANGE_FUNCTIONS[name].args, 0, "vector"


def type_of(node: Node) -> Type:
    match node:
        case Number():
            return "scalar"
        case Text():
            return "string"
        case Matrix() | Subquery():
            return "matrix"
        case Paren() | Unary():
            return type_of(node.of)
        case Call():
            return _signature(node.name)[2]
        case Binary():
            return "scalar" if type_of(node.left) == type_of(node.right) == "scalar" else "vector"
    return "vector"


def check(node: Node, *, of_info: bool = False) -> Type:
    """The type. Raises ComplaintError at the first thing that is wrong."""
    match node:
        case Aggregation():
            _aggregation(node)
        case Binary():
            _binary(node)
        case Call():
            _call(node)
        case Paren() | Matrix():
            check(node.of)
        case Unary():
            if (found := check(node.of)) not in _OPERANDS:
                reason = "unary expression only allowed on expressions of type scalar or instant vector, got "
                raise ComplaintError(node.at, reason + quote(_SHOWN[found]))
        case Subquery():
            if (found := check(node.of)) != "vector":
                reason = f"subquery is only allowed on instant vector, got {found} instead"
                raise ComplaintError(node.at, reason)
        case Selector():
            _selector(node, of_info=of_info)
    return type_of(node)


def _expect(node: Node, wanted: Type, context: str, *, of_info: bool = False) -> None:
    found = check(node, of_info=of_info)
    if found != wanted:
        raise ComplaintError(node.at, f"expected type {_SHOWN[wanted]} in {context}, got {_SHOWN[found]}")


def _aggregation(node: Aggregation) -> None:
    _expect(node.args[-1], "vector", "aggregation expression")
    if len(node.args) > 1:
        wanted: Type = "string" if node.op == "count_values" else "scalar"
        _expect(node.args[0], wanted, "aggregation parameter")


def _call(node: Call) -> None:
    wanted, optional, _ = _signature(node.name)
    given, least = len(node.args), len(wanted) - abs(optional)
    said = ""
    if not optional and given != len(wanted):
        said = f"expected {len(wanted)}"
    elif given < least:
        said = f"expected at least {least}"
    elif optional != UNBOUNDED and given > len(wanted):
        said = f"expected at most {len(wanted)}"
    if said:
        raise ComplaintError(node.at, f"{said} argument(s) in call to {quote(node.name)}, got {given}")
    context = f"call to function {quote(node.name)}"
    if node.name == "info" and given > 1:
        _labels_alone(node, context)
    for i, argument in enumerate(node.args):
        of_info = node.name == "info" and i == 1
        _expect(argument, wanted[min(i, len(wanted) - 1)], context, of_info=of_info)


def _labels_alone(node: Call, context: str) -> None:
    """The second argument of info() is a selector without a name."""
    labels = node.args[1]
    if (found := type_of(labels)) != "vector":
        raise ComplaintError(node.at, f"expected type instant vector in {context}, got {_SHOWN[found]}")
    if not isinstance(labels, Selector):
        raise ComplaintError(labels.at, "expected label selectors only")
    if labels.name:
        raise ComplaintError(labels.at, "expected label selectors only, got vector selector instead")


def _binary(node: Binary) -> None:
    left, right, op = check(node.left), check(node.right), node.op
    scalars = left == right == "scalar"
    if node.returns_bool and op.kind not in COMPARISONS:
        raise ComplaintError(op.at, "bool modifier can only be used on comparison operators")
    if op.kind in COMPARISONS and not node.returns_bool and scalars:
        raise ComplaintError(op.at, "comparisons between scalars must use BOOL modifier")
    both = next((label for label in node.labels if label in node.include), None)
    if both is not None and node.on:
        raise ComplaintError(op.at, f"label {quote(both)} must not occur in ON and GROUP clause at once")
    for side, found in ((node.left, left), (node.right, right)):
        if found not in _OPERANDS:
            reason = "binary expression must contain only scalar and instant vector types"
            raise ComplaintError(side.at, reason)
    _matching(node, vectors=left == right == "vector")


def _matching(node: Binary, *, vectors: bool) -> None:
    is_set = node.op.kind in SET_OPERATORS
    said = ""
    if not vectors:
        if node.labels:
            said = "vector matching only allowed between instant vectors"
        elif node.fills:
            said = "filling in missing series only allowed between instant vectors"
        elif is_set:
            said = f"set operator {quote(node.op.kind)} not allowed in binary scalar expression"
    elif is_set and node.group:
        said = f"no grouping allowed for {quote(node.op.kind)} operation"
    elif is_set and node.fills:
        said = "filling in missing series not allowed for set operators"
    if said:
        raise ComplaintError(node.at, said)


def _selector(node: Selector, *, of_info: bool) -> None:
    named = [value for label, op, value in node.matchers if label == "__name__" and (op == "=" or node.name)]
    names = [node.name, *named] if node.name else named
    if len(names) > 1 and not of_info:
        said = f"metric name must not be set twice: {quote(names[0])} or {quote(names[1])}"
        raise ComplaintError(node.at, said)
    if node.name or of_info:
        return
    if all(_matcher(matcher).matches("") for matcher in node.matchers):
        raise ComplaintError(node.at, "vector selector must contain at least one non-empty matcher")


def _matcher(matcher: tuple[str, str, str]) -> Matcher:
    label, op, value = matcher
    ops: dict[str, MatchOp] = {"=": "=", "!=": "!=", "=~": "=~", "!~": "!~"}
    return Matcher(label, ops[op], value)
