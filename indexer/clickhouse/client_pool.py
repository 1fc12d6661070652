"""The clients of one database: only one thread uses each at once.

Owns which failures may be retried: those of the backend leave as StoreError. Sync and thread-safe.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from indexer.clickhouse.store_errors import EMBEDDED, ServerAddress, StoreError, store_error


class ClientPool:
    """Lends `clients`; opens one of `unopened` further ones when all others are in use."""

    def __init__(
        self,
        clients: list[Client],
        database: str,
        place: ServerAddress = EMBEDDED,
        *,
        open_another: Callable[[], Client] | None = None,
        unopened: int = 0,
    ) -> None:
        self._database = database
        self._place = place
        self._open_another = open_another
        self._unopened = unopened
        self._counting = threading.Lock()  # for the number of clients
        self._clients = clients
        self._free: queue.LifoQueue[Client] = queue.LifoQueue()
        for client in clients:
            client.database = database
            self._free.put(client)

    @property
    def server_settings(self) -> Mapping[str, Any]:
        """The engine's settings by name, as they were at the opening; empty once the pool is closed."""
        return self._clients[0].server_settings if self._clients else {}

    @contextmanager
    def lend(self) -> Iterator[Client]:
        """Lend a client to this thread. Raises StoreError, also for failures inside the block."""
        if not self._clients:
            raise StoreError("the store is closed", retryable=False)
        try:
            client = self._next()
            try:
                yield client
            finally:
                self._free.put(client)
        except (ClickHouseError, HTTPError, OSError) as e:
            raise store_error(e, self._place) from e

    def _next(self) -> Client:
        """Return a free client; if there is none, open another one, or wait where there may be no more."""
        with suppress(queue.Empty):
            return self._free.get_nowait()
        with self._counting:
            opens = self._unopened > 0
            self._unopened -= opens
        if not opens or self._open_another is None:
            return self._free.get()
        try:
            client = self._open_another()
        except BaseException:
            with self._counting:
                self._unopened += 1
            raise
        with self._counting:
            if self._clients:
                client.database = self._database
                self._clients.append(client)
                return client
        client.close()
        raise StoreError("the store is closed", retryable=False)

    def close(self) -> None:
        """Close every client, after the running calls. Closing twice does nothing."""
        with self._counting:
            clients, self._clients, self._unopened = self._clients, [], 0
        for _ in clients:
            self._free.get().close()
