"""Binds frames to indexers, where there are several: a frame that was sent to one is sent again to that one.

Owns the frames that were sent and not answered, by indexer: a lane for each, between the spool and the
forwarder of that indexer. Only the lane of the current indexer (agent/forward/target_choice.py) takes frames
that were never sent. So few frames wait for an indexer that is away: those under way when it went, and later
ones until it is down. A frame whose connection was refused was not sent, and stays free.

Frames of an indexer that is gone (`agent.forward.gone`) are released: free again, with the number of releases
(agent/wire/release.py). All state is under the spool's lock. Thread-safe.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from agent.forward.spool.bindings import Bindings
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.forward.target_choice import TargetChoice
from agent.wire.release import MAX_HOP, Release

#: An indexer that is down is tried with one frame this often.
TRY_EVERY_S: Final = 15.0
#: A frame whose binding cannot be written waits this long.
_NOT_WRITTEN_S: Final = 1.0


class _Held(msgspec.Struct):
    """A frame that an indexer may have, and when it may be sent again."""

    frame: EncodedFrame
    due_s: float


class Lanes:
    """The lanes of the indexers `urls`, in the agent's order.

    `gone`: indexers that do not return, by whether their journals are lost; they need not be in `urls`.
    """

    def __init__(
        self,
        spool: Spool,
        bindings: Bindings,
        urls: Sequence[str],
        choice: TargetChoice,
        gone: Mapping[str, bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.urls = list(urls)
        self.released_frames = 0
        self._spool = spool
        self._bindings = bindings
        self._choice = choice
        self._gone = gone
        self._clock_s = clock_s
        self._held: dict[str, deque[_Held]] = {url: deque() for url in urls}
        self._sent: set[str] = set()  # identities of bound frames that their indexer may have

    def current(self) -> str:
        """Return the indexer that gets new frames."""
        with self._spool.changed:
            return self.urls[self._choice.current(self._clock_s())]

    def held_frames(self) -> dict[str, int]:
        """Return how many frames wait for each indexer alone, also for those that are not in `urls`."""
        with self._spool.changed:
            return {url: len(held) for url, held in self._held.items()}

    def release_of(self, frame: EncodedFrame) -> Release:
        """Return how often a frame was released."""
        with self._spool.changed:
            binding = self._bindings.of(frame.identity)
            return binding.release(self._gone) if binding else Release()

    def wait_any(self, at: int) -> bool:
        """Wait until a lane has a frame to send; return False if the spool was closed and it has none."""
        with self._spool.changed:
            while True:
                now_s = self._clock_s()
                held = self._held[self.urls[at]]
                if any(one.due_s <= now_s for one in held):
                    return True
                if self._takes_new(at, now_s) and self._spool.any():
                    return True
                if self._spool.closed:
                    return False
                waits = [one.due_s - now_s for one in held]
                waits += [rest_s for rest_s in [self._spool.next_rest_s()] if rest_s is not None]
                self._spool.changed.wait(max(0.001, min([self._choice.change_in_s(now_s), *waits])))

    def take(
        self, at: int, max_frames: int, max_bytes: int, takers: int, *, live_first: bool
    ) -> list[EncodedFrame]:
        """Return frames of a lane that are due, else new ones, which are bound to it; all of one release."""
        with self._spool.changed:
            now_s, url = self._clock_s(), self.urls[at]
            taken = self._due(url, now_s, max_frames, max_bytes)
            if taken or not self._takes_new(at, now_s):
                return taken
            room = 1 if at != self._choice.current(now_s) else max_frames
            self._choice.tried(at, now_s)
            for frame in self._spool.take_many(room, max_bytes, takers, live_first=live_first):
                self._bind(frame, url, now_s)
            self._spool.changed.notify_all()
            return self._due(url, now_s, max_frames, max_bytes)

    def done(self, at: int, frame: EncodedFrame) -> None:
        """Complete a frame of a lane."""
        with self._spool.changed:
            self._choice.answered(at, self._clock_s())
            self._bindings.unbind(frame.identity)
            self._sent.discard(frame.identity)
            self._spool.done(frame)
            backlog = self._spool.backlog
            if backlog is None or backlog.is_empty:
                self._bindings.forget_recovered()

    def again(
        self, at: int, frame: EncodedFrame, rest_s: float, *, sent: bool, postponed: bool = False
    ) -> None:
        """Return a frame of a lane: it waits there, or is free if it was never sent there.

        An indexer that has a frame set aside postpones it again and again, and takes others.
        """
        with self._spool.changed:
            now_s, url = self._clock_s(), self.urls[at]
            if postponed and frame.identity in self._sent:
                self._choice.postponed(at, now_s)
            else:
                self._choice.failed(at, now_s)
            if not sent and frame.identity not in self._sent:
                self._free(frame)
            else:
                self._sent.add(frame.identity)
                self._spool.keep_out(frame)
                self._held[url].append(_Held(frame, now_s + rest_s))
            self._spool.changed.notify_all()

    def hurry(self) -> None:
        """End all rests."""
        with self._spool.changed:
            for one in (one for held in self._held.values() for one in held):
                one.due_s = 0.0
        self._spool.hurry()

    def _takes_new(self, at: int, now_s: float) -> bool:
        if sum(len(one.frame.data) for one in self._held[self.urls[at]]) > self._spool.max_bytes // 2:
            return False  # it answers some frames, and postpones many: memory is bounded
        if at == self._choice.current(now_s):
            return True
        learns = bool(self._held[self.urls[at]]) and not self._choice.postpones(at)  # by those frames
        return self._choice.may_try(at, now_s) and not learns

    def _due(self, url: str, now_s: float, max_frames: int, max_bytes: int) -> list[EncodedFrame]:
        """Take the frames of a lane that are due, in order, of one release and within the bounds."""
        taken: list[EncodedFrame] = []
        kept: deque[_Held] = deque()
        size = 0
        for one in self._held[url]:
            fits = one.due_s <= now_s and len(taken) < max_frames and size < max_bytes
            if fits and (not taken or self.release_of(one.frame) == self.release_of(taken[0])):
                taken.append(one.frame)
                size += len(one.frame.data)
            else:
                kept.append(one)
        self._held[url] = kept
        return taken

    def _bind(self, frame: EncodedFrame, url: str, now_s: float) -> None:
        """Bind a frame of the spool to an indexer, unless it is bound to another one that may return."""
        before = self._bindings.before_sending(frame.identity, self._spool.file_of(frame))
        bound_to = before.url
        if bound_to in self._gone and before.hop < MAX_HOP:
            before = before.released()
            bound_to = ""
            self.released_frames += 1
        if bound_to:
            self._sent.add(frame.identity)
        else:
            bound_to = url
            self._bindings.bind(frame.identity, before.to(url))
            try:
                if self._spool.is_on_disk(frame):
                    self._bindings.persist(frame.identity)
            except OSError:  # not sent before the disk knows where
                self._free(frame, _NOT_WRITTEN_S)
                return
        self._held.setdefault(bound_to, deque()).append(_Held(frame, now_s))

    def _free(self, frame: EncodedFrame, rest_s: float = 0.0) -> None:
        """Return a frame that was not sent to the spool; it keeps the number of its releases."""
        binding = self._bindings.of(frame.identity)
        if binding is not None and binding.hop:
            self._bindings.bind(frame.identity, binding.to(""))
        else:
            self._bindings.unbind(frame.identity)
        self._spool.again(frame, rest_s)


class Lane:
    """One lane as the frames of a forwarder."""

    def __init__(self, lanes: Lanes, at: int, spool: Spool) -> None:
        self._lanes = lanes
        self._at = at
        self._spool = spool

    @property
    def on_disk(self) -> bool:
        """Whether frames survive the agent."""
        return self._spool.on_disk

    def wait_any(self) -> bool:
        """Wait until a frame is to be sent; return False if all is over."""
        return self._lanes.wait_any(self._at)

    def take_many(
        self, max_frames: int, max_bytes: int, takers: int, *, live_first: bool
    ) -> list[EncodedFrame]:
        """Return some frames to send."""
        return self._lanes.take(self._at, max_frames, max_bytes, takers, live_first=live_first)

    def done(self, frame: EncodedFrame) -> None:
        """Complete a frame that was taken."""
        self._lanes.done(self._at, frame)

    def again(
        self, frame: EncodedFrame, rest_s: float = 0.0, *, sent: bool = True, postponed: bool = False
    ) -> None:
        """Return a frame for another try."""
        self._lanes.again(self._at, frame, rest_s, sent=sent, postponed=postponed)

    def hurry(self) -> None:
        """End all rests."""
        self._lanes.hurry()

    def wait_empty(self, timeout_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Return True when no frame of any lane is left, False on timeout or when to `give_up`."""
        return self._spool.wait_empty(timeout_s, give_up)

    def close(self) -> None:
        """Wake all `wait_any` calls."""
        self._spool.close()
