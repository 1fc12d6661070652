"""Stores string ids permanently: in ClickHouse's table `strings`, or in memory (tests, tools).

Both find the ids of strings that exist, create those of new ones, and read ids back. An id is a hash
(indexer/intern/ids.py), so creating needs no coordination: the same string gets the same id in every indexer,
and writing it twice is harmless. If two strings of an org meet in one id, the later one takes the next salt;
the collision is counted. One contract test covers both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

import numpy as np

from indexer.clickhouse.store import ColumnData, SentTable, Store
from indexer.intern.ids import MAX_SALT, HashId, string_id
from indexer.intern.keys import FetchType, KeyCollection, KeyResults

#: A string's row is written again when it is older.
REFRESH_DAYS: Final = 7
#: Ids looked up per statement.
_CHUNK: Final = 10_000
#: Up to this number, ids are bound as a parameter (at most 20 bytes each, of the 131,072 that a server
#: takes). More are sent as a table, which costs a statement of few ids more than it saves.
_MAX_BOUND: Final = 250


class TooManyCollisionsError(RuntimeError):
    """Every salt of a string is taken by others: the hash is broken."""


class IdStore(Protocol):
    """Stores and finds string ids."""

    collisions: int

    def first_id(self, org_id: int, string: str) -> int:
        """Return the id that a string has unless it met another one's; nothing is looked up."""

    def find(self, keys: KeyCollection) -> KeyResults:
        """Return the ids of the strings that exist."""

    def create(self, keys: KeyCollection) -> KeyResults:
        """Return ids for strings, stored permanently when this returns.

        A string that exists keeps its id and counts as read; the others are new.
        """

    def put(self, org_id: int, ids: Mapping[str, int]) -> None:
        """Store these ids as they are; harmless if they exist."""

    def strings(self, org_id: int, ids: Collection[int]) -> dict[int, str]:
        """Return the strings of ids; unknown ids are left out."""


class MemoryIdStore:
    """Ids in memory, for the life of the process."""

    def __init__(self, hash_id: HashId = string_id) -> None:
        self._hash_id = hash_id
        self._strings: dict[tuple[int, int], str] = {}
        self._lock = threading.Lock()
        self.collisions = 0

    def first_id(self, org_id: int, string: str) -> int:
        """Return the id that a string has unless it met another one's."""
        return self._hash_id(org_id, string, 0)

    def find(self, keys: KeyCollection) -> KeyResults:
        """Return the ids of the strings that exist."""
        results = KeyResults()
        with self._lock:
            for org_id, strings in keys.mapping.items():
                found = {s: i for s in strings if (i := self._id(org_id, s, create=False)) is not None}
                results.add(org_id, found, FetchType.DB_READ)
        return results

    def create(self, keys: KeyCollection) -> KeyResults:
        """Return ids for strings, new or not."""
        results = self.find(keys)
        with self._lock:
            for org_id, strings in results.get_unmapped_keys(keys).mapping.items():
                fresh = {s: i for s in sorted(strings) if (i := self._id(org_id, s, create=True)) is not None}
                results.add(org_id, fresh, FetchType.FIRST_SEEN)
        return results

    def put(self, org_id: int, ids: Mapping[str, int]) -> None:
        """Store these ids as they are."""
        with self._lock:
            self._strings.update({(org_id, i): s for s, i in ids.items()})

    def strings(self, org_id: int, ids: Collection[int]) -> dict[int, str]:
        """Return the strings of ids; unknown ids are left out."""
        with self._lock:
            return {i: self._strings[org_id, i] for i in ids if (org_id, i) in self._strings}

    def _id(self, org_id: int, string: str, *, create: bool) -> int | None:
        for salt in range(MAX_SALT):
            candidate = self._hash_id(org_id, string, salt)
            taken_by = self._strings.get((org_id, candidate))
            if taken_by == string:
                return candidate
            if taken_by is None:
                if create:
                    self._strings[org_id, candidate] = string
                return candidate if create else None
            self.collisions += create
        raise TooManyCollisionsError(string)


class ClickHouseIdStore:
    """Ids in the table `strings`. Raises StoreError.

    A row has the day on which its string was last used, and goes with the series that have it. `create`
    writes rows again that are older than a week, so caches must ask again within some weeks
    (indexer/intern/catalog_watch.py). `today` gives days since 1970.
    """

    def __init__(
        self,
        store: Store,
        hash_id: HashId = string_id,
        today: Callable[[], int] = lambda: int(time.time()) // 86_400,
    ) -> None:
        self._store = store
        self._today = today
        self._hash_id = hash_id
        self.collisions = 0

    def first_id(self, org_id: int, string: str) -> int:
        """Return the id that a string has unless it met another one's."""
        return self._hash_id(org_id, string, 0)

    def find(self, keys: KeyCollection) -> KeyResults:
        """Return the ids of the strings that exist."""
        results = KeyResults()
        for org_id, strings in keys.mapping.items():
            found, _, _ = self._search(org_id, strings)
            results.add(org_id, found, FetchType.DB_READ)
        return results

    def create(self, keys: KeyCollection) -> KeyResults:
        """Return ids for strings, new or not."""
        results = KeyResults()
        for org_id, strings in keys.mapping.items():
            found, free, stale = self._search(org_id, strings)
            self.put(org_id, free | stale)
            results.add(org_id, found, FetchType.DB_READ)
            results.add(org_id, free, FetchType.FIRST_SEEN)
        return results

    def put(self, org_id: int, ids: Mapping[str, int]) -> None:
        """Store these ids as they are."""
        if ids:
            columns: dict[str, ColumnData] = {
                "org_id": np.full(len(ids), org_id, np.uint32),
                "id": np.fromiter(ids.values(), np.uint64, len(ids)),
                "string": list(ids),
                "day": np.full(len(ids), self._today(), np.uint16),
            }
            self._store.insert("strings", columns)

    def strings(self, org_id: int, ids: Collection[int]) -> dict[int, str]:
        """Return the strings of ids; unknown ids are left out."""
        out: dict[int, str] = {}
        for chunk in _chunks(ids):
            out.update((i, s) for i, s, _ in self._rows(org_id, chunk))
        return out

    def _search(
        self, org_id: int, strings: Collection[str]
    ) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Return ids of the strings that exist, free ids for the others, and those of old rows.

        Of strings that meet in one free id, the first in order takes it, so that all indexers agree. The
        strings are not sorted for that: one call would keep the interpreter from all other threads.
        """
        found: dict[str, int] = {}
        stale: dict[str, int] = {}
        fresh_day = self._today() - REFRESH_DAYS
        free: dict[str, int] = {}
        claimed: dict[int, str] = {}
        pending = list(strings)
        for salt in range(MAX_SALT):
            candidates = {s: self._hash_id(org_id, s, salt) for s in pending}
            taken = self._taken(org_id, candidates.values())
            pending = []
            for string, candidate in candidates.items():
                others = taken.get(candidate)
                if others and string in others:
                    found[string] = candidate
                    if others[string] < fresh_day:
                        stale[string] = candidate
                    continue
                holder = claimed.get(candidate)
                if not others and (holder is None or (string < holder and free.get(holder) == candidate)):
                    claimed[candidate] = string
                    free[string] = candidate
                    if holder is None:
                        continue
                    string = holder
                    del free[holder]
                self.collisions += 1
                pending.append(string)
            if not pending:
                return found, free, stale
        raise TooManyCollisionsError(pending[0])

    def _taken(self, org_id: int, ids: Collection[int]) -> dict[int, dict[str, int]]:
        """Return the strings of each taken id, with the day of each."""
        out: dict[int, dict[str, int]] = {}
        for chunk in _chunks(ids):
            for i, s, day in self._rows(org_id, chunk):
                out.setdefault(i, {})[s] = day
        return out

    def _rows(self, org_id: int, ids: list[int]) -> list[tuple[int, str, int]]:
        bound: dict[str, object] = {"org": org_id}
        sent = []
        wanted = "{ids:Array(UInt64)}"
        if len(ids) <= _MAX_BOUND:
            bound["ids"] = ids
        else:
            sent.append(SentTable("sent", {"id": np.array(ids, np.uint64)}))
            wanted = "(SELECT id FROM sent)"
        rows = self._store.rows(
            "SELECT id, string, toUInt16(max(day)) FROM strings"
            f" WHERE org_id = {{org:UInt32}} AND id GLOBAL IN {wanted}"
            " GROUP BY id, string ORDER BY id, string",
            bound,
            sent,
        )
        return [(int(i), str(s), int(day)) for i, s, day in rows]


def _chunks(ids: Collection[int]) -> Iterable[list[int]]:
    """Return the ids once each, in order; NumPy sorts without the interpreter's lock."""
    ordered = np.sort(np.fromiter(ids, np.uint64, len(ids)))
    ordered = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]]
    return (ordered[i : i + _CHUNK].tolist() for i in range(0, len(ordered), _CHUNK))
