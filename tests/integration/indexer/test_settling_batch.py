"""A batch that waits for a deletion after a failed attempt continues as it was left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import BatchSettings, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import BatchClaims
from indexer.write.errors import Unavailable
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.journal import Journal
from indexer.write.journal_writer import JournalWriter
from tests.integration.indexer.memory_inserter import MemoryInserter
from tests.support.bit_table import MemoryBits
from tests.support.frames import counter_frame, unit

FIRST, SECOND = (unit(counter_frame({"a": 1.0}, 0, sequence=n)) for n in (1, 2))
ORG = FIRST.frame.org_id


class FailingOnce(MemoryInserter):
    """An inserter whose first INSERT fails while a deletion begins to wait for the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.inserted: list[list[str]] = []

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:  # noqa: ARG002
        self.inserted.append([one.identity for one in units])
        if len(self.inserted) > 1:
            return 1
        closing = threading.Thread(target=self._delete)
        closing.start()
        deadline = time.monotonic() + 120
        while not self.gate.closed:  # no notice comes when it closes
            assert time.monotonic() < deadline
            time.sleep(0.001)
        raise StoreError("full", retryable=True, fault=Fault.FULL)

    def _delete(self) -> None:
        with self.gate.alone(ORG, 120):
            pass


async def test_frames_that_left_a_batch_stay_out_of_it(tmp_path: Path) -> None:
    """Else another indexer and this one store them."""
    table, inserter = MemoryBits(), FailingOnce()
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, max_identities=10, max_age_ms=10**9, max_aside_bytes=1 << 20)
    FrameClaims(table).announce("other", [replace(FIRST, hop=1)])
    claims = BatchClaims(FrameClaims(table), journal)
    settings = Settings(batch=BatchSettings(linger_ms=0))
    store = Mock(spec=Store)
    store.rows.return_value = []
    writer = JournalWriter(store, inserter, journal, settings, Metrics(), claims=claims)
    writes = [asyncio.create_task(writer.write(one)) for one in (FIRST, SECOND)]
    await asyncio.sleep(0)
    await writer.start()
    async with asyncio.timeout(120):
        await writes[1]
        with pytest.raises(Unavailable, match=Verdict.ELSEWHERE.value):
            await writes[0]
    await writer.stop(60)
    assert inserter.inserted == [[SECOND.identity]] * 2
