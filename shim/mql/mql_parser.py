"""MQL text -> its syntax tree. Pure."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput

from shim.mql.mql_grammar import GRAMMAR
from shim.mql.mql_syntax import MqlCall, MqlFormula, MqlMetric, MqlNumber, MqlScoped
from shim.snql.parser import MAX_QUERY_BYTES, check_text
from shim.snql.scalar_functions import literal_like
from shim.snql.syntax import Constant, Expression, FunctionCall, TagRef, TupleOf
from shim.snql.syntax_errors import syntax_error

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
#: A character of a value that is not escaped, or an escaped one.
_CHARACTER: Final = re.compile(r"\\.|.", re.DOTALL)


def parse_mql(text: str, max_bytes: int = MAX_QUERY_BYTES) -> MqlFormula:
    """Parse a query. Raises BadData with the place of the error."""
    check_text(text, max_bytes)
    try:
        found = _lark().parse(text)
    except UnexpectedInput as e:
        raise syntax_error(text, e, refused=False) from None
    assert isinstance(found, MqlNumber | MqlMetric | MqlCall | MqlScoped)
    return found


@cache
def _lark() -> Lark:
    """Make the parser, once a process."""
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_ToMql(), maybe_placeholders=True)


class _ToMql(Transformer[Token, Any]):
    """Makes nodes of the syntax tree, from the leaves up."""

    def start(self, children: list[Any]) -> MqlFormula:
        found: MqlFormula = children[0]
        return found

    # ------------------------------------------------------------ formulas

    def plus(self, children: list[Any]) -> MqlCall:
        return MqlCall("plus", tuple(children), at=children[0].at)

    def minus(self, children: list[Any]) -> MqlCall:
        return MqlCall("minus", tuple(children), at=children[0].at)

    def multiply(self, children: list[Any]) -> MqlCall:
        return MqlCall("multiply", tuple(children), at=children[0].at)

    def divide(self, children: list[Any]) -> MqlCall:
        return MqlCall("divide", tuple(children), at=children[0].at)

    def negate(self, children: list[Any]) -> MqlFormula:
        (of,) = children
        if isinstance(of, MqlNumber):
            return MqlNumber(-of.value, of.at)
        return MqlCall("negate", (of,), at=of.at)

    def scoped(self, children: list[Any]) -> MqlFormula:
        of, condition, keys = children
        if condition is None and keys is None:
            found: MqlFormula = of
            return found
        return MqlScoped(of, condition or None, keys, of.at)

    def number(self, children: list[Token]) -> MqlNumber:
        return MqlNumber(float(children[0]), children[0].start_pos or 0)

    def metric(self, children: list[Token]) -> MqlMetric:
        (token,) = children
        return MqlMetric(str(token) if token.type == "MRI" else _unquoted(token), token.start_pos or 0)

    def plain_metric(self, children: list[Token]) -> MqlMetric:
        return MqlMetric(str(children[0]), children[0].start_pos or 0)

    def name(self, children: list[Token]) -> Token:
        return children[0]

    def call(self, children: list[Any]) -> MqlCall:
        name, args = children
        return MqlCall(str(name), args, at=name.start_pos)

    def parametric(self, children: list[Any]) -> MqlCall:
        name, parameters, args = children
        return MqlCall(str(name), args, parameters, name.start_pos)

    def arguments(self, children: list[Any]) -> tuple[MqlFormula, ...]:
        return tuple(children)

    # ------------------------------------------------------------ filters and keys

    def filters(self, children: list[Any]) -> Expression | bool:
        """Return the condition; False for `{}`."""
        found: Expression | None = children[0]
        return False if found is None else found

    def any_of(self, children: list[Any]) -> Expression:
        return _joined("or", children)

    def all_of(self, children: list[Any]) -> Expression:
        return _joined("and", children)

    def negation(self, children: list[Any]) -> Expression:
        of: Expression = children[-1]
        return FunctionCall("not", (of,), at=of.at)

    def condition(self, children: list[Any]) -> Expression:
        key, value = children
        return _met(key, value)

    def any_value(self, children: list[Any]) -> Expression:
        key, *values = children
        values = [value for value in values if value is not None]
        plain = [v for v in values if v.name == "equals"]
        parts: list[Expression] = [_met(key, v) for v in values if v.name == "like"]
        if plain or not parts:
            items = TupleOf(tuple(v.args[0] for v in plain), key.at)
            parts.insert(0, FunctionCall("in", (key, items), at=key.at))
        return parts[0] if len(parts) == 1 else FunctionCall("or", tuple(parts), at=key.at)

    def key(self, children: list[Token]) -> TagRef:
        (token,) = children
        name = str(token) if token.type == "NAME" else _unquoted(token)
        return TagRef(name, raw=True, at=token.start_pos or 0)

    def plain_value(self, children: list[Token]) -> FunctionCall:
        return _value(str(children[0]), children[0].start_pos or 0)

    def quoted_value(self, children: list[Token]) -> FunctionCall:
        return _value(str(children[0][1:-1]), children[0].start_pos or 0)

    def by(self, children: list[Any]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(key.key) for key in children[1:]))


def _unquoted(token: Token) -> str:
    return _ESCAPED.sub(r"\1", str(token[1:-1]))


def _value(text: str, at: int) -> FunctionCall:
    """Make the comparison with a value: `like` where it has a `*` without a backslash."""
    parts = _CHARACTER.findall(text)
    plain = _ESCAPED.sub(r"\1", text)
    if "*" not in parts:
        return FunctionCall("equals", (Constant(plain, at),), at=at)
    pattern = "".join("%" if part == "*" else literal_like(_ESCAPED.sub(r"\1", part)) for part in parts)
    return FunctionCall("like", (Constant(pattern, at),), at=at)


def _met(key: TagRef, value: FunctionCall) -> Expression:
    return FunctionCall(value.name, (key, *value.args), at=key.at)


def _joined(name: str, children: list[Any]) -> Expression:
    operands = [child for child in children if not isinstance(child, Token)]
    return operands[0] if len(operands) == 1 else FunctionCall(name, tuple(operands), at=operands[0].at)
