"""The listener of streams, over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from agent.config.networks import Networks
from agent.net.sockets import bind
from agent.receive.http_guard import HttpGuard
from agent.receive.stream import StreamLimits, StreamListener
from agent.receive.stream_splitter import LineSplitter
from agent.runtime.logs import Log
from tests.integration.agent.sinks import DEADLINE_S, Got, TestLoop


@pytest.fixture
def loop() -> Iterator[TestLoop]:
    with TestLoop() as loop:
        yield loop


@pytest.fixture
def got() -> Got:
    return Got()


@pytest.fixture
def tcp(loop: TestLoop, got: Got) -> Iterator[StreamListener]:
    """Provide a TCP listener for at most 3 connections and lines of 100 bytes."""
    sock = bind("agent.tcp", "[::]:0", socket.SOCK_STREAM)
    listener = StreamListener(loop, sock, got, lambda: LineSplitter(100), StreamLimits(3), Log())
    listener.port = sock.getsockname()[1]  # type: ignore[attr-defined]
    yield listener
    if sock.fileno() >= 0:
        listener.stop()


def connect(listener: StreamListener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=DEADLINE_S)  # type: ignore[attr-defined]


def test_stream_lines(loop: TestLoop, tcp: StreamListener, got: Got) -> None:
    with connect(tcp) as one, connect(tcp) as two:
        one.sendall(b"a:1|c\nb:")
        loop.until(lambda: got.lines == [b"a:1|c"])
        two.sendall(b"c:1|c\n")
        loop.until(lambda: len(got.lines) == 2)
        one.sendall(b"2|c\r\nlast:1|c")
        loop.until(lambda: len(got.lines) == 3)
    loop.until(lambda: not tcp.connections)
    assert got.lines == [b"a:1|c", b"c:1|c", b"b:2|c\r", b"last:1|c"]
    assert tcp.received.bytes == len(b"a:1|c\nb:c:1|c\n2|c\r\nlast:1|c")


def test_a_large_stream(loop: TestLoop, tcp: StreamListener, got: Got) -> None:
    lines = [b"%d:1|c" % i for i in range(100_000)]
    with connect(tcp) as sock:
        loop.until(lambda: tcp.connections)  # else all may be sent, and the client gone, before it is one
        sender = threading.Thread(target=sock.sendall, args=(b"\n".join(lines),))
        sender.start()
        loop.until(lambda: not sender.is_alive())
    loop.until(lambda: not tcp.connections)
    assert got.lines == lines


def test_a_line_too_long_is_counted_and_the_stream_goes_on(
    loop: TestLoop, tcp: StreamListener, got: Got
) -> None:
    with connect(tcp) as sock:
        sock.sendall(b"x" * 150)
        loop.until(lambda: tcp.received.bytes == 150)
        sock.sendall(b"x" * 50 + b"\nb:1|c\n")
        loop.until(lambda: got.lines == [b"b:1|c"])
    loop.until(lambda: not tcp.connections)
    assert tcp.received.too_long == 1


def test_too_many_connections_are_closed_at_once(loop: TestLoop, tcp: StreamListener) -> None:
    socks = [connect(tcp) for _ in range(3)]
    loop.until(lambda: tcp.connections == 3)
    with connect(tcp) as extra:
        loop.until(lambda: tcp.received.refused_connections)
        assert extra.recv(1) == b""
    assert (tcp.received.refused_connections, tcp.connections) == (1, 3)
    socks.pop().close()
    loop.until(lambda: tcp.connections == 2)
    socks.append(connect(tcp))
    loop.until(lambda: tcp.connections == 3)
    for sock in socks:
        sock.close()


def test_a_reset_loses_the_unfinished_line_only(loop: TestLoop, tcp: StreamListener, got: Got) -> None:
    sock = connect(tcp)
    sock.sendall(b"a:1|c\nhalf:1")
    loop.until(lambda: got.lines == [b"a:1|c"])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets
    sock.close()
    loop.until(lambda: not tcp.connections)
    assert got.lines == [b"a:1|c"]
    assert tcp.received.cut_off == 1


def test_stop_takes_who_waits_in_the_backlog(tcp: StreamListener, got: Got) -> None:
    clients = [connect(tcp) for _ in range(2)]
    for number, client in enumerate(clients):
        client.sendall(b"late.%d:1|c\n" % number)
        client.close()
    tcp.stop()  # before the loop has run once
    assert sorted(got.lines) == [b"late.0:1|c", b"late.1:1|c"]


def test_stop_takes_what_has_arrived(loop: TestLoop, tcp: StreamListener, got: Got) -> None:
    with connect(tcp) as sock:
        loop.until(lambda: tcp.connections == 1)
        sock.sendall(b"a:1|c\nb:1|c\nhalf:1")
        tcp.stop()
        assert got.lines == [b"a:1|c", b"b:1|c"]
        assert tcp.received.cut_off == 1
        assert tcp.connections == 0
        with pytest.raises(ConnectionRefusedError):
            connect(tcp)


def test_a_silent_connection_makes_room_for_another(loop: TestLoop, got: Got) -> None:
    """The one that was silent for longest, of those that were for `silent_s`."""
    sock = bind("agent.tcp", "[::]:0", socket.SOCK_STREAM)
    tcp = StreamListener(loop, sock, got, lambda: LineSplitter(100), StreamLimits(3, silent_s=0.0), Log())
    tcp.port = sock.getsockname()[1]  # type: ignore[attr-defined]
    clients = []
    for number in range(3):
        clients.append(connect(tcp))
        loop.until(lambda number=number: tcp.connections == number + 1)
    clients[0].sendall(b"a:1|c\n")
    loop.until(lambda: got.lines)
    clients.append(connect(tcp))
    loop.until(lambda: tcp.received.closed_connections["room"] == 1)
    assert clients[1].recv(1) == b""
    for client in (clients[0], clients[2], clients[3]):
        client.sendall(b"b:1|c\n")
    loop.until(lambda: len(got.lines) == 4)
    assert tcp.received.refused_connections == 0
    for client in clients:
        client.close()
    tcp.stop()


def test_idle_connections_are_closed(loop: TestLoop, got: Got) -> None:
    sock = bind("agent.tcp", "[::]:0", socket.SOCK_STREAM)
    tcp = StreamListener(loop, sock, got, lambda: LineSplitter(100), StreamLimits(3, idle_s=0.05), Log())
    tcp.port = sock.getsockname()[1]  # type: ignore[attr-defined]
    with connect(tcp) as client:
        loop.until(lambda: tcp.received.closed_connections["idle"] == 1)
        assert client.recv(1) == b""
    tcp.stop()


REQUEST = b"POST /x HTTP/1.1\r\nHost: localhost:8125\r\n\r\nevil:1|c\nevil:1|c\n"


@pytest.mark.parametrize(
    "request_", [REQUEST, REQUEST.replace(b"/x", b"/" + b"x" * 70_000), b"PRI * HTTP/2.0\r\n\r\nevil:1|c\n"]
)
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_no_line_of_an_http_request_is_taken(request_: bytes, piece: int) -> None:
    guard = HttpGuard(LineSplitter(65_536))
    for start in range(0, len(request_), piece):
        assert guard.feed(request_[start : start + piece]) == b""
        if guard.broken:
            break
    assert guard.broken == "http_request"
    assert guard.feed(b"evil:1|c\n") == b""
    assert not guard.pending


@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize(
    "stream",
    [
        b"a:1|c\nb:2|c\nlast:1|c",
        b"GET /users:12|ms\na:1|c\n",
        b"",
        b"last:1|c",
        b"x" * 9_000 + b":1|c\na:1|c\n",
        b"\n\na:1|c",
    ],
)
def test_other_streams_pass(stream: bytes, piece: int) -> None:
    guard, plain = HttpGuard(LineSplitter(65_536)), LineSplitter(65_536)
    parts = [guard.feed(stream[start : start + piece]) for start in range(0, len(stream), piece)]
    said = b"\n".join(filter(None, [*parts, guard.end()]))
    wanted = b"\n".join(filter(None, [plain.feed(stream), plain.end()]))
    assert said.split() == wanted.split()
    assert guard.broken == ""


def test_a_stream_that_is_an_http_request_is_closed(loop: TestLoop, got: Got) -> None:
    sock = bind("agent.tcp", "[::]:0", socket.SOCK_STREAM)
    tcp = StreamListener(loop, sock, got, lambda: HttpGuard(LineSplitter(100)), StreamLimits(3), Log())
    tcp.port = sock.getsockname()[1]  # type: ignore[attr-defined]
    with connect(tcp) as client:
        client.sendall(REQUEST)
        loop.until(lambda: tcp.received.closed_connections["http_request"] == 1)
    assert got.lines == []
    assert not tcp.connections
    tcp.stop()


def test_a_source_that_is_not_allowed(loop: TestLoop, got: Got) -> None:
    sock = bind("agent.tcp", "127.0.0.1:0", socket.SOCK_STREAM)
    port = sock.getsockname()[1]
    allow = Networks(["127.0.0.2"]).allow
    listener = StreamListener(loop, sock, got, lambda: LineSplitter(100), StreamLimits(3), Log(), allow=allow)
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        with socket.create_connection(
            ("127.0.0.1", port), timeout=DEADLINE_S, source_address=(source, 0)
        ) as client:
            with contextlib.suppress(ConnectionError):  # closed before it sent
                client.sendall(b"%s:1|c\n" % source.encode())
            loop.until(lambda: got.lines or listener.received.closed_connections["foreign_source"])
    loop.until(lambda: listener.received.closed_connections["foreign_source"] == 2 and got.lines)
    listener.stop()
    assert got.lines == [b"127.0.0.2:1|c"]
