"""While a deletion holds the INSERTs of its org back, frames of other orgs are acknowledged."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from agent.wire.frame import Frame, encode
from indexer.service import IndexerService
from indexer.settings import BatchSettings, JournalSettings, Settings
from tests.support.frames import counter_frame

NOW_S = int(time.time()) // 10 * 10


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_a_deletion_of_one_org_holds_up_no_other(
    migrated_dsn: str, tmp_path: Path, batching: str
) -> None:
    settings = Settings(
        dsn=migrated_dsn,
        listen="127.0.0.1:0",
        up=False,
        batching=batching,  # type: ignore[arg-type]
        connections=2,
        acknowledge_s=240,  # as long as a busy machine takes for the others' frames
        batch=BatchSettings(linger_ms=20),
        journal=JournalSettings(path=str(tmp_path / "journal.sqlite")),
    )
    service = IndexerService(settings)
    await service.start()
    assert service._writer is not None
    gate = service._writer._inserter.gate
    async with aiohttp.ClientSession(f"http://{service.address}") as session:

        async def send(frame: Frame) -> int:
            async with session.post("/v1/frames", data=encode(frame)) as response:
                return response.status

        def of(org_id: int, number: int) -> Frame:
            return counter_frame({"a": 1.0}, NOW_S, sequence=number, org_id=org_id)

        with gate.alone(1, 0.0):
            held = [asyncio.create_task(send(of(1, number))) for number in range(6)]
            for number in range(3):
                several = [send(of(2, 2 * number)), send(of(2, 2 * number + 1)), send(of(3, number))]
                assert await asyncio.gather(*several) == [200] * 3
            assert not any(task.done() for task in held)
        assert await asyncio.gather(*held) == [200] * 6
    await service.stop()
