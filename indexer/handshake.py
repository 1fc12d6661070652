"""A TCP connection before it speaks HTTP: the TLS handshake, counted and with a deadline as everything else.

asyncio's own servers tell an application of a connection after its handshake. Half handshakes would hold
descriptors that no bound knows. Here the connection is counted as it is accepted, and goes on as the
connection that `make` returns for the client's certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from typing import Final, cast

from aiohttp import web

from agent.logs import Log
from agent.settings import Tls
from agent.tls import Contexts, in_words, of_listener
from indexer.access import Certificate
from indexer.connections import Closed, Connections

#: How long a closing connection waits for its client to say that it closes, too.
_SHUTDOWN_S: Final = 2.0
#: A second guard after that of `Connections`: asyncio's default would end long handshakes too early.
_ABANDONED_S: Final = 3_600.0


class Listening:
    """The TLS of one listener: its contexts, and where refused clients are logged."""

    def __init__(self, contexts: Contexts, log: Log) -> None:
        self.contexts = contexts
        self._log = log

    def refused(self, peer: object, error: ssl.SSLError) -> None:
        """Log why a handshake failed."""
        host = peer[0] if isinstance(peer, tuple) else peer
        self._log.throttled("handshake_failed", peer=host, reason=in_words(error))


def listening(section: str, settings: Tls) -> Listening | None:
    """Return the TLS of a listener; None where it is off. Raises TlsError."""
    log = Log(section)
    return Listening(of_listener(section, settings, log), log) if settings.cert else None


class Handshake(asyncio.Protocol):
    """One connection until its handshake is done."""

    def __init__(
        self,
        connections: Connections,
        listening: Listening,
        make: Callable[[Certificate | None], web.RequestHandler],
    ) -> None:
        self._connections = connections
        self._listening = listening
        self._make = make
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._began_s = 0.0
        self._early: list[bytes] = []  # came with the end of the handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        self._connections.opened(self)
        if not self._transport.is_closing():
            self._task = loop.create_task(self._shake(self._transport))

    def data_received(self, data: bytes) -> None:
        self._early.append(data)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's
        self._connections.lost(self)

    async def _shake(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._listening.contexts.current(),
                server_side=True,
                ssl_handshake_timeout=_ABANDONED_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except ssl.SSLError as e:
            if not isinstance(e, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # the client went away
                self._connections.refused(self)
                self._listening.refused(peer, e)
        except OSError:  # reset by the client, or aborted here
            pass
        else:
            if secure is not None:
                self._hand_over(secure)
                return
        finally:
            self._connections.lost(self)
        transport.abort()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Let the connection begin, with what came so far."""
        self._connections.lost(self)
        if transport.is_closing():
            transport.abort()
            return
        connection = self._make(_certificate(transport.get_extra_info("ssl_object")))
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if self._early:
            connection.data_received(b"".join(self._early))

    def waits_for(self) -> tuple[Closed | None, object]:
        """Return that the client owes a handshake."""
        return Closed.HANDSHAKE, None

    def waiting(self, _: float) -> tuple[Closed | None, float]:
        """Return what the client owes, and since when."""
        return Closed.HANDSHAKE, self._began_s

    def end(self, _: Closed) -> None:
        """Close now."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()


def _certificate(secured: ssl.SSLObject) -> Certificate | None:
    """Return the certificate that the client has shown, and that was verified."""
    fields, data = secured.getpeercert(), secured.getpeercert(binary_form=True)
    if not fields or not data:
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", fields.get("subject", ()))
    names = [value for pairs in subject for key, value in pairs if key == "commonName"]
    return Certificate(
        name=names[0] if len(names) == 1 else "",
        fingerprint=hashlib.sha256(data).digest(),
        not_after_s=ssl.cert_time_to_seconds(str(fields["notAfter"])),
    )
