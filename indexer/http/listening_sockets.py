"""Listening sockets of the HTTP servers, bound before any slow work.

Binds again while an address is in use: after a kill -9 another process may still hold it for a moment. A
socket listens from the start, so the address is ours; requests wait in the kernel until they are served.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

from agent.net.sockets import START_WAIT_S, address_error, split_host_port

__all__ = ["START_WAIT_S", "close", "listen", "listen_at_once", "port_of"]

_AGAIN_S: Final = 0.1
_BACKLOG: Final = 512
_PASSIVE: Final[Any] = {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}


async def listen(setting: str, text: str, wait_s: float) -> list[socket.socket]:
    """Return listening sockets for every address of `host:port`, as asyncio's servers do.

    Tries again for `wait_s` while the address is in use. Raises AddressError, which names the setting.
    """
    loop = asyncio.get_running_loop()
    host, port = split_host_port(setting, text)
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return _bind_all(await loop.getaddrinfo(host or None, port, **_PASSIVE))
        except OSError as e:
            _check_waits(setting, text, e, deadline_s)
        await asyncio.sleep(_AGAIN_S)


def listen_at_once(setting: str, text: str, wait_s: float) -> list[socket.socket]:
    """Return the sockets of `listen` without an event loop, which a start has only later; blocks."""
    host, port = split_host_port(setting, text)
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return _bind_all(socket.getaddrinfo(host or None, port, **_PASSIVE))
        except OSError as e:
            _check_waits(setting, text, e, deadline_s)
        time.sleep(_AGAIN_S)


def _check_waits(setting: str, text: str, error: OSError, deadline_s: float) -> None:
    """Raise AddressError unless the address may become free until the deadline."""
    if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline_s:
        raise address_error(setting, text, error) from None


def _bind_all(found: Sequence[tuple[Any, ...]]) -> list[socket.socket]:
    """Return listening sockets for all addresses that were found."""
    socks: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sock = _bound(family, address)
            if sock is not None:
                socks.append(sock)
    except OSError:
        close(socks)
        raise
    if not socks:
        raise OSError(errno.EAFNOSUPPORT, "no usable address")
    return socks


def _bound(family: int, address: Any) -> socket.socket | None:
    """Return a listening socket; None if the machine lacks the address family."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def port_of(socks: list[socket.socket]) -> int:
    """Return the port of the first socket."""
    port: int = socks[0].getsockname()[1]
    return port


def close(socks: list[socket.socket]) -> None:
    """Close the sockets and empty the list."""
    while socks:
        socks.pop().close()
