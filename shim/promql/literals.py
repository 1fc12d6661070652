"""The values of numbers and durations, and Go's words about regular expressions. Pure.

Source: Prometheus 3.x `promql/parser/parse.go` (number), `common/model` (durations), and Go's `strconv` and
`regexp/syntax` for the words.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Final

import re2

from shim.model.durations import parse_duration
from shim.model.matchers import alternatives
from shim.model.messages import quote
from shim.promql.lexer import DURATION, PromQLSyntaxError, Token

#: The longest duration: int64 nanoseconds.
MAX_SECONDS: Final = 2**63 / 1e9
_OCTAL: Final = re.compile(r"0[0-7]+")
_MAX_INT: Final = 2**63 - 1
#: Longer patterns are looked at before they are compiled, and not remembered.
_LONG: Final = 1_000
#: RE2's words and those of Go's regexp package.
_GO_WORDS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\": "trailing backslash at end of expression",
    "invalid named capture group": "invalid named capture",
}


def number(token: Token) -> float:
    """Return the value of a number, or the seconds of a duration. Raises PromQLSyntaxError."""
    if token.kind == DURATION:
        return _seconds(token)
    plain = token.text.replace("_", "").lower()
    try:
        if not plain.startswith("0x"):
            # As Go's strconv.ParseInt with base 0: a zero in front means octal, where all digits are.
            octal = int(plain, 8) if _OCTAL.fullmatch(plain) else None
            return float(plain) if octal is None or octal > _MAX_INT else float(octal)
        if (value := int(plain, 16)) <= _MAX_INT:
            return float(value)
    except ValueError:
        pass
    reason = f"error parsing number: strconv.ParseFloat: parsing {quote(token.text)}: invalid syntax"
    raise PromQLSyntaxError(token.start, reason)


def _seconds(token: Token) -> float:
    try:
        ms = parse_duration(token.text)
    except ValueError as e:
        raise PromQLSyntaxError(token.start, str(e)) from None
    return ms // 1000 + ms % 1000 / 1000  # rounded as Go's Duration.Seconds


def infinite(value: float) -> str:
    """Return an infinite value or NaN as Go's %f writes it."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def regexp_problem(pattern: str) -> str:
    """Return Go's words about a wrong regular expression, "" for a right one."""
    if len(pattern) <= _LONG:
        return _short_problem(pattern)
    return "" if alternatives(pattern) is not None else _problem(pattern)


def _problem(pattern: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as e:
        reason = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        problem, _, where = reason.partition(": ")
        return f"error parsing regexp: {_GO_WORDS.get(problem, problem)}: `{where}`"
    return ""


#: Dashboards ask with the same patterns again and again; a pattern takes longer to compile than to read.
_short_problem: Final = lru_cache(maxsize=1024)(_problem)
