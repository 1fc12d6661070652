"""Contract of every id store: memory and ClickHouse (embedded and over HTTP)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from indexer.intern.id_store import ClickHouseIdStore, IdStore, MemoryIdStore, TooManyCollisionsError
from indexer.intern.ids import STATIC_IDS, HashId, string_id
from indexer.intern.keys import FetchType, KeyCollection, KeyResults
from indexer.intern.string_indexer import StringIndexer

Make = Callable[[HashId], IdStore]


@pytest.fixture(params=["memory", "clickhouse"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make id stores; those of ClickHouse share one table, as several indexers do."""
    if request.param == "memory":
        return lambda hash_id: MemoryIdStore(hash_id)
    store: Store = request.getfixturevalue("store")
    return lambda hash_id: ClickHouseIdStore(store, hash_id)


@pytest.fixture
def ids(make: Make) -> IdStore:
    return make(string_id)


def of(results: KeyResults, org_id: int = 1) -> dict[str, int]:
    return dict(results.get_mapped_results().get(org_id, {}))


def test_find_nothing(ids: IdStore) -> None:
    assert of(ids.find(KeyCollection({1: {"a"}}))) == {}


def test_create_then_find(ids: IdStore) -> None:
    created = of(ids.create(KeyCollection({1: {"a", "b"}})))
    assert set(created) == {"a", "b"}
    assert all(0 < i < 1 << 63 for i in created.values())
    assert of(ids.find(KeyCollection({1: {"a", "b", "c"}}))) == created


def test_creating_again_gives_the_same(ids: IdStore) -> None:
    first = of(ids.create(KeyCollection({1: {"a"}})))
    assert of(ids.create(KeyCollection({1: {"a", "b"}})))["a"] == first["a"]


def test_orgs_are_apart(ids: IdStore) -> None:
    results = ids.create(KeyCollection({1: {"a"}, 2: {"a"}}))
    assert of(results, 1)["a"] != of(results, 2)["a"]
    assert ids.strings(1, of(results, 2).values()) == {}


def test_reading_back(ids: IdStore) -> None:
    created = of(ids.create(KeyCollection({1: {"a:b", "ü", "", "'\\"}})))
    assert ids.strings(1, [*created.values(), 12345]) == {i: s for s, i in created.items()}


def test_fetch_types(ids: IdStore) -> None:
    created = ids.create(KeyCollection({1: {"a"}})).get_fetch_metadata()
    assert created[1]["a"].fetch_type is FetchType.FIRST_SEEN
    found = ids.find(KeyCollection({1: {"a"}})).get_fetch_metadata()
    assert found[1]["a"].fetch_type is FetchType.DB_READ
    both = ids.create(KeyCollection({1: {"a", "b"}})).get_fetch_metadata()
    assert both[1]["a"].fetch_type is FetchType.DB_READ
    assert both[1]["b"].fetch_type is FetchType.FIRST_SEEN


def test_put_is_found_by_its_id(ids: IdStore) -> None:
    ids.put(7, STATIC_IDS)
    ids.put(7, STATIC_IDS)
    assert ids.strings(7, [STATIC_IDS["host"]]) == {STATIC_IDS["host"]: "host"}


def test_more_strings_than_one_statement_takes(ids: IdStore) -> None:
    strings = {f"s{i}" for i in range(12_000)}
    created = of(ids.create(KeyCollection({1: strings})))
    assert len(set(created.values())) == 12_000
    assert of(ids.find(KeyCollection({1: strings}))) == created
    assert len(ids.strings(1, created.values())) == 12_000


def test_more_strings_than_a_form_field_takes(http_dsn: str) -> None:
    """A frame with 7,000 new strings: as a parameter their ids alone are 140,000 bytes."""
    store = open_store(http_dsn, pool=1)
    migrate(store)
    ids = ClickHouseIdStore(store)
    created = of(ids.create(KeyCollection({1: {f"s{i}" for i in range(7_000)}})))
    assert len(set(created.values())) == 7_000
    assert ids.strings(1, created.values()) == {i: s for s, i in created.items()}
    store.close()


def weak(org_id: int, string: str, salt: int) -> int:
    """Every string without a salt has the id 5."""
    return 5 if salt == 0 else string_id(org_id, string, salt)


def test_strings_that_meet_in_one_id(make: Make) -> None:
    ids = make(weak)
    first = of(ids.create(KeyCollection({1: {"a"}})))
    assert first == {"a": 5}
    both = of(ids.create(KeyCollection({1: {"a", "b"}})))
    assert both["a"] == 5
    assert both["b"] == string_id(1, "b", 1)
    assert ids.collisions >= 1
    # Another process, which did not see it happen, finds the same.
    assert of(ids.find(KeyCollection({1: {"a", "b"}}))) == both
    assert ids.strings(1, both.values()) == {5: "a", both["b"]: "b"}


def test_strings_that_meet_while_created_together(make: Make) -> None:
    ids = make(weak)
    created = of(ids.create(KeyCollection({1: {"a", "b", "c"}})))
    assert len(set(created.values())) == 3
    assert of(ids.find(KeyCollection({1: {"a", "b", "c"}}))) == created


def test_a_broken_hash_is_an_error_not_a_loop(make: Make) -> None:
    ids = make(lambda *_: 9)
    ids.create(KeyCollection({1: {"a"}}))
    with pytest.raises(TooManyCollisionsError):
        ids.create(KeyCollection({1: {"b"}}))


def test_string_indexer_over_it(ids: IdStore) -> None:
    indexer = StringIndexer(ids)
    recorded = indexer.bulk_record({1: {"host", "web-1"}, 2: {"web-1"}})
    assert recorded[1]["host"] == STATIC_IDS["host"]
    assert recorded == indexer.bulk_record({1: {"host", "web-1"}, 2: {"web-1"}})
    assert indexer.resolve(1, "web-1") == recorded[1]["web-1"]
    assert indexer.resolve(1, "web-2") is None
    assert indexer.reverse_resolve(2, recorded[2]["web-1"]) == "web-1"
    assert indexer.reverse_resolve(2, 77) is None
    assert indexer.bulk_reverse_resolve(1, [STATIC_IDS["host"], recorded[1]["web-1"], 77]) == {
        STATIC_IDS["host"]: "host",
        recorded[1]["web-1"]: "web-1",
    }
