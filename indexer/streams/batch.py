"""Turns a batch of a stream into frames. Pure: its entries in, frames and dead letters out.

The stretch of the stream names the frames, and its recorded time and rules say how they are read: the same
batch always makes the same frames. A frame whose org is past a limit is parked: its messages go to a stream
of their own with the name that they have here, so that they count once wherever they are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from indexer.receive.messages import Message, MessagesError, parse_each, split
from indexer.streams.reading_rules import ReadingRules
from indexer.write.accepted_frame import AcceptedFrame


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


class ParkedFrame(msgspec.Struct, frozen=True):
    """The messages of one frame, with all that names the frame and decides about them."""

    key: str
    at_ms: int
    rules: ReadingRules
    messages: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of a stream, from its `first` entry to its `last`.

    `key` names its messages for ever. They are read as of `at_ms`, Unix milliseconds, by the `rules`.
    `partition`: of the stream. `taken_over`: it was a dead consumer's. `parked`: its entries are frames.
    """

    key: str
    first: str
    last: str
    at_ms: int
    rules: ReadingRules
    entries: list[StreamEntry]
    partition: int = 0
    taken_over: bool = False
    parked: bool = False


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """The outcome of a batch: the numbers of rows and messages stored, and the other messages."""

    rows: int
    messages: int
    bad: list[BadMessage] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)  # encoded frames


@dataclass(slots=True)
class Origin:
    """Where frames come from: the first batch of their messages, and those of its messages that are good."""

    key: str
    at_ms: int
    rules: ReadingRules
    good: list[tuple[str, bytes | msgspec.Raw]] = field(default_factory=list)

    def messages_of(self, unit: AcceptedFrame) -> list[tuple[str, bytes | msgspec.Raw]]:
        """Return the messages of a frame, with the ids of their entries."""
        tenant = unit.frame.org_id, unit.frame.project_id, unit.frame.retention_days
        return [(entry_id, raw) for entry_id, raw in self.good if _tenant(raw) == tenant]

    def without(self, messages: list[tuple[str, bytes | msgspec.Raw]]) -> None:
        """Remove messages from the good ones."""
        removed = {id(raw) for _, raw in messages}
        self.good = [one for one in self.good if id(one[1]) not in removed]


@dataclass(slots=True)
class ReadBatch:
    """The frames of a batch, and its messages that are not stored."""

    frames: list[tuple[AcceptedFrame, Origin]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    bad: list[BadMessage] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)
    forbidden: int = 0
    expired: int = 0

    def refuse(self, unit: AcceptedFrame, origin: Origin, reason: str) -> None:
        """Make dead letters of the messages of a frame that is never stored."""
        messages = origin.messages_of(unit)
        self.bad += [BadMessage(entry_id, reason, bytes(raw)) for entry_id, raw in messages]
        origin.without(messages)

    def park(self, unit: AcceptedFrame, origin: Origin, max_bytes: int) -> bool:
        """Park a frame that may be stored later; return False if it has more than `max_bytes`."""
        messages = origin.messages_of(unit)
        frame = ParkedFrame(origin.key, origin.at_ms, origin.rules, [msgspec.Raw(raw) for _, raw in messages])
        text = msgspec.json.encode(frame)
        if len(text) > max_bytes:
            return False
        self.parked.append(text)
        origin.without(messages)
        return True

    def stored(self, rows: int) -> StoredBatch:
        """Return the outcome, once all frames are stored, parked or refused."""
        return StoredBatch(rows, sum(len(origin.good) for origin in self.origins), self.bad, self.parked)


def read(batch: Batch) -> ReadBatch:
    """Return the frames of a batch. An entry has one message or an array; a parked one has a frame."""
    out = ReadBatch()
    if batch.parked:
        _read_parked(batch, out)
    else:
        origin = Origin(batch.key, batch.at_ms, batch.rules)
        _parse(origin, _messages(batch, out), out)
    return out


def _read_parked(batch: Batch, out: ReadBatch) -> None:
    for entry in batch.entries:
        try:
            if entry.fault:
                raise MessagesError(entry.fault)
            frame = msgspec.json.decode(entry.message, type=ParkedFrame)
        except (MessagesError, msgspec.DecodeError, ValueError, RecursionError) as e:
            out.bad.append(BadMessage(entry.id, f"not a parked frame: {e}", entry.message))
            continue
        origin = Origin(frame.key, frame.at_ms, frame.rules)
        _parse(origin, [(entry.id, raw) for raw in frame.messages], out)


def _messages(batch: Batch, out: ReadBatch) -> list[tuple[str, bytes | msgspec.Raw]]:
    """Return the messages of all entries with the ids of these; unreadable entries are dead letters."""
    raws: list[tuple[str, bytes | msgspec.Raw]] = []
    for entry in batch.entries:
        try:
            if entry.fault:
                raise MessagesError(entry.fault)
            found = split(entry.message)
            if len(found) > batch.rules.messages:
                raise MessagesError(
                    f"{len(found)} messages: expected at most {batch.rules.messages} in an entry"
                )
            raws += [(entry.id, raw) for raw in found]
        except MessagesError as e:
            out.bad.append(BadMessage(entry.id, str(e), entry.message))
    return raws


def _parse(origin: Origin, raws: list[tuple[str, bytes | msgspec.Raw]], out: ReadBatch) -> None:
    rules, at_ms = origin.rules, origin.at_ms
    retentions = rules.retentions
    parsed = parse_each(
        [raw for _, raw in raws],
        key=origin.key,
        created_ms=at_ms,
        latest_s=at_ms // 1000 + rules.future_s,
        sent=b"",
        grant=rules.grant,
        first_day=lambda days: retentions.first_day(retentions.rounded(days), at_ms, at_ms),
        by_retention=True,
    )
    rejected = {r.position: r.reason for r in parsed.rejected}
    for position, reason in rejected.items():
        entry_id, raw = raws[position]
        out.bad.append(BadMessage(entry_id, reason, bytes(raw)))
    origin.good = [one for position, one in enumerate(raws) if position not in rejected] if rejected else raws
    out.origins.append(origin)
    out.frames += [(unit, origin) for unit in parsed.units]
    out.forbidden += parsed.forbidden
    out.expired += parsed.expired


def _tenant(raw: bytes | msgspec.Raw) -> tuple[int, int, int]:
    message = msgspec.json.decode(raw, type=Message)
    return message.org_id, message.project_id, message.retention_days
