"""The results of a tick as messages to an indexer (docs/wire-format.md). Pure.

The same group and tick always have the same key, so that an indexer stores the first of several requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from operator import itemgetter
from typing import Any, Final

import msgspec
import xxhash

from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.memory_samples import STALE, MemorySamples
from shim.rules.recorded_histogram import RecordedHistogram

#: Messages of one request, below `indexer.bounds.messages`.
_MESSAGES: Final = 5_000
#: Buckets of histograms of one request: some MB of JSON, below `indexer.bounds.body_bytes`.
_BUCKETS: Final = 200_000
#: Digits of a project's id; longer texts are no number that an indexer reads.
_MAX_DIGITS: Final = 20
#: The label that names the project of a series, in queries over an org.
PROJECT: Final = "project_id"
_encoder: Final = msgspec.json.Encoder()
#: The series that says up to which tick a group is stored.
LAST_TICK: Final = "meterhouse_rule_group_last_tick_seconds"
GROUP: Final = "rule_group"


@dataclass(slots=True)
class TickResults:
    """The samples of a group at one tick, in order; gauges among them are seen by its later rules."""

    deltas: frozenset[str]  # names of rules that record deltas
    seen: MemorySamples = field(default_factory=MemorySamples)
    all: list[tuple[Labels, int, float | RecordedHistogram | None]] = field(default_factory=list)

    def append(self, labels: Labels, time_ms: int, value: float | None) -> None:
        """Add a sample; None ends its series."""
        is_delta = lb.get(labels, lb.NAME) in self.deltas
        if is_delta and value is STALE:
            return  # its series does not end
        self.all.append((labels, time_ms, value))
        if not is_delta:
            self.seen.append(labels, time_ms, value)

    def append_histogram(self, labels: Labels, time_ms: int, value: RecordedHistogram) -> None:
        """Add a histogram."""
        self.all.append((labels, time_ms, value))


def group_name(file: str, group: str) -> str:
    """Return the name of a group as Prometheus' metrics have it."""
    return f"{file};{group}"


def key_of(tenant: Tenant, file: str, group: str, tick_s: int) -> str:
    """Return the key of a tick's request."""
    name = f"{tenant}/{group_name(file, group)}"
    return f"rules/{xxhash.xxh64_hexdigest(name.encode())}/{tick_s}"


def bodies(
    tenant: Tenant, org_project_id: int, results: TickResults, last_tick: tuple[str, int]
) -> Sequence[bytes]:
    """Return the requests of a tick; `last_tick`: the group's name and the tick in seconds.

    The last message of the last request says that the tick is stored.
    """
    messages = [_message(tenant, org_project_id, results.deltas, *sample) for sample in results.all]
    messages.sort(key=itemgetter("project_id"))  # frames are numbered in the order of their projects
    group, tick_s = last_tick
    progress = (lb.make({lb.NAME: LAST_TICK, GROUP: group}), tick_s * 1000, float(tick_s))
    messages.append(_message(tenant, org_project_id, frozenset(), *progress))
    return [_encoder.encode(some) for some in _requests(messages)]


def _requests(messages: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    """Yield the messages of each request: a bounded number, with a bounded number of buckets."""
    begin = buckets = 0
    for end, message in enumerate(messages):
        value = message["value"]
        size = len(value["positive"]) + len(value["negative"]) if isinstance(value, dict) else 0
        if end - begin == _MESSAGES or (end > begin and buckets + size > _BUCKETS):
            yield messages[begin:end]
            begin, buckets = end, 0
        buckets += size
    yield messages[begin:]


def non_finite(results: TickResults) -> int:
    """Return how many values are NaN or infinite: they are stored as the end of their series."""
    return sum(isinstance(value, float) and not isfinite(value) for _, _, value in results.all)


def _message(
    tenant: Tenant,
    org_project_id: int,
    deltas: frozenset[str],
    labels: Labels,
    time_ms: int,
    value: float | RecordedHistogram | None,
) -> dict[str, Any]:
    tags = dict(labels)
    name = tags.pop(lb.NAME)
    project_id = tenant.project_id
    if project_id is None:
        own = tags.get(PROJECT, "")
        is_id = own.isascii() and own.isdigit() and len(own) <= _MAX_DIGITS
        project_id = int(own) if is_id else org_project_id
        if own:
            del tags[PROJECT]
    is_delta = name in deltas
    if is_delta:
        # The deltas up to a tick lie in the bucket before it.
        time_ms = time_ms // 10_000 * 10_000 - 1
    return {
        "org_id": tenant.org_id,
        "project_id": project_id,
        "name": name,
        "type": "d" if isinstance(value, RecordedHistogram) else "c" if is_delta else "g",
        "timestamp": time_ms / 1000,
        "tags": tags,
        "value": _stored(value, is_delta=is_delta),
    }


def _stored(value: float | RecordedHistogram | None, *, is_delta: bool) -> float | str | dict[str, Any]:
    """Return the value of a message."""
    if isinstance(value, RecordedHistogram):
        fields = {"sum": value.sum, "zero": value.zero, "min": value.low, "max": value.high}
        known = {name: number for name, number in fields.items() if number is not None}
        return {"format": "buckets", **known, "positive": value.positive, "negative": value.negative}
    if value is STALE or not isfinite(value):
        return 0.0 if is_delta else "stale"
    return value
