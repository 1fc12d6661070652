"""Frames of several orgs written by threads: the heavy ones of one org leave a thread to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np

from agent.wire.frame import Counters, Frame, SeriesColumns, encode
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_writer import FrameWriter
from tests.integration.indexer.memory_inserter import MemoryInserter

ROWS = 200_000


class Held(MemoryInserter):
    """An inserter that waits for `goes_on` with the frames of org 1."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.begun: list[str] = []

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:
        self.begun.append(token)
        if units[0].frame.org_id == 1:
            assert self.goes_on.wait(240)
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
