"""Which indexer gets new frames when one returns that still waits with an older frame."""

from __future__ import annotations

from typing import Final

from agent.forward.lanes import Lanes
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.forward.target_choice import TargetChoice

URLS: Final = ["http://a:1", "http://b:2"]


class OneAgent:
    """Lanes of two indexers, without a disk."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        bindings = Bindings(None)
        self.spool = Spool(1 << 20, None, lambda: self.now_s, bindings)
        choice = TargetChoice(2, failover_s=10.0, return_s=30.0, try_every_s=15.0)
        self.lanes = Lanes(self.spool, bindings, URLS, choice, {}, lambda: self.now_s)
        self.made = 0

    def make(self) -> None:
        self.made += 1
        self.spool.put(EncodedFrame(f"web/1/{self.made}", b"x", 1, self.made, 1, 1_000))

    def take(self, at: int) -> list[EncodedFrame]:
        return self.lanes.take(at, 1, 1 << 20, 1, live_first=True)

    def fail(self, at: int, seconds: float, *, postponed: bool) -> None:
        """Let the one frame of a lane be tried for some seconds, in vain."""
        for _ in range(int(seconds)):
            self.now_s += 1.0
            for frame in self.take(at):
                self.lanes.again(at, frame, 0.0, sent=True, postponed=postponed)


def test_an_indexer_that_waits_with_one_frame_gets_others() -> None:
    """Its batch is set aside, perhaps for days; it takes everything else."""
    agent = OneAgent()
    agent.make()
    agent.fail(0, 12, postponed=False)
    assert agent.lanes.current() == URLS[1]
    agent.fail(0, 20, postponed=True)
    agent.make()
    held, new = agent.take(0), agent.take(0)
    assert [frame.number for frame in held + new] == [1, 2]
    agent.lanes.again(0, held[0], 0.0, sent=True, postponed=True)
    agent.lanes.done(0, new[0])
    agent.fail(0, 31, postponed=True)
    assert agent.lanes.current() == URLS[0]


def test_an_indexer_that_is_away_gets_no_others() -> None:
    """The frame that it may have is tried, so it need not get one more."""
    agent = OneAgent()
    agent.make()
    agent.fail(0, 40, postponed=False)
    agent.make()
    assert [frame.number for frame in agent.take(0) + agent.take(0)] == [1]
    assert agent.lanes.current() == URLS[1]
    assert [frame.number for frame in agent.take(1)] == [2]


def test_an_indexer_that_postpones_new_frames_is_not_back() -> None:
    """It is there, and too busy: it has one more frame in 15 s at most."""
    agent = OneAgent()
    agent.make()
    agent.fail(0, 12, postponed=False)
    agent.fail(0, 20, postponed=True)
    for _ in range(4):
        agent.make()
    for _ in range(60):
        agent.now_s += 1.0
        for frame in [*agent.take(0), *agent.take(0)]:
            agent.lanes.again(0, frame, 0.0, sent=True, postponed=True)
    assert agent.lanes.held_frames()[URLS[0]] <= 6
    assert agent.lanes.current() == URLS[1]
