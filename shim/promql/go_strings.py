r"""String literals as Go reads them, and bytes in them that are not UTF-8. Pure.

Go's strings may hold any bytes (`"\xff"`), Python's cannot: each byte that is not part of a character becomes
a character of its own in a private plane. So checks can refuse it (names of labels), and JSON can show it as
Go does.
Source: Prometheus 3.x `util/strutil/quote.go`, `model.UTF8Validation`.
"""

from __future__ import annotations

import re
from typing import Final

#: The byte 0x00 would become this character; those from 0x80 on occur.
_PLANE: Final = 0x10FF00
_STAND_IN: Final = re.compile(f"[{chr(_PLANE + 0x80)}-{chr(_PLANE + 0xFF)}]")
#: A run of bytes, which may spell characters together, or another escape.
_ESCAPE: Final = re.compile(
    r"((?:\\x[0-9a-fA-F]{2}|\\[0-7]{3})+)|\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_BYTE: Final = re.compile(r"\\x(..)|\\(...)")
_CONTROL: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unquoted(literal: str) -> str:
    """Return the text of a literal with its quotes; the lexer has checked its escapes."""
    inside = literal[1:-1]
    return inside if literal[0] == "`" or "\\" not in inside else _ESCAPE.sub(_unescaped, inside)


def _unescaped(match: re.Match[str]) -> str:
    run, short, long, char = match.groups()
    if run:
        return _decoded(bytes(int(m[1], 16) if m[1] else int(m[2], 8) for m in _BYTE.finditer(run)))
    return _CONTROL.get(char, char) if char else chr(int(short or long, 16))


def _decoded(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    return "".join(chr(_PLANE + (ord(c) & 0xFF)) if "\udc80" <= c <= "\udcff" else c for c in text)


def shown(text: str) -> str:
    """Return the text as JSON shows it: bytes that are not part of a character as U+FFFD."""
    return _STAND_IN.sub("�", text)


def quoted(text: str) -> str:
    r"""Return the text with such bytes as Go's %q writes them: `\xff`."""
    return _STAND_IN.sub(lambda m: f"\\x{ord(m[0]) - _PLANE:02x}", text)


def is_label_name(text: str) -> bool:
    """Return whether a label may have this name: anything that is UTF-8 and not empty."""
    return bool(text) and not _STAND_IN.search(text)
