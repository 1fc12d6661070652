"""Messages of a Redis stream are stored exactly once: over crashes, two consumers, and without Redis."""

from __future__ import annotations

import asyncio
import base64
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import redis
from msgspec import structs

from indexer.clickhouse.store import Store, open_store
from indexer.metrics import Metrics
from indexer.service import IndexerService
from indexer.settings import Bounds, JournalSettings, Settings, StreamSettings
from indexer.streams.batch import Batch, StoredBatch
from indexer.streams.open_consumers import open_consumers
from indexer.streams.reading_rules import present_rules
from indexer.streams.redis_stream import RedisStream
from indexer.streams.source import Source
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited, Refused
from indexer.write.health import Health
from tests.support.children import end
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
NOW_S = int(time.time()) // 10 * 10
HIT = {"org_id": 1, "project_id": 1, "name": "hits", "timestamp": NOW_S, "type": "c", "value": 1}
GROUP = "metrics:meterhouse"
SHOW_HITS = (
    "import sys; from indexer.clickhouse.store import open_store;"
    "from tests.integration.test_streams import hits;"
    "s = open_store(sys.argv[1], pool=1); print(hits(s)); s.close()"
)


def add(client: Any, *messages: object) -> None:
    for message in messages:
        body = message if isinstance(message, bytes) else msgspec.json.encode(message)
        client.xadd("metrics", {"message": body})


def hits(store: Store) -> list[float]:
    return [
        store.rows(f"SELECT sum(value) FROM counters_{name}")[0][0] for name in ("10s", "60s", "1h", "1d")
    ]


async def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def is_committed(client: Any, messages: int) -> bool:
    log = client.xrange(f"{GROUP}:commit-log")
    return sum(int(fields[b"messages"]) + int(fields[b"dead_letters"]) for _, fields in log) == messages


def indexer(dsn: str, url: str, tmp_path: Path, consumer: str = "one", **of_stream: Any) -> IndexerService:
    return IndexerService(
        Settings(
            dsn=dsn,
            listen="127.0.0.1:0",
            up=False,
            journal=JournalSettings(path=str(tmp_path / "journal.sqlite")),
            stream=StreamSettings(url=url, consumer=consumer, **of_stream),
        )
    )


async def test_messages_are_stored_logged_and_bad_ones_kept(
    chdb_dsn: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    client: Any = redis.Redis.from_url(redis_server.url)
    service = indexer(chdb_dsn, redis_server.url, tmp_path, tenants="1:*")
    await service.start()
    add(client, HIT, [HIT, {**HIT, "value": "x"}], b"// none\n{}", {**HIT, "org_id": 2})
    client.xadd("metrics", {"two": b"1", "fields": b"2"})
    client.xadd("metrics", {"any": msgspec.json.encode(HIT)})
    members = base64.b64encode(struct.pack("<3I", 7, 8, 7)).decode()
    add(client, {**HIT, "type": "d", "value": {"format": "array", "data": [1.5, 2.5]}})
    add(client, {**HIT, "type": "s", "value": {"format": "base64", "data": members}})
    await until(lambda: is_committed(client, 9))
    letters = [fields for _, fields in client.xrange(f"{GROUP}:dead-letters")]
    reasons = sorted(fields[b"reason"].decode() for fields in letters)
    wanted = ["no field `message`", "not JSON: a comment in line 1", "org 2", "value: not a finite number"]
    assert len(reasons) == len(wanted)
    assert all(any(text in reason for reason in reasons) for text in wanted[:2] + wanted[3:]), reasons
    assert msgspec.json.encode({**HIT, "value": "x"}) in [fields[b"message"] for fields in letters]
    assert client.xpending("metrics", "meterhouse")["pending"] == 0
    await until(lambda: service.metrics.dead_letters._value.get() == 4)  # counted after the commit
    await service.stop()
    store = open_store(chdb_dsn)
    assert hits(store) == [3.0] * 4
    logged = store.rows(
        "SELECT source, stream, sum(messages), sum(rows), sum(dead_letters) FROM commit_log GROUP BY 1, 2"
    )
    assert logged == [("redis", "metrics", 5, 5, 4)]
    assert store.rows("SELECT sum(count), sum(sum) FROM distributions_10s") == [(2, 4.0)]
    assert store.rows("SELECT uniqCombined64Merge(members) FROM sets_10s") == [(2,)]
    store.close()


@pytest.mark.parametrize(
    ("batching", "kills"),
    [("journal", ["counters", "commit"]), ("frame", ["counters"])],
)
def test_killed_at_every_place(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    tmp_path: Path,
    batching: str,
    kills: Sequence[str],
) -> None:
    # chdb holds one path per process, and this one has its own
    url = f"chdb://{tmp_path}/chdb" if batching == "journal" else request.getfixturevalue("http_dsn")
    journal = tmp_path / "journal.sqlite"
    client: Any = redis.Redis.from_url(redis_server.url)
    add(client, *[{**HIT, "project_id": 1 + i % 2} for i in range(10)])
    program = [sys.executable, "-m", "tests.integration.stream_process", url, batching, str(journal)]
    for kill in kills:
        died = subprocess.run(
            [*program, redis_server.url, kill], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=300, check=False
        )
        assert died.returncode == -9, kill
    last = subprocess.Popen([*program, redis_server.url, "never"], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(until(lambda: is_committed(client, 10)))
    finally:
        end(last)
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HITS, url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[10.0, 10.0, 10.0, 10.0]\n"


async def test_two_consumers_share_a_stream(http_dsn: str, redis_server: RedisServer, tmp_path: Path) -> None:
    client: Any = redis.Redis.from_url(redis_server.url)
    add(client, *[HIT] * 60)
    services = [indexer(http_dsn, redis_server.url, tmp_path, name, entries=10) for name in ("one", "two")]
    for service in services:
        await service.start()
    await until(lambda: is_committed(client, 60))
    for service in services:
        await service.stop()
    store = open_store(http_dsn)
    assert hits(store) == [60.0] * 4
    store.close()


def test_a_dead_consumers_batch_is_taken_over_as_it_is(redis_server: RedisServer) -> None:
    client: Any = redis.Redis.from_url(redis_server.url)
    settings = StreamSettings(url=redis_server.url, entries=3, claim_s=0.05)
    present, later = (present_rules(Settings(bounds=Bounds(body_bytes=size)), "*:*") for size in (1000, 2000))
    one, two = RedisStream(settings, "one", present), RedisStream(settings, "two", present)
    assert one.next() is None  # creates the group
    add(client, *[HIT] * 4, b"x" * 1001)
    first = one.next()
    assert first is not None
    assert first == one.next() == RedisStream(settings, "one", later).next()  # by the rules of the first time
    assert len(first.entries.ids) == 3
    patient = RedisStream(structs.replace(settings, claim_s=3_600.0), "two", present)
    second = patient.next()
    assert second is not None
    assert not second.taken_over
    assert [len(message) > 0 for message in second.entries.messages] == [True, False]
    assert patient.commit(second, StoredBatch(1, 1))
    patient.close()
    deadline = time.monotonic() + 120
    while (taken := two.next()) is None:
        assert time.monotonic() < deadline
    assert taken.taken_over
    assert (taken.key, taken.entries) == (first.key, first.entries)
    assert not one.keep(first)
    assert not one.commit(first, StoredBatch(3, 3))
    assert two.keep(taken)
    assert two.commit(taken, StoredBatch(3, 3))
    assert one.next() is None
    assert two.next() is None
    assert is_committed(client, 4)
    one.close()
    two.close()


def test_a_batch_of_large_entries_ends_at_its_bytes(redis_server: RedisServer) -> None:
    client: Any = redis.Redis.from_url(redis_server.url)
    settings = StreamSettings(url=redis_server.url, bytes=150_000)
    stream = RedisStream(settings, "one", present_rules(Settings(), "*:*"))
    assert stream.next() is None  # creates the group
    add(client, *[b"x" * 100_000] * 20)
    batch = stream.next()
    assert batch is not None
    assert len(batch.entries.ids) == 2
    stream.close()


async def test_limited_orgs_delay_no_others_and_refused_frames_are_dead_letters(
    redis_server: RedisServer,
) -> None:
    client: Any = redis.Redis.from_url(redis_server.url)
    add(client, HIT, {**HIT, "org_id": 2}, {**HIT, "org_id": 3})
    limited, tried = {2}, []
    entries = list[tuple[str, int, int]]()

    def noted(source: Source, _: Batch, of: StoredBatch) -> None:
        entries.append((source.stream, of.messages, len(of.parked)))

    stored: list[str] = []

    async def write(units: Sequence[AcceptedFrame]) -> None:
        (unit,) = units
        tried.append(unit.identity)
        if unit.frame.org_id in limited:
            raise Limited("too many rows", 0)
        if unit.frame.org_id == 3:
            raise Refused("its bytes")
        stored.append(unit.identity)

    consumers = open_consumers(
        Settings(stream=StreamSettings(url=redis_server.url, consumer="one")),
        write,
        noted,
        Metrics(),
        Health(),
    )
    for consumer in consumers:
        consumer.start()
    await until(lambda: is_committed(client, 2))
    add(client, {**HIT, "org_id": 4})
    await until(lambda: is_committed(client, 3))  # org 2 waits, the others do not
    limited.clear()
    await until(lambda: is_committed(client, 4))
    for consumer in consumers:
        await consumer.stop()
    assert [identity.split("/")[1] for identity in stored] == ["1:1", "4:1", "2:1"]
    assert len({name for name in tried if name.startswith("messages/2:1/")}) == 1  # parked under its name
    assert client.xlen(f"{GROUP}:parked") == 0
    assert entries[0] == ("metrics", 1, 1)
    assert entries[-1] == (f"{GROUP}:parked", 1, 0)
    ((_, letter),) = client.xrange(f"{GROUP}:dead-letters")
    assert (letter[b"reason"], msgspec.json.decode(letter[b"message"])["org_id"]) == (b"its bytes", 3)


async def test_without_redis_the_stream_waits_and_says_so(
    chdb_dsn: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    service = indexer(chdb_dsn, redis_server.url, tmp_path)
    await service.start()
    async with aiohttp.ClientSession(service.url) as session:
        await until(lambda: bool(service.health.problems()))
        async with session.get("/readyz") as answer:
            assert (answer.status, "stream: Redis" in await answer.text()) == (200, True)
        redis_server.start()
        client: Any = redis.Redis.from_url(redis_server.url)
        add(client, HIT)
        await until(lambda: is_committed(client, 1))
        await until(lambda: not service.health.problems())  # after the commit
        async with session.get("/readyz") as answer:
            assert await answer.text() == "ready\n"
    await service.stop()
