"""The journal: which frames went into which batch, on disk, so that a batch survives a crash under its name.

Owns one SQLite file, in write-ahead mode. A batch is committed here, with its frames' bytes, before its first
INSERT; afterwards it is marked done, the bytes are dropped and the frames' identities kept. What is found
unfinished at the start is written again under the same tokens, and ClickHouse drops what it has already.

A batch that ClickHouse refuses is set aside with its bytes: it blocks nobody, and is tried again at the next
start. Everything is bounded: identities by age and number, batches aside by bytes. Thread-safe.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec

from agent import frame as wire
from indexer.private import make_private, make_private_file
from indexer.schema.tables import Retention
from indexer.unit import Unit

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL UNIQUE,
    state INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS frame (
    identity TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    body BLOB,
    given_ids BLOB,
    digest BLOB,
    retention_days INTEGER,
    kept BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS frame_batch ON frame (batch);
CREATE INDEX IF NOT EXISTS batch_state ON batch (state, number);
"""

#: So that no batch pays for a long clearing up; each batch adds one and may drop several.
_PRUNED_AT_ONCE: Final = 16


class State(IntEnum):
    OPEN = 0
    DONE = 1
    ASIDE = 2


class JournalError(Exception):
    """The file cannot be used or written."""


class Journal:
    """`max_identities`, `max_age_ms`: of frames remembered as done. `max_aside_bytes`: of refused batches."""

    def __init__(self, path: Path, *, max_identities: int, max_age_ms: int, max_aside_bytes: int) -> None:
        self._max_identities = max_identities
        self._max_age_ms = max_age_ms
        self._max_aside_bytes = max_aside_bytes
        self._lock = threading.Lock()
        self.dropped_aside = 0
        try:
            make_private(path.parent, existing=False)
            make_private_file(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._add_columns()
            # Reads have a connection of their own: they do not wait for a commit to reach the disk.
            self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._reader_lock = threading.Lock()
            (self._frames,) = self._db.execute("SELECT count() FROM frame").fetchone()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as e:  # the last: of an error's text
            raise JournalError(f"{path}: {e}") from e

    def begin(self, token: str, units: Sequence[Unit], now_ms: int) -> None:
        """Commit a batch before it is written. Raises JournalError."""
        size = sum(len(u.body) for u in units)
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO batch (token, state, bytes, changed_ms) VALUES (?, ?, ?, ?)",
                (token, State.OPEN, size, now_ms),
            )
            db.executemany(
                "INSERT INTO frame (batch, position, identity, body, given_ids, digest, retention_days, kept)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ((cursor.lastrowid, i, *_recorded(u)) for i, u in enumerate(units)),
            )
            self._frames += len(units)

    def finish(self, token: str, now_ms: int) -> None:
        """The batch is stored: keep its frames' identities only. Raises JournalError."""
        with self._transaction() as db:
            self._set_state(db, token, State.DONE, now_ms)
            db.execute(
                "UPDATE frame SET body = NULL, given_ids = NULL"
                " WHERE batch = (SELECT number FROM batch WHERE token = ?)",
                (token,),
            )
            self._prune(db, now_ms)

    def set_aside(self, token: str, now_ms: int) -> None:
        """The batch is refused: keep it, out of the way. The oldest such go when there are too many bytes."""
        with self._transaction() as db:
            self._set_state(db, token, State.ASIDE, now_ms)
            aside = db.execute(
                "SELECT number, bytes FROM batch WHERE state = ? ORDER BY number DESC", (State.ASIDE,)
            ).fetchall()
            held = 0
            for number, size in aside:
                held += size
                if held > self._max_aside_bytes:
                    self._delete(db, number)
                    self.dropped_aside += 1

    def state(self, identity: str) -> State | None:
        """Return the state of a frame's batch; None when the frame is not known (any more)."""
        found = self.find(identity)
        return found[0] if found else None

    def find(self, identity: str) -> tuple[State, bytes] | None:
        """Return the state of a frame's batch, and the digest it came with (empty: not known).

        Raises JournalError.
        """
        with self._reader_lock, _reading():
            row = self._reader.execute(
                "SELECT state, digest FROM batch JOIN frame ON batch.number = frame.batch WHERE identity = ?",
                (identity,),
            ).fetchone()
            return (State(row[0]), row[1] or b"") if row else None

    def _add_columns(self) -> None:
        """Add the columns that files made before them do not have; they are NULL in old rows."""
        there = {row[1] for row in self._db.execute("PRAGMA table_info(frame)")}
        for name, kind in (("digest", "BLOB"), ("retention_days", "INTEGER"), ("kept", "BLOB")):
            if name not in there:
                self._db.execute(f"ALTER TABLE frame ADD COLUMN {name} {kind}")

    def unfinished(self) -> list[tuple[str, list[Unit]]]:
        """Batches that were begun or set aside, in the order they were begun. Raises JournalError."""
        with self._lock, _reading():
            batches = self._db.execute(
                "SELECT number, token FROM batch WHERE state != ? ORDER BY number", (State.DONE,)
            ).fetchall()
            return [(token, self._units(number)) for number, token in batches]

    def counts(self) -> dict[State, int]:
        """Frames by what became of them. Raises JournalError."""
        with self._reader_lock, _reading():
            rows = self._reader.execute(
                "SELECT state, count() FROM batch JOIN frame ON batch.number = frame.batch GROUP BY state"
            ).fetchall()
            return dict.fromkeys(State, 0) | {State(s): n for s, n in rows}

    def close(self) -> None:
        with self._reader_lock:
            self._reader.close()
        with self._lock:
            self._db.close()

    def _units(self, number: int) -> list[Unit]:
        rows = self._db.execute(
            "SELECT identity, body, given_ids, digest, retention_days, kept FROM frame"
            " WHERE batch = ? ORDER BY position",
            (number,),
        ).fetchall()
        try:
            return [
                Unit(
                    identity,
                    body,
                    _decoded(body, retention_days),
                    msgspec.msgpack.decode(given, type=dict[int, int]),
                    digest or b"",
                    msgspec.msgpack.decode(kept, type=Retention) if kept else None,
                )
                for identity, body, given, digest, retention_days, kept in rows
            ]
        except (wire.FrameError, msgspec.DecodeError) as e:
            raise JournalError(f"batch {number} cannot be read: {e}") from e

    @staticmethod
    def _set_state(db: sqlite3.Connection, token: str, state: State, now_ms: int) -> None:
        db.execute("UPDATE batch SET state = ?, changed_ms = ? WHERE token = ?", (state, now_ms, token))

    def _prune(self, db: sqlite3.Connection, now_ms: int) -> None:
        """Forget done batches that are too old, and the oldest while there are too many frames."""
        for _ in range(_PRUNED_AT_ONCE):
            oldest = db.execute(
                "SELECT number, changed_ms FROM batch WHERE state = ? ORDER BY number LIMIT 1", (State.DONE,)
            ).fetchone()
            if oldest is None:
                return
            number, changed_ms = oldest
            if changed_ms >= now_ms - self._max_age_ms and self._frames <= self._max_identities:
                return
            self._delete(db, number)

    def _delete(self, db: sqlite3.Connection, number: int) -> None:
        self._frames -= db.execute("DELETE FROM frame WHERE batch = ?", (number,)).rowcount
        db.execute("DELETE FROM batch WHERE number = ?", (number,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as e:
                raise JournalError(str(e)) from e


@contextmanager
def _reading() -> Iterator[None]:
    """Raise JournalError for a file that is damaged where it is read."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError) as e:  # the latter: a row that Meterhouse did not write
        raise JournalError(str(e)) from e


def _recorded(unit: Unit) -> tuple[str, bytes, bytes, bytes, int, bytes | None]:
    """Return what a unit is made of again, in the order of the INSERT."""
    given = msgspec.msgpack.encode(unit.given_ids)
    kept = msgspec.msgpack.encode(unit.kept) if unit.kept else None
    return unit.identity, unit.body, given, unit.digest, unit.frame.retention_days, kept


def _decoded(body: bytes, retention_days: int | None) -> wire.Frame:
    """Return the frame with the retention that was decided; None: written before it was rounded."""
    frame = wire.decode(body)
    if retention_days is None or retention_days == frame.retention_days:
        return frame
    return msgspec.structs.replace(frame, retention_days=retention_days)
