"""A guard before the lines of a TCP stream: one that begins with an HTTP request is closed.

A web page can make a browser send a request to any port of the machine it runs on, with lines in its body.
The first line of a stream says what it is: no StatsD line ends like a request line (RFC 9112, 3).

Owns the look at that line. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from agent.receive.stream_splitter import StreamSplitter

_REQUEST_LINE: Final = re.compile(rb"[A-Za-z]+ .* ?HTTP/\d(\.\d)?\r?", re.DOTALL)
#: A first line that is longer and begins like a request is taken for one.
_MAX_FIRST_BYTES: Final = 8_192
_METHOD: Final = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) ")


class HttpGuard:
    """Collects reads of one connection for `lines`, unless they are an HTTP request."""

    def __init__(self, lines: StreamSplitter) -> None:
        self._lines = lines
        self._first: bytearray | None = bytearray()  # the first line, until it has ended
        self._broken = ""

    @property
    def too_long(self) -> int:
        """Lines refused because of their length."""
        return self._lines.too_long

    @property
    def broken(self) -> str:
        """Why the connection is to be closed, or nothing."""
        return self._broken or self._lines.broken

    @property
    def pending(self) -> bool:
        """True if something has begun that has not ended, and is not a request."""
        return bool(self._first) or self._lines.pending

    def feed(self, data: bytes) -> bytes:
        """The whole lines that `data` completed; none of a request."""
        if self._broken:
            return b""
        if self._first is not None:
            self._first += data
            if b"\n" not in self._first and len(self._first) <= _MAX_FIRST_BYTES:
                return b""
            data = self._begin()
        return self._lines.feed(data)

    def _begin(self) -> bytes:
        """What came so far, once it is known that it is not a request."""
        data, self._first = bytes(self._first or b""), None
        first, ended, _ = data.partition(b"\n")
        if _REQUEST_LINE.fullmatch(first) or (
            (not ended or len(first) > _MAX_FIRST_BYTES) and _METHOD.match(first)
        ):
            self._broken = "http_request"
            return b""
        return data

    def end(self) -> bytes:
        """What counts as whole by an orderly end of the stream."""
        done = self._lines.feed(self._begin()) if self._first is not None else b""
        last = self._lines.end()
        return b"\n".join(filter(None, (done, last)))
