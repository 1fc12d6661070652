"""The indexer's answers over HTTP: which frames are taken, which are refused, and with which words."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from agent.wire.frame import Frame, encode
from indexer.clickhouse.store import Store, open_store
from indexer.service import IndexerService
from indexer.settings import BatchSettings, Bounds, JournalSettings, Settings
from tests.support.clickhouse_http import running
from tests.support.frames import CREATED_MS, FrameRows, counter_frame, make_frame

JSON = {"Content-Type": "application/json"}
NOW_S = int(time.time()) // 10 * 10
MESSAGE = {
    "org_id": 1,
    "project_id": 2,
    "name": "hits",
    "timestamp": NOW_S,
    "type": "c",
    "value": 2,
    "tags": {},
}


class Indexer:
    """A running one and a client of it."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self._dsn = dsn
        self.directory = directory
        self.service: IndexerService
        self.session: aiohttp.ClientSession

    async def start(self, **fields: Any) -> None:
        journal = JournalSettings(path=str(self.directory / "journal.sqlite"))
        tree = {"dsn": self._dsn, "listen": "127.0.0.1:0", "journal": journal, "up": False}
        self.service = IndexerService(Settings(**(tree | fields)))  # type: ignore[arg-type]
        await self.service.start()
        self.session = aiohttp.ClientSession(f"http://{self.service.address}")

    async def stop(self) -> None:
        await self.session.close()
        await self.service.stop()

    async def post(self, path: str, **kwargs: Any) -> tuple[int, Any, Any]:
        async with self.session.post(path, **kwargs) as response:
            return response.status, await response.json(), response.headers

    async def frame(self, frame: Frame, **kwargs: Any) -> tuple[int, Any, Any]:
        return await self.post("/v1/frames", data=encode(frame), **kwargs)

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(path) as response:
            return response.status, await response.text()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.service.metrics.registry.get_sample_value(f"meterhouse_indexer_{name}", labels)


@pytest.fixture
async def indexer(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    it = Indexer(migrated_dsn, tmp_path)
    yield it
    await it.stop()


@pytest.fixture
def total(migrated_dsn: str) -> Any:
    def read() -> float:
        store: Store = open_store(migrated_dsn, pool=1)
        ((value,),) = store.rows("SELECT sum(value) FROM counters_10s")
        store.close()
        return float(value)

    return read


async def test_a_frame_is_in_clickhouse_when_it_is_answered(indexer: Indexer, total: Any) -> None:
    await indexer.start()
    status, answer, _ = await indexer.frame(counter_frame({"a": 1.0, "b": 2.0}, NOW_S))
    assert (status, answer) == (200, {"rows": 2})
    assert total() == 3
    assert indexer.service.status().rows == 2
    assert indexer.service.status().series == 2
    assert indexer.service.version() > 0


async def test_a_frame_without_rows(indexer: Indexer) -> None:
    await indexer.start()
    assert (await indexer.frame(counter_frame({}, NOW_S)))[0] == 200


@pytest.mark.parametrize("body", [b"", b"rubbish", encode(counter_frame({"a": 1.0}, NOW_S))[:-1]])
async def test_what_is_no_frame(indexer: Indexer, body: bytes) -> None:
    await indexer.start()
    status, answer, _ = await indexer.post("/v1/frames", data=body)
    assert status == 400
    assert answer["error"]
    assert indexer.metric("refused_total", reason="bad_frame") == 1


async def test_a_frame_from_the_future(indexer: Indexer, total: Any) -> None:
    await indexer.start(bounds=Bounds(future_s=3600))
    frame = counter_frame({"a": 1.0}, NOW_S + 7200, created_ms=NOW_S * 1000)  # so it is not its agent's clock
    status, answer, _ = await indexer.frame(frame)
    assert status == 400
    assert "future" in answer["error"]
    assert total() == 0


async def test_a_body_too_large(indexer: Indexer) -> None:
    await indexer.start(bounds=Bounds(body_bytes=1000))
    for path in ("/v1/frames", "/v1/messages"):
        status, answer, _ = await indexer.post(path, data=b"x" * 1001, headers=JSON)
        assert (status, answer) == (413, {"error": "more than 1000 bytes"})
    assert indexer.metric("refused_total", reason="too_large") == 2


@pytest.mark.parametrize("path", ["/v1/frames", "/v1/messages"])
async def test_a_body_that_is_not_what_its_encoding_says(
    indexer: Indexer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    await indexer.start()
    for encoding in ("gzip", "deflate"):
        status, answer, _ = await indexer.post(
            path, data=b"no such", headers={**JSON, "Content-Encoding": encoding}
        )
        assert status == 400
        assert "cannot be read" in answer["error"]
    assert indexer.metric("refused_total", reason="bad_body") == 2
    assert not [r for r in caplog.records if r.name.startswith("aiohttp")]


async def test_messages_nested_without_end(indexer: Indexer) -> None:
    await indexer.start()
    deep = b"[" * 100_000
    assert (await indexer.post("/v1/messages", data=deep, headers=JSON))[0] == 400
    inside = msgspec.json.encode(MESSAGE)[:-1] + b',"more":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001
    assert (await indexer.post("/v1/messages", data=inside, headers=JSON))[0] == 400


async def test_a_frame_that_unpacks_to_too_much(indexer: Indexer) -> None:
    await indexer.start(bounds=Bounds(frame_bytes=1000))
    status, answer, _ = await indexer.frame(counter_frame({f"h{i}": 1.0 for i in range(500)}, NOW_S))
    assert status == 400
    assert "at most 1000 are accepted" in answer["error"]


async def test_frames_that_unpack_to_much_wait_for_memory_and_others_go_on(
    indexer: Indexer, total: Any
) -> None:
    """Sixteen frames of a few kB held 3.3 GB: one set row of millions of members each."""
    await indexer.start(bounds=Bounds(decode_bytes=8 << 20, queue_bytes=48 << 20), acknowledge_s=120.0)
    bombs = [
        make_frame(FrameRows(sets=[("bomb", {}, NOW_S, list(range(500_000)))]), org_id=2, sequence=i)
        for i in range(8)
    ]
    answers = asyncio.gather(*(indexer.frame(bomb) for bomb in bombs))
    frame = counter_frame({"a": 3.0}, NOW_S)
    deadline, refusals = time.monotonic() + 120, 0
    while (await indexer.frame(frame))[0] != 200:
        assert time.monotonic() < deadline
        refusals += 1
    assert total() == 3
    statuses = {status for status, _, _ in await answers}
    assert statuses <= {200, 503}
    assert 200 in statuses
    refused = (indexer.metric("refused_total", reason=r) or 0 for r in ("queue_full", "decode_memory"))
    assert sum(refused) == refusals + sum(status == 503 for status, _, _ in answers.result())


async def test_tokens(indexer: Indexer, total: Any) -> None:
    """A plain list writes to org 1, project 1 alone, and does not open /metrics."""
    await indexer.start(tokens=["right", "also-right"])
    frame = counter_frame({"a": 1.0}, NOW_S)
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "right"},
        {"Authorization": "Basic right"},
    ):
        assert (await indexer.frame(frame, headers=headers))[0] == 401
    assert total() == 0
    assert (await indexer.frame(frame, headers={"Authorization": "Bearer also-right"}))[0] == 200
    assert indexer.metric("refused_total", reason="unauthorized") == 4
    for path in ("/healthz", "/readyz"):
        assert (await indexer.get(path))[0] == 200
    assert (await indexer.get("/metrics"))[0] == 401
    other = counter_frame({"a": 1.0}, NOW_S, org_id=2)
    status, answer, _ = await indexer.frame(other, headers={"Authorization": "Bearer right"})
    assert status == 403
    assert answer["error"].startswith("org 2, project 1: ")
    assert indexer.metric("refused_total", reason="forbidden") == 1
    assert total() == 1


async def test_messages_of_several_tenants_are_judged_one_by_one(indexer: Indexer, total: Any) -> None:
    await indexer.start(tokens={"t": "1:2"})
    bearer = {"Authorization": "Bearer t"}
    foreign = MESSAGE | {"org_id": 2}
    status, answer, _ = await indexer.post("/v1/messages", json=[MESSAGE, foreign], headers=bearer)
    assert (status, answer["accepted"]) == (200, 1)
    assert answer["rejected"] == [
        {"position": 1, "reason": "org 2, project 2: this credential may write to 1:2 alone"}
    ]
    assert indexer.metric("messages_total", outcome="forbidden") == 1
    assert not indexer.metric("refused_total", reason="forbidden")
    status, answer, _ = await indexer.post("/v1/messages", json=[foreign, foreign], headers=bearer)
    assert (status, answer["accepted"], len(answer["rejected"])) == (403, 0, 2)
    assert indexer.metric("refused_total", reason="forbidden") == 1
    status, _, _ = await indexer.post("/v1/messages", json=[foreign, MESSAGE | {"value": []}], headers=bearer)
    assert status == 400
    assert total() == 2


async def test_status_shows_what_a_credential_covers(indexer: Indexer) -> None:
    await indexer.start(tokens={"one": "1:1", "two": "2:*", "all": "*:* write,admin", "read": "2:1 query"})
    for org in (1, 2):
        frame = counter_frame({"a": 1.0}, NOW_S, org_id=org)
        assert (await indexer.frame(frame, headers={"Authorization": "Bearer all"}))[0] == 200
    shown = {}
    for token in ("one", "two", "all", "read"):
        async with indexer.session.get("/status", headers={"Authorization": f"Bearer {token}"}) as response:
            shown[token] = sorted(agent["org_id"] for agent in (await response.json())["agents"])
    assert shown == {"one": [1], "two": [2], "all": [1, 2], "read": [2]}


async def test_pages_of_the_server_are_for_operators(indexer: Indexer, tmp_path: Path) -> None:
    """A scope of all orgs makes no operator, and an operator of one org sees no frames of others."""
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    tokens = {"one": "1:1", "operator": "2:1 write,operator", "all": "*:* write", "admin": "*:* admin"}
    await indexer.start(tokens=tokens, batching="journal", journal=journal)
    assert (await indexer.frame(counter_frame({"a": 1.0}, NOW_S), headers={"Authorization": "Bearer one"}))[
        0
    ] == 200
    expected = {
        "/v1/set-aside": {"one": 403, "operator": 403, "all": 403, "admin": 200},
        "/metrics": {"one": 403, "operator": 200, "all": 403, "admin": 200},
        "/v1/limits?org_id=1": {"one": 200, "operator": 200, "all": 200, "admin": 200},
        "/v1/limits?org_id=2": {"one": 403, "operator": 200, "all": 200, "admin": 200},
    }
    found: dict[str, dict[str, int]] = {}
    for path, of_tokens in expected.items():
        for token in of_tokens:
            async with indexer.session.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                found.setdefault(path, {})[token] = response.status
    assert found == expected
    async with indexer.session.get("/status", headers={"Authorization": "Bearer operator"}) as response:
        assert [agent["org_id"] for agent in (await response.json())["agents"]] == [1]


async def test_metrics_are_open_where_that_is_set(indexer: Indexer) -> None:
    await indexer.start(tokens={"t": "1:1"}, metrics_open=True)
    assert (await indexer.get("/metrics"))[0] == 200


async def test_a_full_queue_is_told_to_come_back(indexer: Indexer, total: Any) -> None:
    await indexer.start(batch=BatchSettings(linger_ms=60_000), bounds=Bounds(queue_bytes=1))
    first = asyncio.create_task(indexer.frame(counter_frame({"a": 1.0}, NOW_S)))
    deadline = time.monotonic() + 120
    while not indexer.service.held_bytes:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    status, answer, headers = await indexer.frame(counter_frame({"b": 1.0}, NOW_S))
    assert status == 503
    assert int(headers["Retry-After"]) >= 1
    assert "waiting" in answer["error"]
    assert indexer.metric("refused_total", reason="queue_full") == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_frame_not_written_in_time_goes_on_and_is_known(indexer: Indexer, total: Any) -> None:
    await indexer.start(batch=BatchSettings(linger_ms=600), acknowledge_s=0.05)
    frame = counter_frame({"a": 1.0}, NOW_S)
    assert (await indexer.frame(frame))[0] == 503
    deadline = time.monotonic() + 120
    while (await indexer.frame(frame))[0] != 200:
        assert time.monotonic() < deadline
    assert total() == 1


async def test_messages_good_and_bad(indexer: Indexer, total: Any) -> None:
    await indexer.start()
    status, answer, _ = await indexer.post("/v1/messages", json=[MESSAGE, {"type": "c"}, MESSAGE])
    assert status == 200
    assert answer["accepted"] == 2
    assert [r["position"] for r in answer["rejected"]] == [1]
    assert "org_id" in answer["rejected"][0]["reason"]
    assert total() == 4
    assert indexer.metric("messages_total", outcome="rejected") == 1


async def test_one_message_alone_and_only_bad_ones(indexer: Indexer) -> None:
    await indexer.start()
    assert (await indexer.post("/v1/messages", json=MESSAGE))[0] == 200
    assert (await indexer.post("/v1/messages", json={**MESSAGE, "org_id": 0}))[0] == 400
    assert (await indexer.post("/v1/messages", data=b"{", headers=JSON))[0] == 400


async def test_messages_with_an_idempotency_key_count_once(indexer: Indexer, total: Any) -> None:
    await indexer.start()
    for _ in range(3):
        headers = {"Idempotency-Key": "order-7"}
        assert (await indexer.post("/v1/messages", json=[MESSAGE], headers=headers))[0] == 200
    assert total() == 2
    for _ in range(2):
        assert (await indexer.post("/v1/messages", json=[MESSAGE]))[0] == 200
    assert total() == 6
    other = {**MESSAGE, "org_id": 9}  # that it numbers its requests alike is its own business
    assert (await indexer.post("/v1/messages", json=[other], headers={"Idempotency-Key": "order-7"}))[
        0
    ] == 200
    assert total() == 8
    too_long = {"Idempotency-Key": "x" * 201}
    assert (await indexer.post("/v1/messages", json=[MESSAGE], headers=too_long))[0] == 400


async def test_an_idempotency_key_with_other_bytes_is_a_conflict(indexer: Indexer, total: Any) -> None:
    await indexer.start()
    headers = {"Idempotency-Key": "order-8"}
    assert (await indexer.post("/v1/messages", json=[MESSAGE], headers=headers))[0] == 200
    status, answer, _ = await indexer.post("/v1/messages", json=[MESSAGE, MESSAGE], headers=headers)
    assert (status, total()) == (409, 2)
    assert "other bytes" in answer["error"]
    assert indexer.metric("refused_total", reason="conflict") == 1


async def test_an_identity_belongs_to_its_tenant(indexer: Indexer, total: Any) -> None:
    """Org 2 uses the identity that org 1's agent will use: org 1's frame is stored all the same."""
    await indexer.start()
    named: dict[str, Any] = {"agent": "web-1", "sequence": 7}
    assert (await indexer.frame(counter_frame({"a": 5.0}, NOW_S, org_id=2, **named)))[0] == 200
    assert (await indexer.frame(counter_frame({"a": 1.0}, NOW_S, project_id=2, **named)))[0] == 200
    frame = counter_frame({"a": 2.0}, NOW_S, **named)
    assert (await indexer.frame(frame))[0] == 200
    assert total() == 8
    assert (await indexer.frame(frame))[0] == 200
    assert total() == 8


async def test_a_known_identity_with_another_body_is_a_conflict(indexer: Indexer, total: Any) -> None:
    await indexer.start()
    first = counter_frame({"a": 5.0}, NOW_S, sequence=7)
    other = counter_frame({"a": 6.0}, NOW_S, sequence=7)
    answers = await asyncio.gather(indexer.frame(first), indexer.frame(other))  # one is in flight
    assert sorted(status for status, _, _ in answers) == [200, 409]
    assert (await indexer.frame(first))[0] != (await indexer.frame(other))[0]
    assert total() in (5.0, 6.0)
    assert indexer.metric("refused_total", reason="conflict") == 2


async def test_names_of_the_indexers_own_frames_are_reserved(indexer: Indexer, total: Any) -> None:
    """Else a frame could use up the identity of a request with an Idempotency-Key."""
    await indexer.start()
    for created_ms in (0, CREATED_MS):
        frame = counter_frame({"a": 5.0}, NOW_S, agent="messages/1:1/order-9", epoch=0, sequence=0)
        frame = msgspec.structs.replace(frame, created_ms=created_ms)
        status, answer, _ = await indexer.frame(frame)
        assert (status, "reserved" in answer["error"]) == (400, True)
    headers = {"Idempotency-Key": "order-9"}
    assert (await indexer.post("/v1/messages", json=[MESSAGE], headers=headers))[0] == 200
    assert total() == 2


async def test_a_frame_created_before_identities_had_tenants_keeps_its_identity(
    indexer: Indexer, total: Any
) -> None:
    """An indexer of then stored it; its answer was lost, and the frame comes again after the update."""
    await indexer.start()
    old = counter_frame({"a": 5.0}, NOW_S, agent="web-1", sequence=1, created_ms=1)
    assert (await indexer.frame(old))[0] == 200
    await indexer.stop()
    (journal,) = indexer.directory.glob("*.sqlite")
    with sqlite3.connect(journal) as db:
        assert db.execute("SELECT identity FROM frame").fetchall() == [("web-1/1/1",)]
        db.execute("ALTER TABLE frame DROP COLUMN digest")  # as files of then are
    await indexer.start()
    assert (await indexer.frame(old))[0] == 200
    assert total() == 5


async def test_messages_of_several_tenants_and_given_ids(indexer: Indexer, migrated_dsn: str) -> None:
    await indexer.start()
    by_id = {**MESSAGE, "metric_id": 12345, "tags": {"67890": 11111}}
    del by_id["name"]
    assert (await indexer.post("/v1/messages", json=[by_id, {**MESSAGE, "org_id": 9}]))[0] == 200
    store = open_store(migrated_dsn, pool=1)
    rows = store.rows("SELECT org_id, metric_id, tag_keys, tag_values FROM series ORDER BY org_id")
    assert rows[0] == (1, 12345, [67890], [11111])
    assert rows[1][0] == 9
    assert store.rows("SELECT tag_key FROM metric_tag_keys") == [(67890,)]
    assert store.rows("SELECT tag_key, tag_value FROM metric_tag_values") == [(67890, 11111)]
    store.close()


async def test_health_metrics_and_unknown_paths(indexer: Indexer) -> None:
    await indexer.start()
    assert await indexer.get("/healthz") == (200, "ok\n")
    assert await indexer.get("/readyz") == (200, "ready\n")
    status, text = await indexer.get("/metrics")
    assert status == 200
    assert "meterhouse_indexer_rows_total 0.0" in text
    assert (await indexer.get("/v1/frames"))[0] == 405
    assert (await indexer.get("/nothing"))[0] == 404


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(
    indexer: Indexer, migrated_dsn: str, tmp_path: Path
) -> None:
    await indexer.start()
    other = IndexerService(
        Settings(
            dsn=migrated_dsn,
            listen=indexer.service.address,
            journal=JournalSettings(path=str(tmp_path / "other.sqlite")),
        )
    )
    with pytest.raises(
        OSError, match=rf"^indexer.listen = '{indexer.service.address}': Address already in use$"
    ):
        await other.start()
    assert (await indexer.frame(counter_frame({"a": 1.0}, NOW_S)))[0] == 200


async def test_a_store_of_others_is_left_open(store: Store, tmp_path: Path) -> None:
    settings = Settings(listen="127.0.0.1:0", journal=JournalSettings(path=str(tmp_path / "journal.sqlite")))
    service = IndexerService(settings, store)
    await service.start()
    await service.stop()
    await service.stop()
    assert store.rows("SELECT 1") == [(1,)]


@pytest.mark.parametrize("batching", ["frame", "journal"])
async def test_clickhouse_gone_means_try_again(tmp_path: Path, batching: str) -> None:
    with running(tmp_path / "clickhouse") as port:
        indexer = Indexer(f"http://127.0.0.1:{port}/gone", tmp_path)
        await indexer.start(batching=batching, acknowledge_s=2.0, drain_s=0.5)
        first = counter_frame({"a": 1.0}, NOW_S)
        deadline = time.monotonic() + 120
        while (await indexer.frame(first))[0] != 200:  # a busy machine may take more than 2 s
            assert time.monotonic() < deadline
        assert (await indexer.get("/readyz"))[0] == 200
    status, _, headers = await indexer.frame(counter_frame({"a": 1.0}, NOW_S))
    assert status == 503
    assert int(headers["Retry-After"]) >= 1
    while not indexer.metric("store_errors_total", retryable="true"):  # the answer may come before
        assert time.monotonic() < deadline + 120
        await asyncio.sleep(0.01)
    assert (await indexer.get("/readyz"))[0] == 503
    await indexer.stop()


async def test_series_are_written_once_per_day(indexer: Indexer, migrated_dsn: str) -> None:
    await indexer.start()
    for i in range(3):
        assert (await indexer.frame(counter_frame({"a": 1.0, "b": 1.0}, NOW_S - 10 * i)))[0] == 200
    version = indexer.service.version()
    assert (await indexer.frame(counter_frame({"a": 1.0}, NOW_S)))[0] == 200
    assert indexer.service.version() == version
    assert (await indexer.frame(counter_frame({"a": 1.0}, NOW_S - 86_400)))[0] == 200
    assert indexer.service.version() > version
    store = open_store(migrated_dsn, pool=1)
    assert store.rows("SELECT count() FROM series WHERE day = toDate({t:UInt32})", {"t": NOW_S}) == [(2,)]
    assert store.rows("SELECT count() FROM series WHERE day = toDate({t:UInt32})", {"t": NOW_S - 86_400}) == [
        (1,)
    ]
    assert store.rows("SELECT groupArray(string) FROM strings WHERE string IN ('a', 'b', 'hits', 'host')")[0][
        0
    ]
    store.close()


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_messages_say_that_they_are_json(indexer: Indexer, total: Any, kind: str | None) -> None:
    """A page may send other types to another host without being asked; a token shows that it is none."""
    await indexer.start(tokens={"secret": "1:2"})
    body = msgspec.json.encode(MESSAGE)
    given = {"Content-Type": kind} if kind else {}
    skip = {"skip_auto_headers": ["Content-Type"]}
    known = {**given, "Authorization": "Bearer secret"}
    assert (await indexer.post("/v1/messages", data=body, headers=known, **skip))[0] == 200
    await indexer.stop()
    await indexer.start()
    status, answer, _ = await indexer.post("/v1/messages", data=body, headers=given, **skip)
    assert status == 415
    assert "application/json" in answer["error"]
    assert indexer.metric("refused_total", reason="content_type") == 1
    assert total() == 2


async def test_pages_of_other_hosts_do_not_write(indexer: Indexer, total: Any) -> None:
    await indexer.start()
    frame = encode(counter_frame({"a": 1.0}, NOW_S))
    for path in ("/v1/frames", "/v1/messages", "/v1/heartbeats", "/v1/metadata"):
        headers = {**JSON, "Origin": "http://evil.example"}
        assert (await indexer.post(path, data=frame, headers=headers))[0] == 403
        rebound = {**JSON, "Origin": "http://evil.example:8126", "Host": "evil.example:8126"}
        assert (await indexer.post(path, data=frame, headers=rebound))[0] == 403
    assert indexer.metric("refused_total", reason="web_page") == 8
    assert total() == 0
    here = {**JSON, "Origin": "http://localhost:3000"}
    assert (await indexer.post("/v1/messages", json=[MESSAGE], headers=here))[0] == 200


async def test_sums_that_overflow_are_counted(indexer: Indexer) -> None:
    await indexer.start()
    largest = sys.float_info.max
    assert (await indexer.frame(counter_frame({"a": largest, "b": -largest, "c": 1.0}, NOW_S)))[0] == 200
    assert indexer.metric("saturated_total") == 2
    overflowing = {**MESSAGE, "type": "d", "value": [1.7e308, 1.7e308]}
    assert (await indexer.post("/v1/messages", json=[overflowing, MESSAGE]))[0] == 200
    assert indexer.metric("saturated_total") == 4  # sum and sum of squares
