"""The interface between cores and datagram receivers: options, counters, and the receiver itself.

Owns no socket. Cores implement it, and stream listeners use the same counters.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from agent.receive.relay import RelayCounters
from agent.runtime.loop import Loop

if TYPE_CHECKING:
    from agent.config.networks import Networks


class ReceiveCounters:
    """Running totals of one listener."""

    def __init__(self) -> None:
        self.packets = 0  # datagrams, or reads of a stream
        self.bytes = 0
        self.foreign = 0  # datagrams from no allowed network
        self.cut_off = 0  # lines lost at the end of an oversized datagram or a broken connection
        self.too_long = 0  # lines of a stream beyond the bound
        self.refused_connections = 0
        self.closed_connections: Counter[str] = Counter()  # by us, by reason
        self.pauses = 0  # times it left packets in the kernel because the core was full


class DatagramReceiver(Protocol):
    """Reads bound datagram sockets into its core, until `stop`."""

    @property
    def received(self) -> ReceiveCounters:
        """Running totals of all its sockets."""

    @property
    def threads(self) -> int:
        """Number of its own threads."""

    @property
    def behind(self) -> bool:
        """True if more is in the kernel than it reads at once; only if it shares its caller's thread."""

    @property
    def relayed(self) -> RelayCounters:
        """Totals of the copies to `options.relay`."""

    @property
    def relayed_events(self) -> RelayCounters:
        """Totals of the copies to `options.events`."""

    def kernel_drops(self) -> int | None:
        """Return the packets the kernel dropped because the buffer was full; None if it does not tell."""

    def stop(self) -> None:
        """Read the packets still in the kernel, and close the sockets."""


class ReceiveOptions(msgspec.Struct, frozen=True):
    """How datagrams are received."""

    #: The loop in which cores without threads of their own read.
    loop: Loop
    #: Longest pause between two reads of a busy socket, so that packets queue up; 0: none.
    nap_ms: int = 10
    #: A connected, non-blocking datagram socket to which every packet is copied unchanged.
    relay: socket.socket | None = None
    #: The same for events and service checks, a datagram each.
    events: socket.socket | None = None
    #: Allowed sources of UDP packets; None: all.
    allowed: Networks | None = None
