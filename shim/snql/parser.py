"""SnQL text -> its syntax tree. Pure.

The parser is LALR: its time is linear in the text and it does not recurse. Readers of the tree do recurse,
so depth and operators are bounded here, before the tree is made.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput

from shim.snql.grammar import GRAMMAR
from shim.snql.syntax import (
    Aliased,
    ColumnRef,
    Constant,
    Expression,
    FunctionCall,
    LimitBy,
    Ordering,
    QuerySource,
    SnqlQuery,
    TagRef,
    TupleOf,
)
from shim.snql.syntax_errors import misplaced, syntax_error

MAX_QUERY_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 100
MAX_OPERATORS: Final = 1_000
#: Arithmetic nests: `a + b + c` is `plus(plus(a, b), c)`.
MAX_ARITHMETIC: Final = 200

_SKIP: Final = re.compile(r"'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)|`[^`\n]*+|\"[^\"\n]*+|--[^\n]*", re.DOTALL)
_BRACKET: Final = re.compile(r"[(\[{]|[)\]}]|[-+*/%]|!(?!=)|(?<![\w.])not(?![\w.])", re.IGNORECASE)
_OPERATOR: Final = re.compile(r"[-+*/%]|[<>=!]=?|(?<![\w.])(?:and|or|not)(?![\w.])", re.IGNORECASE)
_ARITHMETIC: Final = re.compile(r"[-+*/%]")
_ESCAPED: Final = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f"}
_COMPARISONS: Final = {
    "=": "equals", "!=": "notEquals", "<>": "notEquals", "<": "less", "<=": "lessOrEquals",
    ">": "greater", ">=": "greaterOrEquals",
}  # fmt: skip
_MAX_UINT64: Final = 2**64 - 1
#: A number of a clause, and its offset.
_Counted = tuple[int, int]


def parse_snql(text: str, max_bytes: int = MAX_QUERY_BYTES) -> SnqlQuery:
    """Parse a query. Raises BadData with the place of the error."""
    check_text(text, max_bytes)
    try:
        query = _lark().parse(text)
    except UnexpectedInput as e:
        raise syntax_error(text, e) from None
    except _MisplacedError as e:
        raise misplaced(text, *e.args) from None
    assert isinstance(query, SnqlQuery)
    return query


def check_text(text: str, max_bytes: int) -> None:
    """Refuse a text that is too long, nested too deep or has too many operators. Raises BadData."""
    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        problem = f"the query is longer than {max_bytes} bytes (setting shim.max_query_bytes)"
        raise misplaced(
            text, len(text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")), problem
        )
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise misplaced(text, e.start, "invalid UTF-8") from None
    bare = _SKIP.sub(lambda m: " " * len(m[0]), text)
    depth = 0
    run = 0  # signs and NOTs in a row nest as brackets do
    last = -1
    for m in _BRACKET.finditer(bare):
        if m[0] in "([{":
            depth += 1
        elif m[0] in ")]}":
            depth -= 1
        run = run + 1 if not bare[last + 1 : m.start()].strip() and m[0] not in ")]}" else 0
        last = m.end() - 1
        if max(depth, run) > MAX_DEPTH:
            raise misplaced(text, m.start(), f"nested deeper than {MAX_DEPTH} levels")
    for pattern, bound, what in (
        (_OPERATOR, MAX_OPERATORS, "operators"),
        (_ARITHMETIC, MAX_ARITHMETIC, "arithmetic operators"),
    ):
        for count, m in enumerate(pattern.finditer(bare)):
            if count >= bound:
                raise misplaced(text, m.start(), f"more than {bound} {what}")


@cache
def _lark() -> Lark:
    """Make the parser, once a process: its tables take a tenth of a second."""
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_ToSyntax(), maybe_placeholders=True)


def unescaped(quoted: str) -> str:
    """Return the text inside quotes, without escapes."""

    def meant(match: re.Match[str]) -> str:
        return "'" if match[1] is None else _ESCAPES.get(match[1], match[1])

    return _ESCAPED.sub(meant, quoted[1:-1])


class _MisplacedError(Exception):
    """Parsed, and still not SnQL. Arguments: the offset, the problem, the accepted form."""


class _ToSyntax(Transformer[Token, Any]):
    """Makes nodes of the syntax tree; the parser calls it, rule by rule, from the leaves up."""

    # ------------------------------------------------------------ clauses

    def start(self, children: list[Any]) -> SnqlQuery:
        match, select, table, early, filtered, having, order, limits, offset, step, totals = children
        limit_by, limit = limits or (None, None)
        if match is not None and table is not None:
            raise _MisplacedError(table.at, "FROM beside MATCH", "expected one of them")
        where, late = filtered or (None, None)
        places = limit[1] if limit else 0, step[1] if step else 0
        if early is not None and late is not None:
            raise _MisplacedError(late[1], "a second BY", "expected it before or after WHERE")
        by = early or late
        return SnqlQuery(
            match or table, select, by[0] if by else (), where, having, order or (), limit_by,
            limit and limit[0], offset or 0, step and step[0], bool(totals), places,
        )  # fmt: skip

    def nothing(self, _: list[Any]) -> None:
        return None

    def match(self, children: list[Any]) -> QuerySource:
        _, label, name = children
        return QuerySource(name.name, "" if label is None else label, at=name.at)

    def label(self, children: list[Any]) -> str:
        name: str = children[0].name
        return name

    def table(self, children: list[Any]) -> QuerySource:
        return QuerySource(children[1].name, is_table=True, at=children[1].at)

    def select(self, children: list[Any]) -> tuple[Expression, ...]:
        found: tuple[Expression, ...] = children[1]
        return found

    def by(self, children: list[Any]) -> tuple[tuple[Expression, ...], int]:
        return children[2], children[1].start_pos

    def filtered(self, children: list[Any]) -> tuple[Expression, Any]:
        return children[1], children[2]

    def having(self, children: list[Any]) -> Expression:
        found: Expression = children[1]
        return found

    def order(self, children: list[Any]) -> tuple[Ordering, ...]:
        return tuple(children[2:])

    def ordering(self, children: list[Any]) -> Ordering:
        direction = children[1]
        return Ordering(children[0], direction is not None and direction.type == "DESC")

    def limit(self, children: list[Any]) -> tuple[LimitBy | None, _Counted | None]:
        return None, self._counted(children[1])

    def limit_by(self, children: list[Any]) -> tuple[LimitBy | None, _Counted | None]:
        return LimitBy(self._count(children[1]), children[3]), None

    def both_limits(self, children: list[Any]) -> tuple[LimitBy | None, _Counted | None]:
        return LimitBy(self._count(children[1]), children[3]), self._counted(children[5])

    def offset(self, children: list[Any]) -> int:
        return self._count(children[1])

    def granularity(self, children: list[Any]) -> _Counted | None:
        return self._counted(children[1])

    def totals(self, children: list[Any]) -> bool:
        return children[1] is None or children[1].type == "TRUE"

    def _counted(self, token: Token) -> _Counted:
        return self._count(token), token.start_pos or 0

    def _count(self, token: Token) -> int:
        if len(token) > len(str(_MAX_UINT64)) or int(token) > _MAX_UINT64:
            raise _MisplacedError(token.start_pos or 0, "a number of more than 64 bits")
        return int(token)

    # ------------------------------------------------------------ expressions

    def items(self, children: list[Any]) -> tuple[Expression, ...]:
        return tuple(children)

    def item(self, children: list[Any]) -> Expression:
        expression, *alias = children
        name = alias[-1] if alias else None
        if name is None:
            found: Expression = expression
            return found
        return Aliased(expression, name.name, expression.at)

    def any_of(self, children: list[Any]) -> Expression:
        return _flat("or", children)

    def all_of(self, children: list[Any]) -> Expression:
        return _flat("and", children)

    def negation(self, children: list[Any]) -> Expression:
        return FunctionCall("not", (children[1],), at=children[0].start_pos)

    def comparison(self, children: list[Any]) -> Expression:
        found: Expression = children[0]
        return found

    def compares(self, children: list[Any]) -> Expression:
        left, operator, right = children
        return FunctionCall(_COMPARISONS[operator], (left, right), at=left.at)

    def within(self, children: list[Any]) -> Expression:
        return FunctionCall("in", (children[0], _listed(children[-1])), at=children[0].at)

    def not_within(self, children: list[Any]) -> Expression:
        return FunctionCall("notIn", (children[0], _listed(children[-1])), at=children[0].at)

    def like(self, children: list[Any]) -> Expression:
        return FunctionCall("like", (children[0], children[-1]), at=children[0].at)

    def not_like(self, children: list[Any]) -> Expression:
        return FunctionCall("notLike", (children[0], children[-1]), at=children[0].at)

    def is_null(self, children: list[Any]) -> Expression:
        return FunctionCall("isNull", (children[0],), at=children[0].at)

    def is_not_null(self, children: list[Any]) -> Expression:
        return FunctionCall("isNotNull", (children[0],), at=children[0].at)

    def plus(self, children: list[Any]) -> Expression:
        return FunctionCall("plus", tuple(children), at=children[0].at)

    def minus(self, children: list[Any]) -> Expression:
        return FunctionCall("minus", tuple(children), at=children[0].at)

    def multiply(self, children: list[Any]) -> Expression:
        return FunctionCall("multiply", tuple(children), at=children[0].at)

    def divide(self, children: list[Any]) -> Expression:
        return FunctionCall("divide", tuple(children), at=children[0].at)

    def modulo(self, children: list[Any]) -> Expression:
        return FunctionCall("modulo", tuple(children), at=children[0].at)

    def negate(self, children: list[Any]) -> Expression:
        (of,) = children
        if isinstance(of, Constant) and isinstance(of.value, int | float) and not isinstance(of.value, bool):
            return Constant(-of.value, max(0, of.at - 1))
        return FunctionCall("negate", (of,), at=max(0, of.at - 1))

    def group(self, children: list[Any]) -> Expression:
        found: Expression = children[0]
        return found

    def tuple(self, children: list[Any]) -> Expression:
        return TupleOf(tuple(children), children[0].at)

    def tuple_of(self, children: list[Any]) -> Expression:
        items = children[0] or ()
        return TupleOf(items, items[0].at if items else 0)

    # ------------------------------------------------------------ names, calls, constants

    def name(self, children: list[Token]) -> ColumnRef:
        (token,) = children
        name = unescaped(token) if token.type == "QUOTED_NAME" else str(token)
        return ColumnRef(name, token.start_pos or 0)

    def column(self, children: list[Any]) -> Expression:
        found: ColumnRef = children[0]
        return found

    def tag(self, children: list[Any]) -> Expression:
        name, key = children
        if name.name not in ("tags", "tags_raw"):
            raise _MisplacedError(
                name.at, f'"{name.name}" has no elements', "expected tags[key] or tags_raw[key]"
            )
        return TagRef(key.value, name.name == "tags_raw", name.at)

    def key_name(self, children: list[Any]) -> Constant:
        return Constant(children[0].name, children[0].at)

    def call(self, children: list[Any]) -> Expression:
        name, args = children
        args = args or ()
        if name.name in ("tuple", "array"):
            return TupleOf(args, name.at)
        if name.name in ("and", "or") and len(args) > 1:
            return _flat(name.name, [a for arg in args for a in (arg, None)][:-1])
        return FunctionCall(name.name, args, at=name.at)

    def parametric(self, children: list[Any]) -> Expression:
        name, parameters, args = children
        return FunctionCall(name.name, args or (), parameters or (), name.at)

    def integer(self, children: list[Token]) -> Constant:
        return Constant(self._count(children[0]), children[0].start_pos or 0)

    def number(self, children: list[Token]) -> Constant:
        return Constant(float(children[0]), children[0].start_pos or 0)

    def string(self, children: list[Token]) -> Constant:
        return Constant(unescaped(children[0]), children[0].start_pos or 0)

    def null(self, children: list[Token]) -> Constant:
        return Constant(None, children[0].start_pos or 0)

    def true(self, children: list[Token]) -> Constant:
        return Constant(True, children[0].start_pos or 0)

    def false(self, children: list[Token]) -> Constant:
        return Constant(False, children[0].start_pos or 0)


def _flat(name: str, children: list[Any]) -> Expression:
    """Make one call of operands with operators between them; those of the same operator become part of it."""
    operands: list[Expression] = []
    for operand in children[::2]:
        same = isinstance(operand, FunctionCall) and operand.name == name
        operands += operand.args if same else [operand]
    return operands[0] if len(operands) == 1 else FunctionCall(name, tuple(operands), at=operands[0].at)


def _listed(right: Expression) -> Expression:
    """Return the right side of IN as a list: one value in parentheses is a list of one."""
    return TupleOf((right,), right.at) if isinstance(right, Constant) else right
