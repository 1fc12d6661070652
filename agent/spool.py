"""Encoded frames that wait to be acknowledged: bounded memory, oldest dropped first.

Owns the frames between their encoding and their acknowledgement. The newest are kept because they are what an
operator looks at; what is dropped is counted. A frame handed out (`take`) comes back by `done` or `again`; it
counts against the bound until then, but is never dropped while it is out.
(A spool on disk, a later issue, has these methods too.)

Thread-safe.
"""

from __future__ import annotations

import threading
from collections import deque

import msgspec


class Parcel(msgspec.Struct, frozen=True):
    """An encoded frame: its identity, its bytes (the same on every try), its rows and its sequence number."""

    identity: str
    data: bytes
    rows: int
    number: int = 0


class Spool:
    """At most `max_bytes` of waiting frames; a larger frame is dropped at once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self._out = 0
        self._numbers = set[int]()  # of the frames waiting or under way
        self._closed = False
        self.dropped_frames = 0
        self.dropped_rows = 0

    @property
    def unsent_bytes(self) -> int:
        """Bytes of the frames waiting or under way."""
        return self._bytes

    @property
    def unsent_frames(self) -> int:
        """Frames waiting or under way."""
        return len(self._waiting) + self._out

    def put(self, parcel: Parcel) -> None:
        """Adds a frame, dropping the oldest waiting ones if there is no room."""
        with self._changed:
            self._waiting.append(parcel)
            self._numbers.add(parcel.number)
            self._bytes += len(parcel.data)
            self._make_room()
            self._changed.notify_all()

    def wait_any(self) -> bool:
        """Waits until a frame waits; False if the spool was closed and none does."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return bool(self._waiting)

    def take(self) -> Parcel | None:
        """The oldest waiting frame, if there is one."""
        with self._changed:
            if not self._waiting:
                return None
            self._out += 1
            return self._waiting.popleft()

    def done(self, parcel: Parcel) -> None:
        """A frame handed out needs no more sending."""
        with self._changed:
            self._out -= 1
            self._numbers.discard(parcel.number)
            self._bytes -= len(parcel.data)
            self._changed.notify_all()

    def again(self, parcel: Parcel) -> None:
        """A frame handed out is to be sent once more; it is the oldest again, and may be dropped for room."""
        with self._changed:
            self._out -= 1
            self._waiting.appendleft(parcel)
            self._make_room()
            self._changed.notify_all()

    def close(self) -> None:
        """No `wait_any` waits any longer; what is here can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """True when nothing is waiting or under way."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._out, timeout_s)

    def wait_over(self, number: int, timeout_s: float) -> bool:
        """True when no frame up to this number is waiting or under way; False when time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: min(self._numbers, default=number + 1) > number, timeout_s)

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes and self._waiting:
            dropped = self._waiting.popleft()
            self._bytes -= len(dropped.data)
            self._numbers.discard(dropped.number)
            self.dropped_frames += 1
            self.dropped_rows += dropped.rows
