"""The tokens of a query as Prometheus' lexer makes them, with its errors. Pure.

Source: Prometheus 3.x `promql/parser/lex.go`, without series descriptions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

import msgspec

from shim.model.messages import quote
from shim.promql.ast import SET_OPERATORS

EOF: Final = "end of input"
IDENTIFIER: Final = "identifier"
METRIC_IDENTIFIER: Final = "metric identifier"
NUMBER: Final = "number"
DURATION: Final = "duration"
STRING: Final = "string"

COMPARISONS: Final = frozenset({"==", "!=", "<=", "<", ">=", ">"})
OPERATORS: Final = SET_OPERATORS | COMPARISONS | {"atan2", "+", "-", "*", "/", "%", "^", "@", "=~", "!~"}
AGGREGATIONS: Final = frozenset({
    "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values",
    "quantile", "limitk", "limit_ratio",
})  # fmt: skip
PREPROCESSORS: Final = frozenset({"start", "end", "step", "range"})
#: Functions that a duration expression may call.
OF_DURATIONS: Final = frozenset({"step", "range", "min", "max", "min_of", "max_of"})
KEYWORDS: Final = frozenset({
    "offset", "smoothed", "anchored", "by", "without", "on", "ignoring", "group_left", "group_right", "fill",
    "fill_left", "fill_right", "bool",
})  # fmt: skip
#: The kinds of words that are not identifiers.
_WORDS: Final[Mapping[str, str]] = {
    **{word: word for word in SET_OPERATORS | {"atan2"} | AGGREGATIONS | PREPROCESSORS | KEYWORDS},
    "inf": NUMBER,
    "nan": NUMBER,
}
FILLS: Final = frozenset({"fill", "fill_left", "fill_right"})

_SPACE: Final = re.compile(r"(?:[ \t\r\n]++|#[^\r\n]*+)*+")
_SPACE_STARTS: Final = frozenset(" \t\r\n#")
_WORD: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LETTERS: Final = re.compile(r"[a-zA-Z_]*")
#: A duration after its first digits, as far as the lexer looks: the parser checks it.
_REST_OF_DURATION: Final = re.compile(r"[smhdwy]s?(?:[0-9]+[smhdw]s?)*+(?![a-zA-Z0-9_])")
_PART_OF_DURATION: Final = re.compile(r"(?:[smhdwy]s?(?:[0-9]+[smhdw]s?)*+[0-9]*[a-zA-Z_]?)?")
_WORD_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
_PAREN: Final = re.compile(r"[ \t\r\n]*\(")
#: Numbers in their usual form; `_NumberScanner` reads the others.
_PLAIN_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?![0-9a-zA-Z_.])")
#: The characters of a string that need no look, by its quotes.
_PLAIN_STRING: Final = {
    '"': re.compile(r'[^"\\\n]*+'), "'": re.compile(r"[^'\\\n]*+"), "`": re.compile(r"[^`]*+"),
}  # fmt: skip
_ESCAPE_LENGTHS: Final[Mapping[str, tuple[int, int]]] = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


class PromQLSyntaxError(Exception):
    """A text that is not PromQL: the reason, and the place in characters."""

    def __init__(self, start: int, reason: str) -> None:
        super().__init__(reason)
        self.start = start
        self.reason = reason


class Token(msgspec.Struct, frozen=True):
    """One token. Words and signs are a kind of their own: themselves in lower case."""

    kind: str
    start: int
    text: str

    def described(self) -> str:
        """Return Prometheus' name for a token that is not expected."""
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
    """Splits a text into tokens; raises PromQLSyntaxError where it cannot."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._parens = 0
        self._brace = self._bracket = self._colon = self._duration = False
        self._state: Callable[[], Token] = self._statement

    def next(self) -> Token:
        """Return the next token, without blanks and comments; at the end one of the kind EOF."""
        if self._text[self._at : self._at + 1] in _SPACE_STARTS:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
        return self._inside_braces() if self._brace else self._state()

    def _peek(self, ahead: int = 0) -> str:
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _token(self, kind: str, length: int) -> Token:
        token = Token(kind, self._at, self._text[self._at : self._at + length])
        self._at += length
        return token

    def _error(self, reason: str) -> PromQLSyntaxError:
        return PromQLSyntaxError(self._at, reason)

    def _statement(self) -> Token:
        char = self._text[self._at : self._at + 1]
        read = self._READERS.get(char)
        if read is None:
            raise self._error(f"unexpected character: {rune(char)}")
        return read(self, char)

    def _end(self, _char: str) -> Token:
        if self._parens:
            raise self._error("unclosed left parenthesis")
        if self._bracket:
            raise self._error("unclosed left bracket")
        return self._token(EOF, 0)

    def _sign(self, char: str) -> Token:
        token = Token(char, self._at, char)
        self._at += 1
        return token

    def _dot(self, char: str) -> Token:
        if not _is_number(char, self._peek(1)):
            raise self._error(f"unexpected character: {rune(char)}")
        return self._number(char)

    def _comparison(self, char: str) -> Token:
        after = self._peek(1)
        if char == "=" and after == "~":
            raise self._error("unexpected character after '=': '~'")
        if char == "!" and after != "=":
            raise self._error(f"unexpected character after '!': {rune(after)}")
        length = 2 if after == "=" else 1
        return self._token(char + "=" * (length - 1), length)

    def _word(self, char: str) -> Token:
        if self._bracket:
            return self._in_brackets(char)
        found = _WORD.match(self._text, self._at)
        assert found is not None
        text = found[0]
        kind = _WORDS.get(text) or _WORDS.get(text.lower()) or IDENTIFIER
        if kind in FILLS and not _PAREN.match(self._text, found.end()):
            kind = IDENTIFIER
        elif kind is IDENTIFIER and ":" in text:
            kind = METRIC_IDENTIFIER
        token = Token(kind, self._at, text)
        self._at = found.end()
        return token

    def _in_brackets(self, char: str) -> Token:
        if char != ":":
            if (word := self._duration_word()) is not None:
                return word
            raise self._error(f"unexpected character: {rune(char)}, expected ':'")
        if self._colon:
            raise self._error("unexpected colon ':'")
        self._colon = True
        return self._token("::" if self._peek(1) == ":" else ":", 2 if self._peek(1) == ":" else 1)

    def _opened_or_closed(self, char: str) -> Token:
        if char == "[":
            if self._bracket:
                raise self._error("unexpected left bracket '['")
            self._bracket, self._colon, self._duration, self._state = True, False, False, self._range
        elif char == "]":
            if not self._bracket:
                raise self._error("unexpected right bracket ']'")
            self._bracket = False
        elif char == "{":
            self._brace = True
        elif char == "}":
            raise self._error("unexpected character: '}'")
        self._parens += (char == "(") - (char == ")")
        token = self._token(char, 1)
        if self._parens < 0:
            raise self._error("unexpected right parenthesis ')'")
        return token

    def _range(self) -> Token:
        """Return a token of a duration in brackets, up to the first number."""
        char = self._peek()
        if not char:
            raise self._error("unexpected end of input in duration expression")
        if char == "]":
            self._bracket, self._state = False, self._statement
            return self._token(char, 1)
        if char == ":":
            if not self._duration:
                self._at += 1
                raise self._error("unexpected colon before duration in duration expression")
            self._colon = True
            return self._token(char, 1)
        if char in "()":
            return self._opened_or_closed(char)
        if char in "+-*/%^,":
            return self._token(char, 1)
        if _is_number(char, self._peek(1)):
            self._state = self._statement
            return self._number(char)
        if char in "sSmMrR" and (word := self._duration_word()) is not None:
            return word
        raise self._error(f"unexpected character in duration expression: {rune(char)}")

    def _duration_word(self) -> Token | None:
        found = _LETTERS.match(self._text, self._at)
        assert found is not None
        word = found[0].lower()
        if word not in OF_DURATIONS:
            return None
        self._duration = True
        return self._token(word, len(word))

    def _inside_braces(self) -> Token:
        if found := _LABEL.match(self._text, self._at):
            return self._token(IDENTIFIER, len(found[0]))
        char, after = self._peek(), self._peek(1)
        if not char:
            raise self._error("unexpected end of input inside braces")
        if char in "\"'`":
            return self._string(char)
        if char == "=":
            return self._token("=~", 2) if after == "~" else self._token("=", 1)
        if char == "!":
            if after not in ("~", "="):
                raise self._error(f"unexpected character after '!' inside braces: {rune(after)}")
            return self._token(char + after, 2)
        if char == "{":
            raise self._error("unexpected left brace '{'")
        if char == "}":
            self._brace = False
        if char in ",}":
            return self._token(char, 1)
        raise self._error(f"unexpected character inside braces: {rune(char)}")

    def _number(self, _char: str) -> Token:
        if plain := _PLAIN_NUMBER.match(self._text, self._at):
            return self._token(NUMBER, plain.end() - self._at)
        scanner = _NumberScanner(self._text, self._at)
        is_number, end = scanner.scan(), scanner.at
        if is_number:
            return self._token(NUMBER, end - self._at)
        if found := _REST_OF_DURATION.match(self._text, end):
            return self._token(DURATION, found.end() - self._at)
        part = _PART_OF_DURATION.match(self._text, end)
        assert part is not None
        seen = self._text[self._at : part.end()]
        raise self._error(f"bad number or duration syntax: {quote(seen)}")

    def _string(self, quotes: str) -> Token:
        plain = _PLAIN_STRING[quotes]
        end = self._at + 1
        while True:
            found = plain.match(self._text, end)
            assert found is not None
            end = found.end()
            char = self._text[end : end + 1]
            if char == quotes:
                return self._token(STRING, end + 1 - self._at)
            if char != "\\":
                raise self._error(f"unterminated {'raw' if quotes == '`' else 'quoted'} string")
            end = self._escape(end + 1, quotes)

    def _escape(self, at: int, quotes: str) -> int:
        """Return the end of an escape whose first character after the backslash is at `at`."""
        char = self._text[at : at + 1]
        if not char:
            raise self._error("escape sequence not terminated")
        if char in "abfnrtv\\" or char == quotes:
            return at + 1
        count, base = (3, 8) if char in "01234567" else _ESCAPE_LENGTHS.get(char, (0, 0))
        if not count:
            raise self._error(f"unknown escape sequence {_code_point(char)}")
        first = at if base == 8 else at + 1
        for digit in self._text[first : first + count].ljust(count, "\0"):
            if digit == "\0":
                raise self._error("escape sequence not terminated")
            if digit not in "0123456789abcdefABCDEF"[: 8 if base == 8 else None]:
                raise self._error(f"illegal character {_code_point(digit)} in escape sequence")
        value = int(self._text[first : first + count], base)
        if value > (0xFF if base == 8 else 0x10FFFF) or 0xD800 <= value < 0xE000:
            raise self._error("escape sequence is an invalid Unicode code point")
        return first + count

    #: The readers of tokens by the first character, outside braces.
    _READERS: ClassVar[Mapping[str, Callable[[Lexer, str], Token]]] = {
        "": _end,
        **dict.fromkeys("=!<>", _comparison),
        **dict.fromkeys("0123456789", _number),
        ".": _dot,
        **dict.fromkeys("\"'`", _string),
        **dict.fromkeys("_:" + string.ascii_letters, _word),
        **dict.fromkeys("([{)]}", _opened_or_closed),
        **dict.fromkeys(",*/%+-^@", _sign),
    }


def rune(char: str) -> str:
    """Return a character as Go's %q shows it; U+FFFD for the end of the text."""
    if char == "'":
        return r"'\''"
    return "'" + quote(char or "\ufffd")[1:-1].replace(r"\"", '"') + "'"


def _code_point(char: str) -> str:
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")


def _is_number(char: str, after: str) -> bool:
    return char in "0123456789" or (char == "." and after != "" and after in "0123456789")


class _NumberScanner:
    """Reads a number; `at` is then how far was looked. Source: lex.go, scanNumber."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._start = self.at = at
        self._digits = "0123456789"
        self._dots = self._exponents = 0

    def scan(self) -> bool:
        """Return whether there is a number at the start."""
        if self._take("0") and self._take("xX"):
            self._digits = "0123456789abcdefABCDEF"
            self._take("_")
        self._take(".")
        self._take(self._digits)
        while self._has(f"{self._digits}._eE"):
            if not self._part():
                return False
        return self.at > self._start and not self._has(_WORD_CHARACTERS)

    def _part(self) -> bool:
        """Read a dot, an exponent, an underscore or digits; return whether a number may have it."""
        if self._take("."):
            self._dots += 1
            return self._dots == 1 and not self._take("_.") and not self._is_hexadecimal
        if not self._is_hexadecimal and self._take("eE"):
            self._exponents += 1
            if self._exponents > 1:
                return False
            self._take("+-")
            return self._goes_on()
        if self._take("_"):
            return self._goes_on()
        while self._take(self._digits):
            pass
        return True

    @property
    def _is_hexadecimal(self) -> bool:
        return len(self._digits) > 10

    def _goes_on(self) -> bool:
        """Return whether digits may follow, as after an exponent or an underscore."""
        return not self._take("._eE") and self.at < len(self._text)

    def _has(self, characters: str) -> bool:
        return self.at < len(self._text) and self._text[self.at] in characters

    def _take(self, characters: str) -> bool:
        """Read one of the characters; return whether there was one."""
        found = self._has(characters)
        self.at += found
        return found
