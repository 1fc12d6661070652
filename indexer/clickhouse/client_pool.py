"""The clients of one database: only one thread uses each at once.

Owns which failures may be retried: those of the backend leave as StoreError. Sync and thread-safe.

A client knows the server's settings as they were when it was opened. Once a server refuses a setting, because
its version or the user's profile has changed, other clients are opened in place of all.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from indexer.clickhouse.expected_settings import refusal
from indexer.clickhouse.store_errors import EMBEDDED, ServerAddress, StoreError, store_error

#: Codes of settings that a server does not take: UNKNOWN_SETTING, READONLY, SETTING_CONSTRAINT_VIOLATION.
_OTHER_SETTINGS: Final = frozenset({115, 164, 452})
_READONLY: Final = 164
#: Seconds between two times at which clients are opened anew.
_ANEW_S: Final = 60.0


class ClientPool:
    """Lends `clients`; opens one of `unopened` further ones when all others are in use.

    `clock_s` never steps.
    """

    def __init__(
        self,
        clients: list[Client],
        database: str,
        place: ServerAddress = EMBEDDED,
        *,
        open_another: Callable[[], Client] | None = None,
        unopened: int = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._place = place
        self._open_another = open_another
        self._unopened = unopened
        self._clock_s = clock_s
        self._anew_s = clock_s()
        self._outdated: set[int] = set()  # clients by id(), which are closed when they are free
        self._counting = threading.Lock()  # for the number of clients
        self._clients = clients
        self._free: queue.LifoQueue[Client] = queue.LifoQueue()
        for client in clients:
            client.database = database
            self._free.put(client)

    @property
    def server_settings(self) -> Mapping[str, Any]:
        """The engine's settings by name, as the latest client found them; empty once the pool is closed."""
        return self._clients[0].server_settings if self._clients else {}

    @contextmanager
    def lend(self) -> Iterator[Client]:
        """Lend a client to this thread. Raises StoreError, also for failures inside the block."""
        if not self._clients:
            raise StoreError("the store is closed", retryable=False, public=True)
        try:
            client = self._next()
            try:
                yield client
            finally:
                self._free.put(client)
        except (ClickHouseError, HTTPError, OSError) as e:
            error = store_error(e, self._place)
            if error.code in _OTHER_SETTINGS:
                self._outdate()
            raise error from e

    def _outdate(self) -> None:
        """Let all clients be opened anew, unless that was done a moment ago."""
        with self._counting:
            now_s = self._clock_s()
            if self._place != EMBEDDED and self._open_another is not None and now_s - self._anew_s >= _ANEW_S:
                self._anew_s = now_s
                self._outdated = set(map(id, self._clients))

    def _renewed(self, old: Client) -> Client:
        """Return a client in place of one whose settings may be others now. Raises as a connection does."""
        if id(old) not in self._outdated or self._open_another is None:
            return old
        try:
            new = self._open_another()
        except BaseException:
            self._free.put(old)
            raise
        new.database = self._database
        if problem := refusal({n: (s.value, bool(s.readonly)) for n, s in new.server_settings.items()}):
            self._free.put(old)
            new.close()
            raise StoreError(f"ClickHouse cannot be queried: {problem}", retryable=False, code=_READONLY)
        with self._counting:
            self._outdated.discard(id(old))
            if old in self._clients:
                self._clients.remove(old)
                self._clients.insert(0, new)
        old.close()
        return new

    def _next(self) -> Client:
        """Return a free client; if there is none, open another one, or wait where there may be no more."""
        with suppress(queue.Empty):
            return self._renewed(self._free.get_nowait())
        with self._counting:
            opens = self._unopened > 0
            self._unopened -= opens
        if not opens or self._open_another is None:
            return self._renewed(self._free.get())
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
        raise StoreError("the store is closed", retryable=False, public=True)

    def close(self) -> None:
        """Close every client, after the running calls. Closing twice does nothing."""
        with self._counting:
            clients, self._clients, self._unopened = self._clients, [], 0
        for _ in clients:
            self._free.get().close()
