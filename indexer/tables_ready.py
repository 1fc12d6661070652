"""Opens the settings' store and brings its tables up to date: the first part of a start.

A restart is an outage, and most of it is imports, which compute while these statements mostly wait. So a
process may do this part early, in a thread, as soon as the few modules for it are there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from indexer.clickhouse.schema import SCOPED_IDENTITIES, applied_times, has_legacy_inputs, migrate
from indexer.clickhouse.schema.series_of_today import StoredSeriesOfDay, read_series
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.settings import Settings

#: How long a ClickHouse call may be unanswered; an INSERT is then repeated under its token.
_STORE_TIMEOUT_S: Final = 60


class ReadyTables(NamedTuple):
    """A store with this version's tables.

    `legacy`: it has input tables of before migration 5. `applied_ms`: when each migration was applied.
    `series`: those of today, if they were read.
    """

    store: Store
    legacy: bool
    applied_ms: Mapping[int, int]
    series: StoredSeriesOfDay | None

    @property
    def scoped_from_ms(self) -> int:
        """The time at which identities of frames began to carry their tenant."""
        return self.applied_ms.get(SCOPED_IDENTITIES, 0)


def open_settings_store(settings: Settings) -> Store:
    """Open the store of the settings' DSN. Raises StoreError."""
    return open_store(
        settings.dsn,
        pool=settings.connections,
        cluster=settings.cluster,
        insert_quorum=settings.insert_quorum,
        timeout_s=_STORE_TIMEOUT_S,
    )


def upgrade(store: Store, settings: Settings) -> None:
    """Bring the tables up to date. Raises StoreError."""
    migrate(store, settings.retention, settings.limits.retention_steps)


def look(store: Store) -> ReadyTables:
    """Return the facts of upgraded tables that a start needs. Raises StoreError."""
    series = read_series(store, int(time.time()) // 86_400)
    return ReadyTables(store, has_legacy_inputs(store), applied_times(store), series)


class EarlyTables:
    """Makes the tables of a server ready in a thread, once, if `usable` says that a start may alter them.

    A failure is left to the start, which tries again with its waits and words.
    """

    def __init__(self, settings: Settings, usable: Callable[[], bool]) -> None:
        self._usable = usable
        self._found: ReadyTables | None = None
        work = partial(self._work, settings)
        self._thread = threading.Thread(target=work, name="indexer-early", daemon=True)
        self._thread.start()

    def take(self) -> ReadyTables | None:
        """Return the tables, None after a failure; blocks. The caller closes the store."""
        self._thread.join()
        return self._found

    def _work(self, settings: Settings) -> None:
        if not self._usable():
            return
        try:
            store = open_settings_store(settings)
        except StoreError:
            return
        try:
            upgrade(store, settings)
            self._found = look(store)
        except StoreError:
            store.close()


def early_tables(settings: Settings, usable: Callable[[], bool]) -> EarlyTables | None:
    """Begin with the tables of a server if all else of it is `usable`; None for embedded data, and for TLS.

    Contexts for TLS have to wait for the end of quick_imports.
    """
    return EarlyTables(settings, usable) if settings.dsn.startswith("http://") else None
