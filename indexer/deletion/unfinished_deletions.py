"""Notes of deletions whose rows of `series` are going, and whose tags and strings are not all deleted.

After such a deletion died, a selector finds its series no more, so the same request cannot repeat its steps.
The next deletion of the org finds the note instead, and deletes all tags and strings that no series uses.

A note is an empty table, named by its org: it is in the store before the first row of `series` goes, and over
restarts of indexer and server. A cluster has none: tags and strings stay there.
"""

from __future__ import annotations

from typing import Final

from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store

_PREFIX: Final = "unfinished_deletion_"


class UnfinishedDeletions:
    """The notes of one store. Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, org_id: int) -> None:
        """Note that a deletion of an org is not finished."""
        self._store.command(
            f"CREATE TABLE IF NOT EXISTS {quote_name(_name(org_id))} (x UInt8) ENGINE = MergeTree ORDER BY ()"
        )

    def end(self, org_id: int) -> None:
        """Remove the note."""
        self._store.command(f"DROP TABLE IF EXISTS {quote_name(_name(org_id))} SYNC")

    def has(self, org_id: int) -> bool:
        """Return whether a deletion of an org is not finished."""
        sql = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
        ((count,),) = self._store.rows(sql, {"name": _name(org_id)})
        return bool(count)


def _name(org_id: int) -> str:
    return f"{_PREFIX}{org_id}"
