"""Turns a batch of a stream into frames. Pure: its entries in, frames and dead letters out.

The stretch of the stream names the frames, and its last entry gives the time as of which they are read: the
same batch always makes the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from indexer.access.grants import Grant
from indexer.receive.messages import Message, MessagesError, parse_each, split
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.split_by_day import RetentionRules


class StreamEntry(NamedTuple):
    """An entry of the stream with its message, or why it has none."""

    id: str
    message: bytes
    fault: str = ""


class BadMessage(NamedTuple):
    """A message that is not stored: its entry, why, and its text; without one that of the entry."""

    id: str
    reason: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of a stream. `name` is that of its group; `taken_over`: it was a dead consumer's."""

    name: str
    first: str
    last: str
    entries: list[StreamEntry]
    taken_over: bool = False

    @property
    def key(self) -> str:
        """The name of its messages for ever."""
        return f"stream/{self.name}/{self.first}/{self.last}"

    @property
    def at_ms(self) -> int:
        """When its last entry was added, Unix milliseconds."""
        return int(self.last.partition("-")[0])


@dataclass(slots=True)
class ReadBatch:
    """The frames of a batch, and its messages that are not stored."""

    units: list[AcceptedFrame] = field(default_factory=list)
    bad: list[BadMessage] = field(default_factory=list)
    good: list[tuple[str, msgspec.Raw]] = field(default_factory=list)
    forbidden: int = 0
    expired: int = 0

    def refuse(self, unit: AcceptedFrame, reason: str) -> None:
        """Make dead letters of the messages of a frame that is never stored."""
        tenant = unit.frame.org_id, unit.frame.project_id, unit.frame.retention_days
        kept = []
        for entry_id, raw in self.good:
            message = msgspec.json.decode(raw, type=Message)
            if (message.org_id, message.project_id, message.retention_days) == tenant:
                self.bad.append(BadMessage(entry_id, reason, bytes(raw)))
            else:
                kept.append((entry_id, raw))
        self.good = kept


def read(batch: Batch, grant: Grant, rules: RetentionRules, *, future_s: int, max_messages: int) -> ReadBatch:
    """Return the frames of a batch; an entry has one message or an array of at most `max_messages`."""
    out = ReadBatch()
    raws: list[tuple[str, msgspec.Raw]] = []
    for entry in batch.entries:
        try:
            if entry.fault:
                raise MessagesError(entry.fault)
            found = split(entry.message)
            if len(found) > max_messages:
                raise MessagesError(f"{len(found)} messages: expected at most {max_messages} in an entry")
            raws += [(entry.id, raw) for raw in found]
        except MessagesError as e:
            out.bad.append(BadMessage(entry.id, str(e), entry.message))
    at_ms = batch.at_ms
    parsed = parse_each(
        [raw for _, raw in raws],
        key=batch.key,
        created_ms=at_ms,
        latest_s=at_ms // 1000 + future_s,
        sent=b"",
        grant=grant,
        first_day=lambda days: rules.first_day(rules.rounded(days), at_ms, at_ms),
    )
    rejected = {r.position: r.reason for r in parsed.rejected}
    for position, (entry_id, raw) in enumerate(raws):
        if position in rejected:
            out.bad.append(BadMessage(entry_id, rejected[position], bytes(raw)))
        else:
            out.good.append((entry_id, raw))
    out.units, out.forbidden, out.expired = parsed.units, parsed.forbidden, parsed.expired
    return out
