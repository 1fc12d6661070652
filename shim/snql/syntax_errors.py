"""Syntax errors of SnQL and MQL: the problem, its place, the accepted form. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from lark import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from shim.model.errors import BadData, Unsupported

#: Terminals by the words that an error has for them.
_SHOWN: Final[Mapping[str, str]] = {
    "NAME": "a name", "QUOTED_NAME": "a name", "INT": "a whole number", "FLOAT": "a number",
    "STRING": "a string in single quotes", "DOUBLE_QUOTED": "a string", "$END": "the end of the query",
    "COMPARES": "a comparison", "LPAR": '"("', "RPAR": '")"', "LSQB": '"["', "RSQB": '"]"', "COMMA": '","',
    "COLON": '":"', "PLUS": '"+"', "MINUS": '"-"', "STAR": '"*"', "SLASH": '"/"', "PERCENT": '"%"',
    "LBRACE": '"{"', "RBRACE": '"}"', "BANG": '"!"', "VALUE": "a value",
    "NUMBER": "a number", "MRI": "an MRI",
}  # fmt: skip
#: Characters of the text that are shown.
_MAX_SHOWN: Final = 40
#: Kinds of tokens that are listed; of more it says less.
_MAX_EXPECTED: Final = 12
#: Parts of SnQL that are not supported, by how they begin at the place of the error.
_REFUSED: Final = (
    (re.compile(r"-\[|,\s*\("), "joins are not supported: MATCH has one entity"),
    (
        re.compile(r"(?:(?:inner|left|right|any|all|full|cross|outer)\s+)*join\b", re.IGNORECASE),
        "JOIN is not supported",
    ),
    (re.compile(r"array\s+join\b", re.IGNORECASE), "ARRAY JOIN is not supported"),
    (re.compile(r"\{\s*match\b", re.IGNORECASE), "subqueries are not supported: MATCH has one entity"),
    (re.compile(r"select\b", re.IGNORECASE), "subqueries are not supported"),
    (re.compile(r"->|→"), "lambdas are not supported"),
    (re.compile(r"distinct\b", re.IGNORECASE), "DISTINCT is not supported: group by the expressions instead"),
    (re.compile(r"sample\b", re.IGNORECASE), "SAMPLE is not supported: what is stored is aggregated already"),
    (re.compile(r"between\b", re.IGNORECASE), "BETWEEN is not supported: write two comparisons"),
    (re.compile(r"union\b", re.IGNORECASE), "UNION is not supported"),
    (re.compile(r"with\b", re.IGNORECASE), "WITH is not supported: TOTALS follows GRANULARITY"),
    (re.compile(r"format\b|settings\b|into\b", re.IGNORECASE), "FORMAT, SETTINGS and INTO are not supported"),
    (re.compile(r";"), "a request has one query, without a semicolon"),
)  # fmt: skip

#: How an expression begins.
_STARTS: Final = frozenset({
    '"("', '"-"', '"["', "FALSE", "NULL", "TRUE", "a name", "a number", "a string in single quotes",
    "a whole number",
})  # fmt: skip
#: Words that were read as a name, or as a minus, before the error was met.
_LED_BY: Final = re.compile(r"(?:\barray\s+|\bdistinct\s+|-)\Z", re.IGNORECASE)


def place(text: str, at: int) -> str:
    """Name the line and column of an offset, both counted from 1."""
    before = text[:at]
    return f"line {before.count(chr(10)) + 1}, column {at - (before.rfind(chr(10)) + 1) + 1}"


def misplaced(text: str, at: int, problem: str, accepted: str = "") -> BadData:
    """Make the error for a problem at an offset of the text."""
    return BadData(f"{problem} at {place(text, at)}" + (f": {accepted}" if accepted else ""))


def syntax_error(text: str, error: UnexpectedInput, *, refused: bool = True) -> BadData:
    """Put lark's error into words. `refused`: name parts of SnQL that are not supported."""
    at = min(error.pos_in_stream if error.pos_in_stream is not None else len(text), len(text))
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if at_end or at < 0:
        at = len(text)
    if refused and (reason := _refusal(text, at)) is not None:
        return Unsupported(f"{reason} (at {place(text, at)})")
    found = "unexpected end of the query" if at_end else f"unexpected {_shown(text, at)}"
    expected: Iterable[str] = ()
    if isinstance(error, UnexpectedToken):
        expected = error.accepts or error.expected
    elif isinstance(error, UnexpectedCharacters):
        expected = error.allowed or ()
        if text[at : at + 1] in "'`\"":
            return misplaced(text, at, "a quote without an end")
    return misplaced(text, at, found, _expected(expected))


def _refusal(text: str, at: int) -> str | None:
    starts = [at]
    if (before := _LED_BY.search(text, max(0, at - _MAX_SHOWN), at)) is not None:
        starts.append(before.start())
    return next((why for start in starts for begins, why in _REFUSED if begins.match(text, start)), None)


def _shown(text: str, at: int) -> str:
    word = re.match(r"[\w.]+|.", text[at : at + _MAX_SHOWN], re.DOTALL)
    found = word[0] if word else ""
    return f'"{found}"' if found.isprintable() else f"character U+{ord(found[0]):04X}"


def _expected(terminals: Iterable[str]) -> str:
    shown = sorted({_SHOWN.get(name, name) for name in terminals if name not in ("COMMENT", "SPACE")})
    if _STARTS.issubset(shown):
        shown = [*sorted({*shown} - _STARTS - {"NOT"}), "an expression"]
    if not shown or len(shown) > _MAX_EXPECTED:
        return ""
    return "expected " + (shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}")
