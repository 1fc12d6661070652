"""The requests that store a tick: which messages go together, and under which part of the tick's key. Pure.

Two shims may evaluate a tick with different results, and an indexer may know some requests of the first. So
a series is always in the request of the same name: of its project, its kind, and its part by the hash of the
series. The number of parts is a power of two that follows from the gauges at the tick before, which both
know, unless there are many more now. The tick counts as stored by the last message of the last request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.recorded_messages import TickResults, message_of, progress_message, project_of

Message = Mapping[str, Any]

#: Messages that a part has about, and at most: below `indexer.bounds.messages`.
_MESSAGES: Final = 4_000
_MAX_MESSAGES: Final = 8_000
#: Buckets of histograms that weigh as one message: a request is some MB of JSON at most.
_BUCKETS: Final = 40
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


def tick_requests(
    tenant: Tenant,
    org_project_id: int,
    results: TickResults,
    last_tick: tuple[str, int],
    before: Iterable[Iterable[Labels]] = (),
) -> Sequence[TickRequest]:
    """Return the requests of a tick: all but the last may be sent at once, the last one after them.

    `last_tick`: the group's name and the tick in seconds. `before`: the series of gauges at the tick before,
    as far as each shim knows them.
    """
    found: list[TickRequest] = []
    by_project: dict[int, list[Message]] = {}
    for sample in results.all:
        message = message_of(tenant, org_project_id, results.deltas, *sample)
        by_project.setdefault(message["project_id"], []).append(message)
    counts = Counter[int]()
    if len(results.all) > _MESSAGES // 2:
        counts.update(project_of(tenant, org_project_id, labels) for some in before for labels in some)
    progress = progress_message(tenant, org_project_id, last_tick)
    own = progress["project_id"]
    for project_id in sorted(by_project):
        messages = by_project[project_id]
        kind = "" if project_id == own else f"p{project_id}."
        deltas = [one for one in messages if one["type"] != "g"]
        found += _named(kind, project_id, deltas, 0)
        # A group that records deltas has gauges under names of their own, whether it has deltas now or not.
        gauges = [one for one in messages if one["type"] == "g"]
        found += _named(f"{kind}g" if results.deltas else kind, project_id, gauges, counts[project_id])
    if not found or (len(found) == 1 and found[0][:2] == ("0", own) and not results.deltas):
        return [TickRequest("0", own, [*(found[0].messages if found else ()), progress])]
    return [*found, TickRequest("end", own, [progress])]


def _named(kind: str, project_id: int, messages: Sequence[Message], before: int) -> Iterator[TickRequest]:
    """Yield the parts of messages of one project and kind."""
    if not messages:
        return
    parts = _parts(messages, before)
    if len(parts) == 1:
        yield TickRequest(f"{kind}0", project_id, parts[0])
        return
    for number, part in enumerate(parts):
        if part:
            yield TickRequest(f"{kind}{len(parts)}.{number}", project_id, part)


def _parts(messages: Sequence[Message], before: int) -> Sequence[Sequence[Message]]:
    """Cut messages by the hash of their series, as finely as the series before ask for, and as is needed."""
    count = 1
    while count * _MESSAGES < before:
        count *= 2
    while True:
        parts: list[list[Message]] = [[] for _ in range(count)]
        for one in messages:
            parts[_hash(one) % count if count > 1 else 0].append(one)
        if all(len(part) <= 1 or sum(map(_weight, part)) <= _MAX_MESSAGES for part in parts):
            return parts
        count *= 2


def _weight(message: Message) -> float:
    value = message["value"]
    buckets = len(value["positive"]) + len(value["negative"]) if isinstance(value, dict) else 0
    return 1 + buckets / _BUCKETS


def _hash(message: Message) -> int:
    series = _encoder.encode((message["name"], sorted(message["tags"].items())))
    return xxhash.xxh64_intdigest(series)
