"""The spool on disk against a model: any order of calls, restarts, full disks, torn and flipped bytes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.forward.spool.backlog import Backlog
from agent.forward.spool.record import STATE_OFFSET, EncodedFrame, encode
from agent.forward.spool.spool import Spool

MAX_AGE_S = 100.0
#: Large enough for all frames of a run of the model.
ROOMY = 1 << 20
#: So small that files are dropped for room.
TIGHT = 2_000


class SpoolMachine(RuleBasedStateMachine):
    """Frames are put, taken, done and given back; the agent ends well or by kill -9, and starts again."""

    max_bytes = ROOMY

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.now_ms = 1_000_000
        self.number = 0
        #: Frames that are neither done nor known to be lost, by identity.
        self.unsent: dict[str, EncodedFrame] = {}
        self.on_disk: set[str] = set()  # of those: promised to survive
        self.perhaps: set[str] = set()  # not promised, and the agent was killed since
        self.out: dict[str, EncodedFrame] = {}
        self.done_frames: set[str] = set()
        self.failing = False
        self.lost_before = 0
        self.open()

    def open(self) -> None:
        self.backlog = Backlog(self.path, self.max_bytes, MAX_AGE_S, lambda: self.now_ms)
        self.spool = Spool(1 << 20, self.backlog, lambda: self.now_ms / 1000)

    @rule(size=st.integers(0, 400))
    def put(self, size: int) -> None:
        self.number += 1
        one = EncodedFrame(f"a/1/{self.number}", bytes(size), size, self.number, 3, self.now_ms)
        self.unsent[one.identity] = one
        self.spool.put(one)
        if self.failing:  # a frame under way is written when its own try fails
            self.on_disk.update(self.unsent.keys() - self.out.keys() - self.perhaps)

    @rule()
    def take(self) -> None:
        taken = self.spool.take()
        if taken is None:
            return
        assert taken.identity not in self.out
        known = self.unsent[taken.identity]
        assert (taken.data, taken.rows, taken.lines) == (known.data, known.rows, known.lines)
        assert taken.number in (0, known.number)
        self.out[taken.identity] = taken

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def done(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.out)))
        self.spool.done(self.out.pop(name))
        self.unsent.pop(name)
        self.on_disk.discard(name)
        self.perhaps.discard(name)
        self.done_frames.add(name)
        self.failing = False

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def again(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.out)))
        self.spool.again(self.out.pop(name))
        self.failing = True
        self.on_disk.update(self.unsent.keys() - self.out.keys() - self.perhaps)

    @rule(seconds=st.sampled_from([0, 1, 10]))
    def keep(self, seconds: int) -> None:
        self.now_ms += 1000 * seconds
        self.spool.keep_old(seconds / 2)
        if seconds == 0:
            self.on_disk.update(self.unsent.keys() - self.perhaps)

    @rule(well=st.booleans())
    def restart(self, well: bool) -> None:
        """After a good end all frames are there; after kill -9 the frames on disk are."""
        if well:
            assert self.spool.keep_all() == 0
            self.on_disk.update(self.unsent.keys() - self.perhaps)
        self.lost_before += self.lost()
        self.spool.leave()  # the files are as the calls have left them, as after a kill
        if (
            not well and self.max_bytes == TIGHT
        ):  # the file of a frame under way may have been dropped for room
            self.on_disk -= self.out.keys()
        self.perhaps |= self.unsent.keys() - self.on_disk
        self.open()
        self.out.clear()
        self.failing = False

    def lost(self) -> int:
        return sum(one.frames for one in self.spool.dropped.values())

    @invariant()
    def bounded(self) -> None:
        assert self.backlog.bytes <= self.max_bytes

    def teardown(self) -> None:
        """All that was promised comes out, once, or was counted as dropped."""
        for one in list(self.out.values()):
            self.spool.again(one)
        found = []
        while (one_more := self.spool.take()) is not None:
            found.append(one_more.identity)
        assert len(found) == len(set(found))
        assert not self.done_frames & set(found)
        missing = self.unsent.keys() - set(found)
        assert len(missing - self.perhaps) <= self.lost() + self.lost_before <= len(missing)
        self.spool.leave()
        shutil.rmtree(self.path)


class TightMachine(SpoolMachine):
    """The same with files dropped for room: each dropped frame is counted once."""

    max_bytes = TIGHT


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTight = TightMachine.TestCase
TestTight.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def _parcels() -> list[EncodedFrame]:
    return [EncodedFrame(f"a/1/{n}", b"%d" % n * 5, n, n, 10 * n, 1_000) for n in (1, 2, 3)]


def _file(path: Path, data: bytes) -> tuple[list[str], int]:
    """Return the frames that a spool reads from a file, and how many it counts as damaged."""
    for old in path.rglob("*"):
        if old.is_file():
            old.unlink()
    (path / "000000000001.frames").write_bytes(data)
    backlog = Backlog(path, ROOMY, 1e6, lambda: 2_000)
    spool, found = Spool(ROOMY, backlog), []
    by_name = {one.identity: one for one in _parcels()}
    while (one := spool.take()) is not None:
        assert one.data == by_name[one.identity].data
        found.append(one.identity)
        spool.done(one)
    assert spool.unsent_frames == 0
    spool.leave()
    return found, backlog.damaged.frames


def _borders() -> list[int]:
    """Lengths at which a file ends with a whole record."""
    sizes = [len(encode(one)) for one in _parcels()]
    return [0, sizes[0], sizes[0] + sizes[1], sum(sizes)]


def test_a_file_torn_at_every_byte(tmp_path: Path) -> None:
    """Records that were written whole are there, the torn frame is counted."""
    records = [encode(one) for one in _parcels()]
    whole = b"".join(records)
    borders = _borders()
    for end in range(len(whole) + 1):
        expected = [f"a/1/{n}" for n in (1, 2, 3) if borders[n] <= end]
        assert _file(tmp_path, whole[:end]) == (expected, int(end not in borders))


def test_a_bit_flipped_at_every_position(tmp_path: Path) -> None:
    """The damaged frame is set aside and counted, the others go on."""
    whole = b"".join(encode(one) for one in _parcels())
    borders = _borders()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        hit = sum(bit // 8 >= border for border in borders)
        others = [f"a/1/{n}" for n in (1, 2, 3) if n != hit]
        if bit // 8 - borders[hit - 1] == STATE_OFFSET:  # no single bit ends a frame
            assert _file(tmp_path, bytes(flipped)) == (["a/1/1", "a/1/2", "a/1/3"], 0)
        else:
            assert _file(tmp_path, bytes(flipped)) == (others, 1)
            assert len(list((tmp_path / "damaged").iterdir())) == 1
