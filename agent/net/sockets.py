"""Socket addresses as settings write them (`host:port`, `[ipv6]:port`), and sockets bound to them.

Owns the errors shown when an address cannot be used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult

from agent.config.host_port import format_host_port, parse_host_port
from agent.config.http_url import split_http_url
from agent.config.secrets import masked_url

#: How an IPv4 address begins as IPv6.
_MAPPED: Final = bytes(10) + b"\xff\xff"

#: Linux: like SO_RCVBUF, but beyond net.core.rmem_max; for privileged processes.
SO_RCVBUFFORCE: Final = 33
#: How long a start waits for addresses that an earlier agent, whose parent was killed, still holds.
START_WAIT_S: Final = 3.0
_BIND_AGAIN_S: Final = 0.1
_BACKLOG: Final = 1024
_SO_MEMINFO: Final = 55  # Linux 4.12: nine u32, the last is the drop counter
_MEMINFO: Final = struct.Struct("=9I")


T = TypeVar("T")


class AddressError(OSError):
    """An address that cannot be used; the text names the setting and the address."""


class AddressInUseError(AddressError):
    """An address that another socket uses."""


def bind_with_retry(bind_once: Callable[[], T], wait_s: float) -> T:
    """Return the result of `bind_once`; retry for `wait_s` while the address is in use.

    Raises AddressError.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return bind_once()
        except AddressInUseError:
            if time.monotonic() >= deadline_s:
                raise
        time.sleep(_BIND_AGAIN_S)


def address_error(setting: str, text: str, problem: OSError) -> AddressError:
    """Return the error for an address that asyncio could not listen on."""
    number = problem.errno or 0  # getaddrinfo's are negative
    reason = os.strerror(number) if number > 0 else problem.strerror
    return AddressError(f"{setting} = {text!r}: {reason}")


def split_host_port(setting: str, text: str) -> tuple[str, int]:
    """Split `host:port` into host and port. Raises AddressError."""
    try:
        return parse_host_port(text)
    except ValueError as e:
        raise AddressError(f"{setting} = {text!r}: {e}") from None


def split_url(setting: str, text: str) -> SplitResult:
    """Split the URL of an HTTP server. Raises AddressError."""
    parts = split_http_url(text)
    if parts is None:
        raise AddressError(f"{setting} = {masked_url(text)!r}: expected http://host:port")
    return parts


def bind(setting: str, text: str, kind: socket.SocketKind, *, share_port: bool = False) -> socket.socket:
    """Return a bound, non-blocking socket; streams also listen. Raises AddressError.

    With `share_port` several sockets of this user can share the address, and the kernel spreads senders over
    them (SO_REUSEPORT). Without it, a second agent gets an error because the port is taken.
    """
    family, address = _resolve(setting, text, kind, socket.AI_PASSIVE)
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:  # `[::]` takes IPv4 too
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:  # never for UDP: there it would let a second agent steal the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as e:
        sock.close()
        kind_of_error = AddressInUseError if e.errno == errno.EADDRINUSE else AddressError
        raise kind_of_error(f"{setting} = {text!r}: {e.strerror}") from None
    sock.setblocking(False)
    return sock


def bind_datagrams(setting: str, text: str, count: int) -> list[socket.socket]:
    """Return `count` bound UDP sockets; if more than one, they share the port. Raises AddressError."""
    socks = [bind(setting, text, socket.SOCK_DGRAM, share_port=count > 1)]
    try:
        while len(socks) < count:
            socks.append(bind(setting, bound_address(socks[0]), socket.SOCK_DGRAM, share_port=True))
    except OSError:
        for sock in socks:
            sock.close()
        raise
    return socks


def _resolve(setting: str, text: str, kind: socket.SocketKind, flags: int = 0) -> tuple[int, Any]:
    """Return family and address of `host:port`. Raises AddressError."""
    host, port = split_host_port(setting, text)
    try:
        found = socket.getaddrinfo(host or None, port, type=kind, flags=flags)
    except OSError as e:
        raise AddressError(f"{setting} = {text!r}: {e.strerror}") from None
    family, _, _, _, address = found[0]
    return family, address


def connect_datagrams(setting: str, text: str) -> socket.socket:
    """Return a datagram socket connected to `host:port`, or to a Unix socket if `text` contains a `/`.

    It does not block. The peer need not be listening yet; sending then fails. Raises AddressError.
    """
    unix = "/" in text
    family, address = (socket.AF_UNIX, text) if unix else _resolve(setting, text, socket.SOCK_DGRAM)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect(address)
    except OSError as e:
        if not unix or e.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            sock.close()
            raise AddressError(f"{setting} = {text!r}: {e.strerror or e}") from None
    return sock


def bind_unix(setting: str, path: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
    """Return a bound Unix socket that any local user may write to, replacing an old one.

    Raises AddressError.
    """
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise AddressError(f"{setting} = {path!r}: exists and is not a socket: expected a free path")
            Path(path).unlink()
        sock.bind(path)
        Path(path).chmod(0o666)
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except AddressError:
        sock.close()
        raise
    except OSError as e:
        sock.close()
        raise AddressError(f"{setting} = {path!r}: {e.strerror or e}") from None
    sock.setblocking(False)
    return sock


def bound_address(sock: socket.socket) -> str:
    """Return the address that a socket is bound to, in the settings' spelling."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return str(name)
    return format_host_port(name[0], name[1])


def kernel_drops(sock: socket.socket) -> int | None:
    """Return the packets the kernel dropped because the receive buffer was full; None if it does not tell."""
    if sock.fileno() < 0:
        return None
    try:
        return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8])
    except (OSError, struct.error):
        return None


def grow_receive_buffer(sock: socket.socket, size_bytes: int) -> int:
    """Request a receive buffer of `size_bytes`; return the kernel's actual size, including its overhead."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size_bytes)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def address_of(host: str) -> bytes:
    """Return an address, as Python's sockets write it, as 16 bytes of IPv6; zeros for an empty one."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return _MAPPED + socket.inet_aton(host) if host else bytes(16)


def name_of_address(address: bytes) -> str:
    """Return such an address as text."""
    if not any(address):
        return "unix"
    if address.startswith(_MAPPED):
        return socket.inet_ntoa(address[len(_MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, address)
