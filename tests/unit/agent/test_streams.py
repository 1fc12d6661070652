"""The asyncio listener of streams, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from agent.addresses import bind
from agent.framing import LineFramer
from agent.logs import Log
from agent.streams import StreamListener
from tests.unit.agent.sinks import DEADLINE_S, Got, until


@pytest.fixture
def got() -> Got:
    return Got()


@pytest.fixture
async def tcp(got: Got) -> AsyncIterator[StreamListener]:
    """A TCP listener for at most 3 connections and lines of 100 bytes."""
    sock = bind("agent.tcp", "[::]:0", socket.SOCK_STREAM)
    listener = StreamListener(sock, got, lambda: LineFramer(100), 3, Log())
    listener.port = sock.getsockname()[1]  # type: ignore[attr-defined]
    yield listener
    if sock.fileno() >= 0:
        listener.stop()


def connect(listener: StreamListener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=DEADLINE_S)  # type: ignore[attr-defined]


async def test_stream_lines(tcp: StreamListener, got: Got) -> None:
    with connect(tcp) as one, connect(tcp) as two:
        one.sendall(b"a:1|c\nb:")
        await until(lambda: got.lines == [b"a:1|c"])
        two.sendall(b"c:1|c\n")
        await until(lambda: len(got.lines) == 2)
        one.sendall(b"2|c\r\nlast:1|c")
        await until(lambda: len(got.lines) == 3)
    await until(lambda: not tcp.connections)
    assert got.lines == [b"a:1|c", b"c:1|c", b"b:2|c\r", b"last:1|c"]
    assert tcp.received.bytes == len(b"a:1|c\nb:c:1|c\n2|c\r\nlast:1|c")


async def test_a_large_stream(tcp: StreamListener, got: Got) -> None:
    lines = [b"%d:1|c" % i for i in range(100_000)]
    with connect(tcp) as sock:
        await asyncio.to_thread(sock.sendall, b"\n".join(lines))
    await until(lambda: not tcp.connections)
    assert got.lines == lines


async def test_a_line_too_long_is_counted_and_the_stream_goes_on(tcp: StreamListener, got: Got) -> None:
    with connect(tcp) as sock:
        sock.sendall(b"x" * 150)
        await until(lambda: tcp.received.bytes == 150)
        sock.sendall(b"x" * 50 + b"\nb:1|c\n")
        await until(lambda: got.lines == [b"b:1|c"])
    await until(lambda: not tcp.connections)
    assert tcp.received.too_long == 1


async def test_too_many_connections_are_closed_at_once(tcp: StreamListener) -> None:
    socks = [connect(tcp) for _ in range(3)]
    await until(lambda: tcp.connections == 3)
    with connect(tcp) as extra:
        assert await asyncio.to_thread(extra.recv, 1) == b""
    assert (tcp.received.refused_connections, tcp.connections) == (1, 3)
    socks.pop().close()
    await until(lambda: tcp.connections == 2)
    socks.append(connect(tcp))
    await until(lambda: tcp.connections == 3)
    for sock in socks:
        sock.close()


async def test_a_reset_loses_the_unfinished_line_only(tcp: StreamListener, got: Got) -> None:
    sock = connect(tcp)
    sock.sendall(b"a:1|c\nhalf:1")
    await until(lambda: got.lines == [b"a:1|c"])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets
    sock.close()
    await until(lambda: not tcp.connections)
    assert got.lines == [b"a:1|c"]
    assert tcp.received.cut_off == 1


async def test_stop_takes_what_has_arrived(tcp: StreamListener, got: Got) -> None:
    with connect(tcp) as sock:
        await until(lambda: tcp.connections == 1)
        sock.sendall(b"a:1|c\nb:1|c\nhalf:1")
        tcp.stop()
        assert got.lines == [b"a:1|c", b"b:1|c"]
        assert tcp.received.cut_off == 1
        assert tcp.connections == 0
        with pytest.raises(ConnectionRefusedError):
            connect(tcp)
