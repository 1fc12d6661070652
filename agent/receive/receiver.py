"""What a core and its datagram receivers agree on: the options, the totals, and the interface.

Owns no socket. Cores implement it, and listeners of streams count by the same totals.
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
        self.cut_off = 0  # lines lost at the end of a datagram too large, or of a connection that broke
        self.too_long = 0  # lines of a stream beyond the bound
        self.refused_connections = 0
        self.closed_connections: Counter[str] = Counter()  # by us, by reason
        self.pauses = 0  # times it left packets in the kernel because the core was full


class DatagramReceiver(Protocol):
    """Reads bound datagram sockets into the core it came from, until `stop`."""

    @property
    def received(self) -> ReceiveCounters: ...

    @property
    def threads(self) -> int:
        """Threads of its own."""

    @property
    def behind(self) -> bool:
        """True if more is in the kernel than it takes at once; only where it shares its caller's thread."""

    @property
    def relayed(self) -> RelayCounters:
        """What was copied to `options.relay`."""

    @property
    def relayed_events(self) -> RelayCounters:
        """What was copied to `options.events`."""

    def kernel_drops(self) -> int | None:
        """Packets the kernel dropped because the buffer was full; None where it does not say."""

    def stop(self) -> None:
        """Takes what the kernel still holds, and closes the sockets."""


class ReceiveOptions(msgspec.Struct, frozen=True):
    """How datagrams are received."""

    #: Where cores without threads of their own read.
    loop: Loop
    #: Longest pause between two reads of a busy socket, so that packets queue up; 0: none.
    nap_ms: int = 10
    #: A connected datagram socket that does not block: every packet is copied there as it came.
    relay: socket.socket | None = None
    #: The same for events and service checks, a datagram each.
    events: socket.socket | None = None
    #: Where UDP packets may come from; None: from everywhere.
    allowed: Networks | None = None
