"""Threads of the native core: they may add and flush at once, and agree on gauges."""

from __future__ import annotations

import socket
import threading
from typing import Any

import msgspec

from agent.core._native.core import NativeCore
from agent.protocol.line import Kind, MetricKey, Reason, Skip
from agent.receive.receiver import ReceiveOptions
from agent.settings import AgentSettings, AggregateSettings, ReceiveSettings
from agent.wire.frame import Frame
from tests.integration.agent.sinks import TestLoop
from tests.unit.agent.state import state_of_frames
from tests.unit.agent.test_native_core import NOW_MS, frames


def test_threads_may_add_while_others_flush() -> None:
    core = NativeCore(AgentSettings(aggregate=AggregateSettings(max_series=2_000)))
    data = b"\n".join(
        b"c.%d:1|c\nd.%d:%d|d\ns.%d:%d|s" % (i % 700, i % 50, i, i % 9, i) for i in range(2_000)
    )
    made = list[Frame]()

    def add() -> None:
        for i in range(40):
            core.add(data, NOW_MS + i)

    running = [threading.Thread(target=add) for _ in range(2)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        core.flush_all(NOW_MS)
        made += frames(core, max_rows=333)
    core.flush_all(NOW_MS)
    made += frames(core)
    state = state_of_frames(made)
    counters = [value for key, value in state.items() if key[0] == "counter"]
    assert sum(counters) == 2 * 40 * 2_000
    assert sum(value["count"] for key, value in state.items() if key[0] == "distribution") == 2 * 40 * 2_000
    assert core.stats.lines == 2 * 40 * 6_000


def test_receivers_of_one_core_agree_on_gauges() -> None:
    core = NativeCore(AgentSettings(receive=ReceiveSettings(threads=3)))
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)]
    loop = TestLoop()
    receiver = core.receive([ours for ours, _ in pairs], ReceiveOptions(loop=loop, nap_ms=0))
    for _ in range(200):
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(b"g:+1|g\nc:1|c\nc%d:1|c\nx:1|c:+1|g\nd:1:2|ms" % number)
    loop.until(lambda: core.stats.lines == 600 * 6)
    receiver.stop()
    core.flush_all(2**53)
    state = state_of_frames(frames(core))
    assert sum(value["count"] for key, value in state.items() if key[:2] == ("gauge", "g")) == 600
    assert max(value["last"] for key, value in state.items() if key[:2] == ("gauge", "g"))[1] == 600.0
    assert max(value["last"] for key, value in state.items() if key[:2] == ("gauge", "x"))[1] == 600.0
    assert sum(value for key, value in state.items() if key[:2] == ("counter", "c")) == 600
    for _, theirs in pairs:
        theirs.close()


def test_receivers_of_one_core_agree_on_gauges_that_a_mapping_makes() -> None:
    """Deltas need one order, for any type a gauge was sent with, and after any number of new heads."""

    def mapper(head: MetricKey) -> MetricKey | Skip:
        return msgspec.structs.replace(head, kind=Kind.GAUGE, weight=1.0) if head.name[0] == "g" else head

    aggregate = AggregateSettings(max_series=20)
    core = NativeCore(AgentSettings(receive=ReceiveSettings(threads=3), aggregate=aggregate), mapper)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)]
    loop = TestLoop()
    receiver = core.receive([ours for ours, _ in pairs], ReceiveOptions(loop=loop, nap_ms=0))
    for i in range(100):
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(
                b"g1:+1|c\ng2:+1|d|@0.5\ng3:+1|ms|T9\nc:1|c\ng4:+1|c:+1|g:+1|d\ng2:nan|d|@0.5\nc:1|x\n"
                b"other%d:1|c\ng1:+1:+1|c" % (i * 3 + number)
            )
    loop.until(lambda: core.stats.lines == 300 * 11)
    receiver.stop()
    assert core.stats.bad == {Reason.BAD_VALUE: 300, Reason.UNKNOWN_TYPE: 300}
    core.flush_all(2**53)
    state = state_of_frames(frames(core))

    def of(name: str) -> list[Any]:
        return [value for key, value in state.items() if key[:2] == ("gauge", name)]

    assert [sum(value["count"] for value in of(name)) for name in ("g1", "g2", "g3", "g4")] == [
        900,
        300,
        300,
        900,
    ]
    assert [max(v["last"] for v in of(name))[1] for name in ("g1", "g2", "g4")] == [900.0, 300.0, 900.0]
    assert sum(value for key, value in state.items() if key[:2] == ("counter", "c")) == 300
    for _, theirs in pairs:
        theirs.close()
