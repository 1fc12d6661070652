"""The HTTP server of the API: as the indexer's, with a bound on the head of a request.

A head is a request's line and headers. aiohttp bounds each line alone. Label values are asked by GET, so a
line may be long, and a hundred such lines must not fill the memory. One head has a bound (431, as Go's
server). Long heads have one together (503), from their arrival until their requests are answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from indexer.http.connections import CloseReason, Connections
from indexer.http.server import Connection, Handler, Server
from indexer.http.server import Runner as BoundedRunner
from indexer.settings import Http

#: Heads up to this size count nothing: every connection may have one.
SHORT_BYTES: Final = 64 << 10
#: Bytes that a head may exceed its bound by, as in Go's net/http.
SLOP_BYTES: Final = 4096


class HeadTooLongError(HttpProcessingError):
    """The head of one request is over its bound."""

    code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class TooManyLongHeadsError(HttpProcessingError):
    """Long heads are over their common bound."""

    code = HTTPStatus.SERVICE_UNAVAILABLE


class LongHeads:
    """The bytes of all long heads of a server, and their bounds."""

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.max_total_bytes = max_total_bytes
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Count `size` more bytes. Raises TooManyLongHeadsError."""
        if self.held_bytes + size > self.max_total_bytes:
            raise TooManyLongHeadsError(
                message="too many requests with long headers or URLs at the same time"
                " (setting shim.max_long_heads_bytes)"
            )
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Release the bytes of a head."""
        self.held_bytes -= size


class _CountingParser:
    """aiohttp's parser of one connection; counts the bytes of heads on their way through."""

    def __init__(self, parser: Any, heads: LongHeads) -> None:
        self._parser = parser
        self._heads = heads
        self._max_bytes = heads.max_bytes + SLOP_BYTES
        self._head_bytes = 0  # of the head that arrives now
        self._taken_bytes = 0
        self._body: Any = None
        self._unanswered: deque[int] = deque()  # bytes taken, by request, in their order

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Any:
        """Parse more bytes. Raises HttpProcessingError."""
        in_body = self._body is not None and not self._body.is_eof()
        if not in_body:
            self._count(len(data))
        try:
            fed = self._parser.feed_data(data)
        except LineTooLong as e:
            raise self._too_long() from e
        if self._head_bytes > self._max_bytes and (not fed[0] or _size(fed[0][0][0]) > self._max_bytes):
            raise self._too_long()
        for _, body in fed[0]:
            self._unanswered.append(self._taken_bytes)
            self._head_bytes = self._taken_bytes = 0
            self._body = body
        return fed

    def _count(self, size: int) -> None:
        """Count a piece of a head; its last one may hold a body's beginning, too."""
        self._head_bytes += size
        if self._head_bytes <= SHORT_BYTES:
            return
        wanted = self._head_bytes - self._taken_bytes
        self._heads.take(wanted)
        self._taken_bytes += wanted

    def _too_long(self) -> HeadTooLongError:
        return HeadTooLongError(
            message=f"the request's line and headers are longer than {self._heads.max_bytes} bytes"
            " (setting shim.max_head_bytes)"
        )

    def answered(self) -> None:
        """Release the bytes of the oldest request."""
        if self._unanswered:
            self._heads.give_back(self._unanswered.popleft())

    def closed(self) -> None:
        """Give back everything."""
        self._heads.give_back(self._taken_bytes + sum(self._unanswered))
        self._taken_bytes = 0
        self._unanswered.clear()


def _size(message: Any) -> int:
    """Return the bytes of a parsed head; 0 for aiohttp's stand-in after an error."""
    pairs = getattr(message, "raw_headers", ())
    return len(getattr(message, "path", "")) + sum(len(name) + len(value) + 4 for name, value in pairs)


class _Connection(Connection):
    """One connection with counted heads."""

    __slots__ = ("_counting",)

    def __init__(self, server: web.Server, connections: Connections, heads: LongHeads, **kwargs: Any) -> None:
        super().__init__(server, connections, **kwargs)
        self._counting = _CountingParser(self._parser, heads)
        self._parser = self._counting  # type: ignore[assignment] # the same methods

    def answered(self) -> None:
        """Note that a request of this connection was answered."""
        self._counting.answered()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._counting.closed()


class _Server(Server):
    """Makes connections with counted heads."""

    def __init__(self, handler: Handler, connections: Connections, heads: LongHeads, **kwargs: Any) -> None:
        async def counted(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                connection = request.protocol
                if isinstance(connection, _Connection):
                    connection.answered()

        super().__init__(counted, connections, **kwargs)
        self._heads = heads

    def __call__(self) -> Connection:
        return _Connection(self, self.connections_open, self._heads, loop=self._loop, **self._kwargs)


class Runner(BoundedRunner):
    """The runner of an application, with counted heads.

    `max_head_bytes`: of one request's line and headers. `max_long_heads_bytes`: of all over 64 KiB together.
    """

    __slots__ = ("heads",)

    def __init__(
        self,
        app: web.Application,
        settings: Http,
        closed: Callable[[CloseReason], None],
        *,
        max_head_bytes: int,
        max_long_heads_bytes: int,
        **kwargs: Any,
    ) -> None:
        bound = max_head_bytes + SLOP_BYTES
        super().__init__(app, settings, closed, max_line_size=bound, max_field_size=bound, **kwargs)
        self.heads = LongHeads(max_head_bytes, max_long_heads_bytes)

    def bounded(self, handler: Handler, **kwargs: Any) -> web.Server:
        """Make a server whose connections count their heads."""
        return _Server(handler, self.open, self.heads, **kwargs)
