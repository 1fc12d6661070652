"""Bundles over HTTP: each frame is checked, stored and answered as if it had come alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.wire import bundle
from agent.wire.bundle import FrameAnswer
from agent.wire.frame import encode
from indexer.clickhouse.store import open_store
from indexer.service import IndexerService
from indexer.settings import Bounds, JournalSettings, Settings
from tests.support.frames import counter_frame

NOW_S = int(time.time()) // 10 * 10


class Indexer:
    """A running indexer, and the questions that tests ask of it."""

    def __init__(self, dsn: str, path: Path) -> None:
        self.dsn = dsn
        self._path = path
        self.service: IndexerService

    async def start(self, **fields: Any) -> None:
        journal = JournalSettings(path=str(self._path / "journal.sqlite"))
        settings = Settings(dsn=self.dsn, listen="127.0.0.1:0", journal=journal, up=False, **fields)
        self.service = IndexerService(settings)
        await self.service.start()

    async def send(self, body: bytes, token: str = "") -> tuple[int, list[FrameAnswer]]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(f"http://{self.service.address}") as session,
            session.post(bundle.PATH, data=body, headers=headers) as response,
        ):
            text = await response.read()
            count = len(bundle.decode(body)) if response.status == 200 else 0
            return response.status, bundle.decode_answers(text, count) if count else []

    def total(self) -> float:
        store = open_store(self.dsn, pool=1)
        ((value,),) = store.rows("SELECT sum(value) FROM counters_10s")
        store.close()
        return float(value)


@pytest.fixture
async def indexer(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    it = Indexer(migrated_dsn, tmp_path)
    yield it
    await it.service.stop()


async def test_each_frame_has_its_own_answer(indexer: Indexer) -> None:
    await indexer.start(bounds=Bounds(frame_bytes=100_000))
    good, twin = (counter_frame({"a": 1.0, "b": 2.0}, NOW_S) for _ in range(2))
    other = counter_frame({"a": 9.0}, NOW_S, sequence=good.sequence)  # other bytes under good's identity
    future = counter_frame({"a": 7.0}, NOW_S + 10 * 86_400, created_ms=NOW_S * 1000)  # not its agent's clock
    large = counter_frame({"x" * 100 + str(i): 1.0 for i in range(2_000)}, NOW_S)
    status, answers = await indexer.send(
        bundle.encode([*map(encode, (good, future)), b"rubbish", *map(encode, (large, twin, twin))])
    )
    assert status == 200
    assert [(one.status, one.rows) for one in answers] == [
        (200, 2), (400, 0), (400, 0), (400, 0), (200, 2), (200, 2),
    ]  # fmt: skip
    assert ["future" in answers[1].error, "zstd" in answers[2].error] == [True, True]
    assert "at most 100000" in answers[3].error
    assert indexer.total() == 6  # the twin that came twice counts once
    status, answers = await indexer.send(bundle.encode([encode(good), encode(other)]))
    assert [one.status for one in answers] == [200, 409]
    assert indexer.total() == 6


async def test_access_is_checked_for_each_frame(indexer: Indexer) -> None:
    await indexer.start(tokens={"secret": "1:1 write"})
    ours, theirs = (encode(counter_frame({"a": 1.0}, NOW_S, org_id=org_id)) for org_id in (1, 2))
    status, answers = await indexer.send(bundle.encode([theirs, ours]), "secret")
    assert (status, [one.status for one in answers]) == (200, [403, 200])
    assert (await indexer.send(bundle.encode([theirs, theirs]), "secret"))[0] == 403
    assert (await indexer.send(bundle.encode([ours])))[0] == 401
    assert indexer.total() == 1


async def test_bytes_that_are_no_bundle(indexer: Indexer) -> None:
    await indexer.start(bounds=Bounds(body_bytes=1_000))
    for body in (b"", b"rubbish", b"MHbundl1", bundle.encode([b"abc"])[:-1], bundle.encode([b""] * 65)):
        assert (await indexer.send(body))[0] == 400
    assert (await indexer.send(bundle.encode([bytes(1_000)])))[0] == 413


async def test_a_full_queue_puts_off_frames_one_by_one(indexer: Indexer) -> None:
    """The first frame of an empty queue is accepted, the others are answered 503."""
    await indexer.start(bounds=Bounds(queue_bytes=1))
    frames = [encode(counter_frame({"a": 1.0}, NOW_S)) for _ in range(4)]
    _, answers = await indexer.send(bundle.encode(frames))
    assert [one.status for one in answers] == [200, 503, 503, 503]
    assert min(one.retry_after for one in answers[1:]) >= 1
    for frame, answer in zip(frames, answers, strict=True):
        if answer.status == 503:
            assert (await indexer.send(bundle.encode([frame])))[1][0].status == 200
    assert indexer.total() == 4
