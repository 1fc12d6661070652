"""The agents' progress in the store's table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.agents.completeness import Progress
from indexer.agents.heartbeats import HeartbeatWriter, read
from indexer.agents.registry import AgentRun
from indexer.clickhouse.store import Store, StoreError
from shim.engine.live_edge import TableAgents
from tests.unit.shim.test_live_edge import LIVE_MS, NOW_S, PAST_S, SETTLED_S


@pytest.fixture
def table(store: Store) -> Iterator[TableAgents]:
    agents = TableAgents(store, lambda: NOW_S)
    yield agents
    agents.close()


async def write(store: Store, *rows: tuple[AgentRun, Progress]) -> None:
    failures: list[StoreError] = []
    writer = HeartbeatWriter(store, failures.append)
    for run, progress in rows:
        writer.put(run, progress)
    await writer.stop()
    assert (writer.failures, failures) == (0, [])


async def test_the_table_says_what_was_written(store: Store, table: TableAgents) -> None:
    past = Progress(PAST_S * 1000, LIVE_MS)
    await write(
        store,
        (AgentRun(1, 1, "a", 1), Progress(SETTLED_S * 1000, LIVE_MS - 10_000)),
        (AgentRun(1, 1, "b", 1 << 60), Progress(0, LIVE_MS - 20_000)),
        (AgentRun(2, 1, "a", 1), Progress(0, LIVE_MS)),
    )
    await write(
        store,
        (AgentRun(1, 1, "a", 1), past),
        (AgentRun(1, 1, "b", 1 << 60), Progress(0, LIVE_MS - 100, ended=True)),
        (AgentRun(1, 1, "c", 1), Progress(0, LIVE_MS - 30_000)),
    )
    assert table.complete_s(1, 1, LIVE_MS, 5_000) == PAST_S
    assert table.complete_s(1, None, LIVE_MS, 5_000) == PAST_S
    assert table.complete_s(2, 1, LIVE_MS, 5_000) == SETTLED_S
    assert sorted(read(store, LIVE_MS)) == [1, 2]


async def test_of_one_agent_one_row_is_written_at_once(store: Store) -> None:
    run = AgentRun(3, 1, "a", 1)
    await write(store, *((run, Progress(PAST_S * 1000 + k, LIVE_MS)) for k in range(5)))
    rows = store.rows("SELECT agent, flushed_until_ms FROM heartbeats WHERE org_id = 3")
    assert rows == [("a", PAST_S * 1000 + 4)]


def test_a_table_that_cannot_be_read_leaves_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise StoreError("no", retryable=True, code=1)

    monkeypatch.setattr(store, "fetch", fails)
    table = TableAgents(store, lambda: NOW_S)
    assert table.complete_s(1, 1, LIVE_MS, 5_000) == SETTLED_S
    table.close()
