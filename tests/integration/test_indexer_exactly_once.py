"""A frame counts once: sent twice, at the same time, or again after the indexer died with -9 anywhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.wire.frame import Frame, encode
from indexer.clickhouse.schema import GRANULARITIES, Retention
from indexer.clickhouse.store import Store, open_store
from indexer.service import IndexerService
from indexer.settings import BatchSettings, JournalSettings, Settings
from tests.support.children import end
from tests.support.frames import FrameRows, counter_frame, make_frame

ROOT = Path(__file__).parents[2]
NOW_S = int(time.time()) // 86_400 * 86_400
RETENTION = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


def mixed_frame(sequence: int = 1) -> Frame:
    rows = FrameRows(
        counters=[("hits", {"host": f"h{i}"}, NOW_S + 10 * i, i + 0.5) for i in range(20)],
        gauges=[("depth", {"host": f"h{i}"}, NOW_S, (NOW_S * 1000 + i, i, 0, i, i, 3)) for i in range(5)],
        distributions=[("took", {"host": f"h{i}"}, NOW_S, [0.1, 2.0, -1.0, 0.0]) for i in range(5)],
        sets=[("users", {}, NOW_S, [sequence * 100 + i for i in range(50)])],
    )
    return make_frame(rows, agent="agent-1", sequence=sequence)


def totals(store: Store) -> list[tuple[Any, ...]]:
    """Return the sums of the rollups, one row per granularity."""
    out = []
    for g in GRANULARITIES:
        n = g.name
        (counters,) = store.rows(f"SELECT sum(value) FROM counters_{n}")
        (gauges,) = store.rows(f"SELECT sum(sum), sum(count), max(last.2) FROM gauges_{n}")
        (dists,) = store.rows(
            "SELECT sum(count), sum(sum), sum(zero), arraySum(mapValues(sumMap(positive)))"
            f" FROM distributions_{n}"
        )
        (members,) = store.rows(f"SELECT uniqCombined64Merge(members) FROM sets_{n}")
        out.append(counters + gauges + dists + members)
    return out


ONCE = (200.0, 10.0, 15.0, 4.0, 20.0, pytest.approx(5.5), 5.0, 10.0, 50)


@contextmanager
def indexer(
    dsn: str, batching: str = "journal", kill: str = "never"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield a real process; return its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.indexer_process", dsn, batching, kill],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            address = child.stdout.readline().strip()  # comes when it listens; an early death ends the pipe
            assert address, f"the indexer did not start: {child.wait(120)}"
            yield f"http://{address}/v1/frames", child
        finally:
            end(child)


def post(url: str, body: bytes) -> int | None:
    """Return the status; None when the connection broke."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/x-meterhouse-frame"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return int(response.status)
    except urllib.error.HTTPError as e:
        return e.code
    except OSError:
        return None


def read_totals(dsn: str) -> list[tuple[Any, ...]]:
    """Ask from another process: chdb holds one path per process, and this one has its own."""
    code = (
        "import sys; from indexer.clickhouse.store import open_store;"
        "from tests.integration.test_indexer_exactly_once import totals;"
        "s = open_store(sys.argv[1], pool=1); print(totals(s)); s.close()"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, dsn], cwd=ROOT, capture_output=True, text=True, check=True
    )
    result: list[tuple[Any, ...]] = eval(out.stdout)  # our own print of numbers
    return result


@pytest.mark.parametrize("kill", ["before", "counters", "gauges", "distributions", "sets", "after"])
def test_killed_and_resent(tmp_path: Path, kill: str) -> None:
    dsn = f"chdb://{tmp_path}/chdb"
    body = encode(mixed_frame())
    with indexer(dsn, kill=kill) as (url, child):
        assert post(url, body) is None
        assert child.wait(120) == -9
    with indexer(dsn) as (url, _):
        assert post(url, body) == 200
        assert post(url, body) == 200
    assert read_totals(dsn) == [ONCE] * 4


def test_killed_and_not_resent_is_finished_at_the_next_start(tmp_path: Path) -> None:
    dsn = f"chdb://{tmp_path}/chdb"
    with indexer(dsn, kill="gauges") as (url, child):
        assert post(url, encode(mixed_frame())) is None
        assert child.wait(120) == -9
    with indexer(dsn):
        pass
    assert read_totals(dsn) == [ONCE] * 4


@pytest.mark.parametrize("kill", ["before", "counters", "after"])
def test_killed_in_front_of_a_server_and_resent_to_another(http_dsn: str, kill: str) -> None:
    body = encode(mixed_frame())
    with indexer(http_dsn, "frame", kill) as (url, child):
        assert post(url, body) is None
        assert child.wait(120) == -9
    with indexer(http_dsn, "frame") as (url, _), indexer(http_dsn, "frame") as (other, _):
        assert post(url, body) == 200
        assert post(other, body) == 200
    store = open_store(http_dsn, pool=1)
    assert totals(store) == [ONCE] * 4
    store.close()


def settings(dsn: str, tmp_path: Path, batching: str = "auto", **fields: Any) -> Settings:
    tree = {"dsn": dsn, "listen": "127.0.0.1:0", "batching": batching, "retention": RETENTION, "up": False}
    return Settings(**(tree | {"journal": JournalSettings(path=str(tmp_path / "journal.sqlite"))} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_sent_twice_in_turn_and_together(chdb_dsn: str, tmp_path: Path, batching: str) -> None:
    service = IndexerService(settings(chdb_dsn, tmp_path, batching))
    await service.start()
    body = encode(mixed_frame())
    async with aiohttp.ClientSession() as session:

        async def send() -> int:
            async with session.post(f"http://{service.address}/v1/frames", data=body) as response:
                return response.status

        assert await asyncio.gather(*(send() for _ in range(5))) == [200] * 5
        assert await send() == 200
    await service.stop()
    store = open_store(chdb_dsn, pool=1)
    assert totals(store) == [ONCE] * 4
    store.close()


async def test_many_small_frames_of_many_agents_are_batched(chdb_dsn: str, tmp_path: Path) -> None:
    service = IndexerService(settings(chdb_dsn, tmp_path, batch=BatchSettings(linger_ms=50)))
    await service.start()
    before = service.version()
    frames = [counter_frame({f"h{i}": 1.0}, NOW_S, agent=f"agent-{i}", sequence=1) for i in range(200)]
    async with aiohttp.ClientSession() as session:

        async def send(frame: Frame) -> int:
            async with session.post(f"http://{service.address}/v1/frames", data=encode(frame)) as response:
                return response.status

        for _ in range(2):
            assert set(await asyncio.gather(*map(send, frames))) == {200}
    batches = service.metrics.registry.get_sample_value("meterhouse_indexer_batches_total")
    assert batches is not None
    assert batches < 20
    registrations = service.version() - before
    assert 1 <= registrations <= 2 * batches, "one for each batch and day, not for each frame"
    await service.stop()
    store = open_store(chdb_dsn, pool=1)
    for g in GRANULARITIES:
        assert store.rows(f"SELECT sum(value) FROM counters_{g.name}") == [(200.0,)]
    assert store.rows("SELECT count(DISTINCT series_id) FROM series") == [(200,)]
    store.close()


async def test_a_batch_of_a_missing_table_is_set_aside_and_stored_without_a_restart(
    chdb_dsn: str, tmp_path: Path
) -> None:
    """A rollup's table is missing: that batch waits, others are stored; later each row is stored once."""
    store = open_store(chdb_dsn, pool=2)
    service = IndexerService(settings(chdb_dsn, tmp_path))
    await service.start()
    whole, sets = mixed_frame(), make_frame(FrameRows(sets=[("users", {}, NOW_S, [1, 2])]), sequence=7)
    assert await sent(service, make_frame(FrameRows(), sequence=8)) == 200
    store.command("RENAME TABLE counters_1d TO elsewhere")
    assert await sent(service, whole) == 503
    assert await sent(service, whole) == 503
    assert await sent(service, sets) == 200
    store.command("RENAME TABLE elsewhere TO counters_1d")
    deadline = time.monotonic() + 120
    while await sent(service, whole) != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await service.stop()
    expected = (*ONCE[:-1], 52)
    assert totals(store) == [expected] * 4
    store.close()


async def test_a_set_aside_batch_outlives_a_restart(chdb_dsn: str, tmp_path: Path) -> None:
    store = open_store(chdb_dsn, pool=2)
    service = IndexerService(settings(chdb_dsn, tmp_path))
    await service.start()
    store.command("RENAME TABLE counters_1d TO elsewhere")
    assert await sent(service, mixed_frame()) == 503
    await service.stop()
    again = IndexerService(settings(chdb_dsn, tmp_path))
    await again.start()  # before the table is there
    assert await sent(again, mixed_frame()) == 503
    store.command("RENAME TABLE elsewhere TO counters_1d")
    deadline = time.monotonic() + 120
    while await sent(again, mixed_frame()) != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await again.stop()
    assert totals(store) == [ONCE] * 4
    store.close()


async def sent(service: IndexerService, frame: Frame) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{service.address}/v1/frames", data=encode(frame)) as response,
    ):
        return response.status


async def test_a_full_disk_is_not_the_batchs_fault(chdb_dsn: str, tmp_path: Path) -> None:
    """The batch is tried again until there is room, and is stored once then."""
    store = open_store(chdb_dsn, pool=2)
    service = IndexerService(settings(chdb_dsn, tmp_path, attempts=1))
    await service.start()
    least = "MODIFY SETTING min_free_disk_bytes_to_perform_insert"
    store.command(f"ALTER TABLE counters_1d {least} = {1 << 60}")

    def refusals() -> float:
        labels = {"retryable": "true"}
        return service.metrics.registry.get_sample_value("meterhouse_indexer_store_errors_total", labels) or 0

    async with aiohttp.ClientSession() as session:
        sending = asyncio.ensure_future(
            session.post(f"http://{service.address}/v1/frames", data=encode(mixed_frame()))
        )
        deadline = time.monotonic() + 120
        while refusals() < 3:
            assert not sending.done()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        store.command(f"ALTER TABLE counters_1d {least} = 0")
        assert (await sending).status == 200
    await service.stop()
    assert totals(store) == [ONCE] * 4
    store.close()


async def test_stop_writes_what_was_taken(chdb_dsn: str, tmp_path: Path) -> None:
    service = IndexerService(settings(chdb_dsn, tmp_path, batch=BatchSettings(linger_ms=60_000)))
    await service.start()
    async with aiohttp.ClientSession() as session:
        sending = asyncio.ensure_future(
            session.post(f"http://{service.address}/v1/frames", data=encode(mixed_frame()))
        )
        deadline = time.monotonic() + 120
        while not service.held_bytes:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        await service.stop()
        with suppress(aiohttp.ClientError):
            assert (await sending).status == 200
    store = open_store(chdb_dsn, pool=1)
    assert totals(store) == [ONCE] * 4
    store.close()
