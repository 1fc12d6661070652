"""Bounds the open connections of an HTTP listener: their number, and their waits for clients.

At the bound a new connection takes the place of the oldest one that waits for its client; work is never
interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from agent.net.fd_limit import equal_share
from indexer.settings import Http

#: Indexer, API and the files of an embedded store (two parts) share the files that a process may open.
_SHARES: Final = 4
_SWEEP_S: Final = 1.0


class CloseReason(Enum):
    """Why the server closed a connection; the label of a metric."""

    HANDSHAKE = "handshake_timeout"
    HANDSHAKE_FAILED = "handshake_failed"
    HEAD = "head_timeout"
    BODY = "body_timeout"
    IDLE = "idle_timeout"
    UNREAD = "answer_not_read"
    MADE_ROOM = "made_room"
    TOO_MANY = "too_many_connections"


#: Which connections make room: those of the first kinds before the others; busy ones never do.
_FIRST: Final = frozenset({CloseReason.HANDSHAKE, CloseReason.HEAD})
_THEN: Final = (CloseReason.IDLE, CloseReason.BODY, CloseReason.UNREAD)


class CountedConnection(Protocol):
    """An open connection as its bounds see it."""

    def waits_for(self) -> tuple[CloseReason | None, object]:
        """Return the client's pending step (None: none), and a key that changes with its progress."""

    def waiting(self, now: float, /) -> tuple[CloseReason | None, float]:
        """Return the client's pending step, and since when, as seen by calls of this method."""

    def end(self, reason: CloseReason, /) -> None:
        """Close at once."""


class Connections:
    """The open connections of one server. `closed` is called for each that the server closes."""

    def __init__(self, settings: Http, closed: Callable[[CloseReason], None]) -> None:
        self.max = equal_share(settings.max_connections, _SHARES)
        self._closed = closed
        self._deadlines_s = {
            CloseReason.HANDSHAKE: settings.head_s,
            CloseReason.HEAD: settings.head_s,
            CloseReason.BODY: settings.body_s,
            CloseReason.IDLE: settings.idle_s,
            CloseReason.UNREAD: settings.body_s,
        }
        self._sweep_s = min(_SWEEP_S, *(s / 4 for s in self._deadlines_s.values()))
        self._open: dict[CountedConnection, None] = {}  # oldest first
        self._sweep_at: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: CountedConnection) -> None:
        """Count a new connection; at the bound close another one for it, or itself."""
        if len(self._open) >= self.max and not self._make_room():
            self._end(connection, CloseReason.TOO_MANY)
            return
        self._open[connection] = None
        if self._sweep_at is None:
            self._sweep_at = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    def lost(self, connection: CountedConnection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)
        if not self._open and self._sweep_at is not None:
            self._sweep_at.cancel()
            self._sweep_at = None

    def refused(self, connection: CountedConnection) -> None:
        """Forget a connection whose handshake failed, and count that."""
        self._open.pop(connection, None)
        self._closed(CloseReason.HANDSHAKE_FAILED)

    def end_handshakes(self) -> None:
        """Close all connections that have not begun HTTP."""
        for connection in [one for one in self._open if one.waits_for()[0] is CloseReason.HANDSHAKE]:
            self._open.pop(connection, None)
            connection.end(CloseReason.HANDSHAKE)

    def _make_room(self) -> bool:
        """Close the oldest connection that waits for its client; return False if none does."""
        found: dict[CloseReason, CountedConnection] = {}
        for connection in self._open:
            waits = connection.waits_for()[0]
            if waits in _FIRST:
                self._end(connection, CloseReason.MADE_ROOM)
                return True
            if waits is not None:
                found.setdefault(waits, connection)
        for waits in _THEN:
            if waits in found:
                self._end(found[waits], CloseReason.MADE_ROOM)
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

    def _end(self, connection: CountedConnection, reason: CloseReason) -> None:
        self._open.pop(connection, None)
        self._closed(reason)
        connection.end(reason)
