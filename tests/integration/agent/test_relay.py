"""Copies for other servers: which lines are sent, and which are counted when they cannot be."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.net.sockets import AddressError, bind, bound_address
from agent.receive.relay import Destination, NotSent, Relay, packed, reason_of

UDP = socket.SOCK_DGRAM


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with bind("other", "127.0.0.1:0", UDP) as sock:
        sock.settimeout(120)
        yield sock


@pytest.fixture
def relay(server: socket.socket) -> Iterator[Relay]:
    destination = Destination("agent.relay.address", bound_address(server))
    yield Relay(destination.sock)
    destination.close()


def received(server: socket.socket, count: int) -> list[bytes]:
    return [server.recv(100_000) for _ in range(count)]


@pytest.mark.parametrize(
    ("lines", "pieces"),
    [
        (b"", []),
        (b"a:1|c", [b"a:1|c"]),
        (b"a\nb", [b"a\nb"]),
        (b"aaaa\nbbbb\ncc", [b"aaaa\nbbbb", b"cc"]),
        (b"aaaa\nbbbbb", [b"aaaa\nbbbbb"]),
        (b"aaaa\nbbbbbb", [b"aaaa", b"bbbbbb"]),
        (b"\n\n\n", [b"\n\n\n"]),
        (b"x" * 25 + b"\nb\n", [b"x" * 25, b"b\n"]),
        (b"b\n" + b"x" * 25, [b"b", b"x" * 25]),
        (b"\n" + b"x" * 25 + b"\n" + b"y" * 10, [b"x" * 25, b"y" * 10]),
    ],
)
def test_packed(lines: bytes, pieces: list[bytes]) -> None:
    assert list(packed(lines, 10)) == pieces


def test_packed_loses_no_line() -> None:
    lines = [b"x" * (i * 7 % 40) for i in range(500)]
    pieces = list(packed(b"\n".join(lines), 100))
    assert [line for piece in pieces for line in piece.split(b"\n") if line] == [
        line for line in lines if line
    ]
    assert max(map(len, pieces)) <= 100


def test_lines_of_streams_become_datagrams(relay: Relay, server: socket.socket) -> None:
    relay.send_packed(b"\n".join([b"x:1|c|#" + b"y" * 93] * 20))
    got = received(server, 2)
    assert list(map(len, got)) == [14 * 100 + 13, 6 * 100 + 5]
    assert (relay.relayed.packets, relay.relayed.dropped.total()) == (2, 0)


def test_events_go_one_by_one(relay: Relay, server: socket.socket) -> None:
    relay.send_events(b"a:1|c\n_e{1,1}:a|b|#x:y\nb_e{:1|c\n_sc|n|0\n_ex:1|c\n_e{2,2}:aa|bb")
    assert received(server, 3) == [b"_e{1,1}:a|b|#x:y", b"_sc|n|0", b"_e{2,2}:aa|bb"]
    assert relay.relayed.packets == 3


def test_nobody_there_is_counted(relay: Relay, server: socket.socket) -> None:
    server.close()
    for _ in range(4):  # the kernel tells of one with the next
        relay.send(b"a:1|c")
    assert relay.relayed.dropped == {NotSent.REFUSED: 2}
    assert relay.relayed.packets == 2


def test_too_large_is_counted(relay: Relay, server: socket.socket) -> None:
    relay.send(b"x" * 65_508)
    relay.send(b"a:1|c")
    assert received(server, 1) == [b"a:1|c"]
    assert relay.relayed.dropped == {NotSent.TOO_LARGE: 1}


def test_a_full_queue_is_counted_and_never_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, UDP) as server:
        server.bind(path)
        destination = Destination("agent.relay.address", path)
        relay = Relay(destination.sock)
        while not relay.relayed.dropped and relay.relayed.packets < 100_000:
            relay.send(b"a:1|c")
        assert relay.relayed.dropped == {NotSent.FULL: 1}
        destination.close()


def test_a_unix_socket_may_come_later_and_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    destination = Destination("agent.relay.address", path)
    relay = Relay(destination.sock)
    for i in range(2):
        relay.send(b"lost")
        destination.refresh()
        with socket.socket(socket.AF_UNIX, UDP) as server:
            server.bind(path)
            destination.refresh()
            relay.send(b"%d" % i)
            assert server.recv(10) == b"%d" % i
        Path(path).unlink()
    assert (relay.relayed.packets, relay.relayed.dropped) == (2, {NotSent.REFUSED: 2})
    destination.close()


def test_an_address_that_cannot_be() -> None:
    with pytest.raises(AddressError, match=r"agent\.relay\.events = 'nowhere': expected host:port"):
        Destination("agent.relay.events", "nowhere")
    with pytest.raises(AddressError, match=r"agent\.relay\.events = '/xx"):
        Destination("agent.relay.events", "/" + "x" * 200)


def test_other_reasons() -> None:
    assert reason_of(errno.EPERM) is NotSent.OTHER
    assert reason_of(errno.ENOBUFS) is NotSent.FULL
