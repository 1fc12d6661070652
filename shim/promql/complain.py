"""What Prometheus says about a text that is no query: `1:7: parse error: unexpected "," ...`. Pure.

promql-parser decides what is a query; its texts are its own. Where it refuses, the text is read again by the
grammar of Prometheus, which finds the first thing that is wrong, its place and Prometheus' words for it. When
this finds nothing, promql-parser's words stand. Of an expression only as much is kept as its types need
(typecheck.py).

Source: Prometheus 3.x `promql/parser/generated_parser.y` (its `error` rules say which context is named),
`parse.go`.
"""

from __future__ import annotations

from typing import Final

from shim.model.messages import quote
from shim.promql import literals
from shim.promql.behind import Behind, During
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
    SET_OPERATORS,
    STRING,
    ComplaintError,
    Item,
)
from shim.promql.positions import line_and_byte
from shim.promql.typecheck import (
    Aggregation,
    Binary,
    Call,
    Node,
    Number,
    Paren,
    Selector,
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
#: Those that the parser takes for nothing else than what they do.
_RESERVED: Final = frozenset({"smoothed", "anchored"})
#: Words that are also labels.
_LABELS: Final = (_NAMES - {"without"}) | {"bool", "group_left", "group_right", "ignoring", "on", "atan2"}
#: What an expression may begin with.
_STARTS: Final = _NAMES | {NUMBER, DURATION, STRING, "(", "{", "+", "-"}
#: Aggregations with a parameter.
WITH_PARAMETER: Final = frozenset({"topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"})


def complaint(text: str, during: During | None = None) -> str | None:
    """Prometheus' whole message about a text, None when it has nothing to say (or it nests too deep).

    Without `during` what is experimental there and unknown to the parser is wrong, too.
    """
    try:
        _Grammar(text, during).query()
    except ComplaintError as e:
        return _worded(text, e)
    except RecursionError:
        return None
    return None


def resolved(text: str, during: During | None) -> str | None:
    """The query in words that the parser takes: durations computed, `smoothed` and `anchored` as matchers.

    Metrics and labels that are called so are quoted. None when nothing of this is in it.
    Raises ComplaintError for what is wrong.
    """
    grammar = _Grammar(text, during)
    grammar.query()
    if not grammar.changes:
        return None
    parts: list[str] = []
    at = 0
    for start, end, instead in sorted(grammar.changes):
        parts += [text[at:start], instead]
        at = end
    return "".join([*parts, text[at:]])


def selector_complaint(text: str) -> str | None:
    """The same for a text that has to be a series selector alone, as in `match[]`."""
    try:
        _Grammar(text).selector()
    except ComplaintError as e:
        return _worded(text, e)
    return None


def _worded(text: str, e: ComplaintError) -> str:
    return f"{line_and_byte(text, e.at)}: parse error: {e.reason}{hint(text, e.at)}"


class _Grammar(Behind):
    """Reads one expression; raises ComplaintError at the first thing that is wrong."""

    def query(self) -> None:
        if self.peek().kind == EOF:
            raise ComplaintError(0, "no expression found in input")
        node = self._expression(1)
        if self.peek().kind != EOF:
            raise self.unexpected()
        check(node)

    def selector(self) -> None:
        first = self.peek()
        if first.kind not in _NAMES | {"{"}:
            raise self.unexpected()
        self._selector(self.next().text if first.kind != "{" else "", first.at)
        if self.peek().kind != EOF:
            raise self.unexpected()

    # ------------------------------------------------------------ expressions

    def _expression(self, least: int) -> Node:
        left = self._unary()
        while (precedence := _PRECEDENCE.get(self.peek().kind, 0)) >= least:
            op = self.next()
            returns_bool = self.accept("bool") is not None
            matching = self._matching()
            right = self._expression(precedence + (precedence != _POWER))
            left = Binary(left, op, right, returns_bool, *matching)
        return left

    def _matching(self) -> tuple[tuple[str, ...], bool, str, tuple[str, ...], bool]:
        """The labels, whether `on`, which group modifier, its labels, whether something is filled in."""
        labels: tuple[str, ...] = ()
        include: tuple[str, ...] = ()
        group, on = "", False
        if word := self.accept("on", "ignoring"):
            labels, on = self._labels(), word.kind == "on"
            if side := self.accept("group_left", "group_right"):
                group = side.kind
                bare = self.peek().kind in _STARTS | FILLS and self.peek().kind != "("
                include = () if bare else self._labels()
        return labels, on, group, include, self._fills()

    def _fills(self) -> bool:
        filled = False
        while self.accept(*FILLS):
            filled = True
            self.accept("(")
            self.accept("+", "-")
            if not self.accept(NUMBER, DURATION):
                raise self.unexpected()
            if not self.accept(")"):
                raise self.unexpected()
        return filled

    def _unary(self) -> Node:
        if sign := self.accept("+", "-"):
            inner = self._expression(_POWER)
            return Number(sign.at) if isinstance(inner, Number) else Unary(sign.at, inner)
        return self.modified(self._primary())

    def _primary(self) -> Node:
        item = self.peek()
        if item.kind in (NUMBER, DURATION):
            self.next()
            literals.number(item)
            return Number(item.at)
        if item.kind == STRING:
            self.next()
            return Text(item.at)
        if item.kind == "(":
            self.next()
            inner = self._expression(1)
            if not self.accept(")"):
                raise self.unexpected()
            return Paren(item.at, inner)
        if item.kind == "{":
            return self._selector("", item.at)
        if item.kind in _NAMES:
            self.next()
            return self._named(item)
        raise self.unexpected()

    def _named(self, item: Item) -> Node:
        """What begins with a word: an aggregation, a call or a selector."""
        after = self.peek().kind
        if item.kind in AGGREGATIONS and after in ("(", "by", "without"):
            return self._aggregation(item)
        if item.kind in PREPROCESSORS | {IDENTIFIER} and after == "(":
            arguments = self._arguments()
            if not knows(item.text):
                raise ComplaintError(item.at, f"unknown function with name {quote(item.text)}")
            return Call(item.at, item.text, arguments)
        return self._selector(item.text, item.at)

    def _aggregation(self, op: Item) -> Node:
        outer, self.context = self.context, "aggregation"
        grouped = self._grouping()
        if self.peek().kind != "(":
            raise self.unexpected()
        arguments = self._arguments()
        if not grouped:
            self._grouping()
        self.context = outer
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
        if not self.accept("by", "without"):
            return False
        self._labels()
        return True

    def _arguments(self) -> tuple[Node, ...]:
        self.next()
        found: list[Node] = []
        if self.accept(")"):
            return ()
        while True:
            found.append(self._expression(1))
            comma = self.accept(",")
            if comma and self.peek().kind not in _STARTS:
                raise ComplaintError(comma.at, "trailing commas not allowed in function call args")
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
            if label.kind not in _LABELS | {STRING}:
                raise self.unexpected("grouping opts", "label")
            self.next()
            name = literals.unquoted(label.text) if label.kind == STRING else label.text
            if not name:
                raise ComplaintError(label.at, 'invalid label name for grouping: ""')
            found.append(name)
            if label.text.lower() in _RESERVED:
                self.changes.append((label.at, label.at + len(label.text), f'"{label.text}"'))
            if self.peek().kind not in (",", ")"):
                raise self.unexpected("grouping opts", '"," or ")"')
            self.accept(",")
        return tuple(found)

    # ------------------------------------------------------------ selectors

    def _selector(self, name: str, at: int) -> Selector:
        marked_at, mark = at + len(name), "{{{}}}"
        matchers: tuple[tuple[str, str, str], ...] = ()
        opening = self.peek()
        if opening.kind == "{":
            matchers, marked_at, comma = self._matchers()
            mark = f"{comma}{{}}"
        if name.lower() in _RESERVED:
            braced = opening.kind == "{"
            self.changes.append((at, at + len(name), "" if braced else f'{{"{name}"}}'))
            if braced:
                self.changes.append((opening.at + 1, opening.at + 1, f'"{name}"' + "," * bool(matchers)))
        return Selector(at, name, matchers, marked_at, mark)

    def _matchers(self) -> tuple[tuple[tuple[str, str, str], ...], int, str]:
        """Of each condition the label, the operator and the value; where one more goes, what before it."""
        before = self.next()
        found: list[tuple[str, str, str]] = []
        while self.peek().kind != "}":
            label = self.peek()
            if label.kind not in (IDENTIFIER, STRING):
                raise self.unexpected("label matching", 'identifier or "}"')
            self.next()
            found.append(self._matcher(label))
            if self.peek().kind not in (",", "}"):
                raise self.unexpected("label matching", '"," or "}"')
            before = self.accept(",") or label
        close = self.next()
        return tuple(found), close.at, "" if before.kind in ("{", ",") else ","

    def _matcher(self, label: Item) -> tuple[str, str, str]:
        name = literals.unquoted(label.text) if label.kind == STRING else label.text
        op = self.accept("=", "!=", "=~", "!~")
        if op is None:
            if label.kind == STRING:
                return "__name__", "=", name
            raise self.unexpected("label matching", "label matching operator")
        if self.peek().kind != STRING:
            raise self.unexpected("label matching", "string")
        value = literals.unquoted(self.next().text)
        if op.kind in ("=~", "!~") and (problem := literals.regexp_problem(value)):
            raise ComplaintError(label.at + (label.kind == STRING), problem)
        return name, op.kind, value
