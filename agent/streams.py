"""Stream sockets in the agent's loop: TCP and Unix connections in, batches of whole lines out.

Owns accepting and reading, a large chunk at a time; agent/framing.py says where lines end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from agent.core import Received
from agent.framing import Framer
from agent.logs import Log
from agent.loop import Loop, Timer

Sink = Callable[[bytes], None]

#: Bytes read at once.
READ_BYTES: Final = 128 << 10
_READS_PER_TURN: Final = 4
_ACCEPT_PAUSE_S: Final = 0.1


class StreamListener:
    """Accepts connections on a listening socket and reads lines from them; owns it and them.

    `framer` makes what finds the lines of one connection.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        sink: Sink,
        framer: Callable[[], Framer],
        max_connections: int,
        log: Log,
    ) -> None:
        self.received = Received()
        self._sock = sock
        self._sink = sink
        self._framer = framer
        self._max_connections = max_connections
        self._log = log
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._open: dict[socket.socket, Framer] = {}
        self._loop = loop
        self._pause: Timer | None = None
        self._loop.add_reader(sock, self._accept)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._open)

    def stop(self) -> None:
        """Takes who has connected, stops accepting, takes what has arrived, closes all."""
        before = -1
        while self._pause is None and len(self._open) > before:  # clients that only wait in the backlog
            before = len(self._open)
            self._accept()
        if self._pause:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()
        for sock in list(self._open):
            for _ in range(64):  # a sender that goes on must not keep us here
                if not self._read(sock):
                    break
            if sock in self._open:
                self._close(sock)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as e:  # no more file descriptors: the connection waits in the backlog
            self._log.throttled("accept_failed", error=e)
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(_ACCEPT_PAUSE_S, self._accept_again)
            return
        if len(self._open) >= self._max_connections:
            self.received.refused_connections += 1
            self._log.throttled("connection_refused", reason="max_connections", open=len(self._open))
            sock.close()
            return
        sock.setblocking(False)
        self._open[sock] = self._framer()
        self._loop.add_reader(sock, partial(self._on_readable, sock))

    def _accept_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _on_readable(self, sock: socket.socket) -> None:
        for _ in range(_READS_PER_TURN):
            if not self._read(sock):
                return

    def _read(self, sock: socket.socket) -> bool:
        """One read of a connection; False if there is nothing more for now."""
        framer = self._open[sock]
        try:
            size = sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:  # reset: what has no newline may be half a line
            self._close(sock)
            return False
        if not size:
            if last := framer.end():
                self._sink(last)
            self._close(sock)
            return False
        self.received.packets += 1
        self.received.bytes += size
        too_long = framer.too_long
        if lines := framer.feed(bytes(self._buffer[:size])):
            self._sink(lines)
        self.received.too_long += framer.too_long - too_long
        if framer.broken:
            self._log.throttled("connection_closed", reason="length_of_payload")
            self._close(sock)
            return False
        return True

    def _close(self, sock: socket.socket) -> None:
        framer = self._open.pop(sock)
        self.received.cut_off += framer.pending
        self._loop.remove_reader(sock)
        sock.close()
