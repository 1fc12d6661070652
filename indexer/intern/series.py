"""Series: their ids, computed for whole columns, and the registry of those in the table `series`.

A series id is a 64-bit hash of tenant, type, metric and the set of tags, in any order; never 0. Every indexer
computes the same, so ids need no coordination. Two series meet in one id with probability n^2 / 2^65: for ten
million series one in 370,000. The registry is in memory only: after forgetting, a row is written again and
merges.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.schema.metric_types import METRIC_TYPES, Kind
from indexer.intern.sorted_ids import distinct, find_ids

__all__ = [
    "TYPES",
    "Change",
    "Project",
    "SeriesRegistry",
    "U64s",
    "mix",
    "series_ids",
    "tag_sums",
    "tag_sums_in_numpy",
    "tag_sums_of",
]

U64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
AnyInts = npt.NDArray[Any]

#: Values of the column `type` in the table `series`, mixed into the id.
TYPES: Final[Mapping[Kind, int]] = {t.kind: t.number for t in METRIC_TYPES}

_NEWEST: Final = 32
#: Registrations remembered for readers, and their metrics in total.
MAX_CHANGES: Final = 1_024
MAX_CHANGED_METRICS: Final = 16_384
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_PAIR: Final = np.uint64(0xD6E8FEB86659FD93)


def mix(values: U64s) -> U64s:
    """Scramble each value, one to one, so that sums do not collide (SplitMix64's finalizer)."""
    z = values + _GOLDEN
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def tag_sums(tag_count: AnyInts, keys: U64s, values: U64s) -> U64s:
    """Return one hash per series of its (key id, value id) pairs, in any order: the sum of their hashes.

    `keys` and `values` hold the tags of series 0, then of series 1, and so on.
    """
    pairs = mix(mix(keys) * _PAIR + values)
    running = np.zeros(len(pairs) + 1, np.uint64)
    np.cumsum(pairs, out=running[1:])
    ends = np.cumsum(tag_count, dtype=np.int64)
    sums: U64s = running[ends] - running[ends - tag_count]
    return sums


def tag_sums_in_numpy(ids: U64s, tag_count: AnyInts, tag_key: AnyInts, tag_value: AnyInts) -> U64s:
    """Compute tag_sums of tags that are indexes into `ids`."""
    return tag_sums(tag_count, ids[tag_key], ids[tag_value])


try:
    from indexer._native.tags import tag_sums_of
except ImportError:  # not compiled
    tag_sums_of = tag_sums_in_numpy


def series_ids(org_id: int, project_id: int, series_type: int, metric_ids: U64s, sums: U64s) -> U64s:
    """Return the ids of series of one tenant and type; `sums` as tag_sums gives them."""
    typed = np.array([series_type], np.uint64) * _PAIR  # arrays wrap around in silence, scalars warn
    tenant = mix(np.array([org_id << 32 | project_id], np.uint64)) + typed
    ids = mix(mix(metric_ids + tenant) + sums)
    ids[ids == 0] = 1
    return ids


class Project(NamedTuple):
    """The owner of series: ids of different projects are unrelated."""

    org_id: int
    project_id: int


class Change(NamedTuple):
    """One registration: series of these metrics have rows on a day (since 1970)."""

    tenant: Project
    day: int
    metric_ids: frozenset[int]


class SeriesRegistry:
    """Remembers which (tenant, series, day) are in the table `series`.

    Ids are known by tenant: a message may bring ids of its own choice, and one tenant's choice must not make
    another's series seem stored. Holds at most `max_entries`; beyond it the tenant with the most entries
    forgets its oldest day first. `version` rises with every new registration: a reader in the same process
    may keep its look-ups while the version stays, or while `changes` has nothing that concerns it.
    Thread-safe.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._known: dict[Project, dict[int, U64s]] = {}  # sorted ids, by day
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, int]] = Counter()  # by org and day
        self.version = 0
        self.forgotten = 0
        self._newest: deque[tuple[Project, int, int]] = deque(maxlen=_NEWEST)
        self._changes: deque[Change] = deque()  # the last has the number `version`
        self._changed_metrics = 0

    def __len__(self) -> int:
        with self._lock:
            return sum(self._sizes().values())

    def count(self, org_id: int, day: int) -> int:
        """Return the number of an org's series registered on a day, over its projects."""
        with self._lock:
            return self._counts.get((org_id, day), 0)

    def unknown(self, tenant: Project, day: int, ids: U64s) -> Bools:
        """Return a mask of the ids that are not registered on `day` (days since 1970)."""
        with self._lock:
            known = self._known.get(tenant, {}).get(day)
        if known is None:
            return np.ones(len(ids), bool)
        mask: Bools = ~find_ids(known, ids)[1]
        return mask

    def register(self, tenant: Project, day: int, ids: U64s, metric_ids: U64s) -> None:
        """Note that the table has rows of these series on that day; `metric_ids` are their metrics."""
        if not len(ids):
            return
        fresh = distinct(ids)
        change = Change(tenant, day, frozenset(distinct(metric_ids).tolist()))
        with self._lock:
            some = fresh[:: len(fresh) // _NEWEST + 1].tolist()
            self._newest.extend((tenant, day, series_id) for series_id in some)
            by_day = self._known.setdefault(tenant, {})
            known = by_day.get(day)
            if known is not None:
                fresh = np.concatenate((known, fresh))
                fresh.sort(kind="stable")  # two sorted runs: merged in linear time
                fresh = fresh[np.concatenate(([True], fresh[1:] != fresh[:-1]))]
            self._counts[tenant.org_id, day] += len(fresh) - (0 if known is None else len(known))
            by_day[day] = fresh
            self._bound()
            self.version += 1
            self._note(change)

    def _note(self, change: Change) -> None:
        self._changes.append(change)
        self._changed_metrics += len(change.metric_ids)
        while len(self._changes) > MAX_CHANGES or self._changed_metrics > MAX_CHANGED_METRICS:
            self._changed_metrics -= len(self._changes.popleft().metric_ids)

    def changes(self, since: int) -> Sequence[Change] | None:
        """Return the registrations since a version, or None if they are not remembered."""
        with self._lock:
            new = self.version - since
            if new > len(self._changes):
                return None
            return list(islice(reversed(self._changes), new))

    def newest(self) -> list[tuple[Project, int, int]]:
        """Return some of the series registered last: tenant, day and id."""
        with self._lock:
            return list(self._newest)

    def forget(self) -> None:
        """Forget everything: the registered rows may be lost."""
        with self._lock:
            self._known.clear()
            self._counts.clear()
            self._newest.clear()
            self._changes.clear()
            self._changed_metrics = 0
            self.version += 1

    def _sizes(self) -> dict[Project, int]:
        return {tenant: sum(map(len, by_day.values())) for tenant, by_day in self._known.items()}

    def _bound(self) -> None:
        sizes = self._sizes()
        total = sum(sizes.values())
        while total > self._max_entries:
            largest = max(sizes, key=sizes.__getitem__)
            by_day = self._known[largest]
            day = min(by_day)
            gone = len(by_day.pop(day))
            self._counts[largest.org_id, day] -= gone
            if not self._counts[largest.org_id, day]:
                del self._counts[largest.org_id, day]
            if not by_day:
                del self._known[largest]
            sizes[largest] -= gone
            total -= gone
            self.forgotten += gone
