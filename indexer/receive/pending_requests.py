"""Remembers requests without a key that were answered 503, until the same bytes are stored.

Bounded by number: the oldest are dropped and counted. With a journal, they are also in its file and survive
the process. Thread-safe.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from indexer.settings import Settings
from indexer.write.journal import JournalError
from indexer.write.journal_file import has_journal, journal_path

log = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pending_request (
    key TEXT PRIMARY KEY,
    name BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID
"""


class PendingRequest(NamedTuple):
    """A request: a hash of its bytes and scope, the key it got, and when it first came."""

    name: bytes
    key: str
    created_ms: int


class PendingRequests:
    """Holds at most `max_requests`; `path` None keeps them in memory alone.

    `on_drop` is called for each that is dropped. Raises OSError or sqlite3.Error for an unusable file.
    """

    def __init__(
        self, max_requests: int, path: Path | None = None, on_drop: Callable[[], None] = lambda: None
    ) -> None:
        self._max = max_requests
        self._on_drop = on_drop
        self._lock = threading.Lock()
        self._known: OrderedDict[str, PendingRequest] = OrderedDict()  # by key, the oldest first
        self._free: dict[bytes, deque[str]] = {}  # keys by name that no request is using
        self._db: sqlite3.Connection | None = None
        if path is not None:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute(_SCHEMA)
            rows = self._db.execute("SELECT name, key, created_ms FROM pending_request ORDER BY created_ms")
            for row in rows.fetchall():
                self._put(PendingRequest(*row))

    def __len__(self) -> int:
        return len(self._known)

    def claim(self, name: bytes) -> PendingRequest | None:
        """Return a request of this name that was answered 503; no other request gets it meanwhile."""
        with self._lock:
            keys = self._free.get(name)
            if not keys:
                return None
            key = keys.popleft()
            if not keys:
                del self._free[name]
            return self._known[key]

    def remember(self, request: PendingRequest) -> None:
        """Remember a request that is answered 503, claimed or new."""
        with self._lock:
            self._put(request)
            sql = "INSERT OR IGNORE INTO pending_request (name, key, created_ms) VALUES (?, ?, ?)"
            self._run(sql, request)

    def resolve(self, request: PendingRequest) -> None:
        """Forget a claimed request, which gets another answer."""
        with self._lock:
            if self._known.pop(request.key, None) is not None:
                self._run("DELETE FROM pending_request WHERE key = ?", (request.key,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _put(self, request: PendingRequest) -> None:
        self._known[request.key] = request
        self._free.setdefault(request.name, deque()).append(request.key)
        while len(self._known) > self._max:
            _, oldest = self._known.popitem(last=False)
            free = self._free.get(oldest.name)
            if free is not None and oldest.key in free:
                free.remove(oldest.key)
                if not free:
                    del self._free[oldest.name]
            self._run("DELETE FROM pending_request WHERE key = ?", (oldest.key,))
            self._on_drop()

    def _run(self, sql: str, values: tuple[object, ...]) -> None:
        """Change the file. If that fails, the memory suffices: the disk may be why the answer is 503."""
        if self._db is None:
            return
        try:
            self._db.execute(sql, values)
        except sqlite3.Error as e:
            log.warning("event=pending_request_not_kept error=%s", e)


def open_pending(settings: Settings, on_drop: Callable[[], None]) -> PendingRequests:
    """Open the requests that an earlier run remembered. Raises JournalError for an unusable file."""
    path = journal_path(settings) if has_journal(settings) else None
    try:
        return PendingRequests(settings.bounds.pending_requests, path, on_drop)
    except (OSError, sqlite3.Error) as e:
        raise JournalError(f"{path}: {e}") from e
