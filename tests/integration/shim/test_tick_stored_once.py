"""A tick of many series, which two shims evaluate with different results: each series is stored once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from indexer.clickhouse.store import open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from shim.indexers.message_writes import Stored, local_messages
from shim.metrics import ShimMetrics
from shim.model import labels as lb
from shim.model.tenancy import Tenant
from shim.rules.recorded_messages import TickResults, key_of
from shim.rules.tick_requests import TickPart, TickParts, tick_parts
from shim.rules.tick_storage import TickStorage

SERIES = 20_000
TENANT = Tenant(1, 1)
#: The value that each shim records; the sum of both differs from each.
FIRST, SECOND = 1.0, 1_000.0


class KilledError(Exception):
    """The shim is gone."""


def _tick(series: int, value: float, tick_s: int) -> TickParts:
    results = TickResults(frozenset({"n"}))
    for n in range(series):
        results.append(lb.make({lb.NAME: "n", "n": str(n)}), tick_s * 1000, value)
    return tick_parts(TENANT, 1, results, ("f;g", tick_s))


async def _here(call: Callable[[], Sequence[TickPart]]) -> Sequence[TickPart]:
    return call()


async def test_two_shims_of_which_one_is_killed(
    chdb_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shim has 20,000 counters and dies between its requests; the second has 20,000 or 7,000."""
    monkeypatch.setattr("indexer.receive.receiver._MEMORY_WAIT_S", 120.0)  # requests wait for each other
    store = open_store(chdb_dsn, pool=2)
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    service = IndexerService(
        Settings(dsn=chdb_dsn, listen="127.0.0.1:0", up=False, journal=journal, acknowledge_s=60.0)
    )
    await service.start()
    take = local_messages(service.take_messages)

    async def stored(tick: TickParts, key: str, requests: int) -> str:
        async def send(body: bytes, of: str) -> Stored:
            nonlocal requests
            if not requests:
                raise KilledError
            requests -= 1
            return await take(body, of)

        try:
            return await TickStorage(send, _here, ShimMetrics(), key, "g").run(tick)
        except KilledError:
            return "killed"

    try:
        for killed, second in ((1, SERIES), (7, 7_000)):
            tick_s = int(time.time()) // 10 * 10 - 60 * killed
            key = key_of(TENANT, "f", "g", tick_s)
            assert await stored(_tick(SERIES, FIRST, tick_s), key, killed) == "killed"
            assert await stored(_tick(second, SECOND, tick_s), key, 1_000) == (
                "known" if killed > 1 else "stored"
            )
            found = store.rows(
                "SELECT total, count() FROM (SELECT sum(value) AS total FROM counters_10s"
                f" WHERE toUInt32(timestamp) = {tick_s - 10} GROUP BY series_id) GROUP BY total"
            )
            counts = {float(total): int(n) for total, n in found}
            assert counts.keys() <= {FIRST, SECOND}, (killed, counts)
            if second == SERIES:
                assert sum(counts.values()) == SERIES
            else:
                assert (
                    counts[FIRST] > SERIES // 16
                )  # some of 16 parts, and the second one's messages of the rest
                assert second < sum(counts.values()) < SERIES
    finally:
        await service.stop()
        store.close()
