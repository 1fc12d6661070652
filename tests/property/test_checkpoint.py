"""Lines to an indexer over checkpoints, kills and lost answers, against a model: each line once, or never."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from agent.forward.spool.backlog import Backlog
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.settings import AgentSettings
from agent.wire.frame import Sender, decode, encode
from tests.support.cores.rows import new_core
from tests.unit.agent.state import State, merge, state_of_frames

NOW_MS = 1_700_000_000_000


class CheckpointMachine(RuleBasedStateMachine):
    """An agent that is killed at any moment, and an indexer that counts a frame once by its identity."""

    core_name = "python"

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.now_ms = NOW_MS
        self.epoch = 0
        self.stored: dict[str, bytes] = {}
        self.promised = 0  # lines that were in a checkpoint
        self.since = 0  # lines since, that a kill may lose
        self.lost = 0
        self.start()

    def start(self) -> None:
        self.epoch += 1
        self.sequence = 0
        self.core = new_core(self.core_name, AgentSettings())
        self.spool = Spool(1 << 20, Backlog(self.path, 1 << 20, 1e6, lambda: self.now_ms))

    @rule(lines=st.integers(1, 30), series=st.integers(0, 3))
    def add(self, lines: int, series: int) -> None:
        one = f"c:1|c|#n:{series}\nd:{series}|d\ns:{self.now_ms}|s\ng:1|g\n".encode()
        self.core.add(one * lines, self.now_ms)
        self.since += 4 * lines

    @rule(whole=st.booleans())
    def checkpoint(self, whole: bool) -> None:
        """As the service does: all open buckets, or those that have ended, become frames on disk."""
        self.now_ms += 4_000
        flushed = self.core.flush_all(self.now_ms) if whole else self.core.flush(self.now_ms)
        while flushed:
            self.sequence += 1
            sender = Sender(agent="a", epoch=self.epoch)
            frame = self.core.next_frame(sender, self.sequence, 1, max_rows=3, max_bytes=1 << 20)
            if frame is None:
                return
            parcel = EncodedFrame(
                frame.identity, encode(frame), frame.rows, self.sequence, frame.lines, self.now_ms
            )
            self.spool.put(parcel, at_once=True)
            self.promised += frame.lines
            self.since -= frame.lines

    @rule(frames=st.integers(1, 4), live_first=st.booleans(), answered=st.sampled_from(["yes", "lost", "no"]))
    def send(self, frames: int, live_first: bool, answered: str) -> None:
        """Frames are stored and answered, stored with their answer lost, or not stored."""
        for parcel in self.spool.take_many(frames, 1 << 20, 1, live_first=live_first):
            if answered != "no":
                assert self.stored.setdefault(parcel.identity, parcel.data) == parcel.data
            if answered == "yes":
                self.spool.done(parcel)
            else:
                self.spool.again(parcel)

    @rule(under_way=st.integers(0, 3))
    def kill(self, under_way: int) -> None:
        """Leave the files as they are; everything in memory is gone."""
        for parcel in self.spool.take_many(under_way, 1 << 20, 1, live_first=True):
            self.stored[parcel.identity] = parcel.data  # the answer comes too late
        self.spool.leave()
        self.core.close()
        self.lost += self.since
        self.since = 0
        self.start()

    def teardown(self) -> None:
        self.kill(0)
        while (parcel := self.spool.take()) is not None:
            assert self.stored.setdefault(parcel.identity, parcel.data) == parcel.data
            self.spool.done(parcel)
        frames = [decode(data) for data in self.stored.values()]
        assert sum(frame.lines for frame in frames) == self.promised
        state: State = merge(state_of_frames(frames))
        counted = sum(value for (kind, *_), value in state.items() if kind == "counter")
        assert counted == self.promised / 4
        self.spool.leave()
        shutil.rmtree(self.path)


class NativeCheckpointMachine(CheckpointMachine):
    core_name = "native"


_LIMITS = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestCheckpoint = CheckpointMachine.TestCase
TestCheckpoint.settings = _LIMITS
TestNativeCheckpoint = NativeCheckpointMachine.TestCase
TestNativeCheckpoint.settings = _LIMITS
