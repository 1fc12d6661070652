"""The agents that an indexer waits for, by the frames that come."""

from __future__ import annotations

from agent.wire.frame import BACKFILL_PREFIX, Frame
from agent.wire.heartbeat import Heartbeat
from indexer.agents.observer import AgentObserver
from indexer.agents.registry import AgentRegistry

NOW_MS = 1_700_000_001_000
PAST_S = 1_700_000_000


def test_a_file_of_old_lines_is_not_waited_for() -> None:
    agents = AgentRegistry(10)
    hearing = AgentObserver(agents, None, None, sees_all=True, now_ms=lambda: NOW_MS)
    hearing.heartbeat(Heartbeat(agent="a", epoch=1, flushed_until_ms=PAST_S * 1000))
    assert agents.complete_s(1, 1, NOW_MS, 5_000) == PAST_S
    old = Frame(agent=f"{BACKFILL_PREFIX}0123", epoch=1, sequence=7, created_ms=NOW_MS)
    hearing.frame(old)
    hearing.stored(old)
    assert agents.complete_s(1, 1, NOW_MS, 5_000) == PAST_S
    assert [run.agent for run in agents.alive(NOW_MS)] == ["a"]
    assert [one["agent"] for one in hearing.listing(lambda *_: True)] == ["a"]
    hearing.frame(Frame(agent="b", epoch=1, sequence=1, created_ms=NOW_MS))
    assert agents.complete_s(1, 1, NOW_MS, 5_000) == PAST_S - 10
