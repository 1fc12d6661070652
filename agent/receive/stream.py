"""Stream sockets in the agent's loop: TCP and Unix connections in, batches of whole lines out.

Owns accepting and reading in large chunks, the number of connections, how long one may be silent, and how
long its TLS handshake may take. agent/receive/stream_splitter.py finds the ends of lines.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from agent.net.sockets import address_of
from agent.receive.receiver import ReceiveCounters
from agent.receive.stream_splitter import StreamSplitter
from agent.runtime.logs import Log
from agent.runtime.loop import Loop, Timer

#: Takes lines, and the address of their client.
Sink = Callable[[bytes, bytes], None]

#: Bytes read at once.
READ_BYTES: Final = 128 << 10
_READS_PER_TURN: Final = 4
_ACCEPT_PAUSE_S: Final = 0.1
#: Interval between checks for connections to close.
_CHECK_S: Final = 5.0
#: A connection that was silent for this long may be replaced by a new one.
SILENT_S: Final = 10.0
#: Maximum duration of a TLS handshake.
HANDSHAKE_S: Final = 10.0


class UntrustedError(ConnectionError):
    """A failed TLS handshake; the text names the reason."""


class Stream(Protocol):
    """A connected, non-blocking socket, perhaps with TLS (agent/receive/tls_listener.py)."""

    def fileno(self) -> int:
        """Return the file descriptor."""

    def close(self) -> None:
        """Close the socket."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into the buffer; return the number of bytes."""


class _Connection:
    """One connection: its splitter, its client, and when it last sent data."""

    __slots__ = ("client", "framer", "heard_s")

    def __init__(self, framer: StreamSplitter, client: bytes) -> None:
        self.framer = framer
        self.client = client
        self.heard_s = time.monotonic()


def _plain(sock: socket.socket) -> Stream:
    return sock


def _shakes(sock: Stream) -> bool:
    """Return whether the handshake of a connection is unfinished."""
    return bool(getattr(sock, "waits_for_handshake", False))


class StreamLimits(msgspec.Struct, frozen=True):
    """Bounds of the connections of a listener."""

    max_connections: int
    #: Silent connections are closed after this time.
    idle_s: float = 3_600.0
    #: A connection that was silent for this long may be replaced by a new one.
    silent_s: float = SILENT_S
    #: Maximum duration of a TLS handshake.
    handshake_s: float = HANDSHAKE_S


class StreamListener:
    """Accepts connections on a listening socket and reads lines from them; owns it and them.

    `framer` creates the splitter of one connection. `secure` adds TLS to an accepted socket; `allow` decides
    whether a client's address is admitted.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        sink: Sink,
        framer: Callable[[], StreamSplitter],
        limits: StreamLimits,
        log: Log,
        *,
        secure: Callable[[socket.socket], Stream] | None = None,
        allow: Callable[[str], bool] | None = None,
    ) -> None:
        self.received = ReceiveCounters()
        self._sock = sock
        self._sink = sink
        self._framer = framer
        self._max_connections = limits.max_connections
        self._log = log
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._open: dict[Stream, _Connection] = {}  # longest silent first
        self._secure = secure or _plain
        self._allow = allow
        self._handshake_s = limits.handshake_s
        self._idle_s = limits.idle_s
        self._silent_s = limits.silent_s
        self._check_s = min(self._idle_s, _CHECK_S if secure is None else self._handshake_s / 4)
        self._loop = loop
        self._pause: Timer | None = None
        self._loop.add_reader(sock, self._accept)
        self._check: Timer = self._loop.call_later(self._check_s, self._close_idle)

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def stop(self) -> None:
        """Accept waiting clients, stop accepting, read the remaining data, and close everything."""
        before = -1
        while self._pause is None and len(self._open) > before:  # clients still in the backlog
            before = len(self._open)
            self._accept()
        self._check.cancel()
        if self._pause:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()
        for sock in list(self._open):
            for _ in range(64):  # bounded, in case a sender continues
                if not self._read(sock):
                    break
            if sock in self._open:
                self._close(sock)

    def _accept(self) -> None:
        try:
            accepted, peer = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as e:  # no more file descriptors: the connection waits in the backlog
            self._log.throttled("accept_failed", error=e)
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(_ACCEPT_PAUSE_S, self._accept_again)
            return
        if self._allow and not self._allow(peer[0]):
            self.received.closed_connections["foreign_source"] += 1
            self._log.throttled("connection_closed", reason="foreign_source", peer=peer[0])
            accepted.close()
            return
        if len(self._open) >= self._max_connections and not self._make_room():
            self.received.refused_connections += 1
            self._log.throttled("connection_refused", reason="max_connections", open=len(self._open))
            accepted.close()
            return
        accepted.setblocking(False)
        try:
            sock = self._secure(accepted)
        except OSError:  # the client is already gone
            return
        self._open[sock] = _Connection(self._framer(), address_of(peer[0] if isinstance(peer, tuple) else ""))
        self._loop.add_reader(sock, partial(self._on_readable, sock))

    def _make_room(self) -> bool:
        """Close the oldest connection without a handshake, or a silent one; return whether there was one."""
        return self._close_shaking("room", 0.0) or self._close_silent("room", self._silent_s)

    def _close_shaking(self, reason: str, after_s: float) -> bool:
        """Close the oldest connection in a handshake for `after_s` already; return whether one was closed."""
        if self._secure is _plain:
            return False
        for sock, connection in self._open.items():
            if _shakes(sock) and time.monotonic() - connection.heard_s >= after_s:
                self._close_because(sock, reason)
                return True
        return False

    def _close_silent(self, reason: str, after_s: float) -> bool:
        """Close the longest silent connection, if silent for `after_s`; return whether there was one."""
        sock, connection = next(iter(self._open.items()), (None, None))
        if sock is None or connection is None or time.monotonic() - connection.heard_s < after_s:
            return False
        self._close_because(sock, reason)
        return True

    def _close_idle(self) -> None:
        while self._close_silent("idle", self._idle_s):
            pass
        while self._close_shaking("handshake_timeout", self._handshake_s):
            pass
        self._check = self._loop.call_later(self._check_s, self._close_idle)

    def _close_because(self, sock: Stream, reason: str, **more: object) -> None:
        self.received.closed_connections[reason] += 1
        self._log.throttled("connection_closed", reason=reason, **more)
        self._close(sock)

    def _accept_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _on_readable(self, sock: Stream) -> None:
        for _ in range(_READS_PER_TURN):
            if not self._read(sock):
                return

    def _read(self, sock: Stream) -> bool:
        """Read a connection once; return False if there is nothing more for now."""
        connection = self._open[sock]
        framer = connection.framer
        try:
            size = sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except UntrustedError as e:
            self._close_because(sock, "handshake_failed", why=e)
            return False
        except OSError:  # reset: data without a newline may be half a line
            self._close(sock)
            return False
        if not size:
            if last := framer.end():
                self._sink(last, connection.client)
            self._close(sock)
            return False
        self._heard(sock)
        self.received.packets += 1
        self.received.bytes += size
        too_long = framer.too_long
        if lines := framer.feed(bytes(self._buffer[:size])):
            self._sink(lines, connection.client)
        self.received.too_long += framer.too_long - too_long
        if framer.broken:
            self._close_because(sock, framer.broken)
            return False
        return True

    def _heard(self, sock: Stream) -> None:
        connection = self._open.pop(sock)
        connection.heard_s = time.monotonic()
        self._open[sock] = connection

    def _close(self, sock: Stream) -> None:
        framer = self._open.pop(sock).framer
        self.received.cut_off += framer.pending
        self._loop.remove_reader(sock)
        sock.close()
