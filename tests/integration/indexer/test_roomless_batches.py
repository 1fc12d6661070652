"""A batch that others pass holds nothing up where it does not fit into the set-aside ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import BatchSettings, Settings
from indexer.write import damaged_batches, journal_writer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import BatchClaims
from indexer.write.batch_state import BatchState
from indexer.write.errors import TooOld, Unavailable
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.health import Health, Part
from indexer.write.identity import frame_identity
from indexer.write.journal import Journal
from indexer.write.journal_writer import JournalWriter
from indexer.write.roomless_batches import NO_ROOM
from tests.integration.indexer.memory_inserter import MemoryInserter
from tests.support.bit_table import MemoryBits
from tests.support.damaged_journal import damage_frame
from tests.support.frames import counter_frame, unit


def of(org_id: int, sequence: int) -> AcceptedFrame:
    frame = counter_frame({"a": 1.0}, 0, sequence=sequence, org_id=org_id)
    return replace(unit(frame), identity=frame_identity(frame, 0))


class Failing(MemoryInserter):
    """An inserter that fails with the frames of org 1 until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = True
        self.stored: list[str] = []

    def stored_of(self, identities: Collection[str]) -> set[str]:  # noqa: ARG002
        return set()

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:  # noqa: ARG002
        if self.fails and any(one.frame.org_id == 1 for one in units):
            error = StoreError("damaged", retryable=False, fault=Fault.DAMAGED)
            error.kind = "counters"
            raise error
        self.stored += [one.identity for one in units]
        return len(units)


class LateClaims(MemoryBits):
    """A table where another indexer has claimed `frames` by the time that this one claims any."""

    def __init__(self, frames: Sequence[AcceptedFrame]) -> None:
        super().__init__()
        self._frames = frames

    def write(self, token: str, masks: Mapping[tuple[str, int], int]) -> None:
        frames, self._frames = self._frames, ()
        if frames:
            FrameClaims(self).announce("other", frames)
        super().write(token, masks)


class Writing:
    """A writer without ClickHouse and without room to set batches aside."""

    def __init__(self, folder: Path, bits: MemoryBits) -> None:
        self.journal = Journal(
            folder / "journal.sqlite", max_identities=100, max_age_ms=10**9, max_aside_bytes=0
        )
        self.inserter, self.metrics, self.health = Failing(), Metrics(), Health()
        self.writer = JournalWriter(
            Mock(spec=Store),
            self.inserter,
            self.journal,
            Settings(batch=BatchSettings(linger_ms=0, parts_per_s=0)),
            self.metrics,
            health=self.health,
            claims=BatchClaims(FrameClaims(bits), self.journal),
        )

    async def refused(self, frame: AcceptedFrame) -> str:
        with pytest.raises(Unavailable) as raised:
            await self.writer.write(frame)
        return str(raised.value)

    def count(self, outcome: str) -> float:
        found = self.metrics.registry.get_sample_value(
            "meterhouse_indexer_frames_total", {"outcome": outcome}
        )
        assert found is not None
        return found


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # of a thread
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _retried_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_writer, "ROOM_WAIT_S", 0.01)
    monkeypatch.setattr(damaged_batches, "AWAITED_S", 1e9)


async def test_an_undecided_batch_holds_up_no_other_org(tmp_path: Path) -> None:
    first = of(1, 1)
    bits = LateClaims([first])
    it = Writing(tmp_path, bits)
    it.inserter.fails = False
    await it.writer.start()
    async with asyncio.timeout(120):
        assert await it.refused(replace(first, hop=1)) == Verdict.UNDECIDED.value
        await it.writer.write(of(2, 1))
        await it.writer.write(of(1, 2))
        assert await it.refused(replace(of(1, 3), hop=1)) == NO_ROOM
        assert "aside_bytes" in it.health.problems()[Part.ROOM]
        assert it.count("no_room") == 1
        assert it.writer.held_bytes == first.held_bytes
        FrameClaims(bits).verdicts("other", [first])  # that one withdraws
        await until(lambda: Part.ROOM not in it.health.problems())
        await it.writer.write(replace(first, hop=1))
    assert it.inserter.stored == [of(2, 1).identity, of(1, 2).identity, first.identity]
    assert it.writer.held_bytes == 0
    await it.writer.stop(60)


async def test_a_batch_that_fails_alone_holds_up_no_other_org(tmp_path: Path) -> None:
    """It is stored once its fault is mended, or kept for a person once its token may be forgotten."""
    it = Writing(tmp_path, MemoryBits())
    await it.writer.start()
    async with asyncio.timeout(120):
        for sequence in (1, 2):
            assert "damaged" in await it.refused(of(1, sequence))
        await it.writer.write(of(2, 1))
        assert await it.refused(of(1, 1)) == "its batch is unfinished"
        it.inserter.fails = False
        await until(lambda: not it.journal.unfinished())
        await it.writer.write(of(1, 1))
        it.inserter.fails, it.journal._max_later_blocks = True, 0
        await it.refused(of(1, 3))
        await it.writer.write(of(2, 2))
        await until(lambda: it.journal.state(of(1, 3).identity) is BatchState.TOO_OLD)
        with pytest.raises(TooOld):
            await it.writer.write(of(1, 3))
        await until(lambda: it.writer.held_bytes == 0)
    assert sorted(it.inserter.stored) == [of(*one).identity for one in ((1, 1), (1, 2), (2, 1), (2, 2))]
    await it.writer.stop(60)


async def test_batches_of_an_earlier_run_without_room_hold_nothing_up(tmp_path: Path) -> None:
    it = Writing(tmp_path, MemoryBits())
    it.journal.begin("t", [of(1, 1)], 1)
    await it.writer.start()
    async with asyncio.timeout(120):
        await it.writer.write(of(2, 1))
        assert it.writer.held_bytes == of(1, 1).held_bytes
    await it.writer.stop(60)


async def test_such_a_batch_that_is_damaged_meanwhile_is_set_aside(tmp_path: Path) -> None:
    """It is there already, so it needs no room; its sender's next try mends it."""
    it = Writing(tmp_path, MemoryBits())
    await it.writer.start()
    async with asyncio.timeout(120):
        assert "damaged" in await it.refused(of(1, 1))
        await asyncio.to_thread(damage_frame, tmp_path / "journal.sqlite", of(1, 1).identity)
        await until(lambda: bool(it.journal.kept()))
        await until(lambda: it.writer.held_bytes == 0)
        assert it.count("damaged") == 1
        await it.writer.write(of(2, 1))
        (kept,) = await it.writer.aside.listing()
        assert kept.state is BatchState.ASIDE
        it.inserter.fails = False
        assert await it.refused(of(1, 1)) == "its batch is set aside and tried again"
        with suppress(KeyError):  # it may have been stored by itself
            assert await it.writer.aside.retry(kept.token) is None
        await it.writer.write(of(1, 1))
    assert it.inserter.stored == [of(2, 1).identity, of(1, 1).identity]
    await it.writer.stop(60)


async def test_a_damaged_batch_of_an_earlier_run_ends_no_start(tmp_path: Path) -> None:
    """Others are written at once; the person who asks need not wait for the damaged frame."""
    it = Writing(tmp_path, MemoryBits())
    it.inserter.fails = False
    it.journal.begin("t", [of(1, 1), of(3, 1)], 1)
    it.journal.begin("whole", [of(4, 1)], 1)
    damage_frame(tmp_path / "journal.sqlite", of(1, 1).identity)
    await it.writer.start()
    async with asyncio.timeout(120):
        await it.writer.write(of(2, 1))
        await until(lambda: it.inserter.stored == [of(4, 1).identity, of(2, 1).identity])
        assert await it.refused(of(3, 1)) == "its batch is set aside and tried again"
        assert "damaged" in it.health.problems()[Part.BATCHES]
        assert await it.writer.aside.retry("t") is None
        await it.writer.write(of(3, 1))
        with pytest.raises(TooOld):
            await it.writer.write(of(1, 1))
        (kept,) = await it.writer.aside.listing()
        assert await it.writer.aside.units(kept.token) == [of(1, 1)]
    assert it.inserter.stored[2:] == [of(3, 1).identity]
    await it.writer.stop(60)
