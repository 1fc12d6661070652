"""Asks Linux's kernel how much a TCP connection has not delivered yet.

With TLS the loop's own numbers say nothing: it hands all data to a lower transport and hides its buffer.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

_SIOCOUTQ: Final = 0x5411
#: The offset of tcpi_bytes_acked in `struct tcp_info`, since Linux 4.1.
_BYTES_ACKED: Final = 120
_INFO_BYTES: Final = 128


def unsent_bytes(sock: socket.socket) -> tuple[int, int]:
    """Return the number of bytes not acknowledged, and those acknowledged so far; zeros when closed."""
    try:
        (waiting,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, bytes(4)))
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except (OSError, ValueError):
        return 0, 0
    if len(info) < _INFO_BYTES:
        return waiting, waiting
    (taken,) = struct.unpack_from("Q", info, _BYTES_ACKED)
    return waiting, taken
