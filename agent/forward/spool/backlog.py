"""Frames on disk: a directory of segment files, bounded by bytes and age, that outlives the agent.

Owns which file is written, which is read, and which frames are dropped. Frames are read oldest first. To make
room the oldest file is dropped as a whole; frames that are too old are dropped one by one when reached. A
damaged record is copied to the directory `damaged` and counted; the rest of its file is read. A file of a
later version of the agent is left as it is. A frame that the indexer may have forgotten is moved to
`set-aside`. A file is deleted when none of its frames waits.

    lock          held by the agent that uses the directory
    <n>.frames    records (agent/forward/spool/record.py); each run of an agent begins a new file
    damaged/      bytes that could not be read
    set-aside/    frames, one per file, that may be stored and that the indexer would not recognise

Not thread-safe: agent/forward/spool/spool.py holds a lock.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.forward.spool.record import DONE, EncodedFrame, RecordError, record_bytes
from agent.forward.spool.segment import Segment, SegmentDamage, SegmentEntry
from agent.runtime.dir_lock import DirLock

#: Maximum size of a file, or one frame; smaller if the whole spool is small.
_SEGMENT_BYTES: Final = 4 << 20
_MIN_SEGMENTS: Final = 8
#: Bytes kept for inspection in each directory by one run; beyond it they are only counted.
_MAX_KEPT_BYTES: Final = 16 << 20
_DAMAGED: Final = "damaged"
_SET_ASIDE: Final = "set-aside"
_SUFFIX: Final = ".frames"


class LostFrames(msgspec.Struct):
    """Frames lost for one reason, with their rows and lines."""

    frames: int = 0
    rows: int = 0
    lines: int = 0

    def add(self, frames: int, rows: int, lines: int) -> None:
        """Add to the totals."""
        self.frames += frames
        self.rows += rows
        self.lines += lines

    def plus(self, other: LostFrames) -> LostFrames:
        """Return the sum of both."""
        return LostFrames(self.frames + other.frames, self.rows + other.rows, self.lines + other.lines)


#: The keys of `Backlog.lost`.
LOST_REASONS: Final = ("spool_full", "too_old", "damaged", "set_aside")


class FramePlace(msgspec.Struct, frozen=True, eq=False):
    """The place on disk of a frame that was taken."""

    segment: Segment
    entry: SegmentEntry


class Backlog:
    """The frames in the directory at `path`. `now_ms`: a clock that never steps while the agent runs.

    Raises DirInUseError while another agent uses the directory, OSError if it cannot be used.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        max_age_s: float,
        now_ms: Callable[[], int],
        *,
        sync: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        self.path = path
        self.full = LostFrames()  # dropped to make room
        self.too_old = LostFrames()
        self.damaged = LostFrames()
        self.set_aside = LostFrames()
        #: How long the indexer remembers stored frames; 0: unknown.
        self.remembered_ms = 0
        self.written_frames = 0
        self.recovered_frames = 0
        #: Files of a later version of the agent: left as they are, for when it runs again.
        self.later_files: list[str] = []
        #: Why the last write failed; empty if it succeeded.
        self.problem = ""
        self.failed_writes = 0
        self._max_bytes = max_bytes
        self._max_age_ms = int(max_age_s * 1000)
        self._now_ms = now_ms
        self._sync = sync
        self._segment_bytes = min(_SEGMENT_BYTES, max(max_bytes // _MIN_SEGMENTS, 1))
        self._lock = DirLock(path, wait_s)
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None
        self._next = 1
        self._kept_bytes = {_DAMAGED: 0, _SET_ASIDE: 0}
        try:
            self._recover()
        except OSError:
            self._lock.release()
            raise

    @property
    def lost(self) -> dict[str, LostFrames]:
        """Lost frames by reason: LOST_REASONS."""
        return dict(zip(LOST_REASONS, (self.full, self.too_old, self.damaged, self.set_aside), strict=True))

    @property
    def frames(self) -> int:
        """Waiting frames on disk."""
        return sum(segment.frames for segment in self._segments)

    @property
    def is_empty(self) -> bool:
        """Whether the directory has no frames, not even of a later version of the agent."""
        return not self.frames and not self.later_files

    @property
    def next_file(self) -> int:
        """The number of the next new file."""
        return self._next

    @property
    def frame_bytes(self) -> int:
        """Bytes of the waiting frames."""
        return sum(segment.frame_bytes for segment in self._segments)

    @property
    def bytes(self) -> int:
        """Bytes of the files."""
        return sum(segment.size for segment in self._segments)

    @property
    def oldest_ms(self) -> int | None:
        """Creation time of the oldest frame on disk; None if there is none."""
        return min((s.oldest_ms for s in self._segments if s.frames), default=None)

    @property
    def low_number(self) -> int | None:
        """The lowest number of this run's waiting frames; None if there is none."""
        return min((s.low_number for s in self._segments if s.frames and s.own), default=None)

    def put(self, frame: EncodedFrame) -> bool:
        """Write a frame, which then waits; return False if it was not written and stays with the caller.

        A frame larger than the whole spool is dropped and counted.
        """
        if self._too_large(frame):
            self.full.add(1, frame.rows, frame.lines)
            return True
        return self._append(frame) is not None

    def put_out(self, frame: EncodedFrame) -> FramePlace | None:
        """Write a frame that is being sent; return None if it was not written."""
        written = None if self._too_large(frame) else self._append(frame)
        if written is None:
            return None
        segment, entry = written
        segment.take_last()
        return FramePlace(segment, entry)

    def take(self) -> tuple[EncodedFrame, FramePlace] | None:
        """Return the oldest frame that is not too old; None if none waits."""
        while (segment := self._first()) is not None:
            entry = segment.take()
            if entry is None:
                continue
            head, age_ms = entry.head, self._now_ms() - entry.head.created_ms
            if age_ms > self._max_age_ms:
                self.too_old.add(1, head.rows, head.lines)
                self._over(FramePlace(segment, entry))
                continue
            try:
                frame = segment.read(entry)
            except (RecordError, OSError) as e:
                self._note_damage(segment, SegmentDamage(entry.offset, head.record_bytes, head, str(e)))
            else:
                if age_ms <= self.remembered_ms or not self.remembered_ms:
                    return frame, FramePlace(segment, entry)
                self.set_aside.add(1, head.rows, head.lines)
                self._keep_for_people(
                    _SET_ASIDE, f"{segment.path.stem}-{entry.offset}", memoryview(frame.data)
                )
            self._over(FramePlace(segment, entry))
        return None

    def done(self, place: FramePlace) -> None:
        """Record that a taken frame needs no more sending."""
        self._over(place)

    def again(self, place: FramePlace) -> bool:
        """Return a taken frame to waiting, as the oldest; return False if its file was dropped meanwhile."""
        if not self.holds(place):
            return False
        place.segment.give_back(place.entry)
        return True

    def holds(self, place: FramePlace) -> bool:
        """Return whether the frame at a place is still on disk; its file may have been dropped."""
        return place.segment in self._segments

    def drop_old(self) -> None:
        """Drop files whose frames are all too old."""
        oldest_ms = self._now_ms() - self._max_age_ms
        while self._segments and self._segments[0].newest_ms < oldest_ms and not self._segments[0].out:
            self._drop(self._segments[0], self.too_old)

    def close(self) -> None:
        """Close the files for the next run."""
        for segment in self._segments:
            if self._sync:
                with contextlib.suppress(OSError):
                    segment.sync()
            segment.close()
        self._segments.clear()
        self._active = None
        self._lock.release()

    def _too_large(self, frame: EncodedFrame) -> bool:
        return record_bytes(frame) > self._max_bytes

    def _append(self, frame: EncodedFrame) -> tuple[Segment, SegmentEntry] | None:
        try:
            size = record_bytes(frame)
            self._make_room(size)
            segment = self._writable(size)
            entry = segment.append(frame, sync=self._sync)
        except (OSError, RecordError) as e:
            self.failed_writes += 1
            self.problem = (e.strerror or str(e)) if isinstance(e, OSError) else str(e)
            return None
        self.problem = ""
        self.written_frames += 1
        return segment, entry

    def _make_room(self, size: int) -> None:
        while self._segments and self.bytes + size > self._max_bytes:
            self._drop(self._segments[0], self.full)

    def _writable(self, size: int) -> Segment:
        """Return the file to append to, a new one if the last is full. Raises OSError."""
        active = self._active
        if active is None or (active.size and active.size + size > self._segment_bytes):
            segment = Segment(self.path / f"{self._next:012d}{_SUFFIX}", own=True)
            self._next += 1
            self._segments.append(segment)
            if active is not None and active is not self._segments[0]:
                active.unload()
            self._active = segment
        assert self._active is not None
        return self._active

    def _first(self) -> Segment | None:
        """Return the oldest file with waiting frames, with their places loaded; None if none waits."""
        for segment in list(self._segments):
            if not segment.frames:
                continue
            before = (segment.frames, segment.rows, segment.lines)
            try:
                segment.load()
            except OSError:
                self._drop(segment, self.damaged)
                continue
            after = (segment.frames, segment.rows, segment.lines)
            if before != after:  # it was damaged while it was not being read
                self.damaged.add(*(max(b - a, 0) for b, a in zip(before, after, strict=True)))
            if segment.frames:
                return segment
            self._drop_if_over(segment)
        return None

    def _over(self, place: FramePlace) -> None:
        if self.holds(place):
            place.segment.done(place.entry)
            self._drop_if_over(place.segment)

    def _drop_if_over(self, segment: Segment) -> None:
        if not segment.frames and not segment.out:
            self._drop(segment, LostFrames())

    def _drop(self, segment: Segment, reason: LostFrames) -> None:
        reason.add(segment.frames, segment.rows, segment.lines)
        self._segments.remove(segment)
        if segment is self._active:
            self._active = None
        with contextlib.suppress(OSError):
            segment.delete()

    # Recovery of an earlier run's files.

    def _recover(self) -> None:
        for path in _files(self.path):
            self._next = int(path.name.removesuffix(_SUFFIX)) + 1
            try:
                segment = Segment(path, own=False)
                later = segment.later_version()
            except OSError as e:
                self.problem = f"{path.name}: {e.strerror}"
                continue
            if later:
                segment.close()
                self.later_files.append(path.name)
                continue
            self._segments.append(segment)
            for found in segment.scan():
                if isinstance(found, SegmentDamage):
                    self._note_damage(segment, found)
                elif found.head.state != DONE:
                    segment.count(found, 1)
            self._drop_if_over(segment)
        self.recovered_frames = self.frames

    def _note_damage(self, segment: Segment, damage: SegmentDamage) -> None:
        head = damage.head
        self.damaged.add(1, head.rows if head else 0, head.lines if head else 0)
        if self._kept_bytes[_DAMAGED] + damage.size <= _MAX_KEPT_BYTES:
            with contextlib.suppress(OSError):
                data = segment.raw(damage.offset, damage.size)
                self._keep_for_people(_DAMAGED, f"{segment.path.stem}-{damage.offset}", memoryview(data))

    def _keep_for_people(self, kind: str, name: str, data: memoryview) -> None:
        if self._kept_bytes[kind] + len(data) > _MAX_KEPT_BYTES:
            return
        self._kept_bytes[kind] += len(data)
        directory = self.path / kind
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, exist_ok=True)
            file = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(file, "wb") as opened:
                opened.write(data)


def _files(path: Path) -> Iterator[Path]:
    """Yield the spool's files, oldest first."""
    names = (p for p in path.iterdir() if p.name.endswith(_SUFFIX))
    yield from sorted(p for p in names if p.name.removesuffix(_SUFFIX).isdigit())
