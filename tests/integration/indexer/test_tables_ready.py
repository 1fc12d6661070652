"""Tables that are made ready beside the imports of a start; a failure is left to the start."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import aiohttp
import pytest

from agent.wire.frame import encode
from indexer.clickhouse.schema import lacking
from indexer.clickhouse.schema.migrate import applied_times, applied_versions
from indexer.clickhouse.store import StoreError
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.tables_ready import early_tables
from tests.support.frames import counter_frame


async def test_a_start_uses_tables_that_are_ready_and_closes_their_store(
    migrated_http_dsn: str, tmp_path: Path
) -> None:
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    settings = Settings(
        dsn=migrated_http_dsn, listen="127.0.0.1:0", batching="journal", journal=journal, up=False
    )
    early = early_tables(settings)
    assert early is not None
    tables = early.take()
    assert tables is not None
    store = tables.store
    assert lacking(applied_versions(store), store.database) == ""
    assert (tables.legacy, tables.scoped_from_ms) == (False, applied_times(store)[4])
    service = IndexerService(settings, early=early)
    await service.start()
    frame = encode(counter_frame({"a": 2.0}, int(time.time()) // 10 * 10))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{service.url}/v1/frames", data=frame) as response,
    ):
        assert response.status == 200
    assert store.rows("SELECT sum(value) FROM counters_1d") == [(2.0,)]
    await service.stop()
    with pytest.raises(StoreError, match="closed"):
        store.rows("SELECT 1")


def test_a_server_that_is_away_is_left_to_the_start() -> None:
    with socket.socket() as bound:  # it is ours and does not listen: a connection is refused
        bound.bind(("127.0.0.1", 0))
        early = early_tables(Settings(dsn=f"http://127.0.0.1:{bound.getsockname()[1]}/default"))
        assert early is not None
        assert early.take() is None


@pytest.mark.parametrize("dsn", ["chdb:///./data/chdb", "https://127.0.0.1:8443/default"])
def test_embedded_data_and_tls_wait_for_the_start(dsn: str) -> None:
    assert early_tables(Settings(dsn=dsn)) is None
