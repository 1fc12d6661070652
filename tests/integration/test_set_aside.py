"""`meterhouse set-aside` against a running indexer, and against its journal when none runs."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from agent.wire.frame import Frame
from indexer.cli.set_aside import set_aside
from indexer.clickhouse.store import Store, open_store
from indexer.deletion.deletion_request import DeletionBusyError, DeletionRequest, MetricSeries
from indexer.intern.ids import string_id
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.write.batch_claims import GO
from indexer.write.identity import frame_identity
from tests.integration.test_indexer_exactly_once import sent
from tests.support.clickhouse_http import FaultRule, FaultRules
from tests.support.damaged_journal import damage_frame
from tests.support.frames import FrameRows, counter_frame, make_frame

NOW_S = int(time.time()) // 10 * 10
MARKED = 1234.5678


@pytest.fixture
def faults(clickhouse_port: int) -> Iterator[FaultRules]:
    rules = FaultRules(clickhouse_port)
    yield rules
    rules.set()


class Command:
    """The command with the settings of an indexer that may run."""

    def __init__(self, dsn: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.dsn = dsn
        self.journal = folder / "journal.sqlite"
        self._file = folder / "m.toml"
        self._capsys = capsys
        self.service: IndexerService | None = None

    async def start(self) -> IndexerService:
        journal = JournalSettings(path=str(self.journal))
        self.service = IndexerService(
            Settings(dsn=self.dsn, listen="127.0.0.1:0", batching="journal", journal=journal, up=False)
        )
        await self.service.start()
        return self.service

    async def stop(self) -> None:
        if self.service is not None:
            await self.service.stop()

    async def run(self, *argv: str) -> tuple[int, str]:
        listen = self.service.address if self.service is not None else "127.0.0.1:1"
        self._file.write_text(
            f'[indexer]\ndsn = {json.dumps(self.dsn)}\nlisten = "{listen}"\nbatching = "journal"\n'
            f"journal.path = {json.dumps(str(self.journal))}\n"
        )
        self._file.chmod(0o600)
        code = await asyncio.to_thread(set_aside, [*argv, "--config", str(self._file)])
        out, err = self._capsys.readouterr()
        return code, out + err


@pytest.fixture
async def command(
    migrated_http_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], faults: FaultRules
) -> AsyncIterator[Command]:
    it = Command(migrated_http_dsn, tmp_path, capsys)
    yield it
    faults.set()
    await it.stop()


def total(dsn: str) -> float:
    store: Store = open_store(dsn, pool=1)
    ((value,),) = store.rows("SELECT sum(value) FROM counters_10s")
    store.close()
    return float(value)


def token(listing: str, state: str) -> str:
    (found,) = (line.split()[0] for line in listing.splitlines() if f" {state} " in line)
    return found


async def until_aside(command: Command) -> str:
    """Return the list with a batch that is set aside: a sender may be told to try again before."""
    deadline = time.monotonic() + 120
    while " aside " not in (listing := (await command.run("list"))[1]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return listing


async def test_list_show_retry_and_drop_while_it_runs(command: Command, faults: FaultRules) -> None:
    service = await command.start()
    assert await command.run("list") == (0, "nothing is set aside\n")
    faults.set(FaultRule(struct.pack("<d", MARKED).hex(), 321), FaultRule(struct.pack("<d", 77.5).hex(), 60))
    assert await sent(service, counter_frame({"bad": MARKED}, NOW_S, sequence=1)) == 400
    assert await sent(service, counter_frame({"waits": 77.5}, NOW_S, sequence=2)) == 503
    listing = await until_aside(command)
    ended, waits = token(listing, "ended"), token(listing, "aside")
    assert "refuses values" in listing
    assert "lacks a table" in listing
    code, text = await command.run("show", ended)
    (frame,) = json.loads(text)
    assert (frame["rows"], frame["org_id"]) == ({"counters": 1}, 1)
    code, text = await command.run("retry", waits)
    assert (code, text.startswith("not stored: ClickHouse lacks a table")) == (1, True)
    faults.set()
    assert await command.run("retry", ended) == (0, "stored\n")
    code, _ = await command.run("retry", waits)
    assert code in (0, 1), "it may have been stored by itself"
    code, text = await command.run("drop", "nothing")
    assert (code, "no batch 'nothing'" in text) == (1, True)
    assert total(command.dsn) == MARKED + 77.5
    assert await sent(service, counter_frame({"bad": MARKED}, NOW_S, sequence=1)) == 200
    assert total(command.dsn) == MARKED + 77.5


async def test_a_deletion_waits_for_batches_of_its_org(command: Command, faults: FaultRules) -> None:
    """Counters are stored, distributions are not: the retry would bring deleted counters back."""
    service = await command.start()
    faults.set(FaultRule(b"incoming_distributions".hex(), 60))
    rows = FrameRows(counters=[("hits", {}, NOW_S, 1.0)], distributions=[("took", {}, NOW_S, [1.0])])
    half = make_frame(rows, sequence=1, created_ms=time.time_ns() // 1_000_000)
    assert await sent(service, half) == 503
    listing = await until_aside(command)
    asked = DeletionRequest(1, [MetricSeries(1, "counters", string_id(1, "hits"))])
    with pytest.raises(DeletionBusyError, match=f"org 1 may be stored in part.*{token(listing, 'aside')}"):
        await asyncio.to_thread(service.delete, asked)
    assert (await asyncio.to_thread(service.delete, structs.replace(asked, dry_run=True))).series == 1
    other = DeletionRequest(2, [MetricSeries(1, "counters", string_id(2, "hits"))])
    assert (await asyncio.to_thread(service.delete, other)).series == 0
    faults.set()
    await until_stored(service, half)
    assert (await asyncio.to_thread(service.delete, asked)).series == 1
    assert await sent(service, half) == 200
    assert total(command.dsn) == 0


async def test_what_is_dropped_is_answered_400_from_then_on(command: Command, faults: FaultRules) -> None:
    service = await command.start()
    faults.set(FaultRule(struct.pack("<d", 77.5).hex(), 60))
    frame = counter_frame({"waits": 77.5}, NOW_S, sequence=2)
    assert await sent(service, frame) == 503
    listing = await until_aside(command)
    assert (await command.run("drop", token(listing, "aside")))[0] == 0
    faults.set()
    assert await sent(service, frame) == 400
    assert total(command.dsn) == 0


async def test_the_journal_is_opened_where_no_indexer_runs(command: Command, faults: FaultRules) -> None:
    code, text = await command.run("list")
    assert (code, "no indexer listens, and there is no journal" in text) == (1, True)
    service = await command.start()
    faults.set(FaultRule(struct.pack("<d", MARKED).hex(), 321))
    assert await sent(service, counter_frame({"bad": MARKED}, NOW_S, sequence=1)) == 400
    await command.stop()
    command.service = None
    faults.set()
    _, listing = await command.run("list")
    ended = token(listing, "ended")
    assert (await command.run("show", ended))[0] == 0
    assert await command.run("retry", ended) == (0, "the indexer tries it when it starts\n")
    again = await command.start()
    deadline = time.monotonic() + 120
    while await sent(again, counter_frame({"bad": MARKED}, NOW_S, sequence=1)) != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert total(command.dsn) == MARKED


async def test_without_a_journal_it_says_so(command: Command) -> None:
    code, text = await command.run("list", "--url", "http://127.0.0.1:1")
    assert (code, "Connection refused" in text) == (1, True)
    code, text = await command.run("show")
    assert (code, "expected the token of a batch" in text) == (1, True)


async def test_what_waits_longer_than_clickhouse_remembers_tokens_counts_once(
    command: Command, faults: FaultRules, tmp_path: Path
) -> None:
    """The counters of a batch are stored, its gauges are not; the tables then forget its tokens."""
    service = await command.start()
    rows = FrameRows(
        counters=[("hits", {}, NOW_S, 5.0)],
        gauges=[("depth", {}, NOW_S, (NOW_S * 1000, MARKED, MARKED, MARKED, MARKED, 1))],
    )
    half = make_frame(rows, sequence=1)
    faults.set(FaultRule(struct.pack("<d", MARKED).hex(), 60))
    assert await sent(service, half) == 503
    await until_aside(command)
    await command.stop()
    command.service = None
    older = copied(tmp_path)
    store = open_store(command.dsn, pool=1)
    for granularity in ("10s", "60s", "1h", "1d"):
        store.command(
            f"ALTER TABLE counters_{granularity} MODIFY SETTING non_replicated_deduplication_window = 1"
        )
    service = await command.start()
    for sequence in (2, 3):
        assert await sent(service, counter_frame({"a": 1.0}, NOW_S, sequence=sequence)) == 200
    faults.set()
    await until_stored(service, half)
    assert total(command.dsn) == 7.0
    await command.stop()
    restored(tmp_path, older)
    service = await command.start()
    await until_stored(service, half)
    assert total(command.dsn) == 7.0
    assert store.rows("SELECT count() FROM gauges_10s FINAL") == [(1,)]
    store.close()


async def test_a_damaged_batch_of_a_killed_indexer_counts_once(
    command: Command, faults: FaultRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters of both frames are stored, their distributions are not; then a bit of one frame flips."""
    monkeypatch.setattr("indexer.write.damaged_batches.AWAITED_S", 1e9)
    service = await command.start()
    faults.set(FaultRule(b"incoming_distributions".hex(), 60))
    frames = [both(f"a{n}", sequence=n) for n in (1, 2)]
    assert await asyncio.gather(*(sent(service, frame) for frame in frames)) == [503, 503]
    await command.stop()
    command.service = None
    await asyncio.to_thread(as_if_killed, command.journal, frame_identity(frames[1], 0))
    faults.set()
    service = await command.start()
    assert await sent(service, counter_frame({"live": 1.0}, NOW_S, sequence=9)) == 200
    asked = DeletionRequest(2, [MetricSeries(1, "counters", string_id(2, "hits"))])
    assert (await asyncio.to_thread(service.delete, asked)).series == 0
    for frame in frames[::-1]:
        await until_stored(service, frame)
    assert total(command.dsn) == 3.0
    store = open_store(command.dsn, pool=1)
    for granularity in ("10s", "60s", "1h", "1d"):
        assert store.rows(f"SELECT sum(count) FROM distributions_{granularity}") == [(2.0,)]
    store.close()
    assert await command.run("list") == (0, "nothing is set aside\n")


def both(host: str, *, sequence: int) -> Frame:
    tags = {"host": host}
    rows = FrameRows(counters=[("hits", tags, NOW_S, 1.0)], distributions=[("took", tags, NOW_S, [1.0])])
    return make_frame(rows, sequence=sequence)


def as_if_killed(journal: Path, identity: str) -> None:
    """Let a set-aside batch be one that is being written, of which nothing is known, and damage a frame."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as db:
        assert db.execute(
            "UPDATE batch SET state = 0, reason = NULL, half_at = NULL WHERE state = 2"
        ).rowcount
        db.execute("DELETE FROM stored_part WHERE part != ?", (GO,))
    damage_frame(journal, identity)


async def until_stored(service: IndexerService, frame: Frame) -> None:
    deadline = time.monotonic() + 120
    while await sent(service, frame) != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def copied(folder: Path) -> Path:
    """Return a copy of the journal that knows of no stored INSERT."""
    copy = folder / "older"
    shutil.copytree(folder, copy, ignore=lambda _, names: [n for n in names if "journal" not in n])
    with closing(sqlite3.connect(copy / "journal.sqlite", isolation_level=None)) as db:
        assert db.execute("DELETE FROM stored_part WHERE part != ?", (GO,)).rowcount == 1
    return copy


def restored(folder: Path, copy: Path) -> None:
    for path in folder.glob("journal.sqlite*"):
        path.unlink()
    shutil.copytree(copy, folder, dirs_exist_ok=True)
