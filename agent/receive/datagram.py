"""Datagram sockets in the agent's loop: UDP and Unix packets in, batches of whole lines out.

Owns reading: many packets per wake-up into one reused buffer, separated by newlines, so that one call of the
sink takes them all. A busy socket rests for a nap between two reads, so that packets queue up in the kernel;
the nap is short for a small buffer, and omitted when the buffer fills.

Some clients send 4 bytes of length (little-endian) before the lines of a Unix datagram, as on a stream
(metrics-rs). If these bytes equal the length of the rest, they are treated as empty lines.

Knows nothing of lines except where they end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

from agent.net.sockets import address_of, kernel_drops
from agent.receive.receiver import ReceiveCounters, ReceiveOptions
from agent.receive.relay import NotSent, Relay, RelayCounters
from agent.receive.stream_splitter import LENGTH_BYTES
from agent.runtime.loop import Timer

#: Takes lines, and the address of their client.
Sink = Callable[[bytes, bytes], None]

#: Approximate bytes of a batch; and the space reserved for the next packet, larger than any UDP packet.
BATCH_BYTES: Final = 128 << 10
PACKET_BYTES: Final = 256 << 10
#: Maximum packets per read: dropped ones fill no batch.
_BATCH_PACKETS: Final = 16_384
#: Kernel memory of a small packet in the receive buffer (8 MB hold 10,082 of 74 bytes).
_KERNEL_PACKET_BYTES: Final = 832
#: Time that the fastest sender needs for a packet.
_SENDER_S: Final = 1e-6
_NEWLINE: Final = 10
_NO_LINES: Final = b"\n" * LENGTH_BYTES


class DatagramListener:
    """Reads bound datagram sockets in the loop of `options`; owns them. `received` covers all of them."""

    threads: Final = 0

    def __init__(self, socks: Sequence[socket.socket], sink: Sink, options: ReceiveOptions) -> None:
        self.received = ReceiveCounters()
        self._relay = Relay(options.relay) if options.relay else None
        self._events = Relay(options.events) if options.events else None
        self._sink = sink
        self._readers = [_Reader(options, sock, self._take, self.received, self._relay) for sock in socks]

    @property
    def relayed(self) -> RelayCounters:
        """Totals of the copies to `options.relay`."""
        return self._relay.relayed if self._relay else RelayCounters()

    @property
    def relayed_events(self) -> RelayCounters:
        """Totals of the copies to `options.events`."""
        return self._events.relayed if self._events else RelayCounters()

    def _take(self, lines: bytes, client: bytes) -> None:
        if self._events:
            self._events.send_events(lines)
        self._sink(lines, client)

    @property
    def behind(self) -> bool:
        """True if the last read of a socket left many packets in the kernel, or may have."""
        return any(reader.behind for reader in self._readers)

    def stop(self) -> None:
        """Read the packets still in the kernel, and close the sockets."""
        for reader in self._readers:
            reader.stop()

    def kernel_drops(self) -> int | None:
        """Return the packets the kernel dropped because the buffer was full; None if it does not tell."""
        drops = [n for reader in self._readers if (n := kernel_drops(reader.sock)) is not None]
        return sum(drops) if drops else None


class _Reader:
    """Reads one socket."""

    def __init__(
        self,
        options: ReceiveOptions,
        sock: socket.socket,
        sink: Sink,
        received: ReceiveCounters,
        relay: Relay | None,
    ) -> None:
        self.received = received
        self._relay = relay
        self.sock = sock
        self._sink = sink
        self._buffer = memoryview(bytearray(BATCH_BYTES + PACKET_BYTES))
        capacity = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _KERNEL_PACKET_BYTES
        self._many_packets = max(capacity // 4, 1)
        # Half the time in which the fastest sender fills the buffer. A Unix socket's queue is shorter still,
        # and its senders wait, or lose packets, when it is full.
        self._is_unix = sock.family == socket.AF_UNIX
        self._nap_s = 0.0 if self._is_unix else min(options.nap_ms / 1000, capacity * _SENDER_S / 2)
        self._allow = options.allowed.allow if options.allowed and not self._is_unix else None
        self._loop = options.loop
        self._timer: Timer | None = None
        #: True if the last read left many packets in the kernel, or may have.
        self.behind = False
        self._loop.add_reader(sock, self._on_readable)

    def stop(self) -> None:
        """Read the packets still in the kernel, and close the socket."""
        if self._timer is None:
            self._loop.remove_reader(self.sock)
        else:
            self._timer.cancel()
        max_reads = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // BATCH_BYTES + 1
        for _ in range(max_reads):  # bounded, in case a sender continues
            if not self._read():
                break
        self.sock.close()

    def _on_readable(self) -> None:
        self._read()
        if self._nap_s and not self.behind:
            self._loop.remove_reader(self.sock)
            self._timer = self._loop.call_later(self._nap_s, self._after_nap)

    def _after_nap(self) -> None:
        packets = self._read()
        if self.behind:
            self._timer = self._loop.call_soon(self._after_nap)
        elif packets:
            self._timer = self._loop.call_later(self._nap_s, self._after_nap)
        else:
            self._timer = None
            self._loop.add_reader(self.sock, self._on_readable)

    def _read(self) -> int:
        """Read a batch and pass it on; return the number of packets."""
        buffer, flags = self._buffer, socket.MSG_TRUNC  # returns the packet's full size
        end = packets = handed_on = 0
        client = ""
        try:
            while handed_on + end < BATCH_BYTES and packets < _BATCH_PACKETS:
                size, peer = self.sock.recvfrom_into(buffer[end:], 0, flags)
                packets += 1
                self.received.bytes += size
                host = "" if self._is_unix else peer[0]
                if self._allow is not None and not self._allow(host):
                    self.received.foreign += 1
                    continue
                if host != client:
                    if end:  # of another client: this packet, a small one, begins the next lines
                        self._sink(bytes(buffer[: end - 1]), address_of(client))
                        buffer[:size] = buffer[end : end + size]
                        handed_on, end = handed_on + end, 0
                    client = host
                if end + size >= len(buffer):
                    self._unwrap(end, size)
                    end = self._cut(end)
                    break
                if self._relay:
                    self._relay.send(buffer[end : end + size])
                if self._is_unix:
                    self._unwrap(end, size)
                end += size
                buffer[end] = _NEWLINE
                end += 1
        except (BlockingIOError, InterruptedError):
            pass
        if end:
            self._sink(bytes(buffer[: end - 1]), address_of(client))
        self.received.packets += packets
        self.behind = handed_on + end >= BATCH_BYTES or packets >= self._many_packets
        return packets

    def _unwrap(self, start: int, size: int) -> None:
        """Blank a length prefix before the lines of a Unix datagram that was `size` bytes long."""
        first = self._buffer[start : start + LENGTH_BYTES]
        if self._is_unix and LENGTH_BYTES <= size == int.from_bytes(first, "little") + LENGTH_BYTES:
            first[:] = _NO_LINES

    def _cut(self, start: int) -> int:
        """Drop the line in which a packet was cut; return the end of the lines before it."""
        self.received.cut_off += 1
        if self._relay:
            self._relay.relayed.dropped[NotSent.TOO_LARGE] += 1
        return start + bytes(self._buffer[start:]).rfind(b"\n") + 1
