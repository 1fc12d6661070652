"""The HTTP server of indexer and API: aiohttp's, with bounds on silent clients.

aiohttp has no deadline for a request's head or body and no bound on connections. Here a connection has a
deadline for each: the TLS handshake, the head, the body, the next request, and an answer that its client does
not read. indexer/http/connections.py has the bounds, indexer/http/handshake.py the handshake.

Header values that are not UTF-8 get U+FFFD in place of their bad bytes, before they are read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from indexer.access.grants import Certificate
from indexer.http.connections import CloseReason, Connections
from indexer.http.handshake import Handshake, ListenerTls, SecureSite
from indexer.http.handshake import certificate_of as shown_certificate
from indexer.http.unsent import unsent_bytes
from indexer.settings import Http

_BACKLOG: Final = 512
#: Characters of the reason why a request is not HTTP; it may quote the request.
_MAX_ECHO: Final = 200
_TIMED_OUT: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(web.RequestHandler):
    """An aiohttp connection that tells which step of its client it waits for."""

    __slots__ = ("_connections", "_partial", "_secured", "_waits_since", "certificate", "handshake")

    def __init__(self, server: web.Server, connections: Connections, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.certificate: Certificate | None = None  # of the client
        self.handshake: Handshake | None = None  # that came before
        self._secured: socket.socket | None = None  # below TLS
        self._connections = connections
        self._partial = False  # a part of the next head is there
        self._waits_since: tuple[object, float] = (None, 0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in place of its handshake."""
        super().connection_made(transport)
        if self.handshake is not None:
            self._connections.lost(self.handshake)
            self._secured = self.handshake.sock
            self.certificate = shown_certificate(transport.get_extra_info("ssl_object"))
            self.handshake = None
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._connections.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on, and note whether a request's head has begun."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._partial = False
        elif data and not self._at_work and self._waiter is not None:  # else it is of a body
            self._partial = True

    @property
    def _at_work(self) -> bool:
        return self._request_in_progress or bool(self._messages)

    def waits_for(self) -> tuple[CloseReason | None, object]:
        """Return the client's pending step (None: none), and a key that changes with its progress."""
        unread, progress = self._unread()
        if not self._at_work and not self._partial and unread:
            return CloseReason.UNREAD, (CloseReason.UNREAD, self._request_count, progress)
        if not self._at_work:
            waits = CloseReason.HEAD if self._partial or not self._request_count else CloseReason.IDLE
            return waits, (waits, self._request_count)
        request = self._current_request
        if request is not None and not request.content.is_eof():
            return CloseReason.BODY, (CloseReason.BODY, self._request_count)
        return (CloseReason.UNREAD if unread else None), (CloseReason.UNREAD, self._request_count, progress)

    def _unread(self) -> tuple[int, object]:
        """Return the number of bytes that the client has not read, and a key that changes when it reads."""
        size = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if self._secured is None:
            return size, size
        waiting, taken = unsent_bytes(self._secured)
        return size + waiting, taken

    def waiting(self, now: float) -> tuple[CloseReason | None, float]:
        """Return the client's pending step, and since when, as seen by calls of this method."""
        waits, key = self.waits_for()
        if key != self._waits_since[0]:
            self._waits_since = (key, now)
        return waits, self._waits_since[1]

    def end(self, reason: CloseReason) -> None:
        """Close at once; answer a slow request with 408."""
        transport = self.transport
        if transport is None:
            return
        if reason in (CloseReason.HEAD, CloseReason.BODY) and not transport.get_write_buffer_size():
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
        """Answer a request that is not HTTP without logging it; else do as aiohttp does."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        headers = {"Retry-After": "1"} if exc.code == HTTPStatus.SERVICE_UNAVAILABLE else None
        text = exc.message.partition("\n")[0][:_MAX_ECHO].encode(errors="replace").decode()
        response = web.Response(status=exc.code, text=f"{text}\n", headers=headers)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log as aiohttp does, except an unread body with a wrong encoding."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


class Server(web.Server):
    """Makes counted connections that have deadlines."""

    def __init__(self, handler: Handler, connections: Connections, **kwargs: Any) -> None:
        make = kwargs.pop("request_factory")
        super().__init__(handler, request_factory=_Readable(make), **kwargs)
        self.connections_open = connections

    def __call__(self) -> Connection:
        """Return a connection; a subclass may make another kind."""
        return Connection(self, self.connections_open, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """End handshakes, then do as aiohttp does."""
        super().pre_shutdown()
        self.connections_open.end_handshakes()


class _Readable:
    """A factory of requests whose headers can be written as text again."""

    def __init__(self, make: Callable[..., web.BaseRequest]) -> None:
        self._make = make

    def __call__(self, message: Any, *rest: Any) -> web.BaseRequest:
        if not all(value.isascii() for _, value in message.raw_headers):
            pairs = [(name, readable(value)) for name, value in message.headers.items()]
            message = message._replace(headers=CIMultiDictProxy(CIMultiDict(pairs)))
        return self._make(message, *rest)


def certificate_of(request: web.BaseRequest) -> Certificate | None:
    """Return the certificate of a request's client."""
    protocol = request.protocol
    return protocol.certificate if isinstance(protocol, Connection) else None


def readable(text: str) -> str:
    """Return the text with U+FFFD for bytes that were not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


class Runner(web.AppRunner):
    """aiohttp's runner of an application, with bounds. `closed` is called with the reason of each close."""

    __slots__ = ("listening", "open")

    def __init__(
        self,
        app: web.Application,
        settings: Http,
        closed: Callable[[CloseReason], None],
        *,
        listening: ListenerTls | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, access_log=None, **kwargs)
        self.open = Connections(settings, closed)
        self.listening = listening

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return self.bounded(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,  # noqa: SLF001 - the application's arguments
        )

    def site(self, sock: socket.socket, backlog: int = _BACKLOG) -> web.BaseSite:
        """Return the site of a listening socket, with TLS or without."""
        if self.listening is None:
            return web.SockSite(self, sock, backlog=backlog)
        assert isinstance(self.server, Server)
        return SecureSite(self, sock, self.listening, self.open, self.server)

    async def serve(self, socks: list[socket.socket], backlog: int = _BACKLOG) -> None:
        """Accept connections of listening sockets, which belong to the runner then: the list gets empty."""
        await self.setup()
        while socks:
            await self.site(socks.pop(0), backlog).start()

    async def stop_accepting(self) -> None:
        """Close the sockets; open connections go on until `cleanup`."""
        for site in list(self.sites):
            await site.stop()

    def bounded(self, handler: Handler, **kwargs: Any) -> web.Server:
        """Return the server; a subclass may make another kind."""
        return Server(handler, self.open, **kwargs)
