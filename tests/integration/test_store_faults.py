"""Errors of ClickHouse: none but those of a frame's own bytes ends a frame, and each has its words.

The real client talks to a server over HTTP that fails as it is told (tests/support/clickhouse_http.py).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from agent.wire.frame import Frame, encode
from indexer.clickhouse.faults import FAULTS, Fault
from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.run import run
from indexer.service import IndexerService
from indexer.settings import BatchSettings, JournalSettings, Settings
from indexer.write.frame_to_columns import to_rows
from shim.service import run as run_shim
from shim.settings import ShimSettings
from tests.support.clickhouse_http import FaultRule, FaultRules, running
from tests.support.frames import counter_frame
from tests.support.ports import free_port

NOW_S = int(time.time()) // 10 * 10
CODES = {
    516: "refuses the password",
    192: "refuses the password",
    193: "refuses the password",
    497: "all the rights",
    164: "read only",
    452: "refuses a setting",
    307: "a limit of the profile",
    201: "too little memory",
    60: "lacks a table",
    81: "lacks a table",
    33: "damaged data",
    117: "damaged data",
    241: "too little memory",
    252: "too little memory",
    202: "too little memory",
    243: "no room",
    242: "Keeper",
    999: "Keeper",
    49: "fails (code 49",
}
INSERT = b"INSERT INTO".hex()
AT_ONCE = BatchSettings(parts_per_s=0)
SECRETS = ("s3cret", "INSERT", "incoming_counters", "http://", "DB::Exception")


@pytest.fixture
def faults(clickhouse_port: int) -> Iterator[FaultRules]:
    rules = FaultRules(clickhouse_port)
    yield rules
    rules.set()


class Indexer:
    """A running one and a client of it."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn.replace("http://", "http://writer:s3cret@")
        self._directory = directory
        self.service: IndexerService
        self.session: aiohttp.ClientSession

    async def start(self, **fields: Any) -> None:
        journal = JournalSettings(path=str(self._directory / "journal.sqlite"))
        tree = {"dsn": self.dsn, "listen": "127.0.0.1:0", "journal": journal, "up": False, "batch": AT_ONCE}
        self.service = IndexerService(Settings(**(tree | fields)))  # type: ignore[arg-type]
        await self.service.start()
        self.session = aiohttp.ClientSession(f"http://{self.service.address}")

    async def stop(self) -> None:
        await self.session.close()
        await self.service.stop()

    async def send(self, frame: Frame) -> tuple[int, str, str | None]:
        async with self.session.post("/v1/frames", data=encode(frame)) as response:
            return response.status, await response.text(), response.headers.get("Retry-After")

    async def post_message(self, name: str) -> tuple[int, str]:
        """Send a counter of 1 as JSON; a repetition after 503 counts once."""
        message = {"org_id": 1, "project_id": 1, "name": name, "timestamp": NOW_S, "type": "c", "value": 1}
        async with self.session.post("/v1/messages", json=message) as response:
            return response.status, await response.text()

    async def until_stored(self, frame: Frame) -> str:
        """Return the text of the answer 200; a busy machine may answer 503 before."""
        deadline = time.monotonic() + 120
        while (answer := await self.send(frame))[0] != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        return answer[1]

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(path) as response:
            return response.status, await response.text()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.service.metrics.registry.get_sample_value(f"meterhouse_indexer_{name}", labels)

    def total(self) -> float:
        store = open_store(self.dsn, pool=1)
        ((value,),) = store.rows("SELECT sum(value) FROM counters_10s")
        ((coarse,),) = store.rows("SELECT sum(value) FROM counters_1d")
        store.close()
        assert value == coarse
        return float(value)


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds: an answer may come before the first try has failed."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
async def indexer(migrated_http_dsn: str, tmp_path: Path, faults: FaultRules) -> AsyncIterator[Indexer]:
    it = Indexer(migrated_http_dsn, tmp_path)
    yield it
    faults.set()
    await it.stop()


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_no_code_of_the_server_ends_a_frame(
    indexer: Indexer, faults: FaultRules, batching: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames and messages are answered 503, with words in /readyz, log and metrics; then each counts once."""
    await indexer.start(batching=batching, acknowledge_s=0.2, attempts=1_000)
    frames = [counter_frame({f"h{code}": 1.0}, NOW_S, sequence=code) for code in CODES]
    for (code, words), frame in zip(CODES.items(), frames, strict=True):
        caplog.clear()
        faults.set(FaultRule(INSERT, code))
        answer, (of_messages, more) = await asyncio.gather(
            indexer.send(frame), indexer.post_message(f"m{code}")
        )
        status, text, retry_after = answer
        assert (status, int(retry_after or 0) >= 1) == (503, True), (code, text)
        assert of_messages == 503, (code, more)
        await until(lambda code=code: f"(code {code}" in caplog.text)  # type: ignore[misc]
        ready, problem = await indexer.get("/readyz")
        assert words in problem
        assert f"code {code}" in problem
        shown = text + more + problem + caplog.text
        assert not [secret for secret in SECRETS if secret in shown], code
        assert indexer.metric("store_faults_total", fault="bytes") in (None, 0)
        await indexer.get("/metrics")
        assert (indexer.metric("oldest_waiting_seconds") or 0) > 0
        assert ready == 200 or indexer.metric("problem", part="store") == 1
        faults.set()
        await indexer.until_stored(frame)
    for frame in frames:
        await indexer.until_stored(frame)
    deadline = time.monotonic() + 120
    for code in CODES:
        while (await indexer.post_message(f"m{code}"))[0] != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    assert indexer.total() == 2 * len(CODES)
    assert (await indexer.get("/readyz"))[0] == 200


async def test_a_constraint_of_a_profile_sets_no_batch_aside(indexer: Indexer, faults: FaultRules) -> None:
    """An operator has set it, and it concerns all INSERTs: they wait in line until it is gone."""
    await indexer.start(batching="journal", acknowledge_s=0.2, attempts=1)
    faults.set(FaultRule(INSERT, 452))
    frame = counter_frame({"a": 1.0}, NOW_S)
    deadline = time.monotonic() + 120
    while (indexer.metric("store_faults_total", fault="settings") or 0) < 3:
        assert time.monotonic() < deadline
        assert (await indexer.send(frame))[0] == 503
    assert (await indexer.get("/readyz"))[0] == 503
    assert not indexer.metric("frames_total", outcome="set_aside")
    faults.set()
    await indexer.until_stored(frame)
    assert indexer.total() == 1


def test_codes_have_the_names_of_clickhouse(migrated_http_dsn: str) -> None:
    table = Path(__file__).parents[1] / "golden" / "clickhouse_codes.tsv"
    names = dict(line.split("\t")[:2] for line in table.read_text().splitlines())
    store = open_store(migrated_http_dsn, pool=1)
    rows = store.rows("SELECT toString(number), errorCodeToName(toUInt32(number)) FROM numbers(3000)")
    store.close()
    assert {code: name for code, name in rows if int(code) in FAULTS} == {
        str(code): names[str(code)] for code in FAULTS
    }


async def test_the_log_names_address_and_user_once(
    indexer: Indexer,
    faults: FaultRules,
    clickhouse_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("indexer.write.health._LOG_EVERY_S", 3_600.0)  # a busy machine may take 10 s
    await indexer.start(batching="journal", acknowledge_s=0.3)
    faults.set(FaultRule("", 516))
    for sequence in range(3):
        assert (await indexer.send(counter_frame({"a": 1.0}, NOW_S, sequence=sequence)))[0] == 503
    await until(lambda: (indexer.metric("store_faults_total", fault="login") or 0) > 1)
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    where = f"ClickHouse at 127.0.0.1:{clickhouse_port} refuses the password of user 'writer'"
    assert len([line for line in said if where in line]) == 1
    assert len(said) == 1
    assert (await indexer.get("/readyz")) == (
        503,
        "store: ClickHouse refuses the password of the user (code 516, SOME_ERROR)\n",
    )
    assert not indexer.metric("frames_total", outcome="set_aside")


async def test_a_memory_limit_for_long_sets_nothing_aside(indexer: Indexer, faults: FaultRules) -> None:
    """Ten failures and more while ClickHouse answers other statements: the batch waits in line."""
    await indexer.start(batching="journal", acknowledge_s=0.2, attempts=1)
    faults.set(FaultRule(INSERT, 241))
    frame = counter_frame({"a": 1.0}, NOW_S)
    deadline = time.monotonic() + 120
    while (indexer.metric("store_faults_total", fault="busy") or 0) < 4:
        assert time.monotonic() < deadline
        assert (await indexer.send(frame))[0] == 503
    assert not indexer.metric("frames_total", outcome="set_aside")
    faults.set()
    await indexer.until_stored(frame)
    assert indexer.total() == 1


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_bytes_that_are_refused_end_their_frame_alone(
    indexer: Indexer, faults: FaultRules, batching: str
) -> None:
    await indexer.start(batching=batching)
    marked = 1234.5678
    faults.set(FaultRule(struct.pack("<d", marked).hex(), 321))
    frames = [counter_frame({f"h{i}": 1.0}, NOW_S, sequence=i) for i in range(20)]
    frames[7] = counter_frame({"h7": marked}, NOW_S, sequence=7)
    answers = await asyncio.gather(*map(indexer.send, frames))
    assert [status for status, _, _ in answers] == [200] * 7 + [400] + [200] * 12
    assert "refuses values of a frame" in answers[7][1]
    assert (await indexer.send(frames[7]))[0] == 400
    assert (await indexer.send(frames[8]))[0] == 200
    assert (await indexer.get("/readyz"))[0] == 200
    faults.set()
    assert indexer.total() == 19


async def test_a_code_for_bytes_that_none_of_the_frames_causes_ends_none(
    indexer: Indexer, faults: FaultRules
) -> None:
    await indexer.start(batching="journal")
    faults.set(FaultRule(INSERT, 321))
    frame = counter_frame({"a": 1.0}, NOW_S)
    assert (await indexer.send(frame))[0] == 503
    faults.set()
    await indexer.until_stored(frame)
    assert indexer.total() == 1


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_an_answer_that_is_lost_counts_once(
    indexer: Indexer, faults: FaultRules, batching: str
) -> None:
    await indexer.start(batching=batching)
    faults.set(FaultRule(b"incoming_counters".hex(), how="lose"))
    frame = counter_frame({"a": 1.0}, NOW_S)
    sending = asyncio.create_task(indexer.send(frame))
    deadline = time.monotonic() + 120
    while not indexer.metric("store_faults_total", fault="away"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    faults.set()
    await sending
    await indexer.until_stored(frame)
    assert indexer.total() == 1


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_a_code_after_the_insert_counts_once(
    indexer: Indexer, faults: FaultRules, batching: str
) -> None:
    """The rows are stored when the error comes: a quorum, a timeout, codes that are blamed on one batch."""
    await indexer.start(batching=batching, acknowledge_s=0.2, attempts=1)
    codes = (319, 241, 60, 321)
    frames = [counter_frame({f"h{code}": 1.0}, NOW_S, sequence=code) for code in codes]
    for code, frame in zip(codes, frames, strict=True):
        faults.set(FaultRule(b"incoming_counters".hex(), code, how="after"))
        assert (await indexer.send(frame))[0] == 503, code
        faults.set()
        await indexer.until_stored(frame)
    assert indexer.total() == len(codes)
    assert [await indexer.until_stored(frame) for frame in frames] == ['{"rows":1}'] * len(codes)
    assert indexer.total() == len(codes)


async def test_a_frame_whose_batch_waits_since_an_earlier_run_is_answered_when_it_is_stored(
    indexer: Indexer, faults: FaultRules
) -> None:
    """Once, and with 200: not to come again in five seconds."""
    await indexer.start(batching="journal", acknowledge_s=0.2, drain_s=0.0)
    faults.set(FaultRule(b"incoming_counters".hex(), 999))
    frame = counter_frame({"a": 1.0}, NOW_S, sequence=77)
    assert (await indexer.send(frame))[0] == 503
    await until(lambda: bool(indexer.metric("store_faults_total", fault="keeper")))
    await indexer.stop()
    await indexer.start(batching="journal")
    await until(lambda: bool(indexer.metric("store_faults_total", fault="keeper")))
    assert (await indexer.get("/readyz"))[0] == 503
    sending = asyncio.create_task(indexer.send(frame))
    other = await indexer.send(counter_frame({"a": 2.0}, NOW_S, sequence=77))
    assert other[0] == 409, other
    assert not sending.done()
    faults.set()
    assert (await sending)[0] == 200
    assert indexer.total() == 1
    assert indexer.metric("frames_total", outcome="repeated") == 1


async def test_a_frame_that_comes_while_the_server_is_away_is_stored_when_it_is_back(
    indexer: Indexer, faults: FaultRules
) -> None:
    """Its sender is answered then: 200, not 503 to come again in some seconds."""
    await indexer.start(batching="journal", batch=AT_ONCE)
    faults.set(FaultRule(b"SELECT".hex(), how="lose"), FaultRule(b"INSERT".hex(), how="lose"))
    sending = asyncio.create_task(indexer.send(counter_frame({"a": 1.0}, NOW_S)))
    await until(lambda: bool(indexer.metric("store_faults_total", fault="away")))
    assert not sending.done()
    faults.set()
    assert (await sending)[0] == 200
    assert indexer.total() == 1


async def test_a_set_aside_batch_does_not_delay_listening(indexer: Indexer, faults: FaultRules) -> None:
    """Its INSERT hangs when the next process begins, which listens before any try of it has ended."""
    await indexer.start(batching="journal", acknowledge_s=0.2)
    faults.set(FaultRule(b"incoming_counters".hex(), 60))
    frame = counter_frame({"a": 1.0}, NOW_S)
    assert (await indexer.send(frame))[0] == 503
    await until(lambda: indexer.metric("frames_total", outcome="set_aside") == 1)
    await indexer.stop()
    faults.set(FaultRule(b"incoming_counters".hex(), how="hang"))
    await indexer.start(batching="journal", acknowledge_s=0.2)
    assert not indexer.metric("store_faults_total", fault="away"), "the client waits for 60 s"
    assert (await indexer.get("/healthz"))[0] == 200
    assert (await indexer.send(frame))[0] == 503
    faults.set()
    await indexer.until_stored(frame)
    assert indexer.total() == 1


async def test_a_server_that_hangs_keeps_readyz_answering(
    indexer: Indexer, faults: FaultRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.receive.readiness._ANSWER_S", 2.0)
    await indexer.start(batching="journal", acknowledge_s=0.2)
    faults.set(FaultRule(how="hang"))
    frame = counter_frame({"a": 1.0}, NOW_S)
    assert (await indexer.send(frame))[0] == 503
    began = time.monotonic()
    for _ in range(2):
        status, text = await indexer.get("/readyz")
        assert (status, text) == (503, "store: ClickHouse does not answer within 2 s\n")
    assert time.monotonic() - began < 100, "the client itself waits for 300 s"
    faults.set()
    monkeypatch.setattr("indexer.receive.readiness._ANSWER_S", 120.0)
    await indexer.until_stored(frame)
    assert (await indexer.get("/readyz"))[0] == 200
    assert indexer.total() == 1


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
async def test_a_writer_that_stalls_is_told_of_while_nothing_fails(
    indexer: Indexer, faults: FaultRules, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """ClickHouse answers questions and keeps an INSERT waiting; each page notices it by itself."""
    monkeypatch.setattr("indexer.write.health.STALLED_S", 0.1)
    await indexer.start(batching="journal", acknowledge_s=0.2)
    faults.set(FaultRule(INSERT, how="hang"))
    frame = counter_frame({"a": 1.0}, NOW_S)
    assert (await indexer.send(frame))[0] == 503
    status, text = await indexer.get(path)
    problems = indexer.service.health.problems()
    if path == "/readyz":
        assert (status, text.partition(":")[0]) == (503, "writer")
    assert [part.value for part in problems] == ["writer"]
    await indexer.get("/metrics")
    assert indexer.metric("problem", part="writer") == 1
    faults.set()
    await indexer.until_stored(frame)


async def test_a_refused_login_at_the_start_is_said_in_words(indexer: Indexer, faults: FaultRules) -> None:
    await indexer.start()
    faults.set(FaultRule("", 516, "AUTHENTICATION_FAILED"))
    with pytest.raises(StoreError, match=r"refuses the password of user 'writer' \(code 516") as refused:
        open_store(indexer.dsn, pool=1)
    assert not [secret for secret in SECRETS if secret in str(refused.value)]


async def test_a_server_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    it = Indexer(f"http://127.0.0.1:{port}/late", tmp_path)
    starting = asyncio.create_task(it.start())
    deadline = time.monotonic() + 120
    while "event=waiting_for_store" not in caplog.text:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert f"ClickHouse at 127.0.0.1:{port} cannot be reached: connection refused" in caplog.text
    with running(tmp_path / "clickhouse", port):
        await starting
        assert (await it.send(counter_frame({"a": 1.0}, NOW_S)))[0] == 200
        await it.stop()


@pytest.mark.parametrize("part", ["indexer", "shim"])
async def test_waiting_for_a_server_ends_when_asked(part: str) -> None:
    dsn, listen = "http://127.0.0.1:1/none", "127.0.0.1:0"
    stop = asyncio.Event()
    if part == "indexer":
        serving = asyncio.create_task(run(Settings(dsn=dsn, listen=listen), stop=stop))
    else:
        serving = asyncio.create_task(run_shim(ShimSettings(dsn=dsn, listen=listen), stop=stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(120):
        await serving


async def test_a_journal_that_cannot_be_written_is_said_until_it_can(
    indexer: Indexer, tmp_path: Path
) -> None:
    await indexer.start(batching="journal", acknowledge_s=20)
    blocker = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None, timeout=120)
    blocker.execute("BEGIN IMMEDIATE")
    frame = counter_frame({"a": 1.0}, NOW_S)
    assert (await indexer.send(frame))[0] == 503
    status, text = await indexer.get("/readyz")
    assert (status, text) == (503, "journal: the journal cannot be written: database is locked\n")
    await indexer.get("/metrics")
    assert indexer.metric("problem", part="journal") == 1
    blocker.execute("ROLLBACK")
    assert (await indexer.get("/readyz")) == (200, "ready\n")
    await indexer.until_stored(frame)
    blocker.close()


def test_an_insert_into_a_missing_table_stores_no_row(store: Store) -> None:
    """So `Fault.before_rows` may say so: the views' tables are looked up before the first row goes."""
    block = to_rows(counter_frame({"a": 1.0}, NOW_S), np.arange(8, dtype=np.uint64), Retention())
    for missing in ("10s", "60s", "1h", "1d"):
        store.command(f"RENAME TABLE counters_{missing} TO gone")
        with pytest.raises(StoreError) as failed:
            store.insert("incoming_counters", block.blocks["counters"], token="t")
        assert failed.value.fault is Fault.MISSING
        assert failed.value.fault.before_rows
        store.command(f"RENAME TABLE gone TO counters_{missing}")
        for granularity in ("10s", "60s", "1h", "1d"):
            assert store.rows(f"SELECT count() FROM counters_{granularity}") == [(0,)]
