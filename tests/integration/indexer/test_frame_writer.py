"""Frames that are written one by one in threads: turns of orgs, and the answers to their senders."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from agent.wire.frame import Counters, Frame, SeriesColumns, encode
from indexer.clickhouse.faults import Fault
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Refused, Unavailable
from indexer.write.frame_writer import FrameWriter
from tests.integration.indexer.memory_inserter import MemoryInserter

ROWS = 200_000


class Held(MemoryInserter):
    """An inserter that waits for `goes_on` with the frames of org 1, and then fails with `error`.

    ClickHouse refuses the bytes of all frames.
    """

    def __init__(self, error: StoreError | None = None) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.begun: list[str] = []
        self.firsts: set[bool] = set()
        self.error = error

    def insert(self, token: str, units: Sequence[AcceptedFrame], *, first: bool = False, **_: object) -> int:
        self.firsts.add(first)
        return self.store_frames(token, units)

    def refused(self, units: Sequence[AcceptedFrame], kind: Kind) -> list[AcceptedFrame]:  # noqa: ARG002
        return list(units)

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:
        self.begun.append(token)
        if units[0].frame.org_id == 1:
            assert self.goes_on.wait(240)
        if self.error is not None:
            raise self.error
        return units[0].frame.rows


def unit(org_id: int, sequence: int, rows: int) -> AcceptedFrame:
    index = np.arange(rows, dtype="<u4").tobytes()
    frame = Frame(
        agent="a",
        epoch=1,
        sequence=sequence,
        created_ms=0,
        org_id=org_id,
        strings=["m"],
        series=SeriesColumns(name=bytes(4 * rows), tag_count=bytes(2 * rows)),
        counters=Counters(index, bytes(4 * rows), bytes(8 * rows)),
    )
    return AcceptedFrame(f"{org_id}/{sequence}", encode(frame), frame)


async def test_heavy_frames_of_one_org_leave_a_thread_to_the_others() -> None:
    inserter = Held()
    writer = FrameWriter(inserter, Settings(connections=2), Metrics())
    heavy = [asyncio.create_task(writer.write(unit(1, sequence, ROWS))) for sequence in range(4)]
    try:
        async with asyncio.timeout(120):
            await writer.write(unit(2, 0, 1))
            await writer.write(unit(2, 1, ROWS // 100))
        assert sum(token.startswith("1/") for token in inserter.begun) == 1
    finally:
        inserter.goes_on.set()
        await asyncio.gather(*heavy)
        await writer.stop(10)
    assert len(inserter.begun) == 6


async def test_a_frame_that_waits_for_a_deletion_is_no_stall() -> None:
    """Else /readyz is 503 for the frames of all orgs."""
    inserter = Held()
    writer = FrameWriter(inserter, Settings(connections=2), Metrics())
    with inserter.gate.alone(2, 0.0):
        waits = asyncio.create_task(writer.write(unit(2, 0, 1)))
        await asyncio.sleep(0)
        assert writer.held_bytes
        assert writer.oldest_waiting_s() == 0
    async with asyncio.timeout(120):
        await waits
    await writer.stop(10)


async def test_frames_in_the_queue_hold_no_deletion_up() -> None:
    """Both threads write for org 1: a frame of org 2 has not begun, and its org may be deleted from."""
    inserter = Held()
    writer = FrameWriter(inserter, Settings(connections=2), Metrics())
    busy = [asyncio.create_task(writer.write(unit(1, sequence, 1))) for sequence in range(2)]
    queued = asyncio.create_task(writer.write(unit(2, 0, 1)))
    try:
        async with asyncio.timeout(120):
            while len(inserter.begun) < 2:  # noqa: ASYNC110  # of threads
                await asyncio.sleep(0.001)
        with inserter.gate.alone(2, 0.0):
            inserter.goes_on.set()
            async with asyncio.timeout(120):
                await asyncio.gather(*busy)
                await writer.write(unit(3, 0, 1))
            assert not queued.done()
        async with asyncio.timeout(120):
            await queued
    finally:
        inserter.goes_on.set()
        await writer.stop(10)
    assert inserter.begun[2:] == ["3/0", "2/0"]


async def begun(inserter: Held, count: int = 1) -> None:
    async with asyncio.timeout(120):
        while len(inserter.begun) < count:  # noqa: ASYNC110  # of threads
            await asyncio.sleep(0.001)


async def test_a_frame_that_comes_twice_is_one_insert_under_its_identity() -> None:
    """One sender's end does not end the wait of the other, and the identity is free again afterwards."""
    inserter = Held()
    writer = FrameWriter(inserter, Settings(connections=2), Metrics())
    one = unit(1, 7, 1)
    sent = [asyncio.create_task(writer.write(one)) for _ in range(2)]
    await begun(inserter)
    sent[0].cancel()
    await asyncio.gather(sent[0], return_exceptions=True)
    assert writer.held_bytes == one.held_bytes
    inserter.goes_on.set()
    async with asyncio.timeout(120):
        await sent[1]
        assert writer.held_bytes == 0
        with inserter.gate.alone(1, 0.0):
            assert inserter.begun == [one.identity]
        await writer.write(one)
    assert inserter.begun == [one.identity] * 2, "ClickHouse knows its token"
    assert inserter.firsts == {False}, "another indexer may have tried it"
    await writer.stop(10)


async def test_a_writer_that_stops_ends_what_it_has_and_takes_no_more() -> None:
    inserter = Held()
    writer = FrameWriter(inserter, Settings(connections=2), Metrics())
    waits = asyncio.create_task(writer.write(unit(1, 0, 1)))
    await begun(inserter)
    stopping = asyncio.create_task(writer.stop(60))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="shutting down") as told:
        await writer.write(unit(2, 0, 1))
    assert not told.value.begun
    inserter.goes_on.set()
    async with asyncio.timeout(120):
        await waits
        await stopping


@pytest.mark.parametrize(
    ("fault", "kind", "refused"),
    [(Fault.BYTES, "gauges", True), (Fault.BYTES, "", False), (Fault.BUSY, "gauges", False)],
)
async def test_a_frame_ends_for_its_own_bytes_alone(fault: Fault, kind: str, *, refused: bool) -> None:
    error = StoreError("failed", retryable=True, fault=fault)
    error.kind = kind
    writer = FrameWriter(Held(error), Settings(connections=1), Metrics())
    with pytest.raises(Refused if refused else Unavailable):
        await writer.write(unit(2, 0, 1))
    await writer.stop(10)
