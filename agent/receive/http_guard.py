"""Protects a TCP stream of lines: a connection that begins with an HTTP request is closed.

A web page can make a browser send a request to any port of its machine, with lines in the body. The first
line of a stream reveals it: no StatsD line ends like a request line (RFC 9112, 3).

Owns the check of that line. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from agent.receive.stream_splitter import StreamSplitter

_REQUEST_LINE: Final = re.compile(rb"[A-Za-z]+ .* ?HTTP/\d(\.\d)?\r?", re.DOTALL)
#: A longer first line that begins like a request is treated as one.
_MAX_FIRST_BYTES: Final = 8_192
_METHOD: Final = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) ")


class HttpGuard:
    """Passes the reads of one connection to `lines`, unless they are an HTTP request."""

    def __init__(self, lines: StreamSplitter) -> None:
        self._lines = lines
        self._first: bytearray | None = bytearray()  # the first line, until it has ended
        self._broken = ""

    @property
    def too_long(self) -> int:
        """Number of lines refused for their length."""
        return self._lines.too_long

    @property
    def broken(self) -> str:
        """Why the connection must be closed; empty if it need not."""
        return self._broken or self._lines.broken

    @property
    def pending(self) -> bool:
        """True if an unfinished line exists that is not a request."""
        return bool(self._first) or self._lines.pending

    def feed(self, data: bytes) -> bytes:
        """Return the whole lines that `data` completed; none of a request."""
        if self._broken:
            return b""
        if self._first is not None:
            self._first += data
            if b"\n" not in self._first and len(self._first) <= _MAX_FIRST_BYTES:
                return b""
            data = self._begin()
        return self._lines.feed(data)

    def _begin(self) -> bytes:
        """Return the data so far, once it is known not to be a request."""
        data, self._first = bytes(self._first or b""), None
        first, ended, _ = data.partition(b"\n")
        if _REQUEST_LINE.fullmatch(first) or (
            (not ended or len(first) > _MAX_FIRST_BYTES) and _METHOD.match(first)
        ):
            self._broken = "http_request"
            return b""
        return data

    def end(self) -> bytes:
        """Return the lines completed by an orderly end of the stream."""
        done = self._lines.feed(self._begin()) if self._first is not None else b""
        last = self._lines.end()
        return b"\n".join(filter(None, (done, last)))
