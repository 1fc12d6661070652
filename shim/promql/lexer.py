"""The tokens of a query as Prometheus' lexer makes them, with its complaints. Pure.

Only for finding what is wrong with a text that the parser refuses (complain.py); `tokens.py` is for finding
one's way in a text that is right. Source: Prometheus 3.x `promql/parser/lex.go`, without series descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from shim.model.messages import quote

EOF: Final = "end of input"
IDENTIFIER: Final = "identifier"
METRIC_IDENTIFIER: Final = "metric identifier"
NUMBER: Final = "number"
DURATION: Final = "duration"
STRING: Final = "string"

SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
COMPARISONS: Final = frozenset({"==", "!=", "<=", "<", ">=", ">"})
OPERATORS: Final = SET_OPERATORS | COMPARISONS | {"atan2", "+", "-", "*", "/", "%", "^", "@", "=~", "!~"}
AGGREGATIONS: Final = frozenset({
    "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values",
    "quantile", "limitk", "limit_ratio",
})  # fmt: skip
PREPROCESSORS: Final = frozenset({"start", "end", "step", "range"})
#: What may be called inside a duration.
OF_DURATIONS: Final = frozenset({"step", "range", "min", "max", "min_of", "max_of"})
KEYWORDS: Final = frozenset({
    "offset", "smoothed", "anchored", "by", "without", "on", "ignoring", "group_left", "group_right", "fill",
    "fill_left", "fill_right", "bool",
})  # fmt: skip
_WORDS: Final = SET_OPERATORS | {"atan2"} | AGGREGATIONS | PREPROCESSORS | KEYWORDS
FILLS: Final = frozenset({"fill", "fill_left", "fill_right"})

_SPACE: Final = re.compile(r"[ \t\r\n]+|#[^\r\n]*")
_WORD: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LETTERS: Final = re.compile(r"[a-zA-Z_]*")
#: What a duration is to the lexer, behind its first digits; whether it is one, says the parser.
_REST_OF_DURATION: Final = re.compile(r"[smhdwy]s?(?:[0-9]+[smhdw]s?)*+(?![a-zA-Z0-9_])")
_PART_OF_DURATION: Final = re.compile(r"(?:[smhdwy]s?(?:[0-9]+[smhdw]s?)*+[0-9]*[a-zA-Z_]?)?")
_ESCAPE_LENGTHS: Final[Mapping[str, tuple[int, int]]] = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


class ComplaintError(Exception):
    """What is wrong, and where (in characters)."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Item:
    """One token. `kind`: what it is, for words and signs they themselves in lower case."""

    kind: str
    at: int
    text: str

    def described(self) -> str:
        """As Prometheus names it where it is not expected."""
        if self.kind == EOF:
            return EOF
        if self.kind in KEYWORDS:
            return f"<{self.text}>"
        if self.kind in OPERATORS:
            return f"<op:{self.text}>"
        if self.kind in AGGREGATIONS:
            return f"<aggr:{self.text}>"
        if self.kind in (IDENTIFIER, METRIC_IDENTIFIER):
            return f"{self.kind} {quote(self.text)}"
        shown = quote(self.text) if len(self.text) <= 10 else f"{quote(self.text[:10])}..."
        return f"{self.kind} {shown}" if self.kind in (STRING, NUMBER, DURATION) else shown


class Lexer:
    """Gives one token after the other; raises ComplaintError where there is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._parens = 0
        self._brace = self._bracket = self._colon = self._duration = False
        self._state: Callable[[], Item] = self._statement

    def next(self) -> Item:
        """The next token but blanks and comments."""
        while found := _SPACE.match(self._text, self._at):
            self._at = found.end()
        return self._inside_braces() if self._brace else self._state()

    def _peek(self, ahead: int = 0) -> str:
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _item(self, kind: str, length: int) -> Item:
        item = Item(kind, self._at, self._text[self._at : self._at + length])
        self._at += length
        return item

    def _complaint(self, reason: str) -> ComplaintError:
        return ComplaintError(self._at, reason)

    def _statement(self) -> Item:
        char = self._peek()
        if not char:
            if self._parens:
                raise self._complaint("unclosed left parenthesis")
            if self._bracket:
                raise self._complaint("unclosed left bracket")
            return self._item(EOF, 0)
        if char in "=!<>":
            return self._comparison(char)
        if _is_number(char, self._peek(1)):
            return self._number()
        if char in "\"'`":
            return self._string(char)
        if _WORD.match(char):
            return self._in_brackets(char) if self._bracket else self._word()
        if char in "([{)]}":
            return self._opened_or_closed(char)
        if char in ",*/%+-^@":
            return self._item(char, 1)
        raise self._complaint(f"unexpected character: {rune(char)}")

    def _comparison(self, char: str) -> Item:
        after = self._peek(1)
        if char == "=" and after == "~":
            raise self._complaint("unexpected character after '=': '~'")
        if char == "!" and after != "=":
            raise self._complaint(f"unexpected character after '!': {rune(after)}")
        length = 2 if after == "=" else 1
        return self._item(char + "=" * (length - 1), length)

    def _in_brackets(self, char: str) -> Item:
        if char != ":":
            if (word := self._duration_word()) is not None:
                return word
            raise self._complaint(f"unexpected character: {rune(char)}, expected ':'")
        if self._colon:
            raise self._complaint("unexpected colon ':'")
        self._colon = True
        return self._item("::" if self._peek(1) == ":" else ":", 2 if self._peek(1) == ":" else 1)

    def _opened_or_closed(self, char: str) -> Item:
        if char == "[":
            if self._bracket:
                raise self._complaint("unexpected left bracket '['")
            self._bracket, self._colon, self._duration, self._state = True, False, False, self._range
        elif char == "]":
            if not self._bracket:
                raise self._complaint("unexpected right bracket ']'")
            self._bracket = False
        elif char == "{":
            self._brace = True
        elif char == "}":
            raise self._complaint("unexpected character: '}'")
        self._parens += (char == "(") - (char == ")")
        item = self._item(char, 1)
        if self._parens < 0:
            raise self._complaint("unexpected right parenthesis ')'")
        return item

    def _range(self) -> Item:
        """What stands between brackets, up to the first number."""
        char = self._peek()
        if not char:
            raise self._complaint("unexpected end of input in duration expression")
        if char == "]":
            self._bracket, self._state = False, self._statement
            return self._item(char, 1)
        if char == ":":
            if not self._duration:
                self._at += 1
                raise self._complaint("unexpected colon before duration in duration expression")
            self._colon = True
            return self._item(char, 1)
        if char in "()":
            return self._opened_or_closed(char)
        if char in "+-*/%^,":
            return self._item(char, 1)
        if _is_number(char, self._peek(1)):
            self._state = self._statement
            return self._number()
        if char in "sSmMrR" and (word := self._duration_word()) is not None:
            return word
        raise self._complaint(f"unexpected character in duration expression: {rune(char)}")

    def _duration_word(self) -> Item | None:
        found = _LETTERS.match(self._text, self._at)
        assert found is not None
        word = found[0].lower()
        if word not in OF_DURATIONS:
            return None
        self._duration = True
        return self._item(word, len(word))

    def _inside_braces(self) -> Item:
        char, after = self._peek(), self._peek(1)
        if not char:
            raise self._complaint("unexpected end of input inside braces")
        if found := _LABEL.match(self._text, self._at):
            return self._item(IDENTIFIER, len(found[0]))
        if char in "\"'`":
            return self._string(char)
        if char == "=":
            return self._item("=~", 2) if after == "~" else self._item("=", 1)
        if char == "!":
            if after not in ("~", "="):
                raise self._complaint(f"unexpected character after '!' inside braces: {rune(after)}")
            return self._item(char + after, 2)
        if char == "{":
            raise self._complaint("unexpected left brace '{'")
        if char == "}":
            self._brace = False
        if char in ",}":
            return self._item(char, 1)
        raise self._complaint(f"unexpected character inside braces: {rune(char)}")

    def _word(self) -> Item:
        found = _WORD.match(self._text, self._at)
        assert found is not None
        word = found[0].lower()
        if word in ("inf", "nan"):
            return self._item(NUMBER, len(word))
        if word in FILLS and not re.compile(r"[ \t\r\n]*\(").match(self._text, found.end()):
            return self._item(IDENTIFIER, len(word))
        if word in _WORDS:
            return self._item(word, len(word))
        return self._item(METRIC_IDENTIFIER if ":" in word else IDENTIFIER, len(word))

    def _number(self) -> Item:
        scanned, end = _scan_number(self._text, self._at)
        if scanned:
            return self._item(NUMBER, end - self._at)
        if found := _REST_OF_DURATION.match(self._text, end):
            return self._item(DURATION, found.end() - self._at)
        part = _PART_OF_DURATION.match(self._text, end)
        assert part is not None
        seen = self._text[self._at : part.end()]
        raise self._complaint(f"bad number or duration syntax: {quote(seen)}")

    def _string(self, quotes: str) -> Item:
        end = self._at + 1
        while (char := self._text[end : end + 1]) != quotes:
            if not char or (char == "\n" and quotes != "`"):
                kind = "raw" if quotes == "`" else "quoted"
                raise self._complaint(f"unterminated {kind} string")
            end = self._escape(end + 1, quotes) if char == "\\" and quotes != "`" else end + 1
        return self._item(STRING, end + 1 - self._at)

    def _escape(self, at: int, quotes: str) -> int:
        """Where an escape ends that begins behind its backslash at `at`."""
        char = self._text[at : at + 1]
        if not char:
            raise self._complaint("escape sequence not terminated")
        if char in "abfnrtv\\" or char == quotes:
            return at + 1
        count, base = (3, 8) if char in "01234567" else _ESCAPE_LENGTHS.get(char, (0, 0))
        if not count:
            raise self._complaint(f"unknown escape sequence {_code_point(char)}")
        begin = at if base == 8 else at + 1
        for digit in self._text[begin : begin + count].ljust(count, "\0"):
            if digit == "\0":
                raise self._complaint("escape sequence not terminated")
            if digit not in "0123456789abcdefABCDEF"[: 8 if base == 8 else None]:
                raise self._complaint(f"illegal character {_code_point(digit)} in escape sequence")
        value = int(self._text[begin : begin + count], base)
        if value > (0xFF if base == 8 else 0x10FFFF) or 0xD800 <= value < 0xE000:
            raise self._complaint("escape sequence is an invalid Unicode code point")
        return begin + count


def rune(char: str) -> str:
    """A character as Go's %q shows it; the end of the text is no character."""
    if char == "'":
        return r"'\''"
    return "'" + quote(char or "\ufffd")[1:-1].replace(r"\"", '"') + "'"


def _code_point(char: str) -> str:
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")


def _is_number(char: str, after: str) -> bool:
    return char in "0123456789" or (char == "." and after != "" and after in "0123456789")


def _scan_number(text: str, start: int) -> tuple[bool, int]:
    """Whether a number stands here, and how far was looked. Source: lex.go, scanNumber."""
    at, digits = start, "0123456789"

    def has(of: str) -> bool:
        return at < len(text) and text[at] in of

    if has("0"):
        at += 1
        if has("xX"):
            at, digits = at + 1, "0123456789abcdefABCDEF"
            at += has("_")
    at += has(".")
    at += has(digits)
    dots = exponents = 0
    while has(f"{digits}._eE"):
        if has("."):
            dots, at = dots + 1, at + 1
            if dots > 1 or len(digits) > 10 or has("_."):
                return False, at + (dots == 1 and has("_."))
        elif has("eE") and len(digits) == 10:
            exponents, at = exponents + 1, at + 1
            if exponents > 1:
                return False, at
            at += has("+-")
            if has("._eE") or at == len(text):
                return False, at + has("._eE")
        elif has("_"):
            at += 1
            if has("._eE") or at == len(text):
                return False, at + has("._eE")
        else:
            while has(digits):
                at += 1
    return at > start and not has("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"), at
