"""Where the parts of a query stand in its text, for annotations: Prometheus ends them in ` (1:25)`.

The parser does not say where an expression begins. Its tree and the tokens of the text are walked side by
side instead, when there is something to be said at all; the tree says what must come next, so nothing has to
be parsed again. A place is the way from the root: which child, and which child of that. Pure.

Source: Prometheus 3.x `promql/parser/ast.go` (PositionRange), `posrange.StartPosInput`: line and byte from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import promql_parser as pp

from shim.model.values import Place
from shim.promql.lexer import OF_DURATIONS, PREPROCESSORS
from shim.promql.tokens import CLOSING, tokens

_WITH_LABELS: Final = frozenset(
    {"on", "ignoring", "group_left", "group_right", "fill", "fill_left", "fill_right"}
)
_CALLED: Final = PREPROCESSORS | OF_DURATIONS
_GROUPING: Final = frozenset({"by", "without"})


class _LostError(Exception):
    """The tokens are not what the tree says; then nobody knows any position."""


def positions(text: str, tree: pp.Expr) -> Mapping[Place, str]:
    """`1:25` of every place in the tree; nothing where tree and text do not go together."""
    walk = _Walk(text)
    try:
        walk.node(tree, ())
        walk.end()
    except _LostError:
        return {}
    return {place: line_and_byte(text, at) for place, at in walk.found.items()}


def line_and_byte(text: str, at: int) -> str:
    """Where a character stands: line and byte, both from 1."""
    before = text[:at]
    return f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2].encode()) + 1}"


class _Walk:
    def __init__(self, text: str) -> None:
        found = tokens(text)
        self._texts = [token.text for token in found]
        self._starts = [token.start for token in found]
        self._at = 0
        self.found: dict[Place, int] = {}

    def node(self, node: Any, place: Place) -> None:
        """Reads one expression, and notes where it and all in it begin."""
        if self._at >= len(self._starts):
            raise _LostError
        self.found[place] = self._starts[self._at]
        if not isinstance(node, pp.BinaryExpr):  # of which a plus is its left side's
            while self._peek() == "+":
                self._next()
        match node:
            case pp.ParenExpr():
                self._take("(")
                self.node(node.expr, (*place, 0))
                self._take(")")
            case pp.UnaryExpr():
                self._take("-")
                self.node(node.expr, (*place, 0))
            case pp.NumberLiteral():
                while self._peek() in ("+", "-"):
                    self._next()
                self._next()
            case pp.StringLiteral():
                self._next()
            case pp.Call():
                self._next()
                self._arguments(node.args, place)
            case pp.AggregateExpr():
                self._aggregate(node, place)
            case pp.BinaryExpr():
                self._binary(node, place)
            case pp.VectorSelector() | pp.MatrixSelector():
                self._selector()
            case pp.SubqueryExpr():
                self.node(node.expr, (*place, 0))
                self._moved()

    def end(self) -> None:
        if self._at < len(self._texts):
            raise _LostError

    def _aggregate(self, node: pp.AggregateExpr, place: Place) -> None:
        self._next()
        self._grouping()
        param = () if node.param is None else (node.param,)
        self._arguments((*param, node.expr), place, first=1 - len(param))
        self._grouping()

    def _grouping(self) -> None:
        if self._peek().lower() in _GROUPING:
            self._next()
            self._skip("(")

    def _arguments(self, arguments: Any, place: Place, first: int = 0) -> None:
        self._take("(")
        for i, argument in enumerate(arguments, first):
            if i > first:
                self._take(",")
            self.node(argument, (*place, i))
        if self._peek() == ",":
            self._next()
        self._take(")")

    def _binary(self, node: pp.BinaryExpr, place: Place) -> None:
        self.node(node.lhs, (*place, 0))
        self._next()
        if node.modifier is not None and node.modifier.return_bool:
            self._next()
        while self._peek().lower() in _WITH_LABELS and node.modifier is not None:
            self._next()
            if self._peek() == "(":
                self._skip("(")
        self.node(node.rhs, (*place, 1))

    def _selector(self) -> None:
        if self._peek() != "{":
            self._next()
        if self._peek() == "{":
            self._skip("{")
        self._moved()

    def _moved(self) -> None:
        """What may stand behind a selector or a subquery, in any order."""
        while True:
            match self._peek().lower():
                case "[":
                    self._skip("[")
                case "smoothed" | "anchored":
                    self._next()
                case "@" | "offset":
                    self._next()
                    while self._peek() in ("+", "-"):
                        self._next()
                    if self._peek() == "(" or self._next().lower() in _CALLED:
                        self._skip("(")
                case _:
                    return

    def _peek(self) -> str:
        return self._texts[self._at] if self._at < len(self._texts) else ""

    def _next(self) -> str:
        if self._at >= len(self._texts):
            raise _LostError
        self._at += 1
        return self._texts[self._at - 1]

    def _take(self, wanted: str) -> None:
        if self._next() != wanted:
            raise _LostError

    def _skip(self, opening: str) -> None:
        """Over a bracket and all in it; the parser has seen that brackets come in pairs."""
        self._take(opening)
        depth = 1
        while depth:
            token = self._next()
            depth += (token == opening) - (token == CLOSING[opening])
