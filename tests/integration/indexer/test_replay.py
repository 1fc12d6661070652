"""Frames are received while the unfinished batches of an earlier run are written, and follow these."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import BatchSettings, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import BatchClaims
from indexer.write.batch_state import BatchState
from indexer.write.frame_claims import FrameClaims
from indexer.write.journal import Journal
from indexer.write.journal_writer import JournalWriter
from tests.integration.indexer.memory_inserter import MemoryInserter
from tests.support.bit_table import MemoryBits
from tests.support.frames import counter_frame, unit

LEFT, NEW, LATER = (unit(counter_frame({"a": 1.0}, 0, sequence=n)) for n in (1, 2, 3))


class HeldInserter(MemoryInserter):
    """An inserter whose INSERTs wait for `go`; the first `failures` of them fail."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.go = threading.Event()
        self.inserted: list[tuple[str, list[str]]] = []
        self._failures = failures

    def prepare(self, units: Sequence[AcceptedFrame]) -> None:  # noqa: ARG002
        raise StoreError("full", retryable=True, fault=Fault.FULL)

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:
        assert self.go.wait(120)
        self.inserted.append((token, [one.identity for one in units]))
        if len(self.inserted) <= self._failures:
            raise StoreError("full", retryable=True, fault=Fault.FULL)
        return 1


def no_rows() -> Store:
    """Return a store whose tables are empty."""
    store = Mock(spec=Store)
    store.rows.return_value = []
    return store


def left_journal(folder: Path) -> Journal:
    """Return the journal of a run that died with a batch under way."""
    path = folder / "journal.sqlite"
    journal = Journal(path, max_identities=10, max_age_ms=10**9, max_aside_bytes=1 << 20)
    journal.begin("left", [LEFT], 0)
    return journal


@pytest.mark.parametrize("failures", [0, 2])
async def test_frames_come_while_an_unfinished_batch_is_written(tmp_path: Path, failures: int) -> None:
    inserter, journal = HeldInserter(failures), left_journal(tmp_path)
    claims = BatchClaims(FrameClaims(MemoryBits()), journal)
    settings = Settings(batch=BatchSettings(linger_ms=0, parts_per_s=1_000))
    writer = JournalWriter(no_rows(), inserter, journal, settings, Metrics(), claims=claims)
    async with asyncio.timeout(120):
        await writer.start()
        assert inserter.inserted == [], "the start does not wait for the batch"
        writes = [asyncio.create_task(writer.write(one)) for one in (LEFT, NEW, LATER)]
        await asyncio.sleep(0)
        assert not any(write.done() for write in writes)
        inserter.go.set()
        await asyncio.gather(*writes)
        await writer.write(LEFT)  # it is known
    tokens = [token for token, _ in inserter.inserted]
    assert tokens[: failures + 1] == ["left"] * (failures + 1), "under its token, before all else"
    assert [of for _, of in inserter.inserted[failures:]] == [[LEFT.identity], [NEW.identity, LATER.identity]]
    assert journal.counts()[BatchState.DONE] == 3
    await writer.stop(60)


async def test_embedded_an_unfinished_batch_is_written_before_frames_come(tmp_path: Path) -> None:
    """The identities in ClickHouse are compared with the journal next, and must not be ahead of it."""
    inserter, journal = HeldInserter(), left_journal(tmp_path)
    writer = JournalWriter(no_rows(), inserter, journal, Settings(), Metrics())
    inserter.go.set()
    async with asyncio.timeout(120):
        await writer.start()
    assert inserter.inserted == [("left", [LEFT.identity])]
    assert journal.state(LEFT.identity) is BatchState.DONE
    await writer.stop(60)
