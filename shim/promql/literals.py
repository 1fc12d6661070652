"""Numbers, durations, strings and regular expressions as Prometheus reads them, for complain.py. Pure.

Source: Prometheus 3.x `promql/parser/parse.go` (number, unquoteString), `common/model` (durations), and Go's
`strconv` and `regexp/syntax` for the words.
"""

from __future__ import annotations

import math
import re
from typing import Final

import re2

from shim.model.matchers import alternatives
from shim.model.messages import quote
from shim.promql.lexer import DURATION, ComplaintError, Item

#: What a duration may be at most: int64 nanoseconds.
MAX_SECONDS: Final = 2**63 / 1e9
_UNITS: Final = (
    ("y", 31_536_000.0),
    ("w", 604_800.0),
    ("d", 86_400.0),
    ("h", 3_600.0),
    ("m", 60.0),
    ("s", 1.0),
)
_DURATION: Final = re.compile("".join(f"(?:([0-9]+){unit})?" for unit, _ in _UNITS) + "(?:([0-9]+)ms)?")
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
#: Patterns over so many characters are looked at before they are compiled.
_LONG: Final = 1_000
_PLAIN: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
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


def number(item: Item) -> float:
    """The value of a number, or the seconds of a duration. Raises ComplaintError."""
    if item.kind == DURATION:
        return _seconds(item)
    plain = item.text.replace("_", "").lower()
    try:
        return float(int(plain, 16)) if plain.startswith("0x") else float(plain)
    except ValueError:
        raise ComplaintError(
            item.at, f"error parsing number: strconv.ParseFloat: parsing {quote(item.text)}: invalid syntax"
        ) from None
    except OverflowError:
        return math.inf


def _seconds(item: Item) -> float:
    found = _DURATION.fullmatch(item.text)
    if found is None:
        raise ComplaintError(item.at, f"not a valid duration string: {quote(item.text)}")
    *whole, ms = found.groups()
    seconds = sum(float(n) * unit for n, (_, unit) in zip(whole, _UNITS, strict=True) if n)
    seconds += float(ms or 0) / 1000
    if seconds >= MAX_SECONDS:
        raise ComplaintError(item.at, "duration out of range")
    return seconds


def infinite(value: float) -> str:
    """As Go's %f."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def unquoted(text: str) -> str:
    """What a string literal says that the lexer has let through."""
    if text[0] == "`":
        return text[1:-1]
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    *hexadecimal, octal, char = match.groups()
    if char:
        return _PLAIN.get(char, char)
    return chr(int(octal, 8) if octal else next(int(digits, 16) for digits in hexadecimal if digits))


def regexp_problem(pattern: str) -> str:
    """What Go says about a regular expression; "" for one that is right."""
    if len(pattern) > _LONG and alternatives(pattern) is not None:
        return ""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as e:
        reason = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        what, _, where = reason.partition(": ")
        return f"error parsing regexp: {_GO_WORDS.get(what, what)}: `{where}`"
    return ""
