"""What Prometheus says about a text that is no query: `1:7: parse error: unexpected "," ...`. Pure.

promql-parser decides what is a query; its texts are its own. Where it refuses, the text is read again by the
grammar of Prometheus, which finds the first thing that is wrong, its place and Prometheus' words for it. When
this finds nothing, promql-parser's words stand. Of an expression only as much is kept as its types need
(typecheck.py).

Source: Prometheus 3.x `promql/parser/generated_parser.y` (its `error` rules say which context is named),
`parse.go`. What its feature flags turn on and we do not have, is refused in the words for a flag that is off.
"""

from __future__ import annotations

import math
from typing import Final

from shim.eval.texts import quote
from shim.promql import literals
from shim.promql.lexer import (
    AGGREGATIONS,
    COMPARISONS,
    DURATION,
    EOF,
    FILLS,
    IDENTIFIER,
    METRIC_IDENTIFIER,
    NUMBER,
    PREPROCESSORS,
    SET_OPERATORS,
    STRING,
    ComplaintError,
    Item,
    Lexer,
)
from shim.promql.positions import line_and_byte
from shim.promql.typecheck import (
    Aggregation,
    Binary,
    Call,
    Matrix,
    Node,
    Number,
    Paren,
    Selector,
    Subquery,
    Text,
    Unary,
    check,
    knows,
)

_PRECEDENCE: Final = {
    "or": 1, "and": 2, "unless": 2, **dict.fromkeys(COMPARISONS, 3), "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6,
}  # fmt: skip
_POWER: Final = 6
#: Words that are also names of metrics.
_NAMES: Final = (
    AGGREGATIONS | PREPROCESSORS | SET_OPERATORS
    | {"by", "without", "offset", "anchored", "smoothed", IDENTIFIER, METRIC_IDENTIFIER}
)  # fmt: skip
#: Words that are also labels.
_LABELS: Final = (_NAMES - {"without"}) | {"bool", "group_left", "group_right", "ignoring", "on", "atan2"}
#: What an expression may begin with.
_STARTS: Final = _NAMES | {NUMBER, DURATION, STRING, "(", "{", "+", "-"}
#: Aggregations with a parameter.
WITH_PARAMETER: Final = frozenset({"topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"})
#: Signs behind which a duration is computed.
_COMPUTED: Final = frozenset("+-*/%^")
_DURATION: Final = "number, duration, step(), or range()"
_BEHIND: Final = "an instant vector selector or range vector selector or a subquery"


def complaint(text: str) -> str | None:
    """Prometheus' whole message about a text, None when it has nothing to say (or it nests too deep)."""
    try:
        _Grammar(text).query()
    except ComplaintError as e:
        return f"{line_and_byte(text, e.at)}: parse error: {e.reason}"
    except RecursionError:
        return None
    return None


def selector_complaint(text: str) -> str | None:
    """The same for a text that has to be a series selector alone, as in `match[]`."""
    try:
        _Grammar(text).selector()
    except ComplaintError as e:
        return f"{line_and_byte(text, e.at)}: parse error: {e.reason}"
    return None


class _Grammar:
    """Reads one expression; raises ComplaintError at the first thing that is wrong."""

    def __init__(self, text: str) -> None:
        self._lexer = Lexer(text)
        self._seen: Item | None = None
        self._context = ""  # of what is not expected: the aggregation that is being read

    def query(self) -> None:
        if self._peek().kind == EOF:
            raise ComplaintError(0, "no expression found in input")
        node = self._expression(1)
        if self._peek().kind != EOF:
            raise self._unexpected()
        check(node)

    def selector(self) -> None:
        first = self._peek()
        if first.kind not in _NAMES | {"{"}:
            raise self._unexpected()
        self._selector(self._next().text if first.kind != "{" else "", first.at)
        if self._peek().kind != EOF:
            raise self._unexpected()

    # ------------------------------------------------------------ tokens

    def _peek(self) -> Item:
        if self._seen is None:
            self._seen = self._lexer.next()
        return self._seen

    def _next(self) -> Item:
        item = self._peek()
        self._seen = None
        return item

    def _accept(self, *kinds: str) -> Item | None:
        return self._next() if self._peek().kind in kinds else None

    def _unexpected(self, context: str = "", expected: str = "") -> ComplaintError:
        item = self._peek()
        where = f" in {context or self._context}" if context or self._context else ""
        wanted = f", expected {expected}" if expected else ""
        return ComplaintError(item.at, f"unexpected {item.described()}{where}{wanted}")

    # ------------------------------------------------------------ expressions

    def _expression(self, least: int) -> Node:
        left = self._unary()
        while (precedence := _PRECEDENCE.get(self._peek().kind, 0)) >= least:
            op = self._next()
            returns_bool = self._accept("bool") is not None
            matching = self._matching()
            right = self._expression(precedence + (precedence != _POWER))
            left = Binary(left, op, right, returns_bool, *matching)
        return left

    def _matching(self) -> tuple[tuple[str, ...], bool, str, tuple[str, ...], bool]:
        """The labels, whether `on`, which group modifier, its labels, whether something is filled in."""
        labels: tuple[str, ...] = ()
        include: tuple[str, ...] = ()
        group, on = "", False
        if word := self._accept("on", "ignoring"):
            labels, on = self._labels(), word.kind == "on"
            if side := self._accept("group_left", "group_right"):
                group = side.kind
                bare = self._peek().kind in _STARTS | FILLS and self._peek().kind != "("
                include = () if bare else self._labels()
        return labels, on, group, include, self._fills()

    def _fills(self) -> bool:
        filled = False
        while self._accept(*FILLS):
            filled = True
            self._accept("(")
            self._accept("+", "-")
            if not self._accept(NUMBER, DURATION):
                raise self._unexpected()
            if not self._accept(")"):
                raise self._unexpected()
        return filled

    def _unary(self) -> Node:
        if sign := self._accept("+", "-"):
            inner = self._expression(_POWER)
            return Number(sign.at) if isinstance(inner, Number) else Unary(sign.at, inner)
        return self._modified(self._primary())

    def _primary(self) -> Node:
        item = self._peek()
        if item.kind in (NUMBER, DURATION):
            self._next()
            literals.number(item)
            return Number(item.at)
        if item.kind == STRING:
            self._next()
            return Text(item.at)
        if item.kind == "(":
            self._next()
            inner = self._expression(1)
            if not self._accept(")"):
                raise self._unexpected()
            return Paren(item.at, inner)
        if item.kind == "{":
            return self._selector("", item.at)
        if item.kind in _NAMES:
            self._next()
            return self._named(item)
        raise self._unexpected()

    def _named(self, item: Item) -> Node:
        """What begins with a word: an aggregation, a call or a selector."""
        after = self._peek().kind
        if item.kind in AGGREGATIONS and after in ("(", "by", "without"):
            return self._aggregation(item)
        if item.kind in PREPROCESSORS | {IDENTIFIER} and after == "(":
            arguments = self._arguments()
            if not knows(item.text):
                raise ComplaintError(item.at, f"unknown function with name {quote(item.text)}")
            return Call(item.at, item.text, arguments)
        return self._selector(item.text, item.at)

    def _aggregation(self, op: Item) -> Node:
        outer, self._context = self._context, "aggregation"
        grouped = self._grouping()
        if self._peek().kind != "(":
            raise self._unexpected()
        arguments = self._arguments()
        if not grouped:
            self._grouping()
        self._context = outer
        wanted = 2 if op.kind in WITH_PARAMETER else 1
        if not arguments:
            raise ComplaintError(op.at, "no arguments for aggregate expression provided")
        if len(arguments) != wanted:
            raise ComplaintError(
                op.at,
                "wrong number of arguments for aggregate expression provided, "
                f"expected {wanted}, got {len(arguments)}",
            )
        return Aggregation(op.at, op.kind, arguments)

    def _grouping(self) -> bool:
        if not self._accept("by", "without"):
            return False
        self._labels()
        return True

    def _arguments(self) -> tuple[Node, ...]:
        self._next()
        found: list[Node] = []
        if self._accept(")"):
            return ()
        while True:
            found.append(self._expression(1))
            comma = self._accept(",")
            if comma and self._peek().kind not in _STARTS:
                raise ComplaintError(comma.at, "trailing commas not allowed in function call args")
            if not comma:
                break
        if not self._accept(")"):
            raise self._unexpected()
        return tuple(found)

    def _labels(self) -> tuple[str, ...]:
        if not self._accept("("):
            raise self._unexpected("grouping opts", '"("')
        found: list[str] = []
        while not self._accept(")"):
            label = self._peek()
            if label.kind not in _LABELS | {STRING}:
                raise self._unexpected("grouping opts", "label")
            self._next()
            name = literals.unquoted(label.text) if label.kind == STRING else label.text
            if not name:
                raise ComplaintError(label.at, 'invalid label name for grouping: ""')
            found.append(name)
            if self._peek().kind not in (",", ")"):
                raise self._unexpected("grouping opts", '"," or ")"')
            self._accept(",")
        return tuple(found)

    # ------------------------------------------------------------ selectors

    def _selector(self, name: str, at: int) -> Selector:
        return Selector(at, name, self._matchers() if self._peek().kind == "{" else ())

    def _matchers(self) -> tuple[tuple[str, str, str], ...]:
        """Of each condition the label, the operator and the value."""
        self._next()
        found: list[tuple[str, str, str]] = []
        while not self._accept("}"):
            label = self._peek()
            if label.kind not in (IDENTIFIER, STRING):
                raise self._unexpected("label matching", 'identifier or "}"')
            self._next()
            found.append(self._matcher(label))
            if self._peek().kind not in (",", "}"):
                raise self._unexpected("label matching", '"," or "}"')
            self._accept(",")
        return tuple(found)

    def _matcher(self, label: Item) -> tuple[str, str, str]:
        name = literals.unquoted(label.text) if label.kind == STRING else label.text
        op = self._accept("=", "!=", "=~", "!~")
        if op is None:
            if label.kind == STRING:
                return "__name__", "=", name
            raise self._unexpected("label matching", "label matching operator")
        if self._peek().kind != STRING:
            raise self._unexpected("label matching", "string")
        value = literals.unquoted(self._next().text)
        if op.kind in ("=~", "!~") and (problem := literals.regexp_problem(value)):
            raise ComplaintError(label.at + (label.kind == STRING), problem)
        return name, op.kind, value

    # ------------------------------------------------------------ what stands behind

    def _modified(self, node: Node) -> Node:
        while word := self._accept("[", "offset", "@", "anchored", "smoothed"):
            if word.kind == "[":
                node = self._range(node, word)
            elif word.kind == "offset":
                self._offset(node)
            elif word.kind == "@":
                self._at(node)
            else:
                raise ComplaintError(node.at, f"{word.kind} modifier is experimental and not enabled")
        return node

    def _range(self, node: Node, bracket: Item) -> Node:
        """A range or a subquery, behind its bracket."""
        self._duration("subquery or range selector", _DURATION, positive=True)
        if self._accept("]"):
            if not isinstance(node, Selector):
                raise ComplaintError(bracket.at, "ranges only allowed for vector selectors")
            if node.has_offset:
                raise ComplaintError(bracket.at, "no offset modifiers allowed before range")
            if node.has_at:
                raise ComplaintError(bracket.at, "no @ modifiers allowed before range")
            return Matrix(node.at, node)
        if not self._accept(":"):
            raise self._unexpected("subquery or range", '":" or "]"')
        if self._accept("]"):
            return Subquery(node.at, node)
        self._duration("subquery selector", 'number, duration, step(), range(), or "]"', positive=True)
        if not self._accept("]"):
            raise self._unexpected("subquery selector", '"]"')
        return Subquery(node.at, node)

    def _duration(self, context: str, expected: str, *, positive: bool) -> float:
        """Seconds. What is computed is what a feature flag of Prometheus turns on."""
        first = self._peek()
        sign = self._accept("+", "-")
        if self._peek().kind in ("step", "range", "min", "max", "("):
            raise ComplaintError(first.at, "experimental duration expression is not enabled")
        literal = self._accept(NUMBER, DURATION)
        if literal is None:
            raise self._unexpected(context, expected)
        seconds = literals.number(literal) * (-1 if sign and sign.kind == "-" else 1)
        if positive and self._peek().kind in _COMPUTED:
            raise ComplaintError(first.at, "experimental duration expression is not enabled")
        if positive and seconds <= 0:
            raise ComplaintError(first.at, "duration must be greater than 0")
        if not abs(seconds) < literals.MAX_SECONDS:
            raise ComplaintError(literal.at, "duration out of range")
        return seconds

    def _offset(self, node: Node) -> None:
        seconds = self._duration("offset", _DURATION, positive=False)
        target = _moved(node)
        if target is None:
            raise ComplaintError(node.at, f"offset modifier must be preceded by {_BEHIND}")
        if target.has_offset:
            raise ComplaintError(node.at, "offset may not be set multiple times")
        target.has_offset = seconds != 0

    def _at(self, node: Node) -> None:
        self._time(node)
        target = _moved(node)
        if target is None:
            raise ComplaintError(node.at, f"@ modifier must be preceded by {_BEHIND}")
        if target.has_at:
            raise ComplaintError(node.at, "@ <timestamp> may not be set multiple times")
        target.has_at = True

    def _time(self, node: Node) -> None:
        sign = self._accept("+", "-")
        literal = self._accept(NUMBER, DURATION)
        if literal is not None:
            at_s = literals.number(literal) * (-1 if sign and sign.kind == "-" else 1)
            if not abs(at_s) < 2**63:
                shown = f"{at_s:f}" if math.isfinite(at_s) else literals.infinite(at_s)
                raise ComplaintError(node.at, f"timestamp out of bounds for @ modifier: {shown}")
            return
        if sign or not self._accept("start", "end") or not self._accept("(") or not self._accept(")"):
            raise self._unexpected("@", "timestamp")


def _moved(node: Node) -> Selector | Subquery | None:
    """What `offset` and `@` behind a node belong to."""
    if isinstance(node, Matrix):
        return node.of
    return node if isinstance(node, Selector | Subquery) else None
