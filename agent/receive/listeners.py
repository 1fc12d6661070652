"""All sockets that receive lines: opens and closes them, and copies lines to relays.

Owns the listeners and the relay's sockets. Datagram sockets are handed to the core; streams are read in the
agent's loop, and their lines go to `add` in large chunks.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.net.fd_limit import connection_limit
from agent.net.kernel_drops import DropWarning, rmem_max, suggested_fix
from agent.net.sockets import (
    bind,
    bind_datagrams,
    bind_unix,
    bind_with_retry,
    bound_address,
    grow_receive_buffer,
)
from agent.receive.http_guard import HttpGuard
from agent.receive.receiver import DatagramReceiver, ReceiveOptions
from agent.receive.relay import Destination, Relay, RelayCounters
from agent.receive.stream import Stream, StreamLimits, StreamListener
from agent.receive.stream_splitter import LineSplitter, StreamSplitter, UnixSplitter
from agent.runtime.logs import Log
from agent.runtime.loop import Loop
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.config.networks import Networks  # nor if all sources are allowed
    from agent.receive.tls_listener import TlsAcceptor  # only with TLS: ssl costs memory

_REFRESH_S: Final = 1.0


def _allowed(sources: list[str]) -> Networks | None:
    if not sources:
        return None
    from agent.config.networks import Networks

    return Networks(sources)


def stream_listeners(settings: AgentSettings) -> int:
    """Return how many listeners share the process's limit of open files."""
    return bool(settings.tcp) + bool(settings.unix_stream) + bool(settings.ops)


class Listeners:
    """The listeners of one agent, by name: udp, unix (datagrams), tcp, unix_stream (streams)."""

    def __init__(
        self,
        loop: Loop,
        settings: AgentSettings,
        receive: Callable[[Sequence[socket.socket], ReceiveOptions], DatagramReceiver],
        add: Callable[[bytes, bytes], None],
        log: Log,
        *,
        tcp_tls: TlsAcceptor | None = None,
    ) -> None:
        self.datagrams: dict[str, DatagramReceiver] = {}
        self.streams: dict[str, StreamListener] = {}
        #: The bound address of each.
        self.addresses: dict[str, str] = {}
        self._loop = loop
        self._settings = settings
        self._receive = receive
        self._add = add
        self._log = log
        self._tcp_tls = tcp_tls
        self._unix: list[tuple[str, int]] = []  # path and inode of each own socket
        self._destinations: list[Destination] = []
        self._drops = DropWarning(settings.receive.buffer_bytes, log)
        self._options = ReceiveOptions(loop=loop)
        self._allowed: Networks | None = None
        self._relay: Relay | None = None  # of streams
        self._events: Relay | None = None

    @property
    def relayed(self) -> list[RelayCounters]:
        """Totals of the copies to the relay's address, by listener."""
        own = [self._relay.relayed] if self._relay else []
        return own + [receiver.relayed for receiver in self.datagrams.values()]

    @property
    def relayed_events(self) -> list[RelayCounters]:
        """Totals of the copies to the address of events, by listener."""
        own = [self._events.relayed] if self._events else []
        return own + [receiver.relayed_events for receiver in self.datagrams.values()]

    @property
    def behind(self) -> bool:
        """True if a listener has more to read, and needs the loop for it."""
        return any(receiver.behind for receiver in self.datagrams.values())

    def open(self, wait_s: float = 0.0) -> None:
        """Bind all sockets and start reading; waits up to `wait_s` for addresses in use.

        Raises OSError; `close` then closes the sockets opened so far.
        """
        settings = self._settings
        relay = self._destination("agent.relay.address", settings.relay.address)
        events = self._destination("agent.relay.events", settings.relay.events)
        if self._destinations:
            self._keep_relays()
        self._keep_looking()
        self._relay = Relay(relay) if relay else None
        self._events = Relay(events) if events else None
        self._allowed = _allowed(settings.receive.allowed_sources)
        self._options = ReceiveOptions(
            loop=self._loop,
            nap_ms=settings.receive.nap_ms,
            relay=relay,
            events=events,
            allowed=self._allowed,
        )
        if settings.udp:
            udp = partial(bind_datagrams, "agent.udp", settings.udp, settings.receive.threads)
            self._open_datagrams("udp", bind_with_retry(udp, wait_s))
        if settings.tcp:
            self._open_stream(
                "tcp",
                bind_with_retry(partial(bind, "agent.tcp", settings.tcp, socket.SOCK_STREAM), wait_s),
                lambda: HttpGuard(LineSplitter(settings.lines.max_line_bytes)),
                self._tcp_tls.stream if self._tcp_tls else None,
            )
        if settings.unix:
            self._open_datagrams("unix", [self._bind_unix("unix", settings.unix, socket.SOCK_DGRAM)])
        if settings.unix_stream:
            self._open_stream(
                "unix_stream",
                self._bind_unix("unix_stream", settings.unix_stream, socket.SOCK_STREAM),
                partial(UnixSplitter, settings.lines.max_line_bytes),
            )

    def _destination(self, setting: str, text: str) -> socket.socket | None:
        if not text:
            return None
        self._destinations.append(Destination(setting, text))
        return self._destinations[-1].sock

    def _bind_unix(self, name: str, path: str, kind: socket.SocketKind) -> socket.socket:
        sock = bind_unix(f"agent.{name}", path, kind)
        self._unix.append((path, Path(path).stat().st_ino))
        return sock

    def _open_datagrams(self, name: str, socks: list[socket.socket]) -> None:
        wanted = self._settings.receive.buffer_bytes
        given = min(grow_receive_buffer(sock, wanted) for sock in socks)
        if given < wanted:
            self._log.warning(
                "receive_buffer_small",
                listener=name,
                wanted=wanted,
                given=given,
                fix=suggested_fix(wanted, rmem_max()),
            )
        else:
            self._log.info("receive_buffer", listener=name, wanted=wanted, given=given)
        self.addresses[name] = bound_address(socks[0])
        self.datagrams[name] = self._receive(socks, self._options)

    def _open_stream(
        self,
        name: str,
        sock: socket.socket,
        framer: Callable[[], StreamSplitter],
        secure: Callable[[socket.socket], Stream] | None = None,
    ) -> None:
        self.addresses[name] = bound_address(sock)
        self.streams[name] = StreamListener(
            self._loop,
            sock,
            self._take,
            framer,
            StreamLimits(self._max_connections(), self._settings.receive.idle_s),
            self._log,
            secure=secure,
            allow=self._allowed.allow if self._allowed and name == "tcp" else None,
        )

    def _max_connections(self) -> int:
        wanted = self._settings.receive.max_connections
        given = min(connection_limit(stream_listeners(self._settings), wanted), wanted)
        if given < wanted:
            self._log.warning("connections_few", wanted=wanted, given=given, fix="ulimit -n (LimitNOFILE=)")
        return given

    def _take(self, lines: bytes, client: bytes) -> None:
        if self._relay:
            self._relay.send_packed(lines)
        if self._events:
            self._events.send_events(lines)
        self._add(lines, client)

    def _keep_relays(self) -> None:
        """Reconnect the relay's Unix sockets periodically, in case the server recreated them."""
        for destination in self._destinations:
            destination.refresh()
        self._loop.call_later(_REFRESH_S, self._keep_relays)

    def _look_for_drops(self) -> None:
        """Warn of packets that the kernel dropped."""
        self._drops.look({name: receiver.kernel_drops for name, receiver in self.datagrams.items()})

    def _keep_looking(self) -> None:
        self._look_for_drops()
        self._loop.call_later(_REFRESH_S, self._keep_looking)

    def close(self) -> None:
        """Read the packets still in the kernel, and close everything."""
        self._look_for_drops()
        for receiver in self.datagrams.values():
            receiver.stop()
        for stream in self.streams.values():
            stream.stop()
        for path, inode in self._unix:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:  # noqa: PTH116 - unless another agent replaced it
                    Path(path).unlink()
        for destination in self._destinations:
            destination.close()
