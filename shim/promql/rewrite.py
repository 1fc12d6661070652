"""PromQL that the parser does not take, put into words that it does. Pure.

- Underscores between digits: `1_000_000`, `0x_FF`.
- `@` before 1970, whose sign the parser loses: `@ -5` becomes a time beyond the year 128,000, which `at_ms`
  takes back.
- A plus before a duration in brackets: `[+5m]`.
- A label called `or`, which the parser takes for an operator: `{or!="a"}`.
- Long regular expressions, which the parser compiles at length while it holds the interpreter's lock, and
  refuses from some 900 kB on: `{a=~"x|y|..."}` becomes `{a="\x01~x|y|..."}`, which `unmarked` takes back.
- The labels that `info(x, {a=~".*"})` may have are no selector, so all of them may match the empty string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from shim.model.errors import BadData
from shim.model.matchers import MatchOp
from shim.promql.tokens import Token, tokens

#: Stands among the labels of `info`, so that the parser finds one that is not empty.
INFO_LABEL: Final = "\x01info"
#: Marks a selector that is `smoothed` or `anchored` (behind.py).
EXTENDED_LABEL: Final = "\x01extended"
#: Added to what is before 1970, in seconds: beyond all times that can be meant, and exact to the millisecond.
_BEFORE_1970_S: Final = 4 * 10**12
_MAX_MS: Final = 1 << 53
_NEEDED: Final = re.compile(
    r"(?<![a-zA-Z0-9_:.])[0-9.][0-9a-zA-Z.]*+_|@\s*+[-#]|\binfo\b|\bor\s*+(?:!|=[^=])|[\[:]\s*+\+"
)
_DIGITS: Final = r"[0-9]+(?:_[0-9]+)*"
_UNDERSCORED: Final = re.compile(
    rf"0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?"
)

#: The first characters of the value of a matcher that was `=~` or `!~`.
_REGEX_MARK: Final = "\x01~"
#: Regular expressions the parser may compile itself.
_SHORT_REGEX: Final = 1_000
_STRING: Final = r""""(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+'|`[^`]*+`"""
_REGEX_MATCHER: Final = re.compile(rf"(=~|!~)(\s*+)({_STRING})|{_STRING}|#[^\n]*", re.DOTALL)

_Change = tuple[int, int, str]  # from, to, what stands there instead


def rewritten(text: str) -> str:
    """The query in the parser's words; what is no query stays one. Raises BadData."""
    if not _NEEDED.search(text):
        return text
    found = tokens(text)
    changes = sorted(
        [*_numbers(found), *_times(found), *_labels_or(found), *_pluses(found), *_info_labels(found)]
    )
    parts, at = [], 0
    for start, end, instead in changes:
        parts += [text[at:start], instead]
        at = end
    return "".join([*parts, text[at:]])


def marked(text: str) -> str:
    """The query with its long regular expressions as values of equality matchers."""
    if len(text) <= _SHORT_REGEX or ("=~" not in text and "!~" not in text):
        return text
    return _REGEX_MATCHER.sub(_marked, text)


def _marked(match: re.Match[str]) -> str:
    operator, space, literal = match.groups()
    if operator is None or len(literal) <= _SHORT_REGEX:
        return match[0]
    return f"{'=' if operator == '=~' else '!='}{space}{literal[0]}{_REGEX_MARK}{literal[1:]}"


def unmarked(operator: MatchOp, value: str) -> tuple[MatchOp, str]:
    """The operator and value of a matcher as they were before `marked`."""
    if operator in ("=", "!=") and value.startswith(_REGEX_MARK):
        return ("=~" if operator == "=" else "!~"), value[len(_REGEX_MARK) :]
    return operator, value


def shown(text: str) -> str:
    """The parser's text of a query, without the marks."""
    return text.replace(f'!="{_REGEX_MARK}', '!~"').replace(f'="{_REGEX_MARK}', '=~"')


def at_ms(modifier: str) -> int:
    """The time in the parser's text of an `@`, as `@ 17.000`. Raises BadData for one nobody can mean."""
    at_s = float(modifier.lstrip("@ "))
    if at_s >= _BEFORE_1970_S:
        at_s = _BEFORE_1970_S - at_s
    if not abs(at_s) * 1000 <= _MAX_MS:
        raise BadData("parse error: timestamp out of bounds for @ modifier")
    return round(at_s * 1000)


def _numbers(found: Sequence[Token]) -> Iterator[_Change]:
    for token in found:
        if "_" in token.text and token.is_number and _UNDERSCORED.fullmatch(token.text):
            yield token.start, token.end, token.text.replace("_", "")


def _times(found: Sequence[Token]) -> Iterator[_Change]:
    for i in range(len(found) - 2):
        at, sign, number = found[i : i + 3]
        if at.text == "@" and sign.text == "-" and number.is_number:
            plain = number.text.replace("_", "").lower()
            try:
                seconds = float(int(plain, 16)) if plain.startswith("0x") else float(plain)
            except ValueError:
                continue  # a duration: the parser refuses it
            if seconds * 1000 > _MAX_MS:
                raise BadData("parse error: timestamp out of bounds for @ modifier")
            yield sign.start, number.end, f"{_BEFORE_1970_S + seconds:.3f}"


def _pluses(found: Sequence[Token]) -> Iterator[_Change]:
    for before, token, after in zip(found, found[1:], found[2:], strict=False):
        if token.text == "+" and before.text in ("[", ":") and after.is_number:
            yield token.start, token.end, ""


def _labels_or(found: Sequence[Token]) -> Iterator[_Change]:
    for before, token, after in zip(found, found[1:], found[2:], strict=False):
        if token.text == "or" and before.text in ("{", ",") and after.text in ("=", "!=", "=~", "!~"):
            yield token.start, token.end, '"or"'


def _info_labels(found: Sequence[Token]) -> Iterator[_Change]:
    for i in range(len(found) - 1):
        if found[i].text != "info" or found[i + 1].text != "(":
            continue
        opening = _second_argument(found, i + 1)
        if opening is None or found[opening].text != "{":
            continue
        close = _brace_end(found, opening)
        if close is not None:
            comma = "" if found[close - 1].text in "{," else ","
            yield found[close].start, found[close].start, f'{comma}"\\u0001info"="1"'


def _brace_end(found: Sequence[Token], opening: int) -> int | None:
    """Where a list of matchers ends: no bracket stands in it, so no text makes this long."""
    for i in range(opening + 1, len(found)):
        if found[i].text in "([{)]}":
            return i if found[i].text == "}" else None
    return None


def _second_argument(found: Sequence[Token], opening: int) -> int | None:
    """Where the second argument of a call begins."""
    depth = 0
    for i in range(opening, len(found) - 1):
        depth += (found[i].text in "([{") - (found[i].text in ")]}")
        if depth == 1 and found[i].text == ",":
            return i + 1
        if not depth:
            return None
    return None
