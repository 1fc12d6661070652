"""TLS of an HTTP listener: connections from their acceptance to the end of their handshake.

asyncio's own servers announce a connection after its handshake: half handshakes would hold descriptors
outside every bound. Here sockets are accepted first, counted, and have the deadline of a request's head.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from aiohttp import web

from agent.net.tls import TlsContexts, handshake_failure, listener_contexts
from agent.runtime.logs import Log
from agent.settings import Tls
from indexer.access.grants import Certificate
from indexer.http.connections import CloseReason, Connections

#: How long a closing connection waits for its client's closing message.
_SHUTDOWN_S: Final = 2.0
#: A second guard besides `Connections`: asyncio's default would end long handshakes too early.
_ABANDONED_S: Final = 3_600.0
#: Connections accepted in a row before other work of the loop continues.
_ACCEPTS: Final = 64
#: Pause after the process ran out of files.
_PAUSE_S: Final = 0.5


class ListenerTls:
    """The TLS of one listener: its contexts, and the log of refused clients."""

    def __init__(self, contexts: TlsContexts, log: Log) -> None:
        self.contexts = contexts
        self.log = log


def listener_tls(section: str, settings: Tls) -> ListenerTls | None:
    """Return the TLS of a listener; None if it is off. Raises TlsError."""
    log = Log(section)
    return ListenerTls(listener_contexts(section, settings, log), log) if settings.cert else None


class SecuredConnection(Protocol):
    """The connection of an application that begins after a handshake."""

    handshake: Handshake | None


class SecureSite(web.SockSite):
    """Serves a listening socket with TLS. `make` returns the connection for each one accepted."""

    def __init__(
        self,
        runner: web.BaseRunner,
        sock: socket.socket,
        tls: ListenerTls,
        connections: Connections,
        make: Callable[[], SecuredConnection],
    ) -> None:
        super().__init__(runner, sock)
        self._acceptor = Acceptor(sock, tls, connections, make)

    async def start(self) -> None:
        """Start accepting."""
        await web.BaseSite.start(self)
        self._server = cast("asyncio.AbstractServer", self._acceptor)  # as far as aiohttp uses it
        self._acceptor.start()


class Acceptor:
    """Accepts connections of one listening socket, and owns it."""

    def __init__(
        self,
        sock: socket.socket,
        tls: ListenerTls,
        connections: Connections,
        make: Callable[[], SecuredConnection],
    ) -> None:
        self.sockets = (sock,)
        self._sock = sock
        self._tls = tls
        self._connections = connections
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start, or continue after a pause."""
        self._again = None
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting. Closing twice does nothing."""
        if self._again is not None:
            self._again.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:  # no more files: the connection waits in the kernel
                self._tls.log.throttled("accept_failed", error=e)
                self._loop.remove_reader(self._sock.fileno())
                self._again = self._loop.call_later(_PAUSE_S, self.start)
                return
            sock.setblocking(False)
            Handshake(self._connections, self._tls, self._make, sock, str(peer[0])).begin()


class Handshake:
    """A connection until its handshake is done."""

    def __init__(
        self,
        connections: Connections,
        tls: ListenerTls,
        make: Callable[[], SecuredConnection],
        sock: socket.socket,
        peer: str,
    ) -> None:
        self._connections = connections
        self._tls = tls
        self._make = make
        self.sock = sock
        self._peer = peer
        self._task: asyncio.Task[None] | None = None
        self._began_s = 0.0
        self._is_theirs = False  # the loop closes the socket
        self._ended = False

    def begin(self) -> None:
        """Count the connection, and wait for its handshake unless there are too many."""
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        self._connections.opened(self)
        if not self._ended:
            self._task = loop.create_task(self._shake(loop))

    async def _shake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_theirs = True
        try:
            await loop.connect_accepted_socket(
                self._connection,
                self.sock,
                ssl=self._tls.contexts.current(),
                ssl_handshake_timeout=_ABANDONED_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except ssl.SSLError as e:
            if not isinstance(e, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # the client went away
                self._connections.refused(self)
                self._tls.log.throttled("handshake_failed", peer=self._peer, reason=handshake_failure(e))
        except OSError:  # reset by the client
            pass
        finally:
            self._connections.lost(self)

    def _connection(self) -> Any:
        connection = self._make()
        connection.handshake = self
        return connection

    def waits_for(self) -> tuple[CloseReason | None, object]:
        """Return that the client owes a handshake."""
        return CloseReason.HANDSHAKE, None

    def waiting(self, _: float) -> tuple[CloseReason | None, float]:
        """Return the client's pending step, and since when."""
        return CloseReason.HANDSHAKE, self._began_s

    def end(self, _: CloseReason) -> None:
        """Close at once."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
        if not self._is_theirs:
            self.sock.close()


def certificate_of(secured: ssl.SSLObject | None) -> Certificate | None:
    """Return the verified certificate of a client."""
    fields = secured.getpeercert() if secured is not None else None
    data = secured.getpeercert(binary_form=True) if secured is not None else None
    if not fields or not data:
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", fields.get("subject", ()))
    names = [value for pairs in subject for key, value in pairs if key == "commonName"]
    return Certificate(
        name=names[0] if len(names) == 1 else "",
        fingerprint=hashlib.sha256(data).digest(),
        not_after_s=ssl.cert_time_to_seconds(str(fields["notAfter"])),
    )
