"""What may stand behind an expression: ranges, `offset`, `@`, `smoothed`, `anchored`; for complain.py. Pure.

Durations that are computed (`x[step() * 2]`) and the two words are experimental in Prometheus, and unknown to
promql-parser. `During` says that they may be used, and what step() and range() are; then what has to stand in
the text for promql-parser is noted in `changes`: milliseconds, and a mark among the selector's matchers.

Source: Prometheus 3.x `promql/parser/generated_parser.y`, `parse.go` (addOffset, setTimestamp, setSmoothed),
`promql/durations.go`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shim.promql import literals
from shim.promql.lexer import DURATION, NUMBER, ComplaintError, Item, Lexer
from shim.promql.typecheck import Matrix, Node, Selector, Subquery

_DURATION: Final = "number, duration, step(), or range()"
_PRECEDING: Final = "an instant vector selector or range vector selector or a subquery"
_DISABLED: Final = "experimental duration expression is not enabled"
_PRECEDENCE: Final = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}
_POWER: Final = 3
_TWO: Final[dict[str, Callable[[float, float], float]]] = {
    "min": min,
    "max": max,
    "min_of": min,
    "max_of": max,
}

Change = tuple[int, int, str]  # from, to, what stands there instead


@dataclass(frozen=True, slots=True)
class During:
    """Of the whole query, as step() and range() have them: 0 for an instant."""

    step_ms: int = 0
    range_ms: int = 0


class Behind:
    """Tokens, and what stands behind an expression; raises ComplaintError at the first wrong thing."""

    def __init__(self, text: str, during: During | None = None) -> None:
        self._lexer = Lexer(text)
        self._seen: Item | None = None
        self._during = during
        self._end = 0  # of the last token that was read
        self._computes = False
        self.context = ""  # of what is not expected: the aggregation that is being read
        self.changes: list[Change] = []

    # ------------------------------------------------------------ tokens

    def peek(self) -> Item:
        if self._seen is None:
            self._seen = self._lexer.next()
        return self._seen

    def next(self) -> Item:
        item = self.peek()
        self._seen, self._end = None, item.at + len(item.text)
        return item

    def accept(self, *kinds: str) -> Item | None:
        return self.next() if self.peek().kind in kinds else None

    def unexpected(self, context: str = "", expected: str = "") -> ComplaintError:
        item = self.peek()
        where = f" in {context or self.context}" if context or self.context else ""
        wanted = f", expected {expected}" if expected else ""
        return ComplaintError(item.at, f"unexpected {item.described()}{where}{wanted}")

    # ------------------------------------------------------------ modifiers

    def modified(self, node: Node) -> Node:
        """The node with all that stands behind it."""
        while word := self.accept("[", "offset", "@", "anchored", "smoothed"):
            if word.kind == "[":
                node = self._range(node, word)
            elif word.kind == "offset":
                self._offset(node)
            elif word.kind == "@":
                self._at(node)
            else:
                self._extended(node, word)
        return node

    def _range(self, node: Node, bracket: Item) -> Node:
        """A range or a subquery, behind its bracket."""
        self._positive("subquery or range selector", _DURATION)
        if self.accept("]"):
            if not isinstance(node, Selector):
                raise ComplaintError(bracket.at, "ranges only allowed for vector selectors")
            if node.has_offset:
                raise ComplaintError(bracket.at, "no offset modifiers allowed before range")
            if node.has_at:
                raise ComplaintError(bracket.at, "no @ modifiers allowed before range")
            return Matrix(node.at, node)
        if not self.accept(":"):
            raise self.unexpected("subquery or range", '":" or "]"')
        if self.accept("]"):
            return Subquery(node.at, node)
        self._positive("subquery selector", 'number, duration, step(), range(), or "]"')
        if not self.accept("]"):
            raise self.unexpected("subquery selector", '"]"')
        return Subquery(node.at, node)

    def _offset(self, node: Node) -> None:
        first = self.peek()
        self._computes = False
        sign = self.accept("+", "-")
        seconds = self._one("offset", _DURATION) * (-1 if sign and sign.kind == "-" else 1)
        self._noted(first, seconds)
        target = _moved(node)
        if target is None:
            raise ComplaintError(node.at, f"offset modifier must be preceded by {_PRECEDING}")
        if target.has_offset:
            raise ComplaintError(node.at, "offset may not be set multiple times")
        target.has_offset = seconds != 0

    def _at(self, node: Node) -> None:
        self._time(node)
        target = _moved(node)
        if target is None:
            raise ComplaintError(node.at, f"@ modifier must be preceded by {_PRECEDING}")
        if target.has_at:
            raise ComplaintError(node.at, "@ <timestamp> may not be set multiple times")
        target.has_at = True

    def _time(self, node: Node) -> None:
        sign = self.accept("+", "-")
        literal = self.accept(NUMBER, DURATION)
        if literal is not None:
            at_s = literals.number(literal) * (-1 if sign and sign.kind == "-" else 1)
            if not abs(at_s) < 2**63:
                shown = f"{at_s:f}" if math.isfinite(at_s) else literals.infinite(at_s)
                raise ComplaintError(node.at, f"timestamp out of bounds for @ modifier: {shown}")
            return
        if sign or not self.accept("start", "end") or not self.accept("(") or not self.accept(")"):
            raise self.unexpected("@", "timestamp")

    def _extended(self, node: Node, word: Item) -> None:
        if self._during is None:
            raise ComplaintError(node.at, f"{word.kind} modifier is experimental and not enabled")
        if isinstance(node, Subquery):
            raise ComplaintError(node.at, f"{word.kind} modifier is not supported for subqueries")
        target = _moved(node)
        if not isinstance(target, Selector):
            raise ComplaintError(node.at, f"{word.kind} modifier not implemented")
        if target.extended not in ("", word.kind):
            reason = "anchored and smoothed modifiers cannot be used together"
            raise ComplaintError(node.at, reason)
        self.changes.append((word.at, word.at + len(word.text), ""))
        if not target.extended:
            mark = f'"\\u0001extended"="{word.kind}"'
            self.changes.append((target.marked_at, target.marked_at, target.mark.format(mark)))
        target.extended = word.kind

    # ------------------------------------------------------------ durations

    def _positive(self, context: str, expected: str) -> None:
        first = self.peek()
        self._computes = False
        seconds = self._sum(1, context, expected)
        if self._computes and self._during is None:
            raise ComplaintError(first.at, _DISABLED)
        if not seconds > 0:
            raise ComplaintError(first.at, "duration must be greater than 0")
        self._noted(first, seconds)

    def _noted(self, first: Item, seconds: float) -> None:
        """Checks a duration, and notes it where it is computed."""
        if not abs(seconds) < literals.MAX_SECONDS:
            raise ComplaintError(first.at, "duration out of range")
        if self._computes:
            if self._during is None:
                raise ComplaintError(first.at, _DISABLED)
            self.changes.append((first.at, self._end, f"{round(seconds * 1000)}ms".replace("-", " -")))

    def _sum(self, least: int, context: str, expected: str) -> float:
        left = self._signed(context, expected)
        while (precedence := _PRECEDENCE.get(self.peek().kind, 0)) >= least:
            self._computes = True
            op = self.next()
            right = self._sum(precedence + (precedence != _POWER), context, expected)
            left = _operated(op, left, right)
        return left

    def _signed(self, context: str, expected: str) -> float:
        if sign := self.accept("+", "-"):
            value = self._sum(_POWER, context, expected)
            return -value if sign.kind == "-" else value
        return self._one(context, expected)

    def _one(self, context: str, expected: str) -> float:
        if literal := self.accept(NUMBER, DURATION):
            return literals.number(literal)
        word = self.peek()
        name = word.text.lower()
        if word.kind == "(":
            self.next()
            self._computes = True
            value = self._sum(1, context, expected)
        elif name in ("step", "range") or name in _TWO:
            self.next()
            self._computes = True
            if not self.accept("("):
                raise self.unexpected(context, expected)
            value = self._called(name, context, expected)
        else:
            raise self.unexpected(context, expected)
        if not self.accept(")"):
            raise self.unexpected(context, expected)
        return value

    def _called(self, name: str, context: str, expected: str) -> float:
        """The value of a function of durations, behind its bracket."""
        during = self._during or During(1_000, 1_000)  # any will do: it is refused later
        if name == "step":
            return during.step_ms / 1000
        if name == "range":
            return during.range_ms / 1000
        first = self._sum(1, context, expected)
        if not self.accept(","):
            raise self.unexpected(context, expected)
        return _TWO[name](first, self._sum(1, context, expected))


def _operated(op: Item, left: float, right: float) -> float:
    match op.kind:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" | "%" if right == 0:
            raise ComplaintError(op.at, f"{'division' if op.kind == '/' else 'modulo'} by zero")
        case "/":
            return left / right
    try:
        return math.fmod(left, right) if op.kind == "%" else math.pow(left, right)
    except (OverflowError, ValueError):
        return math.inf


def _moved(node: Node) -> Selector | Subquery | None:
    """What `offset` and `@` behind a node belong to."""
    if isinstance(node, Matrix):
        return node.of
    return node if isinstance(node, Selector | Subquery) else None
