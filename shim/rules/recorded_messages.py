"""The results of a tick as messages to an indexer (docs/wire-format.md). Pure.

The same group and tick always have the same key, so that an indexer stores the first of several requests;
tick_requests.py says which messages a request has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

import xxhash

from shim.model import labels as lb
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.rules.memory_samples import STALE, MemorySamples
from shim.rules.recorded_histogram import RecordedHistogram

#: Digits of a project's id; longer texts are no number that an indexer reads.
_MAX_DIGITS: Final = 20
#: The label that names the project of a series, in queries over an org.
PROJECT: Final = "project_id"
#: The series that says up to which tick a group is stored.
LAST_TICK: Final = "meterhouse_rule_group_last_tick_seconds"
#: The series that says that results of a tick are in more requests than usual (tick_requests.py).
CUT: Final = "meterhouse_rule_group_results_cut"
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


def progress_message(tenant: Tenant, org_project_id: int, last_tick: tuple[str, int]) -> dict[str, Any]:
    """Return the message that says that a tick is stored: the group's name and the tick in seconds."""
    group, tick_s = last_tick
    labels = lb.make({lb.NAME: LAST_TICK, GROUP: group})
    return message_of(tenant, org_project_id, frozenset(), labels, tick_s * 1000, float(tick_s))


def cut_message(tenant: Tenant, project_id: int, last_tick: tuple[str, int]) -> dict[str, Any]:
    """Return the message that says that results of a project are cut: the same for every evaluation."""
    group, tick_s = last_tick
    labels = lb.make({lb.NAME: CUT, GROUP: group})
    message = message_of(tenant, project_id, frozenset(), labels, tick_s * 1000, 1.0)
    return {**message, "project_id": project_id}


def project_of(tenant: Tenant, org_project_id: int, labels: Labels) -> int:
    """Return the project that a series is stored in."""
    if tenant.project_id is not None:
        return tenant.project_id
    own = lb.get(labels, PROJECT)
    is_id = own.isascii() and own.isdigit() and len(own) <= _MAX_DIGITS
    return int(own) if is_id else org_project_id


def non_finite(results: TickResults) -> int:
    """Return how many values are NaN or infinite: they are stored as the end of their series."""
    return sum(isinstance(value, float) and not isfinite(value) for _, _, value in results.all)


def message_of(
    tenant: Tenant,
    org_project_id: int,
    deltas: frozenset[str],
    labels: Labels,
    time_ms: int,
    value: float | RecordedHistogram | None,
) -> dict[str, Any]:
    """Return the message of one sample; None ends its series."""
    tags = dict(labels)
    name = tags.pop(lb.NAME)
    if tenant.project_id is None:
        tags.pop(PROJECT, None)
    is_delta = name in deltas
    if is_delta:
        # The deltas up to a tick lie in the bucket before it.
        time_ms = time_ms // 10_000 * 10_000 - 1
    return {
        "org_id": tenant.org_id,
        "project_id": project_of(tenant, org_project_id, labels),
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
