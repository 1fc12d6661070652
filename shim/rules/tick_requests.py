"""The parts that store a tick: which messages go together, and under which end of the tick's key. Pure.

Two shims may evaluate a tick with different results, and an indexer may know some requests of the first. So
a part is known by its content alone: a project, a kind, and the beginning of the hashes of its series. A part
too large for one request is cut into 16 by the next digit of the hash. An indexer takes one request under a
key, so the key of a part is written once: by messages, or by the request that says that the part is cut
(`TickPart.cut`). A shim that finds the latter goes on with the smaller parts, however few messages it has. So
no two parts that are stored overlap. The tick counts as stored by the last message of the last request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from shim.model.tenancy import Tenant
from shim.rules.recorded_messages import TickResults, cut_message, message_of, progress_message

Message = Mapping[str, Any]

#: Messages that a request has at most: below `indexer.bounds.messages`.
_MAX_MESSAGES: Final = 8_000
#: Buckets of histograms that weigh as one message: a request is some MB of JSON at most.
_BUCKETS: Final = 40
#: Digits of the hash of a series.
_DIGITS: Final = 16
_encoder: Final = msgspec.json.Encoder()


class TickRequest(NamedTuple):
    """One request; `name` is the end of its key. `project_id`: of all its messages."""

    name: str
    project_id: int
    messages: Sequence[Message]

    @property
    def body(self) -> bytes:
        """The bytes to send."""
        return _encoder.encode(self.messages)


class TickPart(NamedTuple):
    """Messages of one project and kind whose hashes begin with the same digits.

    `whole` is the request of all of them, `cut` the one that says that there are smaller parts. `last` goes
    with the whole one alone.
    """

    whole: TickRequest
    cut: TickRequest
    digits: int = 0
    last: Sequence[Message] = ()

    @property
    def request(self) -> TickRequest:
        """The request that stores the part as it is."""
        name, project_id, messages = self.whole
        return TickRequest(name, project_id, [*messages, *self.last])

    @property
    def fits(self) -> bool:
        """Whether one request has room for the messages."""
        messages = self.whole.messages
        small = len(messages) <= 1 or sum(map(_weight, messages)) <= _MAX_MESSAGES
        return small or self.digits == _DIGITS

    def smaller(self) -> Sequence[TickPart]:
        """Return the parts by the next digit, without empty ones."""
        parts: dict[str, list[Message]] = {}
        for one in self.whole.messages:
            parts.setdefault(_hash(one)[self.digits], []).append(one)
        _, project_id, cut = self.cut
        stem = self.whole.name if self.digits else f"{self.whole.name}."
        return [
            TickPart(
                TickRequest(f"{stem}{digit}", project_id, parts[digit]),
                TickRequest(f"{stem}{digit}", project_id, cut),
                self.digits + 1,
            )
            for digit in sorted(parts)
        ]


class TickParts(NamedTuple):
    """The parts of a tick, which may be sent at once, and the request to send after them.

    `told`: the only part carries the message of `end` too, if it is stored as it is.
    """

    parts: Sequence[TickPart]
    end: TickRequest
    told: bool = False


def tick_parts(
    tenant: Tenant, org_project_id: int, results: TickResults, last_tick: tuple[str, int]
) -> TickParts:
    """Return the parts of a tick. `last_tick`: the group's name and the tick in seconds."""
    by_project: dict[int, list[Message]] = {}
    for sample in results.all:
        message = message_of(tenant, org_project_id, results.deltas, *sample)
        by_project.setdefault(message["project_id"], []).append(message)
    progress = progress_message(tenant, org_project_id, last_tick)
    own = progress["project_id"]
    found: list[TickRequest] = []
    for project_id in sorted(by_project):
        messages = by_project[project_id]
        kind = "" if project_id == own else f"p{project_id}."
        deltas = [one for one in messages if one["type"] != "g"]
        if deltas:
            found.append(TickRequest(f"{kind}0", project_id, deltas))
        gauges = [one for one in messages if one["type"] == "g"]
        if gauges:
            # A group that records deltas has gauges under another name, whether it has deltas now or not.
            found.append(TickRequest(f"{kind}g0" if results.deltas else f"{kind}0", project_id, gauges))
    if not found:
        return TickParts([], TickRequest("0", own, [progress]))
    told = len(found) == 1 and found[0][:2] == ("0", own) and not results.deltas
    last = [progress] if told else []
    parts = [TickPart(one, _cut(tenant, one, last_tick), last=last) for one in found]
    return TickParts(parts, TickRequest("end", own, [progress]), told)


def _cut(tenant: Tenant, of: TickRequest, last_tick: tuple[str, int]) -> TickRequest:
    return TickRequest(of.name, of.project_id, [cut_message(tenant, of.project_id, last_tick)])


def _weight(message: Message) -> float:
    value = message["value"]
    buckets = len(value["positive"]) + len(value["negative"]) if isinstance(value, dict) else 0
    return 1 + buckets / _BUCKETS


def _hash(message: Message) -> str:
    series = _encoder.encode((message["name"], sorted(message["tags"].items())))
    return xxhash.xxh64_hexdigest(series)
