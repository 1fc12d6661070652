"""The id of a database; caches carry it in their names, so that none outlives the data.

The migration makes it. The indexer makes a new one when it notices that the data went back in time
(indexer/intern/catalog_watch.py). Its rows are in schema_migrations; the last one is valid.
"""

from __future__ import annotations

import uuid
from typing import Final

from indexer.clickhouse.store import Store

#: The migration version in the rows of ids.
DATABASE_ID: Final = 6
_PREFIX: Final = "id:"


def read_ids(store: Store) -> list[str]:
    """Return the ids that the database has had, the present one first. Raises StoreError."""
    rows = store.rows(
        "SELECT name FROM schema_migrations"
        " WHERE version = {version:UInt32} AND startsWith(name, {prefix:String})"
        " ORDER BY applied_at DESC, name",
        {"version": DATABASE_ID, "prefix": _PREFIX},
    )
    return list(dict.fromkeys(name.removeprefix(_PREFIX) for (name,) in rows))


def note_id(store: Store) -> str:
    """Give the database a new id. Raises StoreError."""
    made = uuid.uuid4().hex
    store.command(
        "INSERT INTO schema_migrations (version, name, applied_at)"
        " SELECT {version:UInt32}, {name:String}, now64(3, 'UTC')",
        {"version": DATABASE_ID, "name": f"{_PREFIX}{made}"},
    )
    return made
