"""Datagrams into a core, over real sockets: the same cases for both cores."""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.networks import Networks
from agent.core.interface import Core
from agent.core.python_core import PythonCore
from agent.net.sockets import (
    bind,
    bind_datagrams,
    bind_unix,
    bound_address,
    grow_receive_buffer,
    name_of_address,
    split_host_port,
)
from agent.protocol.line import Reason
from agent.receive.receiver import DatagramReceiver, ReceiveOptions
from agent.receive.relay import NotSent
from agent.settings import AgentSettings, AggregateSettings, ReceiveSettings
from agent.wire.frame import Sender, decode, encode
from tests.integration.agent.sinks import TestLoop
from tests.unit.agent.state import state_of_frames

UDP = socket.SOCK_DGRAM
SENDER = Sender(agent="a", epoch=1)
KINDS: dict[str, Callable[..., Core]] = {"python": PythonCore}
with contextlib.suppress(ImportError):  # where no compiler was; tests/e2e/test_wheel.py is about that
    KINDS["native"] = importlib.import_module("agent.core._native.core").NativeCore


class Receiving:
    """A core, its receiver, and the core's rows."""

    def __init__(self, kind: Callable[..., Core], loop: TestLoop, **settings: Any) -> None:
        self.loop = loop
        self.woken = threading.Event()
        self.core = kind(AgentSettings(**settings), None, self.woken.set)
        self.receivers: list[DatagramReceiver] = []
        self.nap_ms = 1
        self.relay: socket.socket | None = None
        self.events: socket.socket | None = None
        self.allowed: Networks | None = None

    def open(self, *socks: socket.socket) -> DatagramReceiver:
        options = ReceiveOptions(
            loop=self.loop,
            nap_ms=self.nap_ms,
            relay=self.relay,
            events=self.events,
            allowed=self.allowed,
        )
        self.receivers.append(self.core.receive(socks, options))
        return self.receivers[-1]

    def until_packets(self, count: int) -> None:
        self.loop.until(lambda: sum(r.received.packets for r in self.receivers) == count)

    def until_lines(self, count: int) -> None:
        self.loop.until(lambda: self.core.stats.lines == count)

    def frames(self, max_rows: int = 1_000) -> int:
        """Make all frames; return their number of rows."""
        rows = 0
        while frame := self.core.next_frame(SENDER, 1, 1, max_rows=max_rows, max_bytes=1 << 20):
            rows += frame.rows
        return rows

    def totals(self) -> dict[str, float]:
        """All counters by name."""
        self.core.flush_all(2_000_000_000_000)
        out: dict[str, float] = {}
        while frame := self.core.next_frame(SENDER, 1, 1, max_rows=1_000, max_bytes=1 << 20):
            for (kind, name, _, _), value in state_of_frames([decode(encode(frame))]).items():
                if kind == "counter":
                    out[name] = out.get(name, 0.0) + value
        return out

    def stop(self) -> None:
        while self.receivers:
            self.receivers.pop().stop()

    def close(self) -> None:
        self.stop()
        self.core.close()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Receiving]]:
    made: list[Receiving] = []
    with TestLoop() as loop:

        def make(**settings: Any) -> Receiving:
            made.append(Receiving(KINDS[request.param], loop, **settings))
            return made[-1]

        yield make
        for one in made:
            one.close()


@pytest.fixture
def udp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Provide a bound socket for a receiver, and one that is connected to it."""
    sock = bind("agent.udp", "127.0.0.1:0", UDP)
    grow_receive_buffer(sock, 8 << 20)
    with socket.socket(socket.AF_INET, UDP) as sender:
        sender.connect(sock.getsockname())
        yield sock, sender


@pytest.fixture
def other() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Provide a socket that does not block, and the other server's, which it is connected to."""
    with bind("other", "127.0.0.1:0", UDP) as there, socket.socket(socket.AF_INET, UDP) as sock:
        there.settimeout(120)
        grow_receive_buffer(there, 8 << 20)
        sock.setblocking(False)
        sock.connect(there.getsockname())
        yield sock, there


Udp = tuple[socket.socket, socket.socket]
Make = Callable[..., Receiving]


def test_packets_are_whole_lines(make: Make, udp: Udp) -> None:
    receiving = make()
    receiver = receiving.open(udp[0])
    packets = [b"a:1|c", b"b:1|c\nc:1|c", b"", b"d:1|c\n", b"\xff\x00", b"x" * 65_507, b"e:1|c\r\ne:2|c\r\n"]
    for packet in packets:
        udp[1].send(packet)
    receiving.until_packets(len(packets))
    receiving.until_lines(8)
    assert receiving.totals() == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 3.0}
    assert receiver.received.bytes == sum(map(len, packets))
    assert receiver.received.cut_off == 0
    assert receiver.kernel_drops() == 0
    assert receiving.core.stats.bad == {Reason.NO_VALUE: 2}


@pytest.mark.parametrize("nap_ms", [0, 1, 20])
def test_bursts_with_pauses(make: Make, udp: Udp, nap_ms: int) -> None:
    """Through the nap and back to waiting, many times."""
    receiving = make()
    receiving.nap_ms = nap_ms
    receiving.open(udp[0])
    for burst in range(30):
        for _ in range(20):
            udp[1].send(b"x%d:1|c" % burst)
        if burst % 3:
            receiving.until_packets(20 * (burst + 1))
        if burst % 5 == 0:
            receiving.loop.for_s(0.005)
    receiving.until_lines(600)
    assert receiving.totals() == {f"x{burst}": 20.0 for burst in range(30)}


def test_more_than_a_batch_of_any_size(make: Make, udp: Udp) -> None:
    receiving = make()
    receiving.open(udp[0])
    for i in range(300):
        size = (i * 977) % 60_000
        udp[1].send(b"a:1|c\n" + b"y:1|c|#t:" + b"z" * (size % 900) + b"\nb:1|c" * (size // 6))
        if i % 20 == 0:
            receiving.until_packets(i + 1)
    receiving.until_packets(300)
    totals = receiving.totals()
    assert (totals["a"], totals["y"]) == (300.0, 300.0)
    assert totals["b"] == sum((i * 977) % 60_000 // 6 for i in range(300))


def test_stop_takes_what_the_kernel_holds(make: Make, udp: Udp) -> None:
    receiving = make()
    for _ in range(500):
        udp[1].send(b"a:1|c")
    receiver = receiving.open(udp[0])
    for _ in range(500):
        udp[1].send(b"a:1|c")
    receiving.stop()
    assert receiving.totals() == {"a": 1_000.0}
    assert receiver.received.packets == 1_000
    assert receiver.kernel_drops() is None
    assert udp[0].fileno() < 0


def test_kernel_drops_are_seen(make: Make, udp: Udp) -> None:
    udp[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(1_000):
        udp[1].send(b"a:1|c")
    receiving = make()
    receiver = receiving.open(udp[0])
    drops = receiver.kernel_drops()
    assert drops
    receiving.until_packets(1_000 - drops)
    assert receiving.totals() == {"a": 1_000.0 - drops}


def test_a_packet_too_large_loses_its_cut_line_only(make: Make, other: Udp, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    receiving = make()
    receiving.relay, there = other
    receiver = receiving.open(bind_unix("agent.unix", path))
    with socket.socket(socket.AF_UNIX, UDP) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        sender.sendto(b"a:1|c\nb:1|c\n" + b"x" * 500_000, path)
        receiving.until_packets(1)
        sender.sendto(b"x" * 500_000, path)
        receiving.until_packets(2)
        sender.sendto(b"c:1|c", path)
        receiving.until_lines(3)
    assert receiving.totals() == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert receiver.received.cut_off == 2
    assert receiver.received.bytes == 1_000_000 + 12 + 5
    assert there.recv(100) == b"c:1|c"
    assert receiver.relayed.packets == 1
    assert receiver.relayed.dropped[NotSent.TOO_LARGE] == 2


def prefixed(lines: bytes) -> bytes:
    return len(lines).to_bytes(4, "little") + lines


def test_a_length_before_a_unix_datagram_is_taken_off(make: Make, other: Udp, tmp_path: Path) -> None:
    """Only where it says exactly the bytes that follow; copies for other servers are as they came."""
    receiving = make()
    receiving.relay, there = other
    path = str(tmp_path / "s")
    receiver = receiving.open(bind_unix("agent.unix", path))
    packets = [
        bytes.fromhex("0d00000075782e637573746f6d3a317c63"),  # metrics-rs: ux.custom:1|c
        prefixed(b"a:1|c\nb:2|c\n"),
        prefixed(b"x" * 3_000 + b":1|c\nlast:5|c"),
        prefixed(b""),
        prefixed(b"a:1|c") + b"\n",  # a byte more: a name with control characters
        b"a:1|c",
    ]
    with socket.socket(socket.AF_UNIX, UDP) as sender:
        for i, packet in enumerate(packets, 1):
            sender.sendto(packet, path)
            receiving.until_packets(i)
    assert [_turning(receiving.loop, there) for _ in packets] == packets
    assert receiver.received.bytes == sum(map(len, packets))
    assert receiving.totals() == {"ux.custom": 1.0, "a": 2.0, "b": 2.0, "last": 5.0}
    assert receiving.core.stats.bad == {Reason.NAME_TOO_LONG: 1, Reason.CONTROL_CHARACTER: 1}
    assert receiving.core.stats.lines == 7


def test_a_length_before_a_unix_datagram_that_is_cut(make: Make, tmp_path: Path) -> None:
    receiving = make()
    path = str(tmp_path / "s")
    receiver = receiving.open(bind_unix("agent.unix", path))
    with socket.socket(socket.AF_UNIX, UDP) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        sender.sendto(prefixed(b"a:1|c\nb:1|c\n" + b"x" * (600 << 10)), path)
        receiving.until_packets(1)
    assert receiving.totals() == {"a": 1.0, "b": 1.0}
    assert receiver.received.cut_off == 1
    assert not receiving.core.stats.bad


def test_a_udp_packet_has_no_length(make: Make, udp: Udp) -> None:
    sock, sender = udp
    receiving = make()
    receiving.open(sock)
    sender.send(prefixed(b"a:1|c"))
    receiving.until_packets(1)
    assert receiving.totals() == {}
    assert receiving.core.stats.bad == {Reason.CONTROL_CHARACTER: 1}


def test_sockets_that_share_a_port(make: Make) -> None:
    receiving = make(receive=ReceiveSettings(threads=3))
    socks = bind_datagrams("agent.udp", "127.0.0.1:0", 3)
    host, port = split_host_port("", bound_address(socks[0]))
    receiver = receiving.open(*socks)
    for i in range(60):
        with socket.socket(socket.AF_INET, UDP) as sender:  # each from a port of its own
            sender.sendto(b"a:1|c\nb:%d|c\ng:+1|g" % i, (host, port))
    receiving.until_packets(60)
    receiving.until_lines(180)
    assert receiving.totals() == {"a": 60.0, "b": sum(range(60))}
    assert receiver.kernel_drops() == 0


def test_a_full_memory_flushes_early_and_then_waits(make: Make, udp: Udp) -> None:
    receiving = make(aggregate=AggregateSettings(max_entries=100))
    receiver = receiving.open(udp[0])
    for i in range(2_000):
        udp[1].send(b"x%d:1|c" % i)
    rows = 0
    receiving.loop.until(receiving.woken.is_set)
    if receiver.threads:  # else the caller makes room, see agent/frame_maker.py
        receiving.loop.until(lambda: receiver.received.pauses)
        assert receiver.received.packets < 2_000
        assert receiving.core.entries < 300
    assert receiving.core.full

    def all_there() -> bool:
        nonlocal rows
        rows += receiving.frames()
        return receiving.core.stats.lines == 2_000

    receiving.loop.until(all_there)
    assert receiving.core.stats.early_flushes >= 1
    receiving.core.flush_all(2_000_000_000_000)
    assert rows + receiving.frames() == 2_000


def test_stop_does_not_wait_for_frames(make: Make, udp: Udp) -> None:
    """The thread that would make them waits for stop."""
    receiving = make(aggregate=AggregateSettings(max_entries=100))
    receiver = receiving.open(udp[0])
    for i in range(2_000):
        udp[1].send(b"x%d:1|c" % i)
    receiving.loop.until(receiving.woken.is_set)
    receiving.stop()
    assert receiver.received.packets == 2_000
    receiving.core.flush_all(2_000_000_000_000)
    assert receiving.frames() == 2_000


# ---------------------------------------------------------------- copies for other servers


def test_packets_are_copied_as_they_came(make: Make, udp: Udp, other: Udp) -> None:
    receiving = make()
    receiving.relay, there = other
    receiver = receiving.open(udp[0])
    packets = [b"a:1|c", b"", b"nonsense\n\n", b"x" * 65_507, *(b"%d" % i * (i % 90) for i in range(500))]
    for packet in packets:
        udp[1].send(packet)
    assert [_turning(receiving.loop, there) for _ in packets] == packets
    receiving.until_packets(len(packets))
    assert (receiver.relayed.packets, receiver.relayed.dropped.total()) == (len(packets), 0)
    assert receiver.relayed_events.packets == 0


def _turning(loop: TestLoop, sock: socket.socket) -> bytes:
    """Return the next packet, while the loop runs."""
    got: list[bytes] = []
    sock.setblocking(False)

    def readable() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.append(sock.recv(100_000))
        return bool(got)

    loop.until(readable)
    return got[0]


def test_events_go_one_by_one(make: Make, udp: Udp, other: Udp) -> None:
    receiving = make()
    receiving.events, there = other
    receiver = receiving.open(udp[0])
    for packet in (b"a:1|c\n_e{1,1}:a|b|#x:y\nb_e{:1|c\n_sc|n|0", b"_e", b"_sc|", b"_x:1|c\n_e{2,2}:aa|bb"):
        udp[1].send(packet)
    got = [_turning(receiving.loop, there) for _ in range(4)]
    assert got == [b"_e{1,1}:a|b|#x:y", b"_sc|n|0", b"_sc|", b"_e{2,2}:aa|bb"]
    receiving.until_lines(8)
    assert (receiver.relayed_events.packets, receiver.relayed_events.dropped.total()) == (4, 0)
    assert receiver.relayed.packets == 0


def test_nobody_there_costs_no_line(make: Make, udp: Udp, other: Udp) -> None:
    receiving = make()
    receiving.relay, there = other
    receiving.events = receiving.relay
    there.close()
    receiver = receiving.open(udp[0])
    for _ in range(200):
        udp[1].send(b"a:1|c\n_sc|n|0")
    receiving.until_lines(400)
    assert receiving.totals() == {"a": 200.0}
    for relayed in (receiver.relayed, receiver.relayed_events):
        assert relayed.packets + relayed.dropped.total() == 200
    assert receiver.relayed.dropped[NotSent.REFUSED] > 0


def test_a_full_queue_there_costs_no_line(make: Make, udp: Udp, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, UDP) as there, socket.socket(socket.AF_UNIX, UDP) as sock:
        there.bind(str(tmp_path / "there"))
        sock.connect(str(tmp_path / "there"))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"x")
        receiving = make()
        receiving.relay = receiving.events = sock
        receiver = receiving.open(udp[0])
        for _ in range(100):
            udp[1].send(b"a:1|c\n_sc|n|0")
        receiving.until_lines(200)
        assert receiver.relayed.dropped == {NotSent.FULL: 100}
        assert receiver.relayed_events.dropped == {NotSent.FULL: 100}
        receiving.stop()


def send_from(host: str, to: socket.socket, *packets: bytes) -> None:
    """Send from an address of this machine to the port of a bound socket."""
    v6 = ":" in host
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, UDP) as sender:
        sender.bind((host, 0))
        for packet in packets:
            sender.sendto(packet, ("::1" if v6 else "127.0.0.1", to.getsockname()[1]))


def test_clients_of_datagrams_are_counted(make: Make, tmp_path: Path) -> None:
    """Of several in a batch, each has its own series; a known series costs nothing."""
    receiving = make()
    sock, path = bind("agent.udp", "0.0.0.0:0", UDP), tmp_path / "s"
    local = bind_unix("agent.unix", str(path), UDP)
    receiving.open(sock)
    receiving.open(local)
    for i in range(30):
        send_from("127.0.0.1", sock, b"a:1|c|#k:%d\nknown:1|c" % i)
        send_from("127.0.0.2", sock, b"b:1|c|#k:%d" % (i % 10), b"known:1|c")
    with socket.socket(socket.AF_UNIX, UDP) as sender:
        sender.sendto(b"c:1|c", str(path))
    receiving.until_lines(30 * 4 + 1)
    found = {name_of_address(one.address): one.series for one in receiving.core.top_clients(5)}
    assert found == {"127.0.0.1": 31, "127.0.0.2": 10, "unix": 1}


def test_clients_of_further_samples_are_counted(make: Make) -> None:
    """The further samples of a line are read from a copy, which is in no packet."""
    receiving = make()
    sock = bind("agent.udp", "0.0.0.0:0", UDP)
    receiving.open(sock)
    for i in range(20):
        send_from("127.0.0.1", sock, b"known:1|c", b"p%d:1|c:2|c" % i)
        send_from("127.0.0.2", sock, b"known:1|c", b"q%d:1|ms|@0.5:3|ms" % i)
    receiving.until_lines(20 * 6)
    found = {name_of_address(one.address): one.series for one in receiving.core.top_clients(5)}
    assert found == {"127.0.0.1": 21, "127.0.0.2": 20}


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::]:0"])
def test_packets_of_other_networks_are_dropped(make: Make, other: Udp, address: str) -> None:
    """They are counted, and neither aggregated nor copied to the relay, for any size and order."""
    receiving = make()
    receiving.relay = other[0]
    receiving.allowed = Networks(["127.0.0.2/31", "::1"])
    sock = bind("agent.udp", address, UDP)
    grow_receive_buffer(sock, 8 << 20)
    receiver = receiving.open(sock)
    large = b"bad:1|c\n" * 8_000
    sent = 0
    for _ in range(20):
        send_from("127.0.0.2", sock, b"good:1|c")
        send_from("127.0.0.1", sock, b"bad:1|c", large, b"")
        send_from("127.0.0.3", sock, b"good:2|c", b"good:1|c")
        sent += 6
        if address.startswith("["):
            send_from("::1", sock, b"six:1|c")
            sent += 1
    receiving.until_packets(sent)
    receiving.stop()
    expected = {"good": 80.0, "six": 20.0}
    assert receiving.totals() == (expected if address.startswith("[") else {"good": 80.0})
    assert receiver.received.foreign == 60
    assert receiver.received.cut_off == 0
    copied = [other[1].recv(65_536) for _ in range(receiver.relayed.packets)]
    assert receiver.relayed.packets == sent - 60
    assert not any(b"bad" in packet for packet in copied)
    assert receiving.core.stats.bad == {}


def test_unix_sockets_have_no_network(make: Make, tmp_path: Path) -> None:
    receiving = make()
    receiving.allowed = Networks(["10.0.0.0/8"])
    path = str(tmp_path / "sock")
    receiver = receiving.open(bind_unix("agent.unix", path))
    with socket.socket(socket.AF_UNIX, UDP) as sender:
        sender.sendto(b"a:1|c", path)
    receiving.until_packets(1)
    assert receiver.received.foreign == 0
    assert receiving.totals() == {"a": 1.0}


def test_a_flood_of_foreign_packets_does_not_hold_the_others_up(make: Make) -> None:
    """A read that drops all of it ends, and the loop goes on."""
    receiving = make()
    receiving.nap_ms = 0
    receiving.allowed = Networks(["127.0.0.2"])
    sock = bind("agent.udp", "127.0.0.1:0", UDP)
    grow_receive_buffer(sock, 32 << 20)
    receiving.open(sock)
    for _ in range(4):
        send_from("127.0.0.1", sock, *[b"bad:1|c"] * 5_000)
        send_from("127.0.0.2", sock, b"good:1|c")
    receiving.loop.until(lambda: receiving.core.stats.lines == 4)
    assert receiving.totals() == {"good": 4.0}
