"""The bounds on a query's text, checked before it is parsed: the parser recurses. Pure."""

from __future__ import annotations

import re
from typing import Final

from shim.model.errors import BadData

#: Where the caller gives no bound.
MAX_QUERY_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 100
MAX_OPERATORS: Final = 300

#: Strings and comments. A string without an end goes on to the end of the text (the parser refuses it): to
#: try again after its quote would take time by the square of the length.
_SKIP: Final = re.compile(
    r""""(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z)|#[^\n]*""", re.DOTALL
)
_OPERATOR: Final = re.compile(r"[-+*/%^]|[<>=!]=?|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_BRACKET: Final = re.compile(r"[(\[{]|[)\]}]")
_BRACES: Final = re.compile(r"\{[^{}]*\}")


def check_size(text: str, max_bytes: int = MAX_QUERY_BYTES) -> None:
    """Refuse a text that is too long, nested too deep or chains too many operators. Raises BadData."""
    if size_of(text) > max_bytes:
        raise BadData(f"parse error: query is longer than {max_bytes} bytes (setting shim.max_query_bytes)")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise BadData(f"parse error: invalid UTF-8 at character {e.start}") from None
    bare = _SKIP.sub('""', text)
    depth = deepest = 0
    for m in _BRACKET.finditer(bare):
        depth += 1 if m[0] in "([{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise BadData(f"parse error: nested deeper than {MAX_DEPTH} levels")
    operators = sum(1 for _ in _OPERATOR.finditer(_BRACES.sub("", bare)))
    if operators > MAX_OPERATORS:
        raise BadData(f"parse error: more than {MAX_OPERATORS} operators")


def size_of(text: str) -> int:
    """Count the bytes of a text in UTF-8, including surrogates on their own."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
