"""Requests of messages count once: without a key those answered 503, with a key those of the same bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from indexer.access.grants import EVERYTHING, Grant
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.receive.message_requests import MessageRequests
from indexer.receive.messages import Parsed, parse
from indexer.receive.pending_requests import PendingRequests
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Conflict, Limited, Unavailable, WriteError

NOW_S = int(time.time()) // 10 * 10
MESSAGE = {"org_id": 1, "project_id": 1, "name": "hits", "timestamp": NOW_S, "type": "c", "value": 1}


class Indexer:
    """One after another on the same store and journal, with a table that may be broken."""

    def __init__(
        self, dsn: str, batching: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acknowledge_s: float
    ) -> None:
        self.store = open_store(dsn, pool=2)
        journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
        self._settings = Settings(
            dsn=dsn, batching=batching, listen="127.0.0.1:0", up=False,  # type: ignore[arg-type]
            journal=journal, acknowledge_s=acknowledge_s, drain_s=0.0,
        )  # fmt: skip
        self.broken = False
        real = Store.insert

        def insert(store: Store, table: str, *args: Any, **kwargs: Any) -> None:
            if self.broken and table == "incoming_gauges":
                raise StoreError("no", retryable=True)
            real(store, table, *args, **kwargs)

        monkeypatch.setattr(Store, "insert", insert)

    async def start(self) -> None:
        self.service = IndexerService(self._settings)
        await self.service.start()
        self._session = aiohttp.ClientSession(f"http://{self.service.address}")

    async def stop(self) -> None:
        await self._session.close()
        await self.service.stop()

    async def post(self, *messages: dict[str, Any], key: str = "") -> tuple[int, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        async with self._session.post("/v1/messages", json=messages, headers=headers) as response:
            return response.status, await response.json()

    async def post_until_stored(self, *messages: dict[str, Any]) -> None:
        deadline = time.monotonic() + 120
        while (await self.post(*messages))[0] != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    def totals(self) -> tuple[Any, ...]:
        """Of counters in org 1 and 2, and of gauges."""
        (counters,) = self.store.rows(
            "SELECT sumIf(value, org_id = 1), sumIf(value, org_id = 2) FROM counters_1h"
        )
        (gauges,) = self.store.rows("SELECT sum(count) FROM gauges_1h")
        return counters + gauges


MODES = [("chdb_dsn", "journal"), ("http_dsn", "frame")]
#: For tests whose store never fails: a busy machine must not make a 503 of their answers.
patient = pytest.mark.parametrize(
    "indexer", [(*mode, 60.0) for mode in MODES], ids=["journal", "frame"], indirect=True
)


@pytest.fixture(params=MODES, ids=["journal", "frame"])
async def indexer(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Indexer]:
    dsn, batching, *acknowledge_s = request.param
    it = Indexer(request.getfixturevalue(dsn), batching, tmp_path, monkeypatch, *(acknowledge_s or [1.0]))
    await it.start()
    yield it
    await it.stop()
    it.store.close()


BOTH = [MESSAGE, {**MESSAGE, "name": "depth", "type": "g", "value": 7}]


async def test_a_request_answered_503_counts_once_and_then_again(indexer: Indexer) -> None:
    indexer.broken = True
    for _ in range(2):
        assert (await indexer.post(*BOTH))[0] == 503
    indexer.broken = False
    await indexer.post_until_stored(*BOTH)
    assert indexer.totals() == (1, 0, 1)
    await indexer.post_until_stored(*BOTH)  # as another client may
    assert indexer.totals() == (2, 0, 2)


async def test_two_clients_that_send_the_same_are_two(indexer: Indexer) -> None:
    indexer.broken = True
    answers = await asyncio.gather(indexer.post(*BOTH), indexer.post(*BOTH))
    assert [status for status, _ in answers] == [503, 503]
    indexer.broken = False
    for _ in range(2):
        await indexer.post_until_stored(*BOTH)
    assert indexer.totals() == (2, 0, 2)


@pytest.mark.parametrize("indexer", [("chdb_dsn", "journal")], indirect=True)
async def test_over_a_restart(indexer: Indexer) -> None:
    indexer.broken = True
    assert (await indexer.post(*BOTH))[0] == 503
    await indexer.stop()
    indexer.broken = False
    await indexer.start()
    await indexer.post_until_stored(*BOTH)
    assert indexer.totals() == (1, 0, 1)
    await indexer.post_until_stored(*BOTH)
    assert indexer.totals() == (2, 0, 2)


@patient
async def test_other_bytes_under_a_key_store_nothing(indexer: Indexer) -> None:
    """Also if its messages fall into other groups, of which the first has another tenant."""
    assert (await indexer.post(MESSAGE, key="k"))[0] == 200
    other = {**MESSAGE, "org_id": 2}
    for messages in ([MESSAGE, MESSAGE], [other, MESSAGE], [{**MESSAGE, "retention_days": 7}]):
        assert (await indexer.post(*messages, key="k"))[0] == 409
    assert indexer.totals() == (1, 0, 0)
    if indexer.service.settings.batching == "journal":
        await indexer.stop()
        await indexer.start()
        assert (await indexer.post(other, MESSAGE, key="k"))[0] == 409
    assert (await indexer.post(MESSAGE, key="k")) == (200, {"accepted": 1, "rejected": []})
    assert (await indexer.post(MESSAGE, key="k/0"))[0] == 200  # another key
    assert indexer.totals() == (2, 0, 0)


class Clock:
    """Requests whose clock is set, over a store whose answers the test sets."""

    def __init__(self) -> None:
        self.now_ms = NOW_S * 1000
        self.stored: dict[str, AcceptedFrame] = {}
        self.tried: list[str] = []
        self.fails: WriteError | None = None
        self.requests = MessageRequests(
            self._parse, self._write, PendingRequests(9), now_ms=lambda: self.now_ms
        )

    async def _parse(self, body: bytes, key: str, grant: Grant, at_ms: int) -> Parsed:
        return parse(body, key=key, created_ms=at_ms, latest_s=at_ms // 1000, max_messages=9, grant=grant)

    async def _write(self, units: Any) -> None:
        self.tried += [unit.identity for unit in units]
        await asyncio.sleep(0)  # others under the same key come meanwhile
        if self.fails:
            raise self.fails
        for unit in units:
            self.stored.setdefault(unit.identity, unit)


@pytest.mark.parametrize("key", ["k", ""])
async def test_a_request_sent_again_later_is_read_as_of_its_first_time(key: str) -> None:
    """Its second message lies in the future at first, and its own group would become the first later."""
    clock = Clock()
    late = {**MESSAGE, "timestamp": NOW_S + 60, "retention_days": 7}
    body = msgspec.json.encode([late, MESSAGE])
    clock.fails = Unavailable("no")
    with pytest.raises(Unavailable):
        await clock.requests.write(body, key, EVERYTHING)
    clock.fails = None
    clock.now_ms += 120_000
    parsed = await clock.requests.write(body, key, EVERYTHING)
    assert (parsed.accepted, [r.position for r in parsed.rejected]) == (1, [0])
    assert sum(unit.frame.rows for unit in clock.stored.values()) == parsed.accepted
    if key:
        assert (await clock.requests.write(body, key, EVERYTHING)).accepted == 1
    else:
        assert (await clock.requests.write(body, key, EVERYTHING)).accepted == 2


UNBEGUN = [Unavailable("too much is waiting", begun=False), Limited("too many rows a second", 1)]
OTHER = msgspec.json.encode({**MESSAGE, "value": 2})


@pytest.mark.parametrize("error", UNBEGUN, ids=["503", "429"])
async def test_a_request_of_which_nothing_was_begun_leaves_its_key_unused(error: WriteError) -> None:
    """A second client with other bytes under the key counts, and the first one is a conflict then."""
    clock = Clock()
    first = msgspec.json.encode(MESSAGE)
    clock.fails = error
    sent = [clock.requests.write(first, "k", EVERYTHING) for _ in range(2)]
    assert await asyncio.gather(*sent, return_exceptions=True) == [error, error]
    clock.fails = None
    assert (await clock.requests.write(OTHER, "k", EVERYTHING)).accepted == 1
    with pytest.raises(Conflict):
        await clock.requests.write(first, "k", EVERYTHING)
    assert len(clock.stored) == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_a_request_without_a_key_is_known_after_429_if_a_part_is_stored(begun: bool) -> None:
    clock = Clock()
    clock.fails = Limited("too many new series", 1, begun=begun)
    with pytest.raises(Limited):
        await clock.requests.write(OTHER, "", EVERYTHING)
    clock.fails = None
    await clock.requests.write(OTHER, "", EVERYTHING)
    assert len(set(clock.tried)) == (1 if begun else 2)


async def test_other_bytes_are_a_conflict_after_503_of_a_request_that_was_begun() -> None:
    """One of its frames may be stored: of the request itself, of a repetition, or of other retention."""
    first = msgspec.json.encode(MESSAGE)
    several = msgspec.json.encode([MESSAGE, {**MESSAGE, "retention_days": 7}])
    for body, errors in (
        (first, [Unavailable("not written yet")]),
        (first, [Unavailable("not written yet"), *UNBEGUN]),
        (first, [None, *UNBEGUN]),
        (several, UNBEGUN[:1]),
    ):
        clock = Clock()
        for clock.fails in errors:
            await asyncio.gather(clock.requests.write(body, "k", EVERYTHING), return_exceptions=True)
        clock.fails = None
        with pytest.raises(Conflict):
            await clock.requests.write(OTHER, "k", EVERYTHING)
        assert (await clock.requests.write(body, "k", EVERYTHING)).accepted > 0


@patient
async def test_a_key_after_an_answer_429(indexer: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a rate nothing of a request is begun, so its key is free for other bytes."""
    monkeypatch.setattr("indexer.receive.org_rates.OrgRates.exceeded", lambda *_: ("rows", 1))
    assert (await indexer.post(MESSAGE, key="k"))[0] == 429
    monkeypatch.undo()
    other = {**MESSAGE, "value": 5}
    assert (await indexer.post(other, key="k"))[0] == 200
    assert (await indexer.post(MESSAGE, key="k"))[0] == 409
    assert indexer.totals() == (5, 0, 0)


async def test_a_key_after_an_answer_503(indexer: Indexer) -> None:
    """The store failed while the request was written: its bytes count once it is sent again, no others."""
    gauge = {**MESSAGE, "name": "depth", "type": "g", "value": 7}
    indexer.broken = True
    assert (await indexer.post(gauge, key="k"))[0] == 503
    assert (await indexer.post({**gauge, "value": 8}, key="k"))[0] == 409
    indexer.broken = False
    deadline = time.monotonic() + 60
    while (await indexer.post(gauge, key="k"))[0] != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert indexer.totals() == (0, 0, 1)
