"""Several indexers with a journal each over one server: every frame and message counts once.

Claims (indexer/write/frame_claims.py) decide which of them stores a frame.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from agent.forward.channel import Answer, Channel, Outcome
from agent.forward.delivery import Delivery
from agent.forward.one_indexer import OneIndexer
from agent.forward.spool.record import EncodedFrame
from agent.runtime.logs import Log
from agent.settings import ForwardSettings
from agent.wire.frame import Frame, encode
from agent.wire.release import Release
from indexer.clickhouse.store import Store, open_store
from indexer.diagnosis.agent_url import look_at_url
from indexer.diagnosis.check import CheckResult
from indexer.service import IndexerService
from indexer.settings import BatchSettings, JournalSettings, Settings
from tests.support.clickhouse_http import FaultRule, FaultRules
from tests.support.frames import FrameRows, make_frame

LOST = Answer(Outcome.TIMEOUT)
NOW_S = int(time.time()) // 10 * 10
HOP = Release(1).headers()


@pytest.fixture
def faults(clickhouse_port: int) -> Iterator[FaultRules]:
    rules = FaultRules(clickhouse_port)
    yield rules
    rules.set()


class Indexers:
    """Indexers by name, each with a journal that survives its end."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.store: Store = open_store(dsn, pool=1)
        self._dsn, self._directory = dsn, directory
        self.running: dict[str, IndexerService] = {}
        self.session = aiohttp.ClientSession()

    def settings(self, name: str) -> Settings:
        return Settings(
            dsn=self._dsn,
            listen="127.0.0.1:0",
            up=False,
            acknowledge_s=1.0,
            drain_s=0.2,
            batch=BatchSettings(parts_per_s=0),
            journal=JournalSettings(path=str(self._directory / f"{name}.sqlite")),
        )

    async def start(self, *names: str) -> None:
        for name in names:
            self.running[name] = IndexerService(self.settings(name))
            await self.running[name].start()

    async def stop(self, name: str) -> None:
        await self.running.pop(name).stop()

    async def post(self, name: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        url = f"http://{self.running[name].address}{path}"
        async with self.session.post(url, data=body, headers=headers) as response:
            return response.status, await response.text()

    async def send(self, name: str, frame: Frame, headers: Mapping[str, str] | None = None) -> int:
        return (await self.post(name, "/v1/frames", encode(frame), headers or {}))[0]

    async def until_stored(self, name: str, frame: Frame, headers: Mapping[str, str] | None = None) -> None:
        deadline = time.monotonic() + 120
        while (status := await self.send(name, frame, headers)) != 200:
            assert status == 503
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    async def until_failed(self, name: str, frame: Frame) -> None:
        """Send a frame whose INSERT fails, and wait until it has: an answer may come before."""
        assert await self.send(name, frame) == 503
        await self.until_counted(name, "store_faults_total", fault="busy")

    async def until_counted(self, name: str, counter: str, **labels: str) -> None:
        """Wait until a counter of an indexer is above 0."""
        registry, deadline = self.running[name].metrics.registry, time.monotonic() + 120
        while not registry.get_sample_value(f"meterhouse_indexer_{counter}", labels):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    def counts(self) -> list[int]:
        """Rows of both kinds, in the finest and the coarsest rollup."""
        tables = ("counters_10s", "counters_1d", "distributions_10s", "distributions_1d")
        sums = {"counters": "sum(value)", "distributions": "sum(count)"}
        return [
            int(self.store.rows(f"SELECT {sums[table.partition('_')[0]]} FROM {table}")[0][0])
            for table in tables
        ]


@pytest.fixture
async def indexers(migrated_http_dsn: str, tmp_path: Path, faults: FaultRules) -> AsyncIterator[Indexers]:
    them = Indexers(migrated_http_dsn, tmp_path)
    await them.start("a", "b")
    yield them
    faults.set()
    for name in list(them.running):
        await them.stop(name)
    await them.session.close()
    them.store.close()


def frame(number: int) -> Frame:
    rows = FrameRows(counters=[("hits", {}, NOW_S, 1.0)], distributions=[("took", {}, NOW_S, [1.0])])
    return make_frame(rows, sequence=number, created_ms=time.time_ns() // 1_000_000)


async def test_an_indexer_tells_its_name_to_doctor(indexers: Indexers) -> None:
    found = await asyncio.to_thread(look_at_url, f"http://{indexers.running['a'].address}")
    assert found.result is CheckResult.PASSED


@pytest.mark.parametrize("hop", [1, 5])
async def test_a_half_stored_frame_waits_for_the_journal_that_has_it(
    indexers: Indexers, faults: FaultRules, hop: int
) -> None:
    """The seam: counters are stored, distributions are not, and the indexer is gone.

    Hop 5: the agent does not know which indexer has it.
    """
    one, headers = frame(1), Release(hop).headers()
    faults.set(FaultRule(b"incoming_distributions".hex(), 241))
    await indexers.until_failed("a", one)
    await indexers.stop("a")
    faults.set()
    assert await indexers.send("b", one, headers) == 503, "only a knows which rows are stored"
    await indexers.until_counted("b", "frames_total", outcome="left_undecided")
    await indexers.start("a")
    await indexers.until_stored("b", one, headers)
    assert indexers.counts() == [1] * 4
    await indexers.until_stored("a", one)
    assert indexers.counts() == [1] * 4


async def test_a_settling_frame_holds_no_other_up(
    indexers: Indexers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster released frames wait for late replicas: no thread, and no other frame, waits with them."""
    monkeypatch.setattr("indexer.write.assembly.settle_s", lambda _: 3600.0)
    await indexers.start("c")
    one = frame(1)
    assert await indexers.send("c", one, HOP) == 503, "it settles longer than a sender waits"
    await indexers.until_stored("c", frame(2))
    assert await indexers.send("c", one, HOP) == 503
    assert indexers.counts() == [1] * 4
    await indexers.stop("c")
    monkeypatch.setattr("indexer.write.assembly.settle_s", lambda _: 0.3)
    await indexers.start("c")
    await indexers.until_stored("c", one, HOP)
    assert indexers.counts() == [2] * 4


async def test_a_lost_journal_is_given_up_by_a_person(indexers: Indexers, faults: FaultRules) -> None:
    """Then the kinds that were stored count twice, and no others, as docs/reliability.md says."""
    one = frame(1)
    faults.set(FaultRule(b"incoming_distributions".hex(), 241))
    await indexers.until_failed("a", one)
    await indexers.stop("a")
    faults.set()
    assert await indexers.send("b", one, HOP) == 503
    await indexers.until_stored("b", one, Release(1, 0b1).headers())
    assert indexers.counts() == [2, 2, 1, 1]


async def test_a_released_frame_is_not_stored_by_the_one_that_returns(
    indexers: Indexers, faults: FaultRules
) -> None:
    """Its batch is in the journal, and no claim of it in ClickHouse: so it stores nothing at its return."""
    one, two = frame(1), frame(2)
    faults.set(FaultRule(b"INTO `identities`".hex(), 241), FaultRule(b"INTO identities".hex(), 241))
    await indexers.until_failed("a", one)
    await indexers.stop("a")
    faults.set()
    await indexers.until_stored("b", one, HOP)
    await indexers.start("a")
    await indexers.until_stored("a", one)  # a copy that comes late: b has stored it
    await indexers.until_stored("a", two)
    await indexers.until_stored("b", one, Release(2).headers())
    assert indexers.counts() == [2] * 4


async def test_messages_with_a_key_may_go_to_any_indexer(indexers: Indexers) -> None:
    body = json.dumps(
        [{"org_id": 1, "project_id": 1, "name": "m", "type": "c", "value": 1, "timestamp": NOW_S, "tags": {}}]
    ).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k1"}
    for name in ("a", "b", "a"):
        deadline = time.monotonic() + 120
        while (answer := await indexers.post(name, "/v1/messages", body, headers))[0] != 200:
            assert answer[0] == 503, answer
            assert time.monotonic() < deadline
    assert indexers.counts()[:2] == [1, 1]


async def test_a_journal_has_one_indexer(indexers: Indexers) -> None:
    """In this process the lock is ours already, so another one tries."""
    program = (
        "import sys; from pathlib import Path; from indexer.clickhouse.data_lock import DataLock\n"
        "try:\n    DataLock(Path(sys.argv[1]))\nexcept OSError as e:\n    print(e.strerror or e)"
    )
    path = indexers.settings("a").journal.path
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, path, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert b"another meterhouse (pid" in told


@pytest.mark.parametrize("half", [False, True])
async def test_frames_over_a_load_balancer_count_once(
    indexers: Indexers, faults: FaultRules, half: bool
) -> None:
    """Indexer a takes a frame, and its answer is lost; then the URL leads to b. `half`: a stored a part."""
    now_s = [0.0]
    one = OneIndexer("http://balancer", Log(), clock_s=lambda: now_s[0])
    sent = frame(1)
    encoded = EncodedFrame(sent.identity, encode(sent), rows=2, number=1)

    async def tried(name: str, *, lost: bool = False) -> Outcome:
        channel = Channel(ForwardSettings(url=f"http://{indexers.running[name].address}"))
        if lost:
            send = channel.send
            channel.send = lambda *given, **named: (  # type: ignore[method-assign]
                found if (found := send(*given, **named)).outcome is Outcome.MISDIRECTED else LOST
            )
        answers = await asyncio.to_thread(Delivery(channel, one=one).send, [encoded])
        channel.close()
        return answers[0].outcome

    if half:
        faults.set(FaultRule(b"incoming_distributions".hex(), 241))
    assert await tried("a", lost=True) is Outcome.TIMEOUT
    if half:
        await indexers.until_counted("a", "store_faults_total", fault="busy")
        await indexers.stop("a")
        faults.set()
    assert await tried("b") is Outcome.MISDIRECTED
    now_s[0] = 60.0
    if half:
        assert await tried("b") is Outcome.BUSY
        await indexers.start("a")
    deadline = time.monotonic() + 120
    while (outcome := await tried("b")) is not Outcome.ACCEPTED:
        assert outcome is Outcome.BUSY  # on a busy machine also where a stored it
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert indexers.counts() == [1] * 4
