r"""String literals that the parser does not take as Go does. Pure.

Bytes: `"\xc3\xa9"` is `é`; the parser takes each byte for a character. Backquotes: what stands between them
means itself; the parser wants its backslashes to be escapes and refuses `\d`, so it is given other quotes.

Go's strings may hold bytes that are no UTF-8 (`"\xff"`), ours cannot: each such byte stands as a character of
its own in a private plane, so that what must refuse it (names of labels) sees it, and what shows it shows
what Go's JSON does. Source: Prometheus 3.x `util/strutil/quote.go`, `model.UTF8Validation`.
"""

from __future__ import annotations

import re
from typing import Final

#: The byte 0x00 would stand as this character; those from 0x80 on occur.
_PLANE: Final = 0x10FF00
_STAND_IN: Final = re.compile(f"[{chr(_PLANE + 0x80)}-{chr(_PLANE + 0xFF)}]")
#: Literals whose escapes count: not those in backquotes, nor what looks like one in a comment.
_LITERAL: Final = re.compile(
    r"""`[^`]*+(?:`|\Z)|#[^\n]*|"(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)""", re.DOTALL
)
_BYTES: Final = re.compile(r"((?:\\x[0-9a-fA-F]{2}|\\[0-3][0-7]{2})+)|\\.", re.DOTALL)
_BYTE: Final = re.compile(r"\\x(..)|\\(...)", re.DOTALL)
_HIGH: Final = re.compile(r"\\(?:x[89a-fA-F]|[23])")


def joined(text: str) -> str:
    """The query with its literals as the parser takes them; others are left as they stand."""
    if not _HIGH.search(text) and not ("`" in text and "\\" in text):
        return text
    return _LITERAL.sub(_literal, text)


def _literal(match: re.Match[str]) -> str:
    literal = match[0]
    if literal[0] == "`" and "\\" in literal and literal[-1] == "`":
        inside = literal[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{inside}"'
    return literal if literal[0] in "`#" else _BYTES.sub(_characters, literal)


def shown(text: str) -> str:
    """The text as JSON shows it: bytes that are no characters as U+FFFD."""
    return _STAND_IN.sub("�", text)


def quoted(text: str) -> str:
    r"""The text with its stray bytes as Go's %q has them: `\xff`."""
    return _STAND_IN.sub(lambda m: f"\\x{ord(m[0]) - _PLANE:02x}", text)


def is_label_name(text: str) -> bool:
    """Whether a label may be called so: anything that is UTF-8 and not empty."""
    return bool(text) and not _STAND_IN.search(text)


def _characters(match: re.Match[str]) -> str:
    """What a run of bytes spells. ASCII stays escaped: it could be a quote."""
    if not match[1]:
        return match[0]
    values = [int(m[1], 16) if m[1] else int(m[2], 8) for m in _BYTE.finditer(match[1])]
    text = bytes(values).decode("utf-8", "surrogateescape")
    return "".join(
        f"\\x{ord(c):02x}"
        if c < "\x80"
        else chr(_PLANE + (ord(c) & 0xFF))
        if "\udc80" <= c <= "\udcff"
        else c
        for c in text
    )
