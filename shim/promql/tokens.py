"""The tokens of a query, as far as they matter for finding one's way in it. Pure.

What no query can hold gives tokens of single characters: whether it is a query is for the parser to say. A
string without an end goes on to the end of the text: to try again behind its quote would take time by the
square.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*
      |(?P<token>"(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z)
      |0[xX][0-9a-zA-Z_]*
      |(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?[0-9a-zA-Z_]*
      |[a-zA-Z_:][a-zA-Z0-9_:]*|[=!]~|[=!<>]=|.)""",
    re.VERBOSE | re.DOTALL,
)
CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    start: int  # in characters

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def is_number(self) -> bool:
        """Also a duration."""
        return self.text[0] in "0123456789" or (self.text[0] == "." and len(self.text) > 1)


def tokens(text: str) -> Sequence[Token]:
    """All but blanks and comments."""
    return [Token(m["token"], m.start()) for m in _TOKEN.finditer(text) if m["token"] is not None]
