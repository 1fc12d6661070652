"""Lanes against a model: three indexers, outages, restarts of the agent, and a disk that may be full.

A frame that an indexer may have is handed to no other one before it is released; none is lost, and none comes
again after its answer.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agent.forward.lanes import Lanes
from agent.forward.spool.backlog import Backlog
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.forward.target_choice import TargetChoice

URLS: Final = ["http://a:1", "http://b:2", "http://c:3"]


class SeveralLanes(RuleBasedStateMachine):
    """One agent after another over one directory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now_s = 1_000.0
        self.made = 0
        self.may_have: dict[str, tuple[int, str]] = {}  # (hop, indexer) that may have a frame
        self.waiting: set[str] = set()  # made, and neither answered nor lost with the memory of a dead agent
        self.on_disk: set[str] = set()
        self.gone: dict[str, bool] = {}
        self.out: list[tuple[int, EncodedFrame]] = []
        self._open()

    def _open(self) -> None:
        bindings = Bindings(self.folder)
        backlog = Backlog(self.folder, 1 << 20, 86_400.0, lambda: 1_000)
        bindings.cover(backlog.next_file)
        clock = lambda: self.now_s  # noqa: E731
        self.spool = Spool(1 << 20, backlog, clock, bindings)
        gone = [at for at, url in enumerate(URLS) if url in self.gone]
        choice = TargetChoice(3, failover_s=10.0, return_s=30.0, try_every_s=15.0, gone=gone)
        self.lanes = Lanes(self.spool, bindings, URLS, choice, self.gone, clock)

    @rule(seconds=st.sampled_from([0.1, 1.0, 11.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.spool.keep_old(1.0)

    @rule(count=st.integers(1, 3))
    def make(self, count: int) -> None:
        for _ in range(count):
            self.made += 1
            frame = EncodedFrame(f"web/1/{self.made}", b"x" * 20, 1, self.made, 1, 1_000)
            self.waiting.add(frame.identity)
            self.spool.put(frame)

    @rule(at=st.integers(0, 2), count=st.integers(1, 3))
    def take(self, at: int, count: int) -> None:
        frames = self.lanes.take(at, count, 1 << 20, 1, live_first=True)
        releases = {self.lanes.release_of(frame) for frame in frames}
        assert len(releases) < 2
        for frame in frames:
            self.out.append((at, frame))
            assert frame.identity in self.waiting
            hop = releases.copy().pop().hop
            before_hop, before = self.may_have.get(frame.identity, (hop, URLS[at]))
            assert before == URLS[at] or (before in self.gone and hop > before_hop), frame.identity

    @rule(data=st.data(), outcome=st.sampled_from(["answered", "lost", "refused connection"]))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        if not self.out:
            return
        at, frame = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        hop = self.lanes.release_of(frame).hop
        if outcome == "answered":
            self.lanes.done(at, frame)
            self.waiting.discard(frame.identity)
            return
        if outcome == "lost":
            self.may_have[frame.identity] = (hop, URLS[at])
        self.lanes.again(at, frame, 0.0, sent=outcome == "lost")

    @rule(killed=st.booleans(), gone=st.sampled_from(["", "", *URLS]))
    def restart(self, killed: bool, gone: str) -> None:
        """End or kill the agent; the next one may be told that an indexer does not return."""
        for at, frame in self.out:  # these may have arrived
            self.may_have[frame.identity] = (self.lanes.release_of(frame).hop, URLS[at])
        self.out.clear()
        if killed:
            before = self.spool.unsent_frames
            self._end()
            self._open()
            self.waiting = {i for i in self.waiting if self._is_there(i)}
            assert self.spool.unsent_frames <= before
        else:
            self.spool.keep_all()
            self._end()
            self._open()
            assert self.spool.unsent_frames == len(self.waiting)
        if gone and len(self.gone) < 2:
            self.gone[gone] = False
            self._end()
            self._open()

    def _is_there(self, identity: str) -> bool:
        return any(identity.encode() in path.read_bytes() for path in self.folder.glob("*.frames"))

    def _end(self) -> None:
        self.spool.close()
        self.spool.leave()

    @invariant()
    def nothing_is_lost(self) -> None:
        assert not self.spool.dropped_frames

    def teardown(self) -> None:
        """Let all indexers work that are not gone: then all frames are answered."""
        for at, frame in self.out:
            self.lanes.again(at, frame, 0.0, sent=True)
        for _ in range(40):
            self.now_s += 16.0
            for at in (at for at, url in enumerate(URLS) if url not in self.gone):
                for frame in self.lanes.take(at, 16, 1 << 20, 1, live_first=False):
                    self.lanes.done(at, frame)
                    self.waiting.discard(frame.identity)
        assert self.spool.unsent_frames == 0
        self._end()
        shutil.rmtree(self.folder)


def test_a_frame_goes_to_one_indexer() -> None:
    run_state_machine_as_test(
        SeveralLanes,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
