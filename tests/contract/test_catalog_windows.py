"""The catalog's tables remember no blocks: rows that are lost come back when they are written again."""

from __future__ import annotations

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.schema.database_id import DATABASE_ID, read_ids
from indexer.clickhouse.store import Store
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.keys import FetchType, KeyCollection


def test_rows_of_the_catalog_that_are_lost_come_back(any_store: Store) -> None:
    """Also in a store older than migration 6: there an identical block was dropped silently."""
    ids = ClickHouseIdStore(any_store)
    any_store.command("ALTER TABLE strings MODIFY SETTING non_replicated_deduplication_window = 100000")
    any_store.command(
        f"ALTER TABLE schema_migrations DELETE WHERE version = {DATABASE_ID} SETTINGS mutations_sync = 1"
    )
    ids.put(1, {"a": 5})
    any_store.command("DELETE FROM strings WHERE 1")
    ids.put(1, {"a": 5})
    assert any_store.rows("SELECT count() FROM strings") == [(0,)], "the fault that the migration ends"
    migrate(any_store)
    for _ in range(2):
        any_store.command("DELETE FROM strings WHERE 1")
        ids.put(1, {"a": 5})
        assert any_store.rows("SELECT string FROM strings") == [("a",)]


def test_no_table_that_is_written_without_a_token_remembers_blocks(any_store: Store) -> None:
    found = any_store.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name IN ('series', 'strings', 'metric_tag_keys', 'metric_tag_values', 'metric_metadata',"
        " 'heartbeats') AND create_table_query LIKE '%deduplication_window = 1%'"
    )
    assert found == []


def test_a_database_has_one_id_that_lasts(any_store: Store) -> None:
    before = read_ids(any_store)
    assert len(before) == 1
    migrate(any_store)
    assert read_ids(any_store) == before


def days(store: Store) -> dict[str, int]:
    """Return the day of each string's last row."""
    rows = store.rows("SELECT string, toUInt16(max(day)) FROM strings GROUP BY string")
    return {str(string): int(day) for string, day in rows}


def test_a_string_in_use_is_written_anew_each_week(any_store: Store) -> None:
    today = [20_000]
    ids = ClickHouseIdStore(any_store, today=lambda: today[0])
    any_store.command("ALTER TABLE strings REMOVE TTL")  # days of long ago
    for day, used, expected in (
        (20_000, {"a", "b"}, {"a": 20_000, "b": 20_000}),
        (20_007, {"a"}, {"a": 20_000, "b": 20_000}),
        (20_008, {"a"}, {"a": 20_008, "b": 20_000}),
    ):
        today[0] = day
        found = ids.create(KeyCollection({1: used}))
        assert found.count(FetchType.FIRST_SEEN) == (2 if day == 20_000 else 0)
        assert days(any_store) == expected


def test_strings_that_are_not_used_go_and_ids_stay_the_same(any_store: Store) -> None:
    """Strings of long ago go with a merge, as series do; those of a store of before count as used."""
    long_ago = ClickHouseIdStore(any_store, today=lambda: 10_000)
    now = ClickHouseIdStore(any_store)
    before = long_ago.create(KeyCollection({1: {"old", "kept"}})).get_mapped_results()[1]
    assert now.create(KeyCollection({1: {"kept"}})).get_mapped_results()[1]["kept"] == before["kept"]
    any_store.command("OPTIMIZE TABLE strings FINAL")
    assert list(days(any_store)) == ["kept"]
    assert now.create(KeyCollection({1: {"old"}})).get_mapped_results()[1]["old"] == before["old"]


def test_a_store_of_before_keeps_its_strings(any_store: Store) -> None:
    any_store.command("DROP TABLE strings SYNC")
    any_store.command(
        "CREATE TABLE strings (org_id UInt32, id UInt64, string String) ENGINE = ReplacingMergeTree"
        " ORDER BY (org_id, id, string) SETTINGS non_replicated_deduplication_window = 100000"
    )
    any_store.command("INSERT INTO strings SELECT 1, 5, 'a'")
    any_store.command(
        f"ALTER TABLE schema_migrations DELETE WHERE version >= {DATABASE_ID} SETTINGS mutations_sync = 1"
    )
    migrate(any_store)
    any_store.command("OPTIMIZE TABLE strings FINAL")
    assert list(days(any_store)) == ["a"]
    assert ClickHouseIdStore(any_store).strings(1, [5]) == {5: "a"}
