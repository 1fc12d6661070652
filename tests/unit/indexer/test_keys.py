from __future__ import annotations

from indexer.intern.cache import LruCache
from indexer.intern.id_store import MemoryIdStore
from indexer.intern.ids import STATIC_IDS, STATIC_STRINGS, string_id
from indexer.intern.keys import FetchType, KeyCollection, KeyResult, KeyResults, Metadata
from indexer.intern.string_indexer import StringIndexer


def test_fetch_types_are_the_letters_of_the_source() -> None:
    assert {t.name: t.value for t in FetchType} == {
        "CACHE_HIT": "c",
        "DB_READ": "d",
        "FIRST_SEEN": "f",
        "RATE_LIMITED": "r",
        "HARDCODED": "h",
    }


def test_collection() -> None:
    keys = KeyCollection({1: {"a", "b:c"}, 2: set()})
    assert keys.size == 2
    assert sorted(keys.as_tuples()) == [(1, "a"), (1, "b:c")]
    assert sorted(keys.as_strings()) == ["1:a", "1:b:c"]
    assert keys == KeyCollection({1: {"b:c", "a"}})


def test_results_mapped_and_unmapped() -> None:
    keys = KeyCollection({1: {"a", "b"}, 2: {"a"}})
    results = KeyResults()
    results.add_key_results([KeyResult(1, "a", 10), KeyResult(2, "a", None)], FetchType.RATE_LIMITED)
    assert results.get_mapped_results() == {1: {"a": 10}}
    assert results.get_unmapped_keys(keys) == KeyCollection({1: {"b"}, 2: {"a"}})
    assert results.get_fetch_metadata()[2]["a"] == Metadata(None, FetchType.RATE_LIMITED)


def test_merge_leaves_both_alone_and_the_later_wins() -> None:
    a, b = KeyResults(), KeyResults()
    a.add(1, {"x": 1, "y": 2}, FetchType.CACHE_HIT)
    b.add(1, {"y": 3}, FetchType.DB_READ)
    b.add_unmapped(2, ["z"], FetchType.RATE_LIMITED)
    merged = a.merge(b)
    assert merged.get_mapped_results() == {1: {"x": 1, "y": 3}}
    assert merged.get_fetch_metadata()[1]["y"] == Metadata(3, FetchType.DB_READ)
    assert merged.get_fetch_metadata()[2]["z"].id is None
    assert merged.count(FetchType.CACHE_HIT) == 2
    assert a.get_mapped_results() == {1: {"x": 1, "y": 2}}
    assert b.get_mapped_results() == {1: {"y": 3}}


def test_ids_never_change() -> None:
    """They are stored: another hash would lose every string."""
    assert string_id(1, "http.requests") == GOLDEN_STRING_ID
    assert string_id(1, "http.requests", 1) != GOLDEN_STRING_ID
    assert STATIC_IDS["__overflow__"] == 1 << 63 | 4
    assert STATIC_IDS["development"] == 1 << 63 | 28
    assert STATIC_STRINGS[1 << 63 | 10] == "host"


GOLDEN_STRING_ID = 1050858754390342631


def test_odd_strings_have_ids() -> None:
    assert len({string_id(1, s) for s in ("", "1:a", "a", "\x00", "\ud800", "🙂")}) == 6
    assert string_id(1, "1:a") != string_id(11, ":a")


def test_static_strings_are_in_the_store_too() -> None:
    ids = MemoryIdStore()
    StringIndexer(ids).record(1, "host")
    assert ids.strings(1, STATIC_STRINGS) == STATIC_STRINGS


def test_recording_nothing() -> None:
    indexer = StringIndexer(MemoryIdStore())
    assert indexer.bulk_record({}) == {}
    assert indexer.bulk_record({1: set()}) == {}
    assert len(indexer.record_array(1, [])) == 0


def test_record_array_keeps_the_order() -> None:
    indexer = StringIndexer(MemoryIdStore())
    got = indexer.record_array(1, ["b", "host", "a", "b"])
    assert got.tolist() == [indexer.record(1, s) for s in ("b", "host", "a", "b")]
    assert indexer.fetched[FetchType.FIRST_SEEN] == 2


def test_record_columns_looks_up_what_the_near_cache_has() -> None:
    near = LruCache(100)
    indexer = StringIndexer(MemoryIdStore(), [near])
    columns = [(1, ["b", "host", "a"]), (2, ["a", "b"]), (1, ["a", "c"]), (1, [])]
    first = indexer.record_columns(columns)
    assert [ids.tolist() for ids in first] == [
        [indexer.record(org, s) for s in strings] for org, strings in columns
    ]
    hits = indexer.fetched[FetchType.CACHE_HIT]
    again = indexer.record_columns(columns)
    assert [ids.tolist() for ids in again] == [ids.tolist() for ids in first]
    assert indexer.fetched[FetchType.CACHE_HIT] == hits + 7
    assert indexer.fetched[FetchType.FIRST_SEEN] == 5


def test_record_columns_keeps_what_it_uses_in_the_near_cache() -> None:
    near = LruCache(8)  # two generations of four
    indexer = StringIndexer(MemoryIdStore(), [near])
    kept = indexer.record_array(1, ["kept"])
    for i in range(50):
        indexer.record_array(1, [f"passing-{i}"])
        assert indexer.record_array(1, ["kept"]) == kept
        assert len(near) <= 8
    assert indexer.fetched[FetchType.CACHE_HIT] == 50


def test_record_columns_without_a_near_cache() -> None:
    indexer = StringIndexer(MemoryIdStore())
    first, second = indexer.record_columns([(1, ["a", "a", "b"]), (1, ["b"])])
    assert first[0] == first[1] != first[2] == second[0]
