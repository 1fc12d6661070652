"""Copies for other servers: raw lines to another StatsD server (for migrations), events elsewhere.

Owns a connected datagram socket and its counters. Never waits: a packet that cannot be sent at once is
dropped and counted by reason. Datagrams are copied unchanged; lines of streams are packed into new datagrams.
The native core copies datagrams itself (agent/core/_native/receive.pxi), by the same rules.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import re
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Final

from agent.net.sockets import connect_datagrams

#: Lines of streams are packed into datagrams of this size, which fits any Ethernet frame.
PACKED_BYTES: Final = 1_432
# DogStatsD: `_e{...}` is an event, `_sc|...` a service check.
_EVENTS: Final = re.compile(rb"^_(?:e\{|sc\|)[^\n]*", re.MULTILINE)


class NotSent(enum.Enum):
    """Why a datagram was not relayed; the values are labels of a counter."""

    FULL = "full"  # the socket's buffer, or the other server's queue
    REFUSED = "refused"  # no listener there
    TOO_LARGE = "too_large"  # for a datagram there
    OTHER = "other"


_REASONS: Final = {
    errno.EAGAIN: NotSent.FULL,
    errno.ENOBUFS: NotSent.FULL,
    errno.ECONNREFUSED: NotSent.REFUSED,
    errno.ENOTCONN: NotSent.REFUSED,
    errno.EDESTADDRREQ: NotSent.REFUSED,
    errno.EMSGSIZE: NotSent.TOO_LARGE,
}


def reason_of(number: int) -> NotSent:
    """Return the reason for an errno of send()."""
    return _REASONS.get(number, NotSent.OTHER)


class RelayCounters:
    """Running totals of the copies to one destination."""

    def __init__(self) -> None:
        self.packets = 0
        self.dropped: Counter[NotSent] = Counter()


class Relay:
    """Sends over a connected, non-blocking datagram socket, which it does not own."""

    def __init__(self, sock: socket.socket) -> None:
        self.relayed = RelayCounters()
        self._sock = sock

    def send(self, packet: bytes | memoryview) -> None:
        """Send one datagram."""
        try:
            self._sock.send(packet)
        except OSError as e:
            self.relayed.dropped[reason_of(e.errno or 0)] += 1
        else:
            self.relayed.packets += 1

    def send_packed(self, lines: bytes) -> None:
        """Send newline-separated lines, packed into datagrams."""
        for packet in packed(lines):
            self.send(packet)

    def send_events(self, lines: bytes) -> None:
        """Send the lines that are events or service checks, one datagram each."""
        for found in _EVENTS.finditer(lines):
            self.send(found[0])


class Destination:
    """An address of `[agent.relay]`, and the socket connected to it. Raises AddressError."""

    def __init__(self, setting: str, text: str) -> None:
        self.sock = connect_datagrams(setting, text)
        self._unix = text if self.sock.family == socket.AF_UNIX else ""

    def refresh(self) -> None:
        """Reconnect a Unix socket, which another process may have recreated; to be called often."""
        if self._unix:
            with contextlib.suppress(OSError):
                self.sock.connect(self._unix)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


def packed(lines: bytes, max_bytes: int = PACKED_BYTES) -> Iterator[bytes]:
    """Split whole lines into pieces of at most `max_bytes`; a longer line is a piece of its own."""
    at, end = 0, len(lines)
    while at < end:
        stop = end
        if end - at > max_bytes:
            stop = lines.rfind(b"\n", at, at + max_bytes + 1)
            if stop < at:  # the first line is longer
                stop = lines.find(b"\n", at)
                stop = end if stop < 0 else stop
        if stop > at:
            yield lines[at:stop]
        at = stop + 1
