"""Three indexers, ten agents, and kill -9 of indexers: every row counts once, in every rollup."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from agent.forward.open_sending import open_sending
from agent.forward.spool.open_spool import open_spool, steady_clock
from agent.forward.spool.record import EncodedFrame
from agent.runtime.logs import Log
from agent.settings import AgentSettings, ForwardSettings, SpoolSettings
from agent.wire.frame import encode
from indexer.clickhouse.store import open_store
from tests.bench.many_indexers import Indexers, totals
from tests.support.frames import FrameRows, make_frame

AGENTS: Final = 10
SECONDS: Final = 8.0
MIN_KILLS: Final = 3
DRAIN_S: Final = 300.0
MAX_UNSENT: Final = 20
KINDS: Final = ("counters", "gauges", "distributions")


class SendingAgent:
    """The half of an agent that sends, with a spool on disk."""

    def __init__(self, name: str, folder: Path, urls: list[str]) -> None:
        self.name = name
        forward = ForwardSettings(
            urls=urls,
            connections=2,
            backoff_s=0.05,
            max_backoff_s=0.5,
            failover_s=0.5,
            return_s=0.5,
            timeout_s=60,
        )
        settings = AgentSettings(name=name, forward=forward, spool=SpoolSettings(path=str(folder / name)))
        self.spool = open_spool(settings, steady_clock(), Log())
        self.forwarder = open_sending(settings, self.spool, Log()).forwarder
        self.made = 0

    def make(self) -> None:
        """Make a frame with a row of three kinds."""
        self.made += 1
        now_ms = time.time_ns() // 1_000_000
        tags, bucket = {"agent": self.name}, now_ms // 10_000 * 10
        rows = FrameRows(
            counters=[("c", tags, bucket, 1.0)],
            gauges=[("g", tags, bucket, (now_ms, 1.0, 1.0, 1.0, 1.0, 1.0))],
            distributions=[("d", tags, bucket, [1.0])],
        )
        frame = make_frame(rows, agent=self.name, epoch=1, sequence=self.made, created_ms=now_ms)
        self.spool.put(EncodedFrame(frame.identity, encode(frame), 3, self.made, 1, now_ms))
        self.spool.keep_old(1.0)


@pytest.fixture
def indexers(clickhouse_port: int, http_dsn: str, tmp_path: Path) -> Iterator[Indexers]:
    assert str(clickhouse_port) in http_dsn
    it = Indexers(tmp_path, 3, http_dsn)
    for actor in it.actors:
        actor.environ["METERHOUSE_INDEXER__BATCH__PARTS_PER_S"] = "0"
        actor.launch()
    for actor in it.actors:
        actor.start()
    yield it
    it.clear()


def test_every_row_counts_once(indexers: Indexers, http_dsn: str, tmp_path: Path) -> None:
    agents = [SendingAgent(f"web-{n}", tmp_path, indexers.urls) for n in range(AGENTS)]
    for agent in agents:
        agent.forwarder.start()
    rnd, end_s, kill_s, kills = random.Random(7), time.monotonic() + SECONDS, time.monotonic() + 1.0, 0
    while time.monotonic() < end_s or kills < MIN_KILLS:  # a busy machine may need longer
        for agent in (agent for agent in agents if agent.spool.unsent_frames < MAX_UNSENT):
            agent.make()
        if time.monotonic() >= kill_s:
            one = rnd.choice(indexers.actors)
            one.kill()
            kills += 1
            for other in indexers.actors:
                if other is not one:
                    other.launch()  # it is back while this one is away
            kill_s = time.monotonic() + 1.5
        agents[0].spool.wait_empty(0.15)
    for actor in indexers.actors:
        actor.start()
    for agent in agents:
        assert agent.spool.wait_empty(DRAIN_S), agent.name  # drain ends at the first failure
        assert agent.forwarder.drain(DRAIN_S), agent.name
        agent.spool.leave()
        assert not sum(agent.forwarder.dropped_frames.values())
        assert not agent.spool.dropped_frames
    store = open_store(http_dsn, pool=1)
    made = float(sum(agent.made for agent in agents))
    assert totals(store) == {
        f"{kind}_{rollup}": made
        for kind in ("counters", "gauges", "distributions")
        for rollup in ("10s", "1d")
    }
    store.close()
