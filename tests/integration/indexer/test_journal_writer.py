"""The answers of the writer with a journal to its senders, and the batches that it tries again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import BatchSettings, Bounds, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import BatchClaims
from indexer.write.errors import Conflict, Refused, Unavailable
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.identity import frame_identity
from indexer.write.journal import Journal, JournalError
from indexer.write.journal_writer import JournalWriter
from tests.integration.indexer.memory_inserter import MemoryInserter
from tests.support.bit_table import MemoryBits
from tests.support.frames import counter_frame, unit


def frame(sequence: int, digest: bytes = b"") -> AcceptedFrame:
    made = counter_frame({"a": 1.0}, 0, sequence=sequence)
    return replace(unit(made), identity=frame_identity(made, 0), digest=digest)


class Insert(NamedTuple):
    """A call of the inserter."""

    token: str
    identities: list[str]
    first: bool


class Inserts(MemoryInserter):
    """Notes the calls, which wait for `go`; the first ones fail with `errors`.

    ClickHouse refuses the bytes of `bad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Insert] = []
        self.errors: list[StoreError] = []
        self.bad: list[AcceptedFrame] = []
        self.stored: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def insert(
        self,
        token: str,
        units: Sequence[AcceptedFrame],
        *,
        first: bool = False,
        stored: Collection[str] = (),  # noqa: ARG002
        entered: bool = False,  # noqa: ARG002
    ) -> int:
        self.made.append(Insert(token, [one.identity for one in units], first))
        assert self.go.wait(120)
        if self.errors:
            raise self.errors.pop(0)
        self.stored |= {one.identity for one in units}
        return 1

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:
        raise NotImplementedError

    def refused(self, units: Sequence[AcceptedFrame], kind: Kind) -> list[AcceptedFrame]:  # noqa: ARG002
        return [one for one in units if one in self.bad]


class Writing:
    """A writer without ClickHouse; with `bits` others write, too."""

    def __init__(
        self,
        folder: Path,
        *,
        bits: MemoryBits | None = None,
        queue_bytes: int = 1 << 20,
        aside_bytes: int = 1 << 20,
    ) -> None:
        path = folder / "journal.sqlite"
        self.journal = Journal(path, max_identities=100, max_age_ms=10**9, max_aside_bytes=aside_bytes)
        self.inserter = Inserts()
        store = Mock(spec=Store)
        store.rows.return_value = []
        self.writer = JournalWriter(
            store,
            self.inserter,
            self.journal,
            Settings(batch=BatchSettings(linger_ms=0), bounds=Bounds(queue_bytes=queue_bytes)),
            Metrics(),
            claims=BatchClaims(FrameClaims(bits), self.journal) if bits is not None else None,
        )

    async def answers(self, *frames: AcceptedFrame) -> list[BaseException | None]:
        """Send frames at once, as one batch; return the answers."""
        sent = [asyncio.create_task(self.writer.write(one)) for one in frames]
        async with asyncio.timeout(120):
            return await asyncio.gather(*sent, return_exceptions=True)


def failure(fault: Fault) -> StoreError:
    error = StoreError("failed", retryable=True, fault=fault)
    error.kind = "gauges"
    return error


async def test_a_retry_has_the_token_and_is_not_the_first(tmp_path: Path) -> None:
    it = Writing(tmp_path)
    it.inserter.errors = [failure(Fault.FULL), failure(Fault.FULL)]
    await it.writer.start()
    assert await it.answers(frame(1), frame(2)) == [None, None]
    assert [made.first for made in it.inserter.made] == [True, False, False]
    assert len({made.token for made in it.inserter.made}) == 1
    await it.writer.stop(60)


async def test_a_refused_frame_is_told_so_and_the_others_are_stored(tmp_path: Path) -> None:
    it = Writing(tmp_path)
    it.inserter.errors, it.inserter.bad = [failure(Fault.BYTES)], [frame(2)]
    await it.writer.start()
    first, second, third = await it.answers(*map(frame, (1, 2, 3)))
    assert (first, third) == (None, None)
    assert isinstance(second, Refused)
    assert it.inserter.made[-1].identities == [frame(1).identity, frame(3).identity]
    await it.writer.stop(60)


async def test_a_batch_of_an_earlier_run_goes_on_without_its_refused_frame(tmp_path: Path) -> None:
    """Also where the room to set it aside is used up."""
    it = Writing(tmp_path, aside_bytes=0)
    it.journal.begin("t", [frame(1), frame(2)], 0)
    it.inserter.errors, it.inserter.bad = [failure(Fault.BYTES)], [frame(2)]
    await it.writer.start()
    assert await it.answers(frame(3)) == [None]
    assert [made.identities for made in it.inserter.made[:2]] == [
        [frame(1).identity, frame(2).identity],
        [frame(1).identity],
    ]
    await it.writer.stop(60)


async def test_a_full_disk_of_the_journal_leaves_frames_with_their_senders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is begun: messages without a key may be sent again under another one."""
    it = Writing(tmp_path)
    await it.writer.start()

    def full(*_: object) -> None:
        raise JournalError("no space")

    with monkeypatch.context() as broken:
        broken.setattr(it.journal, "begin", full)
        told = await it.answers(frame(1), frame(2))
    assert [isinstance(one, Unavailable) and not one.begun for one in told] == [True, True]
    assert it.inserter.made == []
    assert await it.answers(frame(1), frame(2)) == [None, None]
    await it.writer.stop(60)


async def test_other_bytes_under_the_name_of_a_waiting_frame(tmp_path: Path) -> None:
    it = Writing(tmp_path)
    one, same, other = frame(1, b"x"), frame(1, b"x"), frame(1, b"y")
    sent = [asyncio.create_task(it.writer.write(each)) for each in (one, same, other)]
    await asyncio.sleep(0)
    await it.writer.start()
    async with asyncio.timeout(120):
        first, second, third = await asyncio.gather(*sent, return_exceptions=True)
    assert (first, second) == (None, None)
    assert isinstance(third, Conflict)
    assert [made.identities for made in it.inserter.made] == [[one.identity]]
    await it.writer.stop(60)


async def test_a_sender_that_gives_up_ends_no_other_wait(tmp_path: Path) -> None:
    """Nor the frame: it is written all the same."""
    it = Writing(tmp_path)
    sent = [asyncio.create_task(it.writer.write(frame(1))) for _ in range(2)]
    await asyncio.sleep(0)
    sent[0].cancel()
    await asyncio.gather(sent[0], return_exceptions=True)
    await it.writer.start()
    async with asyncio.timeout(120):
        await sent[1]
    assert it.inserter.stored == {frame(1).identity}
    await it.writer.stop(60)


async def test_a_full_queue_takes_nothing(tmp_path: Path) -> None:
    it = Writing(tmp_path, queue_bytes=frame(1).held_bytes)
    waits = asyncio.create_task(it.writer.write(frame(1)))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as told:
        await it.writer.write(frame(2))
    assert not told.value.begun
    await it.writer.start()
    async with asyncio.timeout(120):
        await waits
    await it.writer.stop(60)


async def test_frames_that_wait_at_the_end_are_not_told_stored(tmp_path: Path) -> None:
    it = Writing(tmp_path)
    waits = asyncio.create_task(it.writer.write(frame(1)))
    await asyncio.sleep(0)
    await it.writer.stop(60)  # it was never started
    with pytest.raises(Unavailable, match="shutting down"):
        await waits


async def test_a_writer_that_stops_writes_what_it_has_and_takes_no_more(tmp_path: Path) -> None:
    it = Writing(tmp_path)
    it.inserter.go.clear()
    await it.writer.start()
    waits = asyncio.create_task(it.writer.write(frame(1)))
    async with asyncio.timeout(120):
        while not it.inserter.made:  # noqa: ASYNC110  # of a thread
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(it.writer.stop(60))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="shutting down") as told:
            await it.writer.write(frame(2))
        assert not told.value.begun
        it.inserter.go.set()
        await waits
        await stopping


async def test_frames_that_others_have_are_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A released one without an owner is a batch of its own: it may have to wait."""
    bits = MemoryBits()
    FrameClaims(bits).announce("other", [replace(frame(1), hop=2)])
    it = Writing(tmp_path, bits=bits)
    begun: list[str] = []
    begin = it.journal.begin

    def noted(token: str, units: Sequence[AcceptedFrame], now_ms: int) -> None:
        begun.extend(one.identity for one in units)
        begin(token, units, now_ms)

    monkeypatch.setattr(it.journal, "begin", noted)
    await it.writer.start()
    elsewhere, released, fresh = await it.answers(
        replace(frame(1), hop=1), replace(frame(2), hop=1), frame(3)
    )
    assert isinstance(elsewhere, Unavailable)
    assert Verdict.ELSEWHERE.value in str(elsewhere)
    assert (released, fresh) == (None, None)
    assert frame(1).identity not in begun
    made = [one.identities for one in it.inserter.made]
    assert sorted(made) == [[frame(2).identity], [frame(3).identity]]
    await it.writer.stop(60)
