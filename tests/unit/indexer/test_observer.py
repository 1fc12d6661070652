"""The agents that an indexer waits for, by the frames that come."""

from __future__ import annotations

import msgspec
import pytest

from agent.protocol.line import Reason
from agent.wire.frame import BACKFILL_PREFIX, Frame
from agent.wire.heartbeat import MAX_BYTES, Heartbeat, HeartbeatError, decode, encode
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


def test_the_lines_of_an_agent_are_those_of_its_last_heartbeat() -> None:
    hearing = AgentObserver(AgentRegistry(10), None, None, now_ms=lambda: NOW_MS)
    for refused in (3, 5):
        counts = {
            "lines": 10 * refused,
            "refused_lines": {"no_type": refused},
            "unsent_bytes": refused,
            "version": "0.2.0",
        }
        hearing.heartbeat(decode(msgspec.json.encode({"agent": "a", "epoch": 1, **counts})))
    hearing.heartbeat(Heartbeat(agent="older", epoch=1))
    new, old = hearing.listing(lambda *_: True)
    assert (new["lines"], new["refused_lines"], new["unsent_bytes"]) == (50, {"no_type": 5}, 5)
    assert (old["lines"], old["refused_lines"]) == (None, {})
    assert (new["version"], old["version"]) == ("0.2.0", "")


def test_a_heartbeat_has_few_and_short_reasons() -> None:
    """And the longest one of ours is not too long."""
    most = {"x" * 36 + f"{i:04}": (1 << 53) - 1 for i in range(40)}
    longest = Heartbeat(
        agent="\N{FIRE}" * 500, epoch=(1 << 63) - 1, lines=1, refused_lines=most, version="9" * 40
    )
    ours = {reason.value: (1 << 53) - 1 for reason in Reason}
    assert len(encode(msgspec.structs.replace(longest, refused_lines=ours))) <= MAX_BYTES
    assert decode(encode(longest)) == longest
    for wrong in (most | {"one more": 1}, {"x" * 41: 1}, {"negative": -1}):
        with pytest.raises(HeartbeatError, match="refused_lines"):
            decode(encode(msgspec.structs.replace(longest, refused_lines=wrong)))
    with pytest.raises(HeartbeatError, match="version"):
        decode(encode(msgspec.structs.replace(longest, version="9" * 41)))
