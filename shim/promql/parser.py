"""PromQL text -> syntax tree, or BadData in Prometheus' words: `1:7: parse error: unexpected "," ...`. Pure.

A text is read by Prometheus' grammar, and then the types in it are checked (typecheck.py), so the first error
is Prometheus' first. query_size.py bounds the text before, because the parser recurses.

Source: Prometheus 3.x `promql/parser/generated_parser.y` (its `error` rules name the contexts), `parse.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeVar

from shim.model.errors import BadData
from shim.model.labels import NAME
from shim.model.matchers import Matcher, MatchOp, compile_regex
from shim.model.messages import quote
from shim.promql import go_strings, literals
from shim.promql.ast import (
    SET_OPERATORS,
    AggregateExpr,
    BinaryExpr,
    CallExpr,
    Expr,
    Group,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    UnaryExpr,
    VectorSelector,
)
from shim.promql.functions import SignatureOf
from shim.promql.hint import hint
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
    STRING,
    PromQLSyntaxError,
    Token,
)
from shim.promql.modifiers import DurationContext, ModifierParser
from shim.promql.positions import line_and_byte
from shim.promql.query_size import MAX_QUERY_BYTES, check_size
from shim.promql.typecheck import check

T = TypeVar("T")

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
#: The tokens that an expression may start with.
_STARTS: Final = _NAMES | {NUMBER, DURATION, STRING, "(", "{", "+", "-"}
#: The tokens after a group modifier without labels.
_AFTER_GROUP: Final = (_STARTS | FILLS) - {"("}
#: Aggregations with a parameter.
_WITH_PARAMETER: Final = frozenset({"topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"})
_CALLED: Final = PREPROCESSORS | {IDENTIFIER}
_MATCH_OPS: Final[dict[str, MatchOp]] = {"=": "=", "!=": "!=", "=~": "=~", "!~": "!~"}


def parse(
    text: str,
    signature_of: SignatureOf,
    durations: DurationContext | None = None,
    max_bytes: int = MAX_QUERY_BYTES,
) -> Expr:
    """Return the syntax tree; `durations` allows computed durations, `smoothed` and `anchored`.

    A text of many bytes takes a second of CPU (1 MiB of matchers): not for an event loop.

    Raises BadData with Prometheus' message.
    """
    check_size(text, max_bytes)
    return _told(text, _Parser(text, signature_of, durations).query)


def parse_selector(text: str, signature_of: SignatureOf, max_bytes: int = MAX_QUERY_BYTES) -> VectorSelector:
    """Return the syntax tree of a series selector without modifiers, as in `match[]`. Raises BadData."""
    check_size(text, max_bytes)
    return _told(text, _Parser(text, signature_of).selector)


def _told(text: str, read: Callable[[], T]) -> T:
    """Call a parser's method and give its error as BadData, with the place in the text."""
    try:
        return read()
    except PromQLSyntaxError as e:
        place = line_and_byte(text, e.start)
        raise BadData(f"{place}: parse error: {e.reason}{hint(text, e.start)}") from None
    except RecursionError:
        raise BadData("parse error: nested too deep") from None


class _Matching(NamedTuple):
    """The modifiers of a binary operator about matching series."""

    on: bool = False
    labels: tuple[str, ...] = ()
    group: Group = ""
    include: tuple[str, ...] = ()


_NO_MATCHING: Final = _Matching()


class _Parser(ModifierParser):
    """Reads one expression; raises PromQLSyntaxError at the first error."""

    def __init__(
        self, text: str, signature_of: SignatureOf, durations: DurationContext | None = None
    ) -> None:
        super().__init__(text, durations)
        self._signature_of = signature_of

    def query(self) -> Expr:
        """Read a whole query. Raises PromQLSyntaxError, BadData."""
        if self.peek().kind == EOF:
            raise PromQLSyntaxError(0, "no expression found in input")
        node = self._expression(1)
        if self.peek().kind != EOF:
            raise self.unexpected()
        check(node)
        if self.has_far_time:
            raise BadData("parse error: timestamp out of bounds for @ modifier")
        return node

    def selector(self) -> VectorSelector:
        """Read a series selector without modifiers. Raises PromQLSyntaxError, BadData."""
        first = self.peek()
        if first.kind not in _NAMES | {"{"}:
            raise self.unexpected()
        node = self._selector(self.next().text if first.kind != "{" else "", first.start)
        if self.peek().kind != EOF:
            raise self.unexpected()
        check(node)
        return node

    # ------------------------------------------------------------ operators

    def _expression(self, min_precedence: int) -> Expr:
        left = self._operand()
        while (precedence := _PRECEDENCE.get(self.peek().kind, 0)) >= min_precedence:
            op = self.next()
            returns_bool = self.accept("bool") is not None
            matching = self._matching()
            fill_left, fill_right = self._fills()
            right = self._expression(precedence + (precedence != _POWER))
            left = BinaryExpr(
                left.start,
                op.kind,
                op.start,
                left,
                right,
                returns_bool,
                *matching,
                fill_left,
                fill_right,
            )
        return left

    def _matching(self) -> _Matching:
        word = self.accept("on", "ignoring")
        if word is None:
            return _NO_MATCHING
        labels = self._labels()
        side = self.accept("group_left", "group_right")
        if side is None:
            return _Matching(word.kind == "on", labels)
        include = () if self.peek().kind in _AFTER_GROUP else self._labels()
        group: Group = "group_left" if side.kind == "group_left" else "group_right"
        return _Matching(word.kind == "on", labels, group, include)

    def _fills(self) -> tuple[float | None, float | None]:
        """Read the fill modifiers: the values for the left and for the right side."""
        if self.accept("fill"):
            both = self._fill_value()
            return both, both
        values: dict[str, float] = {}
        while len(values) < 2 and (side := self.accept(*(FILLS - {"fill"} - values.keys()))):
            values[side.kind] = self._fill_value()
        return values.get("fill_left"), values.get("fill_right")

    def _fill_value(self) -> float:
        self.accept("(")
        sign = self.accept("+", "-")
        literal = self.accept(NUMBER, DURATION)
        if literal is None or not self.accept(")"):
            raise self.unexpected()
        value = literals.number(literal)
        return -value if sign and sign.kind == "-" else value

    # ------------------------------------------------------------ operands

    def _operand(self) -> Expr:
        """Read an operand: signs, an expression, and its modifiers."""
        signs: list[Token] = []
        while sign := self.accept("+", "-"):
            signs.append(sign)
        if not signs:
            return self.modified(self._primary())
        node = self._expression(_POWER)
        for sign in reversed(signs):
            node = _signed(sign, node)
        return node

    def _primary(self) -> Expr:
        token = self.peek()
        if token.kind in _NAMES:
            self.next()
            return self._named(token)
        if token.kind == "{":
            return self._selector("", token.start)
        if token.kind not in (NUMBER, DURATION, STRING, "("):
            raise self.unexpected()
        self.next()
        if token.kind == STRING:
            return StringLiteral(token.start, go_strings.unquoted(token.text))
        if token.kind != "(":
            return NumberLiteral(token.start, literals.number(token))
        inner = self._expression(1)
        if not self.accept(")"):
            raise self.unexpected()
        return ParenExpr(token.start, inner)

    def _named(self, name: Token) -> Expr:
        """Read an aggregation, a call or a selector after its first word."""
        after = self.peek().kind
        if name.kind in AGGREGATIONS and after in ("(", "by", "without"):
            return self._aggregation(name)
        if name.kind not in _CALLED or after != "(":
            return self._selector(name.text, name.start)
        arguments = self._arguments()
        signature = self._signature_of(name.text)
        if signature is None:
            raise PromQLSyntaxError(name.start, f"unknown function with name {quote(name.text)}")
        return CallExpr(name.start, name.text, signature, arguments)

    def _aggregation(self, op: Token) -> AggregateExpr:
        outer, self.context = self.context, "aggregation"
        grouping = self._grouping()
        if self.peek().kind != "(":
            raise self.unexpected()
        arguments = self._arguments()
        labels, without = grouping or self._grouping() or ((), False)
        self.context = outer
        wanted = 2 if op.kind in _WITH_PARAMETER else 1
        if not arguments:
            raise PromQLSyntaxError(op.start, "no arguments for aggregate expression provided")
        if len(arguments) != wanted:
            raise PromQLSyntaxError(
                op.start,
                "wrong number of arguments for aggregate expression provided, "
                f"expected {wanted}, got {len(arguments)}",
            )
        param = arguments[0] if wanted == 2 else None
        return AggregateExpr(op.start, op.kind, arguments[-1], param, labels, without)

    def _grouping(self) -> tuple[tuple[str, ...], bool] | None:
        """Read `by` or `without`: the labels, and whether it is `without`."""
        word = self.accept("by", "without")
        return None if word is None else (self._labels(), word.kind == "without")

    def _arguments(self) -> tuple[Expr, ...]:
        self.next()
        found: list[Expr] = []
        if self.accept(")"):
            return ()
        while True:
            found.append(self._expression(1))
            comma = self.accept(",")
            if comma and self.peek().kind not in _STARTS:
                raise PromQLSyntaxError(comma.start, "trailing commas not allowed in function call args")
            if not comma:
                break
        if not self.accept(")"):
            raise self.unexpected()
        return tuple(found)

    def _labels(self) -> tuple[str, ...]:
        if not self.accept("("):
            raise self.unexpected("grouping opts", '"("')
        found: list[str] = []
        while not self.accept(")"):
            label = self.peek()
            if label.kind not in _LABELS and label.kind != STRING:
                raise self.unexpected("grouping opts", "label")
            self.next()
            name = _name(label)
            if not name:
                raise PromQLSyntaxError(label.start, 'invalid label name for grouping: ""')
            found.append(name)
            if self.peek().kind not in (",", ")"):
                raise self.unexpected("grouping opts", '"," or ")"')
            self.accept(",")
        return tuple(found)

    # ------------------------------------------------------------ selectors

    def _selector(self, name: str, start: int) -> VectorSelector:
        """Read a selector after its name, which is "" where it has none in front of the braces."""
        matchers = [Matcher(NAME, "=", name)] if name else []
        if self.accept("{"):
            matchers += self._matchers()
        return VectorSelector(start, name, tuple(matchers))

    def _matchers(self) -> list[Matcher]:
        found: list[Matcher] = []
        while not self.accept("}"):
            label = self.peek()
            if label.kind not in (IDENTIFIER, STRING):
                raise self.unexpected("label matching", 'identifier or "}"')
            self.next()
            found.append(self._matcher(label))
            if self.peek().kind not in (",", "}"):
                raise self.unexpected("label matching", '"," or "}"')
            self.accept(",")
        return found

    def _matcher(self, label: Token) -> Matcher:
        op = self.accept("=", "!=", "=~", "!~")
        if op is None:
            if label.kind == STRING:
                return Matcher(NAME, "=", _name(label))
            raise self.unexpected("label matching", "label matching operator")
        if self.peek().kind != STRING:
            raise self.unexpected("label matching", "string")
        value = go_strings.unquoted(self.next().text)
        if op.kind in ("=~", "!~"):
            if problem := literals.regexp_problem(value):
                raise PromQLSyntaxError(label.start + (label.kind == STRING), problem)
            compile_regex(value)
        return Matcher(_name(label), _MATCH_OPS[op.kind], value)


def _signed(sign: Token, node: Expr) -> Expr:
    """Return an expression after a sign; the sign of a number is part of it."""
    op: Literal["+", "-"] = "-" if sign.kind == "-" else "+"
    if isinstance(node, NumberLiteral):
        return NumberLiteral(sign.start, -node.val if op == "-" else node.val)
    return UnaryExpr(sign.start, op, node)


def _name(label: Token) -> str:
    return go_strings.unquoted(label.text) if label.kind == STRING else label.text
