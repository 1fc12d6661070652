"""A socket brings a core the same as `add`: packets in batches, in buffers used again and again.

So nothing of a packet depends on its buffer's earlier content, or on the bytes after it. Compared bit by bit:
all packets of a round must arrive within one bucket; a round in which one ends is done again.
"""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any, Final

import pytest

from agent.core.interface import Core
from agent.net.sockets import grow_receive_buffer
from agent.protocol.line import Limits
from agent.receive.receiver import ReceiveOptions
from agent.settings import AgentSettings, AggregateSettings
from agent.wire.frame import Frame, Sender, decode, encode
from tests.integration.agent.sinks import TestLoop
from tests.support.cores.packets import PacketMaker
from tests.support.cores.rows import CORES, counters, new_core
from tests.unit.agent.state import State, merge_into, state_of_frames

PACKETS: Final = 800
#: Packets sent before the receiver has taken them: well within the kernel's smallest buffer.
IN_FLIGHT: Final = 50
ROUNDS: Final = 4
TRIES: Final = 100
#: No value of a gauge is as old as its memory: that would depend on the very millisecond of an arrival.
SETTINGS: Final = AgentSettings(
    lines=Limits(name_tags=("influx", "signalfx")),
    aggregate=AggregateSettings(future_s=0, lateness_s=3_600, gauge_memory_s=7_200),
    tags={"a": "static"},
)


def made(seed: int, now_ms: int) -> list[bytes]:
    """Packets whose lines' own times are before `now_ms`: none comes between arrivals."""
    maker = PacketMaker(Random(seed))
    return [maker.packet(now_ms - 100_000) for _ in range(PACKETS)]


def received(core: str, packets: list[bytes]) -> tuple[dict[str, Any], State]:
    agent = new_core(core, SETTINGS)
    with TestLoop() as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        grow_receive_buffer(sock, 8 << 20)
        sender.connect(sock.getsockname())
        receiver = agent.receive([sock], ReceiveOptions(loop=loop, nap_ms=1))
        for number, packet in enumerate(packets, 1):
            sender.send(packet)
            if number % IN_FLIGHT == 0 or number == len(packets):
                loop.until(lambda: receiver.received.packets == number)  # noqa: B023
        receiver.stop()
    return told(agent)


def added(core: str, packets: list[bytes], now_ms: int) -> tuple[dict[str, Any], State]:
    agent = new_core(core, SETTINGS)
    for packet in packets:
        agent.add(packet, now_ms)
    return told(agent)


def told(agent: Core) -> tuple[dict[str, Any], State]:
    """Counters, and the state of each series over all buckets, without times."""
    agent.flush_all(0)
    state: State = {}
    for (kind, name, tags, _), value in state_of_frames(frames(agent)).items():
        merge_into(state, (kind, name, tags, 0), value)
    for (kind, *_), value in state.items():
        if kind == "gauge":
            value["last"] = value["last"][1]
    return counters(agent), state


def frames(agent: Core) -> list[Frame]:
    out = list[Frame]()
    while frame := agent.next_frame(Sender(agent="a", epoch=1), 1, 1, max_rows=1_000, max_bytes=1 << 20):
        out.append(decode(encode(frame)))
    return out


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("core", CORES)
def test_a_socket_brings_what_add_brings(core: str) -> None:
    done = 0
    for seed in range(TRIES):
        started_ms = now()
        packets = made(seed, started_ms)
        got = received(core, packets)
        if started_ms // 10_000 == now() // 10_000:
            assert got == added("python", packets, started_ms), seed
            done += 1
        if done == ROUNDS:
            return
    raise AssertionError(f"only {done} of {TRIES} rounds within one bucket")
