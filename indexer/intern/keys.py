"""Input and output of the steps of `bulk_record`: strings still without an id, and ids found.

Source of the words and the behaviour: Sentry's string indexer (KeyCollection, KeyResults, fetch types). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from enum import Enum
from typing import NamedTuple

import msgspec


class FetchType(Enum):
    """How an id was obtained."""

    CACHE_HIT = "c"
    DB_READ = "d"
    FIRST_SEEN = "f"
    RATE_LIMITED = "r"
    HARDCODED = "h"


class Metadata(NamedTuple):
    """How the id of a string was obtained."""

    id: int | None
    fetch_type: FetchType


class KeyResult(msgspec.Struct, frozen=True):
    """The id of one string; None if it has none (rate limited)."""

    org_id: int
    string: str
    id: int | None


class KeyCollection:
    """Strings by org. Orgs without strings are left out."""

    __slots__ = ("mapping",)

    def __init__(self, mapping: Mapping[int, Set[str]]) -> None:
        self.mapping: dict[int, Set[str]] = {org: strings for org, strings in mapping.items() if strings}

    @property
    def size(self) -> int:
        """The number of strings."""
        return sum(map(len, self.mapping.values()))

    def as_tuples(self) -> list[tuple[int, str]]:
        """Return (org, string) of each."""
        return [(org, s) for org, strings in self.mapping.items() for s in strings]

    def as_strings(self) -> list[str]:
        """Return the cache's keys, `org_id:string`."""
        return [key for org, strings in self.mapping.items() for key in cache_keys(org, strings)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyCollection) and self.mapping == other.mapping

    __hash__ = None  # type: ignore[assignment]  # holds mutable sets

    def __repr__(self) -> str:
        return f"KeyCollection({self.mapping!r})"


class KeyResults:
    """Ids found, by org and string, and how each was obtained."""

    def __init__(self) -> None:
        self._ids: dict[int, dict[str, int]] = {}
        self.fetched: list[tuple[FetchType, int, Mapping[str, int]]] = []
        self.unmapped: list[tuple[FetchType, int, str]] = []

    def add(self, org_id: int, ids: Mapping[str, int], fetch_type: FetchType) -> None:
        """Add ids of one org that were obtained alike. Later ones win."""
        if ids:
            self._ids.setdefault(org_id, {}).update(ids)
            self.fetched.append((fetch_type, org_id, ids))

    def add_unmapped(self, org_id: int, strings: Iterable[str], fetch_type: FetchType) -> None:
        """Note strings without an id (rate limited); the metadata says why."""
        self.unmapped += [(fetch_type, org_id, s) for s in strings]

    def add_key_results(self, results: Iterable[KeyResult], fetch_type: FetchType) -> None:
        """Add single results."""
        for r in results:
            if r.id is None:
                self.add_unmapped(r.org_id, (r.string,), fetch_type)
            else:
                self.add(r.org_id, {r.string: r.id}, fetch_type)

    def get_mapped_results(self) -> Mapping[int, Mapping[str, int]]:
        """Return the ids found, by org and string."""
        return self._ids

    def get_unmapped_keys(self, keys: KeyCollection) -> KeyCollection:
        """Return those of `keys` that have no id here."""
        none: dict[str, int] = {}
        return KeyCollection(
            {org: strings - self._ids.get(org, none).keys() for org, strings in keys.mapping.items()}
        )

    def get_fetch_metadata(self) -> Mapping[int, Mapping[str, Metadata]]:
        """Return how each string's id was obtained; built on request, as the hot path does not need it."""
        out: dict[int, dict[str, Metadata]] = {}
        for fetch_type, org, string in self.unmapped:
            out.setdefault(org, {})[string] = Metadata(None, fetch_type)
        for fetch_type, org, ids in self.fetched:
            out.setdefault(org, {}).update({s: Metadata(i, fetch_type) for s, i in ids.items()})
        return out

    def count(self, fetch_type: FetchType) -> int:
        """Return the number of strings obtained in that way."""
        return sum(len(ids) for kind, _, ids in self.fetched if kind is fetch_type)

    def merge(self, other: KeyResults) -> KeyResults:
        """Return both together as a new object; `other` wins."""
        merged = KeyResults()
        for results in (self, other):
            for fetch_type, org, ids in results.fetched:
                merged.add(org, ids, fetch_type)
            merged.unmapped += results.unmapped
        return merged


def cache_keys(org_id: int, strings: Iterable[str]) -> list[str]:
    """Return `org_id:string` for each; the string may hold colons itself."""
    prefix = f"{org_id}:"
    return [prefix + s for s in strings]
