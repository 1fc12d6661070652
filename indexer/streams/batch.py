"""Turns a batch of a stream into frames. Pure: its entries in, frames and dead letters out.

The stretch of the stream names the frames, and its recorded time and rules say how they are read: the same
batch always makes the same frames. A frame whose org is past a limit is parked: its messages go to a stream
of their own with the name that they have here, so that they count once wherever they are written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from indexer.receive.message_fields import Message
from indexer.receive.messages import MessagesError, parse_each, split
from indexer.streams.reading_rules import ReadingRules
from indexer.write.accepted_frame import AcceptedFrame


class BadMessage(NamedTuple):
    """A message that is not stored: its entry, why, and its text; without one that of the entry."""

    id: str
    reason: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a stretch of a stream, as columns: few objects, so that collecting garbage costs little.

    `faults`: why an entry has no message, by its place; its message is empty then.
    """

    ids: list[str]
    messages: list[bytes]
    faults: Mapping[int, str] = field(default_factory=dict)


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
    `frame_bytes`: a frame is made of messages of at most that many bytes, if one alone has not more. `lost`:
    positions before it that were removed from the stream before they were read.
    """

    key: str
    first: str
    last: str
    at_ms: int
    rules: ReadingRules
    entries: Entries
    partition: int = 0
    taken_over: bool = False
    parked: bool = False
    frame_bytes: int = sys.maxsize
    lost: int = 0


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """The outcome of a batch: the numbers of rows and messages stored, and the other messages."""

    rows: int
    messages: int
    bad: list[BadMessage] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)  # encoded frames


@dataclass(slots=True)
class Origin:
    """Where frames come from: a batch, or a part of it, with its messages and the ids of their entries.

    `gone`: places of messages that are not stored.
    """

    key: str
    at_ms: int
    rules: ReadingRules
    ids: list[str]
    messages: Sequence[bytes | msgspec.Raw]
    gone: set[int] = field(default_factory=set)

    @property
    def stored(self) -> int:
        """The number of its messages that are stored, unless their frame is refused or parked yet."""
        return len(self.messages) - len(self.gone)

    def remove(self, unit: AcceptedFrame) -> list[int]:
        """Remove the messages of a frame; return their places."""
        tenant = unit.frame.org_id, unit.frame.project_id, unit.frame.retention_days
        places = [
            place
            for place, raw in enumerate(self.messages)
            if place not in self.gone and _tenant(raw) == tenant
        ]
        self.gone.update(places)
        return places


@dataclass(slots=True)
class ReadBatch:
    """The frames of a batch, and its messages that are not stored."""

    frames: list[tuple[AcceptedFrame, Origin]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    bad: list[BadMessage] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)
    forbidden: int = 0
    expired: int = 0

    @property
    def messages(self) -> int:
        """The number of messages that are stored."""
        return sum(origin.stored for origin in self.origins)

    def refuse(self, unit: AcceptedFrame, origin: Origin, reason: str) -> None:
        """Make dead letters of the messages of a frame that is never stored."""
        self.bad += [
            BadMessage(origin.ids[place], reason, bytes(origin.messages[place]))
            for place in origin.remove(unit)
        ]

    def park(self, unit: AcceptedFrame, origin: Origin, max_bytes: int) -> bool:
        """Park a frame that may be stored later; return False if it has more than `max_bytes`."""
        places = origin.remove(unit)
        messages = [msgspec.Raw(origin.messages[place]) for place in places]
        text = msgspec.json.encode(ParkedFrame(origin.key, origin.at_ms, origin.rules, messages))
        if len(text) > max_bytes:
            origin.gone.difference_update(places)
            return False
        self.parked.append(text)
        return True

    def stored(self, rows: int) -> StoredBatch:
        """Return the outcome, once all frames are stored, parked or refused."""
        return StoredBatch(rows, self.messages, self.bad, self.parked)


def read(batch: Batch) -> ReadBatch:
    """Return the frames of a batch. An entry has one message or an array; a parked one has a frame."""
    out = ReadBatch()
    if batch.parked:
        _read_parked(batch, out)
        return out
    ids, messages = _messages(batch, out)
    for number, part in enumerate(_parts(messages, batch.frame_bytes)):
        key = f"{batch.key}/{number}" if number else batch.key
        _parse(Origin(key, batch.at_ms, batch.rules, ids[part], messages[part]), out)
    return out


def _read_parked(batch: Batch, out: ReadBatch) -> None:
    entries = batch.entries
    for place, (entry_id, message) in enumerate(zip(entries.ids, entries.messages, strict=True)):
        try:
            if place in entries.faults:
                raise MessagesError(entries.faults[place])
            frame = msgspec.json.decode(message, type=ParkedFrame)
        except (MessagesError, msgspec.DecodeError, ValueError, RecursionError) as e:
            out.bad.append(BadMessage(entry_id, f"not a parked frame: {e}", message))
            continue
        ids = [entry_id] * len(frame.messages)
        _parse(Origin(frame.key, frame.at_ms, frame.rules, ids, frame.messages), out)


def _messages(batch: Batch, out: ReadBatch) -> tuple[list[str], Sequence[bytes | msgspec.Raw]]:
    """Return the ids of entries and their messages; unreadable entries are dead letters."""
    entries = batch.entries
    single = None if entries.faults else _single_messages(entries.messages)
    if single is not None:
        return entries.ids, single
    ids: list[str] = []
    messages: list[bytes | msgspec.Raw] = []
    for place, (entry_id, text) in enumerate(zip(entries.ids, entries.messages, strict=True)):
        try:
            if place in entries.faults:
                raise MessagesError(entries.faults[place])
            found = split(text)
            if len(found) > batch.rules.messages:
                raise MessagesError(
                    f"{len(found)} messages: expected at most {batch.rules.messages} in an entry"
                )
            ids += [entry_id] * len(found)
            messages += found
        except MessagesError as e:
            out.bad.append(BadMessage(entry_id, str(e), text))
    return ids, messages


def _single_messages(texts: list[bytes]) -> Sequence[msgspec.Raw] | None:
    """Return the messages of entries that are one object each, split together; None for any others."""
    try:
        found = msgspec.json.decode(b"[%b]" % b",".join(texts), type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # Entries that are JSON only together differ from their texts in number or in length.
    single = list(map(len, found)) == list(map(len, texts)) and not any(t[:1] == b"[" for t in texts)
    return found if single else None


def _parts(messages: Sequence[bytes | msgspec.Raw], max_bytes: int) -> Iterator[slice]:
    """Yield parts of at most `max_bytes`, or of one message."""
    first = size = 0
    for place, text in enumerate(messages):
        size += len(text)
        if size > max_bytes and place > first:
            yield slice(first, place)
            first, size = place, len(text)
    if messages:
        yield slice(first, None)


def _parse(origin: Origin, out: ReadBatch) -> None:
    rules, at_ms = origin.rules, origin.at_ms
    retentions = rules.retentions
    parsed = parse_each(
        origin.messages,
        key=origin.key,
        created_ms=at_ms,
        latest_s=at_ms // 1000 + rules.future_s,
        sent=b"",
        grant=rules.grant,
        first_day=lambda days: retentions.first_day(retentions.rounded(days), at_ms, at_ms),
        by_retention=True,
    )
    for rejected in parsed.rejected:
        place = rejected.position
        out.bad.append(BadMessage(origin.ids[place], rejected.reason, bytes(origin.messages[place])))
        origin.gone.add(place)
    out.origins.append(origin)
    out.frames += [(unit, origin) for unit in parsed.units]
    out.forbidden += parsed.forbidden
    out.expired += parsed.expired


def _tenant(raw: bytes | msgspec.Raw) -> tuple[int, int, int]:
    message = msgspec.json.decode(raw, type=Message)
    return message.org_id, message.project_id, message.retention_days
