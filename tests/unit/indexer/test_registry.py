"""The agents that an indexer knows, by org and project, within its bound."""

from __future__ import annotations

from agent.wire.frame import Frame
from agent.wire.heartbeat import Heartbeat
from indexer.agents.completeness import HEARD_MS
from indexer.agents.registry import FORGOTTEN_MS, AgentRegistry

NOW_MS = 1_700_000_001_000
SETTLED_S, PAST_S = 1_699_999_990, 1_700_000_000
SETTLE_MS = 5_000


def beat(agent: str, until_s: int = PAST_S, *, epoch: int = 1, **fields: int | bool) -> Heartbeat:
    return Heartbeat(agent=agent, epoch=epoch, flushed_until_ms=until_s * 1000, **fields)  # type: ignore[arg-type]


def complete(agents: AgentRegistry, org_id: int = 1, project_id: int | None = 1, now_ms: int = NOW_MS) -> int:
    return agents.complete_s(org_id, project_id, now_ms, SETTLE_MS)


def test_others_do_not_hold_a_project_up() -> None:
    agents = AgentRegistry(10)
    assert complete(agents) == SETTLED_S, "nothing is known: time alone decides"
    agents.heartbeat(beat("a"), NOW_MS)
    agents.heartbeat(beat("b", PAST_S - 10, project_id=2), NOW_MS)
    agents.heartbeat(beat("c", PAST_S - 10, org_id=2), NOW_MS)
    assert complete(agents) == PAST_S
    assert complete(agents, project_id=2) == SETTLED_S
    assert complete(agents, project_id=None) == SETTLED_S, "org-wide: all of its projects"
    assert complete(agents, org_id=3) == SETTLED_S
    agents.heartbeat(beat("b", project_id=2), NOW_MS)
    assert complete(agents, project_id=None) == PAST_S


def test_an_agent_without_heartbeats_holds_up_for_as_long_as_is_set() -> None:
    agents = AgentRegistry(10)
    agents.heartbeat(beat("a"), NOW_MS)
    agents.frame(Frame(agent="old", epoch=1, sequence=1, created_ms=0), NOW_MS)
    assert complete(agents) == SETTLED_S
    assert complete(agents, now_ms=NOW_MS + SETTLE_MS) == PAST_S
    later_ms = NOW_MS + HEARD_MS
    agents.heartbeat(beat("a", later_ms // 10_000 * 10), later_ms)
    assert complete(agents, now_ms=later_ms) == later_ms // 10_000 * 10, "it was not heard of for 30 s"


def test_a_frame_says_that_its_agent_lives_but_not_how_far_it_is() -> None:
    agents = AgentRegistry(10)
    agents.heartbeat(beat("a"), NOW_MS - HEARD_MS)
    assert agents.alive(NOW_MS) == []
    frame = Frame(agent="a", epoch=1, sequence=1, created_ms=0, flushed_until_ms=NOW_MS + 10_000)
    agents.frame(frame, NOW_MS)
    assert [r.agent for r in agents.alive(NOW_MS)] == ["a"]
    assert complete(agents) == PAST_S


def test_one_that_ended_is_not_waited_for_and_its_next_run_is() -> None:
    agents = AgentRegistry(10)
    agents.heartbeat(beat("a"), NOW_MS)
    agents.heartbeat(beat("b", PAST_S - 10), NOW_MS)
    assert complete(agents) == SETTLED_S
    agents.heartbeat(beat("b", PAST_S - 10, ended=True), NOW_MS)
    assert complete(agents) == PAST_S
    agents.frame(Frame(agent="b", epoch=1, sequence=9, created_ms=0), NOW_MS)
    assert complete(agents) == PAST_S, "a frame that is sent once more wakes nobody"
    agents.heartbeat(beat("b", PAST_S - 10, epoch=2), NOW_MS)
    assert complete(agents) == SETTLED_S


def test_an_agent_too_many_is_not_taken() -> None:
    agents = AgentRegistry(2)
    assert agents.heartbeat(beat("a"), NOW_MS)
    assert agents.heartbeat(beat("b"), NOW_MS)
    assert not agents.heartbeat(beat("c", PAST_S - 10, org_id=5), NOW_MS)
    assert agents.not_taken == 1
    assert agents.heartbeat(beat("a"), NOW_MS + HEARD_MS - 1)
    assert agents.heartbeat(beat("c", org_id=5), NOW_MS + HEARD_MS), "b is not waited for any more"
    assert [run.agent for run, _ in agents.all(NOW_MS + HEARD_MS)] == ["a", "c"]
    assert agents.all(NOW_MS + HEARD_MS + FORGOTTEN_MS) == []
