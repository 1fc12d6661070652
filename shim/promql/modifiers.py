"""The modifiers after an expression: ranges, `offset`, `@`, `smoothed`, `anchored`; and durations. Pure.

Computed durations (`x[step() * 2]`) and the two words are experimental in Prometheus. A `DurationContext`
allows them, and has the values of step() and range().

Source: Prometheus 3.x `promql/parser/generated_parser.y`, `parse.go` (addOffset, setTimestamp, setSmoothed),
`promql/durations.go`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from msgspec.structs import replace

from shim.promql import literals
from shim.promql.ast import Expr, MatrixSelector, SubqueryExpr, VectorSelector
from shim.promql.lexer import DURATION, NUMBER, Lexer, PromQLSyntaxError, Token

_DURATION: Final = "number, duration, step(), or range()"
_DURATION_OR_END: Final = 'number, duration, step(), range(), or "]"'
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
#: The furthest time of an `@`, in milliseconds: a float still holds each one.
_MAX_TIME_MS: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class DurationContext:
    """The step and the range of the whole query, for step() and range(): 0 for an instant."""

    step_ms: int = 0
    range_ms: int = 0


class ModifierParser:
    """Reads tokens, and the modifiers after an expression; raises PromQLSyntaxError at the first error."""

    def __init__(self, text: str, durations: DurationContext | None = None) -> None:
        self._lexer = Lexer(text)
        self._seen: Token | None = None
        self._durations = durations
        self._computes = False
        self.context = ""  # where an unexpected token is: the aggregation that is being read
        self.has_far_time = False  # whether a time cannot be held, though Prometheus accepts it

    # ------------------------------------------------------------ tokens

    def peek(self) -> Token:
        """Return the next token without reading it."""
        token = self._seen
        if token is None:
            token = self._seen = self._lexer.next()
        return token

    def next(self) -> Token:
        """Read the next token."""
        token, self._seen = self._seen, None
        return self._lexer.next() if token is None else token

    def accept(self, *kinds: str) -> Token | None:
        """Read the next token if it is of one of these kinds."""
        token = self._seen
        if token is None:
            token = self._seen = self._lexer.next()
        if token.kind not in kinds:
            return None
        self._seen = None
        return token

    def unexpected(self, context: str = "", expected: str = "") -> PromQLSyntaxError:
        """Return the error that the next token is not expected."""
        token = self.peek()
        where = f" in {context or self.context}" if context or self.context else ""
        wanted = f", expected {expected}" if expected else ""
        return PromQLSyntaxError(token.start, f"unexpected {token.described()}{where}{wanted}")

    # ------------------------------------------------------------ modifiers

    def modified(self, node: Expr) -> Expr:
        """Return the node with all modifiers that follow it."""
        while word := self.accept("[", "offset", "@", "anchored", "smoothed"):
            match word.kind:
                case "[":
                    node = self._range(node, word)
                case "offset":
                    node = self._offset(node)
                case "@":
                    node = self._at(node)
                case "anchored":
                    node = self._extended(node, "anchored")
                case _:
                    node = self._extended(node, "smoothed")
        return node

    def _range(self, node: Expr, bracket: Token) -> MatrixSelector | SubqueryExpr:
        """Read a range or a subquery after its bracket."""
        range_ms = self._positive_ms("subquery or range selector", _DURATION)
        if self.accept("]"):
            return self._matrix(node, bracket, range_ms)
        if not self.accept(":"):
            raise self.unexpected("subquery or range", '":" or "]"')
        if self.accept("]"):
            return SubqueryExpr(node.start, node, range_ms, 0)
        step_ms = self._positive_ms("subquery selector", _DURATION_OR_END)
        if not self.accept("]"):
            raise self.unexpected("subquery selector", '"]"')
        return SubqueryExpr(node.start, node, range_ms, step_ms)

    def _matrix(self, node: Expr, bracket: Token, range_ms: int) -> MatrixSelector:
        if not isinstance(node, VectorSelector):
            raise PromQLSyntaxError(bracket.start, "ranges only allowed for vector selectors")
        if node.offset_ms:
            raise PromQLSyntaxError(bracket.start, "no offset modifiers allowed before range")
        if _has_time(node):
            raise PromQLSyntaxError(bracket.start, "no @ modifiers allowed before range")
        return MatrixSelector(node.start, node, range_ms)

    def _offset(self, node: Expr) -> Expr:
        first = self.peek()
        self._computes = False
        sign = self.accept("+", "-")
        seconds = self._one("offset", _DURATION) * (-1 if sign and sign.kind == "-" else 1)
        offset_ms = self._checked_ms(first, seconds)
        target = _target(node)
        if target is None:
            raise PromQLSyntaxError(node.start, f"offset modifier must be preceded by {_PRECEDING}")
        if target.offset_ms:
            raise PromQLSyntaxError(node.start, "offset may not be set multiple times")
        return _changed(node, offset_ms=offset_ms)

    def _at(self, node: Expr) -> Expr:
        time_ms, edge = self._time(node)
        target = _target(node)
        if target is None:
            raise PromQLSyntaxError(node.start, f"@ modifier must be preceded by {_PRECEDING}")
        if _has_time(target):
            raise PromQLSyntaxError(node.start, "@ <timestamp> may not be set multiple times")
        return _changed(node, timestamp_ms=time_ms, start_or_end=edge)

    def _time(self, node: Expr) -> tuple[int | None, str]:
        """Read a time, or `start()` or `end()`."""
        sign = self.accept("+", "-")
        literal = self.accept(NUMBER, DURATION)
        if literal is not None:
            at_s = literals.number(literal) * (-1 if sign and sign.kind == "-" else 1)
            if not abs(at_s) < 2**63:
                shown = f"{at_s:f}" if math.isfinite(at_s) else literals.infinite(at_s)
                raise PromQLSyntaxError(node.start, f"timestamp out of bounds for @ modifier: {shown}")
            time_ms = math.floor(abs(at_s) * 1000 + 0.5) * (-1 if at_s < 0 else 1)  # Go's math.Round
            self.has_far_time |= abs(time_ms) > _MAX_TIME_MS
            return time_ms, ""
        word = None if sign else self.accept("start", "end")
        if not word or not self.accept("(") or not self.accept(")"):
            raise self.unexpected("@", "timestamp")
        return None, word.kind

    def _extended(self, node: Expr, word: Literal["anchored", "smoothed"]) -> Expr:
        if self._durations is None:
            raise PromQLSyntaxError(node.start, f"{word} modifier is experimental and not enabled")
        if isinstance(node, SubqueryExpr):
            raise PromQLSyntaxError(node.start, f"{word} modifier is not supported for subqueries")
        target = _target(node)
        if not isinstance(target, VectorSelector):
            raise PromQLSyntaxError(node.start, f"{word} modifier not implemented")
        if target.extended not in ("", word):
            reason = "anchored and smoothed modifiers cannot be used together"
            raise PromQLSyntaxError(node.start, reason)
        return _changed(node, extended=word)

    # ------------------------------------------------------------ durations

    def _positive_ms(self, context: str, expected: str) -> int:
        first = self.peek()
        self._computes = False
        seconds = self._sum(1, context, expected)
        if self._computes and self._durations is None:
            raise PromQLSyntaxError(first.start, _DISABLED)
        if not seconds > 0:
            raise PromQLSyntaxError(first.start, "duration must be greater than 0")
        return self._checked_ms(first, seconds)

    def _checked_ms(self, first: Token, seconds: float) -> int:
        """Return a duration in milliseconds; `first` is its first token."""
        if not abs(seconds) < literals.MAX_SECONDS:
            raise PromQLSyntaxError(first.start, "duration out of range")
        if self._computes and self._durations is None:
            raise PromQLSyntaxError(first.start, _DISABLED)
        return round(seconds * 1000)

    def _sum(self, min_precedence: int, context: str, expected: str) -> float:
        left = self._signed(context, expected)
        while (precedence := _PRECEDENCE.get(self.peek().kind, 0)) >= min_precedence:
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
        """Read a number, a duration, a call, or a sum in parentheses."""
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
        """Return the value of a function of durations, reading its arguments after the bracket."""
        durations = self._durations or DurationContext(1_000, 1_000)  # any: it is refused later
        if name == "step":
            return durations.step_ms / 1000
        if name == "range":
            return durations.range_ms / 1000
        first = self._sum(1, context, expected)
        if not self.accept(","):
            raise self.unexpected(context, expected)
        return _TWO[name](first, self._sum(1, context, expected))


def _operated(op: Token, left: float, right: float) -> float:
    match op.kind:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" | "%" if right == 0:
            raise PromQLSyntaxError(op.start, f"{'division' if op.kind == '/' else 'modulo'} by zero")
        case "/":
            return left / right
    try:
        return math.fmod(left, right) if op.kind == "%" else math.pow(left, right)
    except (OverflowError, ValueError):
        return math.inf


def _target(node: Expr) -> VectorSelector | SubqueryExpr | None:
    """Return the node that `offset` and `@` after an expression belong to."""
    if isinstance(node, MatrixSelector):
        return node.vector_selector
    return node if isinstance(node, VectorSelector | SubqueryExpr) else None


def _has_time(node: VectorSelector | SubqueryExpr) -> bool:
    return node.timestamp_ms is not None or node.start_or_end != ""


def _changed(node: Expr, **fields: Any) -> Expr:
    """Return the expression with other fields of its `_target`."""
    if isinstance(node, MatrixSelector):
        return replace(node, vector_selector=replace(node.vector_selector, **fields))
    return replace(node, **fields)
