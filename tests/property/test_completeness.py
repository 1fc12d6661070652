"""The one definition of a complete bucket, against agents, clocks and delays at random."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from agent.wire.frame import BUCKET_SECONDS
from agent.wire.heartbeat import Heartbeat
from indexer.agents.completeness import HEARD_MS, Progress, complete_s, settled_s
from indexer.agents.registry import AgentRegistry

NOW_MS = 1_700_000_003_000
SETTLE_MS = 5_000

offsets = st.integers(-60_000, 20_000)
progress = st.builds(
    Progress,
    offsets.map(lambda ms: NOW_MS + ms),
    st.integers(-60_000, 0).map(lambda ms: NOW_MS + ms),
    st.booleans(),
)


@given(st.lists(progress, max_size=6), st.integers(0, 30_000))
def test_between_what_time_says_and_now(agents: list[Progress], settle_ms: int) -> None:
    end = complete_s(agents, NOW_MS, settle_ms)
    assert end % BUCKET_SECONDS == 0
    assert settled_s(NOW_MS, settle_ms) <= end <= NOW_MS // 1000
    assert end * 1000 > NOW_MS - settle_ms - 1000 * BUCKET_SECONDS


@given(st.lists(progress, max_size=6))
def test_every_agent_that_is_waited_for_is_past_it(agents: list[Progress]) -> None:
    end = complete_s(agents, NOW_MS, SETTLE_MS)
    waited = [a for a in agents if not a.ended and NOW_MS - a.heard_ms < HEARD_MS]
    if end > settled_s(NOW_MS, SETTLE_MS):
        assert waited
        assert all(a.flushed_until_ms >= end * 1000 for a in waited)
    following = (end + BUCKET_SECONDS) * 1000
    if waited and following <= NOW_MS:
        assert any(a.flushed_until_ms < following for a in waited), "it is answered as soon as it is complete"


@given(st.lists(progress, max_size=6), progress)
def test_one_agent_more_takes_nothing_for_complete_that_was_not(
    agents: list[Progress], more: Progress
) -> None:
    if any(a.alive(NOW_MS) for a in agents):
        assert complete_s([*agents, more], NOW_MS, SETTLE_MS) <= complete_s(agents, NOW_MS, SETTLE_MS)


@given(st.permutations(range(4)), st.lists(progress, min_size=4, max_size=4))
def test_news_may_come_in_any_order(order: list[int], news: list[Progress]) -> None:
    one, other = news[0], news[order[0]]
    for p in news[1:]:
        one = one.after(p)
    for i in order[1:]:
        other = other.after(news[i])
    assert one == other


@dataclass(frozen=True)
class Sender:
    """An agent that hands in its bucket `lag_ms` after the end; it runs in `[start, stop)` buckets."""

    lag_ms: int
    start: int
    stop: int


@given(
    st.lists(
        st.builds(Sender, st.integers(100, SETTLE_MS - 1), st.integers(0, 8), st.integers(9, 20)),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_nothing_comes_for_what_was_complete(senders: list[Sender]) -> None:
    """Agents start, stop and are slow, though not slower than `settle_s`."""
    agents, begin_ms = AgentRegistry(100), 1_700_000_000_000
    events = []
    for n, one in enumerate(senders):
        events.append((begin_ms + one.start * 10_000, n, 0, False))
        for bucket in range(one.start, one.stop):
            end_ms = begin_ms + (bucket + 1) * 10_000
            events.append((end_ms + one.lag_ms, n, end_ms, bucket + 1 == one.stop))
    stored = dict.fromkeys(range(len(senders)), 0)
    for now_ms, n, until_ms, ended in sorted(events):
        complete = agents.complete_s(1, 1, now_ms, SETTLE_MS) * 1000
        if until_ms:
            assert complete < until_ms, "a bucket was complete before this agent's rows of it were stored"
        stored[n] = until_ms
        beat = Heartbeat(agent=f"a{n}", epoch=1, flushed_until_ms=until_ms or now_ms, ended=ended)
        assert agents.heartbeat(beat, now_ms)
