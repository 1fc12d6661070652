"""Finds tables that a process made for its own work, and left when it was killed."""

from __future__ import annotations

from typing import Final

from indexer.clickhouse.store import Store

#: How long another process may use such a table: a deletion waits six hours for its rows
#: (indexer/deletion/mutations.py), and for minutes before and after; a repair needs less than a day.
MAX_USE_S: Final = 2 * 86_400


def abandoned_tables(store: Store, prefix: str, max_use_s: int) -> set[str]:
    """Return the tables with names that begin with `prefix` and that no other process uses any more.

    Embedded there is only this process. On a server those are older than `max_use_s`. Raises StoreError.
    """
    rows = store.rows(
        "SELECT name, toUnixTimestamp(now()) - toUnixTimestamp(metadata_modification_time)"
        " FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})",
        {"prefix": prefix},
    )
    return {str(name) for name, age_s in rows if store.embedded or age_s > max_use_s}
