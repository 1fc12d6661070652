"""Frames sent again when the journal is lost or an older copy: ClickHouse knows which are stored."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from agent.settings import AgentSettings
from agent.wire.frame import Frame, encode
from agent.wire.heartbeat import PATH, Heartbeat, read_answer
from agent.wire.heartbeat import encode as encode_beat
from indexer.clickhouse.store import open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import DAY_S
from indexer.write.journal_file import open_journal
from indexer.write.stored_identities import StoredIdentities, bit_of
from shim.allinone.command import up
from tests.support.frames import FrameRows, counter_frame, make_frame

NOW_S = int(time.time()) // 10 * 10
DAY_MS = 86_400_000


class Indexer:
    """One after another on the same store, with a journal that a test may take away."""

    def __init__(self, dsn: str, tmp_path: Path) -> None:
        self.store = open_store(dsn, pool=2)
        self.journal = tmp_path / "journal.sqlite"
        self._dsn = dsn

    async def start(self, **journal: Any) -> None:
        settings = Settings(
            dsn=self._dsn, batching="journal", listen="127.0.0.1:0", up=False,
            journal=JournalSettings(path=str(self.journal), **journal),
        )  # fmt: skip
        self.service = IndexerService(settings)
        await self.service.start()
        self._session = aiohttp.ClientSession(f"http://{self.service.address}")

    async def stop(self) -> None:
        await self._session.close()
        await self.service.stop()

    async def again(self, change: Callable[[], object], **journal: Any) -> None:
        """Stop, change something, start."""
        await self.stop()
        change()
        await self.start(**journal)

    def lose_journal(self) -> None:
        for path in self.journal.parent.glob("journal.sqlite*"):
            path.unlink()

    async def post(self, path: str, body: bytes) -> bytes:
        async with self._session.post(path, data=body) as response:
            assert response.status == 200
            return await response.read()

    async def send(self, *frames: Frame) -> list[int]:
        async def one(frame: Frame) -> int:
            async with self._session.post("/v1/frames", data=encode(frame)) as response:
                return response.status

        return await asyncio.gather(*map(one, frames))

    def total(self) -> list[float]:
        return [
            self.store.rows(f"SELECT sum(value) FROM counters_{g}")[0][0] for g in ("10s", "60s", "1h", "1d")
        ]

    def kept(self) -> list[tuple[int, str]]:
        """Frames and reasons that `meterhouse set-aside` lists."""
        journal = open_journal(self.service.settings)
        found = [(kept.frames, kept.reason) for kept in journal.kept()]
        journal.close()
        return found

    def metric(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(f"meterhouse_indexer_{name}", labels) or 0.0


@pytest.fixture(params=["chdb_dsn"])
async def indexer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Indexer]:
    it = Indexer(request.getfixturevalue(request.param), tmp_path)
    await it.start()
    yield it
    await it.stop()
    it.store.close()


def frames(count: int, *, since: int = 1, agent: str = "web/1", age_ms: int = 0) -> list[Frame]:
    at_ms = time.time_ns() // 1_000_000 - age_ms
    made = (
        counter_frame({"a": 1.0}, NOW_S, agent=agent, sequence=since + i, created_ms=at_ms)
        for i in range(count)
    )
    return list(made)


@pytest.mark.parametrize("indexer", ["chdb_dsn", "http_dsn"], indirect=True)
async def test_the_journal_is_lost(indexer: Indexer) -> None:
    sent = frames(20)
    assert set(await indexer.send(*sent)) == {200}
    await indexer.again(indexer.lose_journal)
    assert await indexer.send(*sent[3:6], *frames(1, since=99)) == [200] * 4
    assert indexer.total() == [21.0] * 4
    assert indexer.metric("identity_lookups_total", outcome="stored") == 3
    assert indexer.metric("identity_lookups_total", outcome="new") == 1
    assert set(await indexer.send(*sent)) == {200}
    assert indexer.total() == [21.0] * 4


async def test_the_journal_is_an_older_copy(indexer: Indexer, tmp_path: Path) -> None:
    first, later = frames(5), frames(5, since=6)
    assert set(await indexer.send(*first)) == {200}
    copy = tmp_path / "copy"
    await indexer.again(lambda: shutil.copy(indexer.journal, copy))
    assert set(await indexer.send(*later)) == {200}

    def restore() -> None:
        indexer.lose_journal()
        shutil.copy(copy, indexer.journal)

    await indexer.again(restore)
    assert set(await indexer.send(*first, *later)) == {200}
    assert indexer.total() == [10.0] * 4


async def test_the_journal_has_room_for_few(indexer: Indexer) -> None:
    await indexer.again(lambda: None, identities=3)
    sent = frames(40)
    for frame in sent:
        assert await indexer.send(frame) == [200]
    for frame in reversed(sent):
        assert await indexer.send(frame) == [200]
    assert indexer.total() == [40.0] * 4
    assert indexer.metric("identity_lookups_total", outcome="stored") > 30


async def test_parts_of_many_days(indexer: Indexer) -> None:
    today = NOW_S // DAY_S
    rows = FrameRows(counters=[("hits", {}, day * DAY_S, 1.0) for day in range(today - 70, today)])
    frame = make_frame(rows, created_ms=time.time_ns() // 1_000_000)
    assert await indexer.send(frame) == [200]
    await indexer.again(indexer.lose_journal)
    assert await indexer.send(frame) == [200]
    assert indexer.store.rows("SELECT sum(value) FROM counters_1d") == [(70.0,)]


async def test_what_is_older_than_what_is_remembered_is_refused(indexer: Indexer) -> None:
    """An old database: identities told more than 14 days ago are forgotten."""
    assert set(await indexer.send(*frames(2))) == {200}
    indexer.store.command(
        "INSERT INTO schema_migrations SELECT version, concat(name, ' before'), applied_at - INTERVAL 60 DAY"
        " FROM schema_migrations"
    )
    await indexer.again(indexer.lose_journal)
    old, inside = frames(1, since=50, age_ms=15 * DAY_MS), frames(1, since=51, age_ms=13 * DAY_MS)
    assert await indexer.send(*old, *inside) == [409, 200]
    assert indexer.total() == [3.0] * 4
    assert indexer.metric("refused_total", reason="too_old") == 1
    assert indexer.kept() == [(1, "created_ms: so old that it is not known whether the frame is stored")]
    assert indexer.metric("identity_lookups_total", outcome="too_old") == 1
    assert await indexer.send(*old) == [409], "the answer to it was lost"
    await indexer.again(lambda: None)
    assert [await indexer.send(*old) for _ in range(3)] == [[409]] * 3
    assert len(indexer.kept()) == 1
    assert indexer.metric("refused_total", reason="too_old") == 0, "it was counted before"


async def test_a_new_database_takes_frames_of_any_age(indexer: Indexer) -> None:
    assert await indexer.send(*frames(1, age_ms=1_000 * DAY_MS)) == [200]


async def test_a_batch_whose_identities_could_not_be_written_is_written_again(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = StoredIdentities.add, [OSError("no")]

    def add(self: StoredIdentities, token: str, units: list[AcceptedFrame]) -> None:
        if failures:
            raise store_error(failures.pop())
        real(self, token, units)

    monkeypatch.setattr(StoredIdentities, "add", add)
    sent = frames(2)
    assert await indexer.send(*sent) == [200, 200]
    await indexer.again(indexer.lose_journal)
    assert await indexer.send(*sent) == [200, 200]
    assert indexer.total() == [2.0] * 4


def store_error(cause: Exception) -> Exception:
    from indexer.clickhouse.store import StoreError

    return StoreError(str(cause), retryable=True)


def test_a_spool_is_not_older_than_what_is_remembered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A frame that an agent may still have is one that the indexer knows, at the defaults of both."""
    remembered_s = Settings().journal.identity_days * DAY_S
    assert AgentSettings().spool.max_age_s <= remembered_s
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"identity_days": 0}, JournalSettings)
    monkeypatch.setenv("METERHOUSE_AGENT__SPOOL__MAX_AGE_S", str(remembered_s + 1))
    assert up(["--data", str(tmp_path / "data")]) == 2
    said = capsys.readouterr().err
    assert f"agent.spool.max_age_s = {remembered_s + 1}: expected at most {remembered_s}" in said
    assert "indexer.journal.identity_days = 14" in said
    assert not (tmp_path / "data").exists()


async def test_an_agent_is_told_how_long_frames_are_remembered(indexer: Indexer) -> None:
    beat = Heartbeat(agent="web-1", epoch=1)
    answer = read_answer((await indexer.post(PATH, encode_beat(beat))).decode())
    assert answer.remembers_s == 14 * DAY_S
    assert abs(answer.now_ms - time.time() * 1000) < 60_000


@pytest.mark.parametrize("dsn", ["migrated_dsn", "migrated_http_dsn"])
def test_a_batch_is_looked_up_by_one_statement(
    dsn: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each of its frames took seconds when ClickHouse came back."""
    store = open_store(request.getfixturevalue(dsn), pool=1)
    written = [f"agent-{i}/{i * 40}" for i in range(0, 200, 2)]
    absent = [f"agent-{i}/{i * 40}" for i in range(1, 200, 2)] + ["agent-0/64", "x y"]
    masks: dict[tuple[str, int], int] = {}
    for source, block, bit in map(bit_of, written):
        masks[source, block] = 1 << bit
    StoredIdentities(store, 14, lambda: 1_795_000_000_000).write("t", masks)
    asked: list[str] = []
    rows = store.rows

    def counted(sql: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(sql)
        return rows(sql, *args, **kwargs)

    monkeypatch.setattr(store, "rows", counted)
    identities = StoredIdentities(store, 14, lambda: 1_795_000_000_000)
    for _ in range(2):  # the second time from memory
        assert identities.stored_of([*written, *absent]) == set(written)
        assert len(asked) == 1
    store.close()


@pytest.mark.parametrize("indexer", ["http_dsn"], indirect=True)
async def test_bits_flip_in_a_large_journal(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The indexer starts; once it has looked at the file, ClickHouse is asked for frames that come again."""
    monkeypatch.setattr("indexer.write.journal_rows.CHECKED_AT_ONCE", 0)
    monkeypatch.setattr("indexer.write.journal_check._AFTER_S", 0.0)
    sent = frames(3, agent="damaged/1")

    def flip() -> None:
        data = bytearray(indexer.journal.read_bytes())
        for number, found in enumerate(re.finditer(rb"damaged/1/", data)):
            data[found.start() + number % 7] ^= 1
        indexer.journal.write_bytes(data)

    assert await indexer.send(*sent) == [200] * 3
    await indexer.again(flip)
    deadline = time.monotonic() + 120
    while "event=journal_damaged" not in caplog.text:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await indexer.send(*sent) == [200] * 3
    assert indexer.metric("identity_lookups_total", outcome="stored") == 3
    assert indexer.total() == [3.0] * 4
