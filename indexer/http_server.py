"""The HTTP server of indexer and API: aiohttp's, with bounds on what silent clients may hold.

aiohttp has no deadline for a request's head or body and no bound on connections. Here a connection has a
deadline for each: the head, the body, the next request, and an answer that its client does not read. At the
bound a new connection takes the place of the oldest one that waits for its client; work is never interrupted.

Header values that are not UTF-8 get U+FFFD in place of their bad bytes, before anything reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from agent.descriptors import share
from indexer.settings import Http

#: Indexer, API and the files of an embedded store (two parts) share what a process may open.
_SHARES: Final = 4
_SWEEP_S: Final = 1.0
#: Characters of the reason why a request is not HTTP; it may quote the request.
_MAX_ECHO: Final = 200
_TIMED_OUT: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Closed(Enum):
    """Why the server closed a connection; the label of a metric."""

    HEAD = "head_timeout"
    BODY = "body_timeout"
    IDLE = "idle_timeout"
    UNREAD = "answer_not_read"
    MADE_ROOM = "made_room"
    TOO_MANY = "too_many_connections"


#: Which connections make room first; those at work never do.
_ROOM: Final = (Closed.HEAD, Closed.IDLE, Closed.BODY, Closed.UNREAD)


class Connections:
    """The open connections of one server. `closed` is told of each that the server closes."""

    def __init__(self, settings: Http, closed: Callable[[Closed], None]) -> None:
        self.max = share(settings.max_connections, _SHARES)
        self._closed = closed
        self._deadlines_s = {
            Closed.HEAD: settings.head_s,
            Closed.BODY: settings.body_s,
            Closed.IDLE: settings.idle_s,
            Closed.UNREAD: settings.body_s,
        }
        self._sweep_s = min(_SWEEP_S, *(s / 4 for s in self._deadlines_s.values()))
        self._open: dict[Connection, None] = {}  # oldest first
        self._sweep_at: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """Count a new connection; at the bound another one is closed for it, or it is closed itself."""
        if len(self._open) >= self.max and not self._make_room():
            self._end(connection, Closed.TOO_MANY)
            return
        self._open[connection] = None
        if self._sweep_at is None:
            self._sweep_at = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)
        if not self._open and self._sweep_at is not None:
            self._sweep_at.cancel()
            self._sweep_at = None

    def _make_room(self) -> bool:
        """Close the oldest connection that waits for its client; return False if none does."""
        found: dict[Closed, Connection] = {}
        for connection in self._open:
            waits = connection.waits_for()[0]
            if waits is _ROOM[0]:
                self._end(connection, Closed.MADE_ROOM)
                return True
            if waits is not None:
                found.setdefault(waits, connection)
        for waits in _ROOM[1:]:
            if waits in found:
                self._end(found[waits], Closed.MADE_ROOM)
                return True
        return False

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._open):
            waits, since = connection.waiting(now)
            if waits is not None and now - since >= self._deadlines_s[waits]:
                self._end(connection, waits)
        self._sweep_at = loop.call_later(self._sweep_s, self._sweep) if self._open else None

    def _end(self, connection: Connection, reason: Closed) -> None:
        self._open.pop(connection, None)
        self._closed(reason)
        connection.end(reason)


class Connection(web.RequestHandler):
    """One connection: aiohttp's, which knows what it waits for."""

    __slots__ = ("_connections", "_partial", "_waits_since")

    def __init__(self, server: web.Server, connections: Connections, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._connections = connections
        self._partial = False  # a part of the next head is there
        self._waits_since: tuple[object, float] = (None, 0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._partial = False
        elif data and not self._at_work:
            self._partial = True

    @property
    def _at_work(self) -> bool:
        return self._request_in_progress or bool(self._messages)

    def waits_for(self) -> tuple[Closed | None, object]:
        """Return what the client owes (None: nothing), and a key that changes when it makes progress."""
        if not self._at_work:
            waits = Closed.HEAD if self._partial or not self._request_count else Closed.IDLE
            return waits, (waits, self._request_count)
        request = self._current_request
        if request is not None and not request.content.is_eof():
            return Closed.BODY, (Closed.BODY, self._request_count)
        unread = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return (Closed.UNREAD if unread else None), (Closed.UNREAD, self._request_count, unread)

    def waiting(self, now: float) -> tuple[Closed | None, float]:
        """Return what the client owes, and since when, as seen by calls of this method."""
        waits, key = self.waits_for()
        if key != self._waits_since[0]:
            self._waits_since = (key, now)
        return waits, self._waits_since[1]

    def end(self, reason: Closed) -> None:
        """Close now; who was too slow with a request is answered 408."""
        transport = self.transport
        if transport is None:
            return
        if reason in (Closed.HEAD, Closed.BODY) and not transport.get_write_buffer_size():
            transport.write(_TIMED_OUT)
            self.force_close()
        else:
            self.force_close()
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """As aiohttp's; a request that is not HTTP is answered, and not logged."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        headers = {"Retry-After": "1"} if exc.code == HTTPStatus.SERVICE_UNAVAILABLE else None
        text = exc.message.partition("\n")[0][:_MAX_ECHO].encode(errors="replace").decode()
        response = web.Response(status=exc.code, text=f"{text}\n", headers=headers)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """As aiohttp's; a body that nobody reads and that is not what its encoding says is not logged."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


class Server(web.Server):
    """Makes connections that are counted and have deadlines."""

    def __init__(self, handler: Handler, connections: Connections, **kwargs: Any) -> None:
        make = kwargs.pop("request_factory")
        super().__init__(handler, request_factory=_Readable(make), **kwargs)
        self.connections_open = connections

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self.connections_open, loop=self._loop, **self._kwargs)


class _Readable:
    """A factory of requests whose headers are text that can be written again."""

    def __init__(self, make: Callable[..., web.BaseRequest]) -> None:
        self._make = make

    def __call__(self, message: Any, *rest: Any) -> web.BaseRequest:
        if not all(value.isascii() for _, value in message.raw_headers):
            pairs = [(name, readable(value)) for name, value in message.headers.items()]
            message = message._replace(headers=CIMultiDictProxy(CIMultiDict(pairs)))
        return self._make(message, *rest)


def readable(text: str) -> str:
    """Return the text with U+FFFD for bytes that were not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


class Runner(web.AppRunner):
    """aiohttp's runner of an application, with bounds. `closed` is told why connections were closed."""

    __slots__ = ("open",)

    def __init__(
        self, app: web.Application, settings: Http, closed: Callable[[Closed], None], **kwargs: Any
    ) -> None:
        super().__init__(app, access_log=None, **kwargs)
        self.open = Connections(settings, closed)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return self.bounded(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,  # noqa: SLF001 - what the application was given
        )

    def bounded(self, handler: Handler, **kwargs: Any) -> web.Server:
        """Return the server; a subclass may make another one."""
        return Server(handler, self.open, **kwargs)
