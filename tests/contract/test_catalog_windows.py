"""The catalog's tables remember no blocks: rows that are lost come back when they are written again."""

from __future__ import annotations

from indexer.schema import migrate
from indexer.schema.database_id import DATABASE_ID, read_ids
from indexer.store import Store
from indexer.strings.store import ClickHouseIdStore


def test_rows_of_the_catalog_that_are_lost_come_back(any_store: Store) -> None:
    """In a store of before migration 6, too: there an identical block was dropped without a word."""
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
