"""The syntax tree of a query: frozen nodes that know where they start in the text. Pure.

`start` counts characters from 0. Names and fields follow Prometheus' own tree; durations and times are
milliseconds.
Source: Prometheus 3.x `promql/parser/ast.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from shim.model.matchers import Matcher
from shim.promql.functions import Signature

Card = Literal["one-to-one", "many-to-one", "one-to-many", "many-to-many"]
Group = Literal["", "group_left", "group_right"]

SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
_GROUP_CARDS: Final[Mapping[Group, Card]] = {
    "": "one-to-one",
    "group_left": "many-to-one",
    "group_right": "one-to-many",
}


class NumberLiteral(msgspec.Struct, frozen=True):
    """A number, or a duration as its seconds; a sign in front of it is part of it."""

    start: int
    val: float


class StringLiteral(msgspec.Struct, frozen=True):
    """A string without its quotes and escapes."""

    start: int
    val: str


class VectorSelector(msgspec.Struct, frozen=True):
    """A selector of series: `name{matchers}`. A name in front of the braces is the first matcher, too."""

    start: int
    name: str
    matchers: tuple[Matcher, ...]
    offset_ms: int = 0
    timestamp_ms: int | None = None  # of `@ 1234`
    start_or_end: Literal["", "start", "end"] = ""  # of `@ start()` and `@ end()`
    extended: Literal["", "anchored", "smoothed"] = ""


class MatrixSelector(msgspec.Struct, frozen=True):
    """A selector of ranges: `name{matchers}[5m]`; its modifiers belong to the vector selector."""

    start: int
    vector_selector: VectorSelector
    range_ms: int


class SubqueryExpr(msgspec.Struct, frozen=True):
    """A subquery: `expr[range:step]`. Without a step `step_ms` is 0."""

    start: int
    expr: Expr
    range_ms: int
    step_ms: int
    offset_ms: int = 0
    timestamp_ms: int | None = None
    start_or_end: Literal["", "start", "end"] = ""


class ParenExpr(msgspec.Struct, frozen=True):
    """An expression in parentheses."""

    start: int
    expr: Expr


class UnaryExpr(msgspec.Struct, frozen=True):
    """An expression after a sign: `-x`."""

    start: int
    op: Literal["+", "-"]
    expr: Expr


class CallExpr(msgspec.Struct, frozen=True):
    """A call of a function."""

    start: int
    name: str
    signature: Signature
    args: tuple[Expr, ...]


class AggregateExpr(msgspec.Struct, frozen=True):
    """An aggregation, `op` in lower case."""

    start: int
    op: str
    expr: Expr
    param: Expr | None
    grouping: tuple[str, ...]
    without: bool


class BinaryExpr(msgspec.Struct, frozen=True):
    """An operator between two expressions, `op` in lower case; `op_start` is the place of the operator."""

    start: int
    op: str
    op_start: int
    lhs: Expr
    rhs: Expr
    return_bool: bool = False
    on: bool = False  # `on (labels)`, not `ignoring (labels)`
    labels: tuple[str, ...] = ()
    group: Group = ""
    include: tuple[str, ...] = ()  # the labels of the group modifier
    fill_left: float | None = None
    fill_right: float | None = None

    @property
    def card(self) -> Card:
        """How many series of each side match."""
        if self.op in SET_OPERATORS:
            return "many-to-many"
        return _GROUP_CARDS[self.group]


Expr = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | SubqueryExpr
    | ParenExpr
    | UnaryExpr
    | CallExpr
    | AggregateExpr
    | BinaryExpr
)


def children(node: Expr) -> tuple[tuple[int, Expr], ...]:
    """Return the expressions right below a node, each with its number in a `Place`."""
    match node:
        case ParenExpr() | UnaryExpr() | SubqueryExpr():
            return ((0, node.expr),)
        case CallExpr():
            return tuple(enumerate(node.args))
        case AggregateExpr():
            return ((1, node.expr),) if node.param is None else ((0, node.param), (1, node.expr))
        case BinaryExpr():
            return (0, node.lhs), (1, node.rhs)
    return ()
