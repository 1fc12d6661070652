"""Recording many strings lets other threads run: no cache is asked about many of them by one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from indexer.intern.cache import LruCache
from indexer.intern.id_store import MemoryIdStore
from indexer.intern.ids import string_id
from indexer.intern.string_indexer import MAX_ORGS, StringIndexer

MANY = [f"s{i}" for i in range(5_000)]
#: Some 0.5 ms of the compiled cache.
MAX_PIECE = 2_000


class Watched(LruCache):
    """A nearest cache that notes how many strings each call has."""

    def __init__(self) -> None:
        super().__init__(100_000)
        self.found: list[int] = []
        self.stored: list[int] = []

    def find(self, org_id: int, strings: list[str]) -> npt.NDArray[np.uint64]:
        self.found.append(len(strings))
        return super().find(org_id, strings)

    def put(self, org_id: int, strings: list[str], ids: Sequence[int]) -> None:
        self.stored.append(len(strings))
        super().put(org_id, strings, ids)

    def get_many(self, keys: Sequence[str]) -> dict[str, int | None]:
        raise AssertionError(f"{len(keys)} keys: a nearest cache is asked by find")


def test_new_strings_are_looked_up_and_stored_in_pieces_once() -> None:
    near = Watched()
    indexer = StringIndexer(MemoryIdStore(), [near])
    expected = [string_id(1, s) for s in MANY]
    assert indexer.record_array(1, MANY).tolist() == expected
    assert max(near.found + near.stored) <= MAX_PIECE
    assert (sum(near.found), sum(near.stored)) == (len(MANY), len(MANY))
    assert indexer.record_array(1, MANY).tolist() == expected
    assert sum(near.stored) == len(MANY)


def test_sets_of_strings_are_looked_up_in_pieces() -> None:
    near = Watched()
    indexer = StringIndexer(MemoryIdStore(), [near])
    for _ in range(2):
        assert indexer.bulk_record({1: set(MANY)})[1] == {s: string_id(1, s) for s in MANY}
    assert indexer.bulk_resolve(1, {*MANY, "new"}) == {s: string_id(1, s) for s in MANY}
    assert max(near.found + near.stored) <= MAX_PIECE


def test_orgs_with_the_well_known_strings_are_bounded() -> None:
    indexer = StringIndexer(MemoryIdStore(), [LruCache(100)])
    for org_id in range(1, MAX_ORGS + 3):
        indexer.record_columns([(org_id, ["a"])])
    assert len(indexer._orgs_with_static) == 2
