"""The string indexer: `record` gives strings ids, `resolve` looks ids up, `reverse_resolve` reads back.

Recording has steps, each for the strings that the last one left without an id: well-known strings, caches,
existing and new rows. No string is left without one: a store that fails raises StoreError, and the caller
tries again. Sync and thread-safe. Source: Sentry's string indexer (bulk_record in three steps, fetch types).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.intern.cache import NearCache, StringCache
from indexer.intern.id_store import IdStore
from indexer.intern.ids import STATIC_IDS, STATIC_STRINGS
from indexer.intern.keys import FetchType, KeyCollection, KeyResults, cache_keys

#: Strings per call of the nearest cache: a call keeps the interpreter from other threads for 0.3 us each.
_PIECE: Final = 2_000
#: Orgs that are known to have the well-known strings.
MAX_ORGS: Final = 10_000


class StringIndexer:
    """Interns strings over one id store and caches, nearest first. Ingest and queries each have their own.

    `on_created(org_id, count)` is called when strings of an org got their first ids. `on_stored(how, org_id,
    ids)` is called with ids that the store read or created. `fetched` counts strings by how their id was
    obtained, since the start.
    """

    def __init__(
        self,
        ids: IdStore,
        caches: Sequence[StringCache] = (),
        on_created: Callable[[int, int], None] | None = None,
        on_stored: Callable[[FetchType, int, Collection[int]], None] | None = None,
    ) -> None:
        self._on_created = on_created
        self._on_stored = on_stored
        self._ids = ids
        self._caches = tuple(caches)
        self._orgs_with_static: set[int] = set()
        self.fetched: dict[FetchType, int] = dict.fromkeys(FetchType, 0)
        #: Ids in a shared cache that are not those of their strings, and were ignored.
        self.wrong_ids = 0
        #: Rises when strings may be gone from the store: ids recorded before have to be recorded again.
        self.generation = 0

    @property
    def collisions(self) -> int:
        """Strings that met in one id with another one, since the start."""
        return self._ids.collisions

    # Recording

    def bulk_record(self, org_strings: Mapping[int, Set[str]]) -> Mapping[int, Mapping[str, int]]:
        """Return the id of every string of every org; create missing ones. Raises StoreError."""
        return self.bulk_record_results(org_strings).get_mapped_results()

    def bulk_record_results(self, org_strings: Mapping[int, Set[str]]) -> KeyResults:
        """Do as bulk_record, and return how each id was obtained."""
        return self._recorded(org_strings, self._caches, 0)

    def _recorded(
        self, org_strings: Mapping[int, Set[str]], caches: Sequence[StringCache], asked: int
    ) -> KeyResults:
        """Record strings that the first `asked` of the caches do not have."""
        keys = KeyCollection(org_strings)
        self._write_static(keys)
        results = _static(keys)
        for depth, cache in enumerate(caches[asked:], asked):
            missing = results.get_unmapped_keys(keys)
            if missing.size:
                hits = self._from_cache(cache, missing)
                self._fill(hits, caches[:depth])
                results = results.merge(hits)
        missing = results.get_unmapped_keys(keys)
        if missing.size:
            got = self._ids.create(missing)
            self._fill(got, caches)
            results = results.merge(got)
            self._tell_created(got)
        for fetch_type in FetchType:
            self.fetched[fetch_type] += results.count(fetch_type)
        return results

    def forget(self, caches: Sequence[StringCache]) -> None:
        """Use other caches from now on: the data of the present ones is gone."""
        self._caches = tuple(caches)
        self._orgs_with_static = set()
        self.generation += 1

    def _tell_created(self, results: KeyResults) -> None:
        for fetch_type, org_id, ids in results.fetched:
            if self._on_created is not None and fetch_type is FetchType.FIRST_SEEN:
                self._on_created(org_id, len(ids))
            if self._on_stored is not None:
                self._on_stored(fetch_type, org_id, ids.values())

    def record(self, org_id: int, string: str) -> int:
        """Return the id of a string; create it if it is missing. Raises StoreError."""
        return self.bulk_record({org_id: {string}})[org_id][string]

    def record_array(self, org_id: int, strings: list[str]) -> npt.NDArray[np.uint64]:
        """Return the ids of strings in their order, as uint64. Raises StoreError."""
        return self.record_columns([(org_id, strings)])[0]

    def record_columns(self, columns: Sequence[tuple[int, list[str]]]) -> list[npt.NDArray[np.uint64]]:
        """Return the ids of each (org, strings) in order, as uint64, recorded together. Raises StoreError.

        Unlike bulk_record, a string in the nearest cache costs one look-up. An agent sends the strings of
        100,000 series again and again, and a bucket has no more rows than strings; the sets, dicts and
        results of bulk_record's steps took four times the INSERT.
        """
        caches = self._caches  # `forget` may set others meanwhile
        near = next((c for c in caches[:1] if isinstance(c, NearCache)), None)
        found: list[npt.NDArray[np.uint64]] = []
        wanted: dict[int, set[str]] = {}
        for org_id, strings in columns:
            ids = _find(near, org_id, strings) if near else np.zeros(len(strings), np.uint64)
            unknown = _gaps(ids)
            if unknown:
                wanted.setdefault(org_id, set()).update(strings[at] for at in unknown)
            self.fetched[FetchType.CACHE_HIT] += len(ids) - len(unknown)
            found.append(ids)
        asked = 1 if near else 0
        recorded = self._recorded(wanted, caches, asked).get_mapped_results() if wanted else {}
        for (org_id, strings), ids in zip(columns, found, strict=True):
            if unknown := _gaps(ids):
                ids[unknown] = [recorded[org_id][strings[at]] for at in unknown]
        if near:
            for org_id, by_string in recorded.items():  # no step returns this
                known = [s for s in by_string if s in STATIC_IDS]
                near.put(org_id, known, [STATIC_IDS[s] for s in known])
        return found

    # Looking up

    def resolve(self, org_id: int, string: str) -> int | None:
        """Return the id of a string, or None. Never creates one. Raises StoreError."""
        return self.bulk_resolve(org_id, {string}).get(string)

    def bulk_resolve(self, org_id: int, strings: Set[str]) -> Mapping[str, int]:
        """Return the ids of those strings that have one."""
        keys = KeyCollection({org_id: strings})
        results = _static(keys)
        for cache in self._caches:
            results = results.merge(self._from_cache(cache, results.get_unmapped_keys(keys)))
        missing = results.get_unmapped_keys(keys)
        if missing.size:
            got = self._ids.find(missing)
            self._fill(got, self._caches)
            results = results.merge(got)
        return results.get_mapped_results().get(org_id, {})

    def reverse_resolve(self, org_id: int, string_id: int) -> str | None:
        """Return the string of an id, or None. Raises StoreError."""
        return self.bulk_reverse_resolve(org_id, {string_id}).get(string_id)

    def bulk_reverse_resolve(self, org_id: int, ids: Collection[int]) -> Mapping[int, str]:
        """Return the strings of those ids that have one."""
        static = {i: STATIC_STRINGS[i] for i in ids if i in STATIC_STRINGS}
        others = [i for i in ids if i not in static]
        return (static | self._ids.strings(org_id, others)) if others else static

    def _write_static(self, keys: KeyCollection) -> None:
        """Write the well-known strings of an org into the table too, so that a join with it finds them."""
        for org_id in keys.mapping.keys() - self._orgs_with_static:
            self._ids.put(org_id, STATIC_IDS)
            if len(self._orgs_with_static) >= MAX_ORGS:
                self._orgs_with_static = set()  # to write a string again changes nothing
            self._orgs_with_static.add(org_id)

    def _from_cache(self, cache: StringCache, keys: KeyCollection) -> KeyResults:
        results = KeyResults()
        for org_id, strings in keys.mapping.items():
            ordered = list(strings)
            if isinstance(cache, NearCache):
                near = _find(cache, org_id, ordered)
                hits = {ordered[at]: int(near[at]) for at in np.flatnonzero(near).tolist()}
            else:
                hits = self._from_shared(cache, org_id, ordered)
            results.add(org_id, hits, FetchType.CACHE_HIT)
        return results

    def _from_shared(self, cache: StringCache, org_id: int, strings: list[str]) -> dict[str, int]:
        """Return the ids in a shared cache that are those of their strings: other programs may write there.

        Of strings that met another one's id the store alone knows the id.
        """
        found = cache.get_many(cache_keys(org_id, strings)).values()  # in the order of the keys
        present = [(s, i) for s, i in zip(strings, found, strict=True) if i is not None]
        hits = {s: i for s, i in present if i == self._ids.first_id(org_id, s)}
        self.wrong_ids += len(present) - len(hits)
        return hits

    @staticmethod
    def _fill(results: KeyResults, caches: Sequence[StringCache]) -> None:
        for org_id, ids in results.get_mapped_results().items():
            for cache in caches:
                if isinstance(cache, NearCache):
                    _put(cache, org_id, ids)
                else:
                    cache.set_many(dict(zip(cache_keys(org_id, ids), ids.values(), strict=True)))


def _pieces(strings: list[str]) -> Iterator[list[str]]:
    return (strings[at : at + _PIECE] for at in range(0, len(strings), _PIECE))


def _find(near: NearCache, org_id: int, strings: list[str]) -> npt.NDArray[np.uint64]:
    """Return the ids of strings in their order, 0 for a miss; other threads run in between."""
    if len(strings) <= _PIECE:
        return near.find(org_id, strings)
    return np.concatenate([near.find(org_id, piece) for piece in _pieces(strings)])


def _put(near: NearCache, org_id: int, ids: Mapping[str, int]) -> None:
    """Store ids; other threads run in between."""
    for piece in _pieces(list(ids)):
        near.put(org_id, piece, [ids[s] for s in piece])


def _gaps(ids: npt.NDArray[np.uint64]) -> list[int]:
    """Return the positions without an id."""
    return np.flatnonzero(ids == 0).tolist()


def _static(keys: KeyCollection) -> KeyResults:
    results = KeyResults()
    for org_id, strings in keys.mapping.items():
        results.add(org_id, {s: STATIC_IDS[s] for s in strings & STATIC_IDS.keys()}, FetchType.HARDCODED)
    return results
