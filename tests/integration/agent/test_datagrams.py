"""The listener of datagrams, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.net.sockets import bind, bind_unix, grow_receive_buffer
from agent.receive.datagram import BATCH_BYTES, PACKET_BYTES, DatagramListener
from agent.receive.receiver import ReceiveOptions
from tests.integration.agent.sinks import Got, TestLoop


@pytest.fixture
def loop() -> Iterator[TestLoop]:
    with TestLoop() as loop:
        yield loop


@pytest.fixture
def got() -> Got:
    return Got()


@pytest.fixture
def udp(loop: TestLoop, got: Got) -> Iterator[tuple[DatagramListener, socket.socket]]:
    """Provide a UDP listener and a socket connected to it."""
    sock = bind("agent.udp", "127.0.0.1:0", socket.SOCK_DGRAM)
    grow_receive_buffer(sock, 4 << 20)
    address = sock.getsockname()
    listener = DatagramListener([sock], got, ReceiveOptions(loop=loop, nap_ms=1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        yield listener, sender
    if sock.fileno() >= 0:
        listener.stop()


def test_packets_are_whole_lines(
    loop: TestLoop, udp: tuple[DatagramListener, socket.socket], got: Got
) -> None:
    listener, sender = udp
    packets = [b"a:1|c", b"b:1|c\nc:1|c", b"", b"d:1|c\n", b"\xff\x00", b"x" * 65_507]
    for packet in packets:
        sender.send(packet)
    loop.until(lambda: listener.received.packets == len(packets))
    assert got.lines == [b"a:1|c", b"b:1|c", b"c:1|c", b"d:1|c", b"\xff\x00", b"x" * 65_507]
    assert listener.received.bytes == sum(map(len, packets))
    assert listener.received.cut_off == 0
    assert listener.kernel_drops() == 0


def test_bursts_with_pauses(loop: TestLoop, udp: tuple[DatagramListener, socket.socket], got: Got) -> None:
    """Through the nap and back to waiting, many times."""
    listener, sender = udp
    for burst in range(30):
        for i in range(20):
            sender.send(b"%d.%d:1|c" % (burst, i))
        if burst % 3:
            sent = 20 * (burst + 1)
            loop.until(lambda sent=sent: listener.received.packets == sent)
        if burst % 5 == 0:
            loop.for_s(0.005)
    loop.until(lambda: listener.received.packets == 600)
    assert got.lines == [b"%d.%d:1|c" % (burst, i) for burst in range(30) for i in range(20)]
    assert len(got.batches) < 600


def test_more_than_a_batch(loop: TestLoop, udp: tuple[DatagramListener, socket.socket], got: Got) -> None:
    listener, sender = udp
    packets = BATCH_BYTES // 1_000 * 3
    for i in range(packets):
        sender.send(b"%06d" % i + b"x" * 994)
    loop.until(lambda: listener.received.packets == packets)
    assert [line[:6] for line in got.lines] == [b"%06d" % i for i in range(packets)]
    assert max(map(len, got.batches)) <= BATCH_BYTES + PACKET_BYTES


def test_stop_takes_what_the_kernel_holds(
    loop: TestLoop, udp: tuple[DatagramListener, socket.socket], got: Got
) -> None:
    listener, sender = udp
    for i in range(500):
        sender.send(b"x%d:1|c" % i)
    listener.stop()
    assert len(got.lines) == 500
    assert listener.kernel_drops() is None


def test_stop_within_the_nap(loop: TestLoop, udp: tuple[DatagramListener, socket.socket], got: Got) -> None:
    listener, sender = udp
    sender.send(b"a:1|c")
    loop.until(lambda: got.lines)
    sender.send(b"b:1|c")
    listener.stop()
    assert got.lines == [b"a:1|c", b"b:1|c"]


def test_kernel_drops_are_seen(loop: TestLoop, got: Got) -> None:
    sock = bind("agent.udp", "127.0.0.1:0", socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    listener = DatagramListener([sock], got, ReceiveOptions(loop=loop, nap_ms=1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(1_000):
            sender.sendto(b"x" * 100, sock.getsockname())
    drops = listener.kernel_drops()
    assert drops is not None
    assert drops > 0
    loop.until(lambda: listener.received.packets + drops == 1_000)
    listener.stop()


def test_unix_datagram_too_large_loses_its_cut_line_only(loop: TestLoop, got: Got, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = DatagramListener([bind_unix("agent.unix", path)], got, ReceiveOptions(loop=loop, nap_ms=0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        room = BATCH_BYTES + PACKET_BYTES
        sender.sendto(b"a:1|c\nb:1|c\n" + b"x" * room, path)
        loop.until(lambda: listener.received.packets == 1)
        sender.sendto(b"c:1|c", path)
        loop.until(lambda: listener.received.packets == 2)
    assert got.lines == [b"a:1|c", b"b:1|c", b"c:1|c"]
    assert listener.received.cut_off == 1
    listener.stop()
