"""Encoded frames that wait to be acknowledged: in memory, and on disk where there is a backlog.

Owns the frames between their encoding and their acknowledgement. Bounded: the newest are kept because
operators look at them, and each dropped frame is counted with its rows and lines. A frame handed out (`take`)
returns by `done` or `again`; until then it counts against the bound, but is never dropped.

With a backlog (agent/forward/spool/backlog.py):

* A frame that is sent and acknowledged at once is never written, unless it was added with `at_once`.
* A frame whose try failed is on disk before the next try. While tries fail, new frames are written at once.
* `keep_old` writes frames that wait longer; the agent calls it periodically. `keep_all` is for the end.
* Frames that cannot be written stay in memory, within the bound of memory.

Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from agent.forward.spool.backlog import LOST_REASONS, Backlog, FramePlace, LostFrames
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.record import EncodedFrame


class _Waiting(msgspec.Struct):
    """A frame in memory, since when (a monotonic clock), and its place on disk, if any."""

    frame: EncodedFrame
    since_s: float
    place: FramePlace | None = None
    due_s: float = 0.0  # while it rests


#: Maximum number of resting frames; a further one is retried immediately.
_MAX_RESTING: Final = 64


class Spool:
    """Holds at most `max_bytes` of waiting frames in memory, plus those of the backlog, if any."""

    def __init__(
        self,
        max_bytes: int,
        backlog: Backlog | None = None,
        clock_s: Callable[[], float] = time.monotonic,
        bindings: Bindings | None = None,
    ) -> None:
        #: Where there are several indexers; agent/forward/lanes.py shares it.
        self.bindings = bindings
        self.max_bytes = self._max_bytes = max_bytes
        self._backlog = backlog
        self._clock_s = clock_s
        #: Notified of each change; agent/forward/lanes.py shares it.
        self.changed = self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._out: dict[int, _Waiting] = {}  # by the id of the frame handed out
        self._resting: list[_Waiting] = []
        self._bytes = 0  # of frames in memory, waiting or out
        self._numbers = set[int]()  # of the frames waiting in memory or out
        self._failing = False
        self._closed = False
        self._full = LostFrames()  # dropped from memory

    @property
    def on_disk(self) -> bool:
        """Whether frames survive the agent."""
        return self._backlog is not None

    @property
    def backlog(self) -> Backlog | None:
        """The frames on disk, for their counters."""
        return self._backlog

    @property
    def unsent_bytes(self) -> int:
        """Bytes of the frames waiting or in flight."""
        with self._changed:
            return self._bytes + (self._backlog.frame_bytes if self._backlog else 0)

    @property
    def unsent_frames(self) -> int:
        """Frames waiting or in flight."""
        with self._changed:
            held = len(self._waiting) + len(self._out) + len(self._resting)
            return held + (self._backlog.frames if self._backlog else 0)

    @property
    def oldest_ms(self) -> int | None:
        """Creation time of the oldest unsent frame in Unix milliseconds; None if all are sent."""
        with self._changed:
            here = (*self._waiting, *self._out.values(), *self._resting)
            held = [one.frame.created_ms for one in here]
            on_disk = self._backlog.oldest_ms if self._backlog else None
            return min(held if on_disk is None else [*held, on_disk], default=None)

    @property
    def dropped(self) -> Mapping[str, LostFrames]:
        """Lost frames, by reason."""
        backlog = self._backlog
        on_disk = backlog.lost if backlog else {reason: LostFrames() for reason in LOST_REASONS}
        return {**on_disk, "spool_full": self._full.plus(on_disk["spool_full"])}

    @property
    def dropped_frames(self) -> int:
        """Number of lost frames, for any reason."""
        return sum(lost.frames for lost in self.dropped.values())

    @property
    def dropped_rows(self) -> int:
        """Rows of lost frames."""
        return sum(lost.rows for lost in self.dropped.values())

    def put(self, frame: EncodedFrame, *, at_once: bool = False) -> None:
        """Add a frame, dropping the oldest waiting ones to make room.

        `at_once`: it is on disk, if there is one, when this returns, and still waits as a live frame.
        """
        with self._changed:
            added = _Waiting(frame, self._clock_s())
            self._hold(added)
            if at_once:
                self._keep(added)
            if self._failing:
                self._write_waiting(None)
            self._make_room()
            self._changed.notify_all()

    def wait_any(self) -> bool:
        """Wait until a frame waits; return False if the spool was closed and none waits."""
        with self._changed:
            while not self._any() and not self._closed:
                due_s = min((one.due_s for one in self._resting), default=None)
                self._changed.wait(None if due_s is None else max(due_s - self._clock_s(), 0.001))
            return self._any()

    def _any(self) -> bool:
        self._end_rests()
        return bool(self._waiting) or (self._backlog is not None and self._backlog.frames > 0)

    def any(self) -> bool:
        """Return whether a frame waits."""
        with self._changed:
            return self._any()

    def next_rest_s(self) -> float | None:
        """Return after how many seconds a resting frame waits again; None if none rests."""
        with self._changed:
            due_s = min((one.due_s for one in self._resting), default=None)
            return None if due_s is None else max(due_s - self._clock_s(), 0.001)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def keep_out(self, frame: EncodedFrame) -> None:
        """Write a frame that was handed out and stays so, and from now on new ones: a try of it failed."""
        with self._changed:
            self._failing = True
            self._keep(self._out[id(frame)])

    def is_on_disk(self, frame: EncodedFrame) -> bool:
        """Return whether a frame that was handed out is on disk."""
        with self._changed:
            return self._out[id(frame)].place is not None

    def file_of(self, frame: EncodedFrame) -> int | None:
        """Return the number of the file that has a frame that was handed out; None: it is not on disk."""
        with self._changed:
            place = self._out[id(frame)].place
            return None if place is None else place.segment.number

    def take(self) -> EncodedFrame | None:
        """Return the oldest waiting frame, if there is one."""
        return next(iter(self.take_many(1, 1, 1, live_first=False)), None)

    def take_many(
        self, max_frames: int, max_bytes: int, takers: int, *, live_first: bool
    ) -> list[EncodedFrame]:
        """Return some waiting frames, oldest first: those in memory (live) or those on disk first.

        At most `max_frames`, a fair part for each of `takers`, and `max_bytes` without the last one.
        """
        with self._changed:
            self._end_rests()
            waiting = len(self._waiting) + (self._backlog.frames if self._backlog else 0)
            room = min(max_frames, -(-waiting // takers))
            taken: list[EncodedFrame] = []
            size = 0
            sources = (self._take_live, self._take_kept) if live_first else (self._take_kept, self._take_live)
            for source in sources:
                while len(taken) < room and size < max_bytes and (one := source()) is not None:
                    self._out[id(one.frame)] = one
                    taken.append(one.frame)
                    size += len(one.frame.data)
            if not taken:
                self._changed.notify_all()  # perhaps none of the waiting frames could be read
            return taken

    def _take_live(self) -> _Waiting | None:
        return self._waiting.popleft() if self._waiting else None

    def _take_kept(self) -> _Waiting | None:
        found = self._backlog.take() if self._backlog else None
        if found is None:
            return None
        frame, place = found
        self._bytes += len(frame.data)
        if frame.number:
            self._numbers.add(frame.number)
        return _Waiting(frame, self._clock_s(), place)

    def done(self, frame: EncodedFrame) -> None:
        """Complete a frame that was handed out: the indexer has answered."""
        with self._changed:
            out = self._out.pop(id(frame))
            self._let_go(out)
            if out.place and self._backlog:
                self._backlog.done(out.place)
            self._failing = False
            self._changed.notify_all()

    def again(
        self,
        frame: EncodedFrame,
        rest_s: float = 0.0,
        *,
        sent: bool = True,  # noqa: ARG002
        postponed: bool = False,  # noqa: ARG002
    ) -> None:
        """Return a frame for another try, at once or after a rest while others are sent.

        At once: it is the oldest again, may be dropped to make room, and new frames are written as they
        arrive.
        """
        with self._changed:
            out = self._out.pop(id(frame))
            if rest_s > 0.0 and len(self._resting) < _MAX_RESTING:
                out.due_s = self._clock_s() + rest_s
                self._keep(out)
                self._resting.append(out)
            else:
                self._failing = True
                self._wait_again(out)
                self._write_waiting(None)
            self._make_room()
            self._changed.notify_all()

    def remembered_for(self, seconds: int) -> None:
        """Set aside frames on disk that are older than this, instead of sending them."""
        with self._changed:
            if self._backlog:
                self._backlog.remembered_ms = seconds * 1000

    def hurry(self) -> None:
        """End all rests."""
        with self._changed:
            for one in self._resting:
                one.due_s = 0.0
            self._changed.notify_all()

    def _end_rests(self) -> None:
        if self._resting:
            now_s = self._clock_s()
            due = [one for one in self._resting if one.due_s <= now_s]
            self._resting = [one for one in self._resting if one.due_s > now_s]
            for one in reversed(due):
                self._wait_again(one)

    def _wait_again(self, one: _Waiting) -> None:
        if one.place and self._backlog and self._backlog.again(one.place):
            self._let_go(one)
        else:
            one.place = None
            self._waiting.appendleft(one)

    def _keep(self, one: _Waiting) -> None:
        """Write a frame that is not waiting, unless it is on disk."""
        if self._backlog is None:
            return
        if one.place is None or not self._backlog.holds(one.place):
            one.place = self._backlog.put_out(one.frame) if self._is_bound_on_disk(one) else None

    def keep_old(self, max_s: float) -> None:
        """Write frames unsent for `max_s` to disk, if there is one, including those in flight."""
        if self._backlog is None:
            return
        with self._changed:
            before_s = self._clock_s() - max_s
            waiting = len(self._waiting), self._backlog.frames
            self._write_waiting(before_s)
            for out in (*self._out.values(), *self._resting):
                if out.since_s <= before_s:
                    self._keep(out)
            self._backlog.drop_old()
            left = len(self._waiting), self._backlog.frames
            if left != waiting:  # otherwise all senders would wake for nothing
                self._changed.notify_all()

    def keep_all(self) -> int:
        """Write all unsent frames to disk; return how many frames are in memory only."""
        self.keep_old(0.0)
        with self._changed:
            return len(self._waiting) + sum(
                out.place is None for out in (*self._out.values(), *self._resting)
            )

    def close(self) -> None:
        """Wake all `wait_any` calls; remaining frames can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def leave(self) -> None:
        """Release the directory; afterwards no frame may be taken or added."""
        with self._changed:
            if self._backlog:
                self._backlog.close()
                self._backlog = None

    def wait_empty(self, timeout_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Return True when no frame is waiting or in flight, False on timeout or when to `give_up`."""
        with self._changed:
            self._changed.wait_for(lambda: self._empty() or give_up(), timeout_s)
            return self._empty()

    def _empty(self) -> bool:
        return not self._any() and not self._out and not self._resting

    def wait_over(self, number: int, timeout_s: float) -> bool:
        """Return True when no frame up to this number is waiting or in flight, False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._lowest(number + 1) > number, timeout_s)

    def _lowest(self, default: int) -> int:
        on_disk = self._backlog.low_number if self._backlog else None
        return min(min(self._numbers, default=default), default if on_disk is None else on_disk)

    def _hold(self, one: _Waiting) -> None:
        self._waiting.append(one)
        if one.frame.number:
            self._numbers.add(one.frame.number)
        self._bytes += len(one.frame.data)

    def _let_go(self, one: _Waiting) -> None:
        self._numbers.discard(one.frame.number)
        self._bytes -= len(one.frame.data)

    def _write_waiting(self, before_s: float | None) -> None:
        """Write the waiting frames (those added before a time) to disk, until a write fails."""
        while self._backlog and self._waiting:
            first = self._waiting[0]
            if (before_s is not None and first.since_s > before_s) or not self._to_disk(first):
                return
            self._waiting.popleft()
            self._let_go(first)

    def _to_disk(self, one: _Waiting) -> bool:
        """Move a waiting frame to disk; return False if that failed."""
        if self._backlog is None:
            return False
        if one.place and self._backlog.again(one.place):
            return True
        one.place = None
        return self._is_bound_on_disk(one) and self._backlog.put(one.frame)

    def _is_bound_on_disk(self, one: _Waiting) -> bool:
        """Write the frame's binding, if it has one, before the frame; return False if that failed."""
        try:
            if self.bindings is not None:
                self.bindings.persist(one.frame.identity)
        except OSError:
            return False
        return True

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes and self._waiting:
            dropped = self._waiting.popleft()
            if self._to_disk(dropped):
                self._let_go(dropped)
                continue
            self._let_go(dropped)
            self._full.add(1, dropped.frame.rows, dropped.frame.lines)
