"""How far back frames are known: by a journal that may lack some, and by ClickHouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer.clickhouse.schema import STORED_IDENTITIES
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import Bounds, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import TooOld, Unavailable
from indexer.write.journal import Journal
from indexer.write.known_frames import KnownFrames, open_known_frames
from indexer.write.stored_identities import StoredIdentities
from tests.support.frames import counter_frame, unit

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS


def frame(age_ms: int) -> AcceptedFrame:
    return unit(counter_frame({"a": 1.0}, 0, created_ms=NOW_MS - age_ms))


class Memory:
    """A journal with one stored frame, and the identities that ClickHouse has."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(
            folder / "journal.sqlite", max_identities=10, max_age_ms=1 << 50, max_aside_bytes=1 << 20
        )
        self.latest = frame(1_000)
        self.journal.begin("t", [self.latest], NOW_MS)
        self.journal.finish("t", NOW_MS)
        self.journal.note_complete(0)
        self.stored = Mock(spec=StoredIdentities)
        self.stored.last_ms.return_value = NOW_MS
        self.stored.latest.return_value = [self.latest.identity]
        self.stored.last_batch.return_value = 1
        self.stored.stored_of.return_value = set()

    def open(self, *, embedded: bool = True, made_ms: int = 1) -> KnownFrames:
        store = Mock(spec=Store)
        store.embedded = embedded
        applied = {1: made_ms, STORED_IDENTITIES: made_ms}
        settings = Settings(bounds=Bounds(future_s=60))
        return open_known_frames(
            store, self.journal, self.stored, Metrics(), settings, lambda: NOW_MS, applied
        )


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


def behind_by_time(memory: Memory) -> None:
    memory.stored.last_ms.return_value = NOW_MS + 1


def behind_by_a_frame(memory: Memory) -> None:
    """Lack a frame, after a clock that stepped back: the times say nothing."""
    memory.stored.latest.return_value = [memory.latest.identity, "web/1/99"]


def behind_by_a_batch(memory: Memory) -> None:
    memory.stored.last_batch.return_value = 2


def whole(_: Memory) -> None:
    """Leave all as it is."""


@pytest.mark.parametrize(
    ("embedded", "happens", "asks"),
    [
        (True, whole, False),
        (True, behind_by_time, True),
        (True, behind_by_a_frame, True),
        (False, whole, False),
        (False, behind_by_a_batch, True),
    ],
)
async def test_clickhouse_is_asked_where_the_journal_is_an_older_copy(
    memory: Memory, happens: Callable[[Memory], None], *, embedded: bool, asks: bool
) -> None:
    happens(memory)
    known = memory.open(embedded=embedded)
    assert not await known.has(frame(5_000))
    assert memory.stored.stored_of.called == asks
    assert memory.journal.complete_since_ms == (NOW_MS if asks else 0)


async def test_an_agent_whose_clock_is_ahead_is_looked_up_too(memory: Memory) -> None:
    behind_by_time(memory)
    known = memory.open()
    await known.has(frame(-59_000))
    assert memory.stored.stored_of.call_count == 1
    await known.has(frame(-61_000))
    assert memory.stored.stored_of.call_count == 1


async def test_a_frame_that_is_not_looked_up_is_neither_new_nor_stored(memory: Memory) -> None:
    behind_by_time(memory)
    memory.stored.stored_of.side_effect = StoreError("away", retryable=True)
    with pytest.raises(Unavailable):
        await memory.open().has(frame(5_000))


@pytest.mark.parametrize(("made_days_ago", "known"), [(1, True), (100, False)])
async def test_a_young_database_has_every_frame_since_its_beginning(
    memory: Memory, made_days_ago: int, *, known: bool
) -> None:
    """No frame of before it can be stored there, however old; an older one has forgotten some."""
    behind_by_time(memory)
    frames = memory.open(made_ms=NOW_MS - made_days_ago * DAY_MS)
    old = frame(50 * DAY_MS)
    if known:
        assert not await frames.has(old)
    else:
        with pytest.raises(TooOld):
            await frames.has(old)
        assert [kept.frames for kept in memory.journal.kept()] == [1], "for a person"
    assert memory.stored.stored_of.called == known
