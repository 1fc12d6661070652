"""Messages of one partition that were read and are in no stored batch yet. Pure."""

from __future__ import annotations

from collections import deque

from indexer.streams.batch import Entries


class PartitionBuffer:
    """The messages of a partition in the order of their offsets."""

    def __init__(self) -> None:
        self._offsets: deque[int] = deque()
        self._messages: deque[bytes] = deque()
        self._next = 0  # offsets below are had
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def first(self) -> int | None:
        """The offset of the first message; None for none."""
        return self._offsets[0] if self._offsets else None

    def append(self, offset: int, message: bytes) -> None:
        """Add a message; one that was had is ignored."""
        if offset >= self._next:
            self._offsets.append(offset)
            self._messages.append(message)
            self._next = offset + 1
            self.bytes += len(message)

    def reached(self, end: int) -> None:
        """Note that the partition has no messages below the offset `end` that were not had."""
        self._next = max(self._next, end)

    def has_all_to(self, last: int) -> bool:
        """Return whether no message up to an offset is still to come; some may have been removed."""
        return self._next > last

    def last_of(self, max_messages: int, max_bytes: int) -> int:
        """Return the last offset of the next batch; one message may have more than `max_bytes`."""
        size, last = 0, -1
        for number, (offset, message) in enumerate(zip(self._offsets, self._messages, strict=True)):
            size += len(message)
            if number == max_messages or (number and size > max_bytes):
                break
            last = offset
        return last

    def take(self, first: int, last: int, max_message_bytes: int) -> Entries:
        """Remove the messages up to an offset; return those from `first` on, larger ones as faults."""
        taken = Entries([], [], faults := {})
        while self._offsets and self._offsets[0] <= last:
            offset, message = self._offsets.popleft(), self._messages.popleft()
            self.bytes -= len(message)
            if offset >= first:
                if len(message) > max_message_bytes:
                    fault = f"{len(message)} bytes: expected at most indexer.bounds.body_bytes"
                    faults[len(taken.ids)], message = fault, b""
                taken.ids.append(str(offset))
                taken.messages.append(message)
        return taken
