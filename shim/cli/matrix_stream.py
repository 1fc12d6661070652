"""Reads the series of an answer one after another, while it arrives, in bounded memory. Pure.

Whole answers are decoded by `shim/cli/client.py`; this is for those that are larger than memory should be.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

_RESULT: Final = re.compile(r'"result"\s*:\s*\[')
_BETWEEN: Final = " \t\r\n,"
#: Characters in which the result has to begin.
_MAX_HEAD: Final = 65_536
#: Characters of one element.
_MAX_ELEMENT: Final = 64 << 20


class MatrixError(Exception):
    """The text is not an answer with a list as its result, or it ends early."""


def series_of(chunks: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each element of the `result`, and the characters of its text. Raises MatrixError.

    Memory: a chunk, and twice the text of one element.
    """
    pending = _Pending(chunks)
    pending.skip_head()
    while not pending.is_at_end():
        yield pending.element()


class _Pending:
    """The text that arrived; the part before `_at` is read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0

    def skip_head(self) -> None:
        """Pass everything before the first element."""
        while not (found := _RESULT.search(self._text)):
            if len(self._text) > _MAX_HEAD:
                raise MatrixError("no result in the answer")
            self._more()
        self._at = found.end()

    def is_at_end(self) -> bool:
        """Pass blanks and commas; return whether the list ends here."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BETWEEN:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at] == "]"
            self._more()

    def element(self) -> tuple[dict[str, Any], int]:
        """Return the next element; the text is doubled until the element is complete."""
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                size = 2 * (len(self._text) - self._at)
                if size > _MAX_ELEMENT:
                    raise MatrixError("an element of the result is too large, or not JSON") from None
                self._more(size)
            else:
                break
        if not isinstance(found, dict):
            raise MatrixError("an element of the result is not a series")
        size, self._at = end - self._at, end
        return found, size

    def _more(self, size: int = 1) -> None:
        """Add text until there are `size` characters, or all of the answer. Raises MatrixError at its end."""
        pieces = [self._text[self._at :]]
        before = there = len(pieces[0])
        while there < max(size, before + 1):
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            pieces.append(self._decode(chunk))
            there += len(pieces[-1])
        if there == before:
            raise MatrixError("the answer ends early")
        self._text, self._at = "".join(pieces), 0
