"""Messages of a Kafka topic are stored exactly once: over crashes, rebalances, and without brokers."""

from __future__ import annotations

import asyncio
import base64
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from indexer.clickhouse.store import open_store
from indexer.metrics import Metrics
from indexer.service import IndexerService
from indexer.settings import JournalSettings, KafkaSettings, Settings
from indexer.streams.batch import Batch, StoredBatch
from indexer.streams.kafka_installed import NoClientError
from indexer.streams.kafka_stream import KafkaStream
from indexer.streams.open_consumers import open_consumers
from indexer.streams.reading_rules import present_rules
from indexer.streams.source import SourceError
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited
from indexer.write.health import Health
from tests.integration.test_streams import HIT, ROOT, SHOW_HITS, hits, until
from tests.support.children import end
from tests.support.kafka_cluster import KafkaCluster

GROUP = "meterhouse"
#: A member that died leaves its group soon; the mock cluster lets a new group wait for three seconds.
SOON = {"session.timeout.ms": "4000", "heartbeat.interval.ms": "200"}
HIT_BYTES = msgspec.json.encode(HIT)


@pytest.fixture(scope="module")
def kafka_cluster() -> Iterator[KafkaCluster]:
    cluster = KafkaCluster()
    yield cluster
    cluster.stop()


def of_topic(cluster: KafkaCluster, topic: str, **settings: Any) -> KafkaSettings:
    return KafkaSettings(brokers=cluster.brokers, topic=topic, options=SOON, **settings)


def indexer(dsn: str, tmp_path: Path, kafka: KafkaSettings) -> IndexerService:
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    return IndexerService(Settings(dsn=dsn, listen="127.0.0.1:0", up=False, journal=journal, kafka=kafka))


async def until_committed(cluster: KafkaCluster, topic: str, messages: int) -> None:
    """Wait for positions that add up to a number of messages."""

    def there() -> bool:
        return sum(cluster.committed(topic, GROUP).values()) == messages

    deadline = time.monotonic() + 180
    while not await asyncio.to_thread(there):
        assert time.monotonic() < deadline, cluster.committed(topic, GROUP)
        await asyncio.sleep(0.05)


async def test_messages_are_stored_logged_and_bad_ones_kept(
    chdb_dsn: str, kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    doubles = base64.b64encode(struct.pack("<2d", 1.5, 2.5)).decode()
    forms = [
        {**HIT, "type": "d", "value": {"format": "base64", "data": doubles}},
        {**HIT, "type": "s", "value": {"format": "array", "data": [1, 2, 2]}},
    ]
    kafka_cluster.add("forms", *map(msgspec.json.encode, forms), HIT_BYTES)
    kafka_cluster.add("forms", msgspec.json.encode([HIT, {**HIT, "value": "x"}]), b"{", partition=2)
    kafka = of_topic(kafka_cluster, "forms", tenants="1:*", commit_log_topic="forms-log")
    service = indexer(chdb_dsn, tmp_path, kafka)
    await service.start()
    await until_committed(kafka_cluster, "forms", 5)
    await service.stop()
    letters = {
        m.key(): (dict(m.headers() or ()), m.value())
        for m in kafka_cluster.read("forms-meterhouse-dead-letters")
    }
    (rejected, text), (unreadable, _) = letters[b"forms/2/0"], letters[b"forms/2/1"]
    assert (rejected["reason"], msgspec.json.decode(text or b"")["value"]) == (
        b"value: not a finite number",
        "x",
    )
    assert bytes(unreadable["reason"] or b"").startswith(b"not JSON")  # type: ignore[arg-type]
    log = [msgspec.json.decode(m.value() or b"") for m in kafka_cluster.read("forms-log")]
    assert sum(one["messages"] for one in log) == 4
    assert min((one["partition"], one["from"]) for one in log) == (0, 0)
    store = open_store(chdb_dsn)
    assert hits(store) == [2.0] * 4
    logged = store.rows(
        "SELECT source, stream, partition, sum(messages) FROM commit_log GROUP BY 1, 2, 3 ORDER BY 3"
    )
    assert logged == [("kafka", "forms", 0, 3), ("kafka", "forms", 2, 1)]
    ((count, total),) = store.rows("SELECT sum(count), sum(sum) FROM distributions_10s")
    assert (count, total) == (2, 4.0)
    assert store.rows("SELECT uniqCombined64Merge(members) FROM sets_10s") == [(2,)]
    store.close()


def test_killed_between_storing_and_committing(kafka_cluster: KafkaCluster, tmp_path: Path) -> None:
    url, journal = f"chdb://{tmp_path}/chdb", tmp_path / "journal.sqlite"
    messages = [msgspec.json.encode({**HIT, "project_id": 1 + i % 2}) for i in range(10)]
    kafka_cluster.add("killed", *messages)
    program = [sys.executable, "-m", "tests.integration.stream_process", url, "journal", str(journal)]
    program.append(f"kafka:{kafka_cluster.brokers}/killed")
    died = subprocess.run([*program, "commit"], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=300, check=False)
    assert died.returncode == -9
    kafka_cluster.add("killed", HIT_BYTES)  # a batch that was cut stays as it is
    last = subprocess.Popen([*program, "never"], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(until_committed(kafka_cluster, "killed", 11))
    finally:
        end(last)
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HITS, url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[11.0, 11.0, 11.0, 11.0]\n"


async def test_two_consumers_share_a_topic_and_one_leaves(
    http_dsn: str, kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    kafka = of_topic(kafka_cluster, "shared", entries=10)
    services = [indexer(http_dsn, tmp_path, kafka) for _ in range(2)]
    await services[0].start()
    for partition in range(4):
        kafka_cluster.add("shared", *[HIT_BYTES] * 25, partition=partition)
    await services[1].start()  # takes partitions over while they are read
    await until(lambda: bool(services[1].metrics.stream_batches._value.get()))
    await services[0].stop()
    for partition in range(4):
        kafka_cluster.add("shared", *[HIT_BYTES] * 25, partition=partition)
    await until_committed(kafka_cluster, "shared", 200)
    await services[1].stop()
    store = open_store(http_dsn)
    assert hits(store) == [200.0] * 4
    assert store.rows("SELECT sum(messages) FROM commit_log") == [(200,)]
    store.close()


def test_without_its_client_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "indexer.streams.kafka_stream")
    settings = Settings(kafka=KafkaSettings(brokers="localhost:9092"))
    with pytest.raises(NoClientError, match=r"pip install meterhouse\[kafka\]"):
        open_consumers(settings, unused, lambda *_: None, Metrics(), Health())


async def unused(_: Sequence[AcceptedFrame]) -> None:
    raise AssertionError


async def test_limited_orgs_delay_no_others(kafka_cluster: KafkaCluster) -> None:
    kafka_cluster.add("limited", *[msgspec.json.encode({**HIT, "org_id": org}) for org in (1, 2)])
    limited, stored = {2}, list[str]()
    tried = set[str]()

    async def write(units: Sequence[AcceptedFrame]) -> None:
        (unit,) = units
        tried.add(unit.identity)
        if unit.frame.org_id in limited:
            raise Limited("too many rows", 0)
        stored.append(unit.identity)

    settings = Settings(kafka=of_topic(kafka_cluster, "limited"))
    consumers = open_consumers(settings, write, lambda *_: None, Metrics(), Health())
    for consumer in consumers:
        consumer.start()
    await until_committed(kafka_cluster, "limited", 2)
    kafka_cluster.add("limited", msgspec.json.encode({**HIT, "org_id": 4}), partition=1)
    await until_committed(kafka_cluster, "limited", 3)
    limited.clear()
    await until(lambda: len(stored) == 3)
    for consumer in consumers:
        await consumer.stop()
    assert [identity.split("/")[1] for identity in stored] == ["1:1", "4:1", "2:1"]
    assert set(stored) == tried


def test_messages_that_were_removed_are_counted(kafka_cluster: KafkaCluster) -> None:
    settings = of_topic(kafka_cluster, "removed")
    kafka_cluster.add("removed", b"first")  # makes the topic: a consumer says so if it lacks
    stream = KafkaStream(settings, present_rules(Settings(), "*:*"))
    batch = next_of(stream)
    assert (batch.first, batch.lost, stream.keep(batch)) == ("0", 0, True)
    assert stream.commit(batch, StoredBatch(1, 1))
    assert not stream.commit(batch, StoredBatch(1, 1))
    stream.close()
    large = [bytes([65 + i]) * 700_000 for i in range(10)]
    kafka_cluster.add("removed", *large)  # the mock cluster keeps 5 MiB
    stream = KafkaStream(settings, present_rules(Settings(), "*:*"))
    batch = next_of(stream)
    assert batch.lost == int(batch.first) - 1 > 0
    assert batch.entries.messages[0] == large[batch.lost]
    stream.close()


def next_of(stream: KafkaStream) -> Batch:
    """Return the next batch; a broker that is slow to answer is asked again, as the indexer does."""
    deadline, failed = time.monotonic() + 120, ""
    while True:
        assert time.monotonic() < deadline, failed
        try:
            batch = stream.next()
        except SourceError as e:
            failed = str(e)
            continue
        if batch is not None:
            return batch


async def test_without_brokers_the_topic_waits_and_says_so(
    chdb_dsn: str, kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    service = indexer(chdb_dsn, tmp_path, KafkaSettings(brokers="127.0.0.1:1", topic="away"))
    await service.start()
    async with aiohttp.ClientSession(service.url) as session:
        await until(lambda: bool(service.health.problems()))
        async with session.get("/readyz") as answer:
            assert (answer.status, "kafka: Kafka" in await answer.text()) == (200, True)
    await service.stop()
    service = indexer(chdb_dsn, tmp_path, of_topic(kafka_cluster, "away"))
    kafka_cluster.signal(signal.SIGSTOP)
    await service.start()
    kafka_cluster.signal(signal.SIGCONT)
    kafka_cluster.add("away", HIT_BYTES)
    await until_committed(kafka_cluster, "away", 1)
    await service.stop()
    store = open_store(chdb_dsn)
    assert hits(store) == [1.0] * 4
    store.close()
