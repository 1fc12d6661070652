"""Sockets in: UDP and Unix datagrams, TCP streams; out go batches of whole lines.

Owns reading: many packets per wake-up into one reused buffer, parted by newlines, so that one call of the
sink takes them all. A busy datagram socket is left alone for `nap_s` between two reads, so that packets queue
up in the kernel; the nap is left out when the buffer fills. What the kernel dropped is asked of the kernel.

Knows nothing of lines but where they end.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from agent.framing import LineFramer
from agent.logs import Log

Sink = Callable[[bytes], None]

#: Bytes handed on at once, about; and the room kept for the next packet, larger than any UDP packet.
BATCH_BYTES: Final = 128 << 10
PACKET_BYTES: Final = 256 << 10
#: Kernel memory that a small packet takes in the receive buffer (8 MB hold 10,082 of 74 bytes).
_KERNEL_PACKET_BYTES: Final = 832
_SO_MEMINFO: Final = 55  # Linux 4.12: nine u32, the last is the drop counter
_MEMINFO: Final = struct.Struct("=9I")
_NEWLINE: Final = 10
_READS_PER_TURN: Final = 4
_ACCEPT_PAUSE_S: Final = 0.1


class Received:
    """Running totals of one listener."""

    def __init__(self) -> None:
        self.packets = 0  # datagrams, or reads of a stream
        self.bytes = 0
        self.cut_off = 0  # lines lost at the end of a datagram too large, or of a connection that broke
        self.too_long = 0  # lines of a stream beyond the bound
        self.refused_connections = 0


class DatagramListener:
    """Reads a bound UDP or Unix datagram socket; owns it."""

    def __init__(self, sock: socket.socket, sink: Sink, nap_s: float) -> None:
        self.received = Received()
        self._sock = sock
        self._sink = sink
        self._nap_s = nap_s
        self._buffer = memoryview(bytearray(BATCH_BYTES + PACKET_BYTES))
        capacity = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _KERNEL_PACKET_BYTES
        self._many_packets = max(capacity // 4, 1)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._behind = False
        self._loop.add_reader(sock, self._on_readable)

    @property
    def behind(self) -> bool:
        """True if the last read left much in the kernel, or may have."""
        return self._behind

    def stop(self) -> None:
        """Takes what the kernel still holds, and closes the socket."""
        if self._timer is None:
            self._loop.remove_reader(self._sock)
        else:
            self._timer.cancel()
        most = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // BATCH_BYTES + 1
        for _ in range(most):  # a sender that goes on must not keep us here
            if not self._read():
                break
        self._sock.close()

    def kernel_drops(self) -> int | None:
        """Packets the kernel dropped because the buffer was full; None where it does not say."""
        if self._sock.fileno() < 0:
            return None
        try:
            return int(
                _MEMINFO.unpack(self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8]
            )
        except (OSError, struct.error):
            return None

    def _on_readable(self) -> None:
        self._read()
        if self._nap_s and not self._behind:
            self._loop.remove_reader(self._sock)
            self._timer = self._loop.call_later(self._nap_s, self._after_nap)

    def _after_nap(self) -> None:
        packets = self._read()
        if self._behind:
            self._timer = self._loop.call_soon(self._after_nap)
        elif packets:
            self._timer = self._loop.call_later(self._nap_s, self._after_nap)
        else:
            self._timer = None
            self._loop.add_reader(self._sock, self._on_readable)

    def _read(self) -> int:
        """Hands on what is there, up to a batch; gives the number of packets."""
        buffer, receive, flags = self._buffer, self._sock.recv_into, socket.MSG_TRUNC
        end = packets = 0
        try:
            while end < BATCH_BYTES:
                size = receive(buffer[end:], 0, flags)  # with MSG_TRUNC: the packet's size, even if larger
                packets += 1
                self.received.bytes += size
                if end + size >= len(buffer):
                    end = self._cut(end)
                    break
                end += size
                buffer[end] = _NEWLINE
                end += 1
        except (BlockingIOError, InterruptedError):
            pass
        if end:
            self._sink(bytes(buffer[: end - 1]))
        self.received.packets += packets
        self._behind = end >= BATCH_BYTES or packets >= self._many_packets
        return packets

    def _cut(self, start: int) -> int:
        """Drops the line in which a packet was cut; gives the end of the lines before it."""
        self.received.cut_off += 1
        return start + bytes(self._buffer[start:]).rfind(b"\n") + 1


class StreamListener:
    """Accepts connections on a listening TCP socket and reads lines from them; owns it and them."""

    def __init__(
        self, sock: socket.socket, sink: Sink, max_line_bytes: int, max_connections: int, log: Log
    ) -> None:
        self.received = Received()
        self._sock = sock
        self._sink = sink
        self._max_line_bytes = max_line_bytes
        self._max_connections = max_connections
        self._log = log
        self._buffer = memoryview(bytearray(BATCH_BYTES))
        self._open: dict[socket.socket, LineFramer] = {}
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.Handle | None = None
        self._loop.add_reader(sock, self._accept)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._open)

    def stop(self) -> None:
        """Stops accepting, takes what has arrived, closes all."""
        if self._pause:
            self._pause.cancel()
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
        self._open[sock] = LineFramer(self._max_line_bytes)
        self._loop.add_reader(sock, self._on_readable, sock)

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
        if lines := framer.feed(bytes(self._buffer[:size])):
            self._sink(lines)
        return True

    def _close(self, sock: socket.socket) -> None:
        framer = self._open.pop(sock)
        self.received.too_long += framer.too_long
        self.received.cut_off += bool(framer.end())
        self._loop.remove_reader(sock)
        sock.close()
