"""Messages of one partition that were read and are in no stored batch yet. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from indexer.streams.batch import StreamEntry


class Buffered(NamedTuple):
    """A message at its offset."""

    offset: int
    entry: StreamEntry


class PartitionBuffer:
    """The messages of a partition in the order of their offsets."""

    def __init__(self) -> None:
        self._messages: deque[Buffered] = deque()
        self._next = 0  # offsets below are had
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def first(self) -> int | None:
        """The offset of the first message; None for none."""
        return self._messages[0].offset if self._messages else None

    def append(self, message: Buffered) -> None:
        """Add a message; one that was had is ignored."""
        if message.offset >= self._next:
            self._messages.append(message)
            self._next = message.offset + 1
            self.bytes += len(message.entry.message)

    def reached(self, end: int) -> None:
        """Note that the partition has no messages below the offset `end` that were not had."""
        self._next = max(self._next, end)

    def has_all_to(self, last: int) -> bool:
        """Return whether no message up to an offset is still to come; some may have been removed."""
        return self._next > last

    def last_of(self, max_messages: int, max_bytes: int) -> int:
        """Return the last offset of the next batch; one message may have more than `max_bytes`."""
        size, last = 0, -1
        for number, message in enumerate(self._messages):
            size += len(message.entry.message)
            if number == max_messages or (number and size > max_bytes):
                break
            last = message.offset
        return last

    def take(self, first: int, last: int) -> list[StreamEntry]:
        """Remove the messages up to an offset; return those from `first` on."""
        taken: list[StreamEntry] = []
        while self._messages and self._messages[0].offset <= last:
            message = self._messages.popleft()
            self.bytes -= len(message.entry.message)
            if message.offset >= first:
                taken.append(message.entry)
        return taken
