"""The journal: the frames of each batch on disk, so that a batch survives a crash under its token.

Owns one SQLite file, in write-ahead mode. A batch is committed here, with its frames' bytes, before its first
INSERT; afterwards it is marked done, the bytes are dropped and the frames' identities kept. Unfinished
batches are written again at the start under the same tokens, and ClickHouse drops the parts it has already.

A batch that cannot be stored while others can is set aside with its bytes, and tried again until it is
stored (indexer/write/set_aside_batches.py); the INSERTs of it that are stored are noted and not repeated. A
frame that ClickHouse refuses for its bytes ends, and is kept for a person, as is one that may be stored.
Everything is bounded: identities by age and number, set-aside batches by bytes. Thread-safe.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from agent.wire import frame as wire
from indexer.clickhouse.data_lock import DataLock
from indexer.clickhouse.private_files import make_private, make_private_file
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import KEPT, BatchState, KeptBatch
from indexer.write.journal_rows import (
    LATEST_BLOCKS,
    KnownRequest,
    add_batch,
    add_units,
    allowance,
    batch_number,
    check_small,
    complete_since_ms,
    drop_bodies,
    forget_parts,
    highest_batch,
    journal_name,
    keep_overtaken,
    kept_batches,
    kept_bytes,
    leave_out,
    make_room,
    make_tables,
    move_ended,
    note_allowance,
    note_lost_hops,
    note_parts,
    oldest_over,
    read_units,
    set_complete_since,
    split_off,
    stored_parts,
    taken,
)

#: Bounds the clearing up per batch; each batch adds one row and may drop several.
_PRUNED_AT_ONCE: Final = 16
_KEPT: Final = f"({', '.join(str(int(state)) for state in KEPT)})"
#: Half of the INSERTs per table that ClickHouse remembers by token: a later repetition may count twice.
_MAX_LATER_BLOCKS: Final = 50_000
#: The same where up to ten indexers write as much as this one.
_MAX_LATER_BLOCKS_SHARED: Final = 5_000

__all__ = ["KEPT", "BatchState", "Journal", "JournalError", "KeptBatch"]


class JournalError(Exception):
    """The file is unusable or not writable."""


class Journal:
    """Keeps batches; `max_identities`, `max_age_ms`: of done frames, `max_aside_bytes`: of set-aside ones.

    `shared`: other indexers write into the same tables. `lock`: held until `close`.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_identities: int,
        max_age_ms: int,
        max_aside_bytes: int,
        shared: bool = False,
        lock: DataLock | None = None,
    ) -> None:
        self.path = path
        self._file_lock = lock
        self._max_later_blocks = _MAX_LATER_BLOCKS_SHARED if shared else _MAX_LATER_BLOCKS
        self._max_identities = max_identities
        self._max_age_ms = max_age_ms
        self._max_aside_bytes = max_aside_bytes
        self._lock = threading.Lock()
        self.dropped_ended = 0
        try:
            make_private(path.parent, existing=False)
            make_private_file(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self.checked = check_small(self._db, path.stat().st_size)
            make_tables(self._db)
            self.complete_since_ms = complete_since_ms(self._db)
            self.name = journal_name(self._db)  # random, made with the file
            self.allowance = allowance(self._db)  # as an earlier process left it
            self.allowance_left: Callable[[], float] | None = None  # of now, kept with each batch
            # Reads have their own connection: they do not wait for a commit to reach the disk.
            self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._reader_lock = threading.Lock()
            (self._frames,) = self._db.execute("SELECT count() FROM frame").fetchone()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as e:  # the last: of an error's text
            raise JournalError(f"{path}: {e}") from e

    def begin(self, token: str, units: Sequence[AcceptedFrame], now_ms: int) -> None:
        """Commit a batch before it is written. Raises JournalError."""
        with self._transaction() as db:
            add_units(db, add_batch(db, token, BatchState.OPEN, units, now_ms), units)
            self._frames += len(units)
            note_allowance(db, self.allowance_left, now_ms)

    def finish(self, token: str, now_ms: int) -> None:
        """Mark a batch as stored and keep only its frames' identities. Raises JournalError."""
        with self._transaction() as db:
            self._set_state(db, token, BatchState.DONE, now_ms)
            drop_bodies(db, token)
            forget_parts(db, token)
            note_allowance(db, self.allowance_left, now_ms)
            self._prune(db, now_ms)

    def stored_parts(self, token: str) -> set[str]:
        """Return the INSERTs of a batch that are known as stored. Raises JournalError."""
        with self._reading() as db:
            return stored_parts(db, token)

    def note_parts(self, token: str, parts: Iterable[str], *, half: bool) -> None:
        """Note INSERTs as stored; `half`: another one may be stored in part. Raises JournalError."""
        with self._transaction() as db:
            note_parts(db, token, parts)
            if half:
                db.execute(
                    f"UPDATE batch SET half_at = coalesce(half_at, {LATEST_BLOCKS}) WHERE token = ?", (token,)
                )

    def leave_out(
        self, token: str, gone: Sequence[str], go: str, aside: Sequence[AcceptedFrame], now_ms: int, told: str
    ) -> str:
        """Forget frames of a batch, take others into a set-aside one, and note the part `go`.

        Return the token of theirs if room is lacking: it is open then. Raises JournalError.
        """
        roomless = ""
        with self._transaction() as db:
            if aside:
                roomless = split_off(db, token, aside, BatchState.OPEN, now_ms, told)
                if self._has_room(db, sum(len(unit.body) for unit in aside)):  # the batch is smaller by now
                    self._set_state(db, roomless, BatchState.ASIDE, now_ms, told)
                    roomless = ""
            self._frames -= leave_out(db, token, gone)
            note_parts(db, token, [go])
        return roomless

    def note_lost_hops(self, identity: str, hops: int) -> None:
        """Note the earlier hops of a frame whose journals are lost. Raises JournalError."""
        with self._transaction() as db:
            note_lost_hops(db, identity, hops)

    def batch_of(self, token: str) -> tuple[str, int]:
        """Return this journal's name, and the number of a batch. Raises JournalError."""
        with self._reading() as db:
            return self.name, batch_number(db, token)

    def highest_batch(self) -> int:
        """Return the highest number that a batch was given; 0 for none. Raises JournalError."""
        with self._reading() as db:
            return highest_batch(db)

    def keep_overtaken(self, now_ms: int, token: str = "") -> int:
        """Keep set-aside batches for the operator that are stored in part, and whose tokens may be forgotten.

        Return the number of them. `token`: and this open one. Raises JournalError.
        """
        with self._transaction() as db:
            return keep_overtaken(db, self._max_later_blocks, now_ms, token)

    def set_aside(self, token: str, now_ms: int, reason: str = "") -> bool:
        """Set a batch aside. Return False if room is lacking: it then stays open. Raises JournalError."""
        with self._transaction() as db:
            (size,) = db.execute("SELECT bytes FROM batch WHERE token = ?", (token,)).fetchone()
            if not self._has_room(db, size):
                return False
            self._set_state(db, token, BatchState.ASIDE, now_ms, reason)
        return True

    def end(self, token: str, units: Sequence[AcceptedFrame], now_ms: int, reason: str) -> None:
        """Take refused frames out of a batch; each is kept as a batch of its own. Raises JournalError.

        `units` hold their rows that are not stored. The oldest ended ones are dropped if room is lacking.
        """
        with self._transaction() as db:
            for number, unit in enumerate(units):
                size = len(unit.body)
                self._make_room(db, size)
                cursor = db.execute(
                    "INSERT INTO batch (token, state, bytes, changed_ms, reason) VALUES (?, ?, ?, ?, ?)",
                    (f"{token}-{now_ms}-{number}", BatchState.ENDED, size, now_ms, reason),
                )
                db.execute("UPDATE batch SET bytes = max(0, bytes - ?) WHERE token = ?", (size, token))
                move_ended(db, cursor.lastrowid or 0, unit)

    def keep(self, token: str, unit: AcceptedFrame, now_ms: int, reason: str) -> None:
        """Keep a frame that is too old, and in no batch. Raises JournalError."""
        with self._transaction() as db:
            self._make_room(db, len(unit.body))
            cursor = db.execute(
                "INSERT INTO batch (token, state, bytes, changed_ms, reason) VALUES (?, ?, ?, ?, ?)",
                (token, BatchState.TOO_OLD, len(unit.body), now_ms, reason),
            )
            add_units(db, cursor.lastrowid or 0, [unit])
            self._frames += 1

    def kept(self) -> list[KeptBatch]:
        """Return the batches that are kept for a person, the oldest first. Raises JournalError."""
        with self._reading() as db:
            return kept_batches(db)

    def units(self, token: str, states: Sequence[BatchState] = KEPT) -> list[AcceptedFrame]:
        """Return the frames of a batch in one of these states; else none. Raises JournalError."""
        with self._reading() as db:
            found = db.execute("SELECT number, state FROM batch WHERE token = ?", (token,)).fetchone()
            return self._units(db, found[0]) if found and found[1] in states else []

    def wait_again(self, token: str, now_ms: int) -> bool:
        """Set a kept batch aside, to be tried again. Return False without such a batch."""
        with self._transaction() as db:
            return bool(
                db.execute(
                    "UPDATE batch SET state = ?, changed_ms = ?, half_at = NULL"
                    f" WHERE token = ? AND state IN {_KEPT}",
                    (BatchState.ASIDE, now_ms, token),
                ).rowcount
            )

    def drop(self, token: str, now_ms: int) -> bool:
        """Drop a kept batch. Return False without such a batch.

        Its frames stay known: a sender that repeats one is told that it was dropped. Raises JournalError.
        """
        with self._transaction() as db:
            found = db.execute(
                f"SELECT number FROM batch WHERE token = ? AND state IN {_KEPT}", (token,)
            ).fetchone()
            if found is None:
                return False
            forget_parts(db, token)
            self._set_state(db, token, BatchState.DROPPED, now_ms)
            db.execute("UPDATE frame SET body = NULL, given_ids = NULL WHERE batch = ?", found)
        return True

    def oldest_waiting_ms(self) -> int | None:
        """Return since when the oldest open or set-aside batch waits; None for none."""
        with self._reading() as db:
            (found,) = db.execute(
                "SELECT min(changed_ms) FROM batch WHERE state IN (?, ?)", (BatchState.OPEN, BatchState.ASIDE)
            ).fetchone()
        return None if found is None else int(found)

    def check(self) -> None:
        """Write a test row. Raises JournalError if the file is not writable."""
        with self._transaction() as db:
            db.execute("UPDATE checked SET times = times + 1")

    def state(self, identity: str) -> BatchState | None:
        """Return the state of a frame's batch; None if the frame is not known (any more)."""
        found = self.find(identity)
        return found[0] if found else None

    def find(self, identity: str) -> tuple[BatchState, bytes] | None:
        """Return the state of a frame's batch, and the digest it came with (empty: not known)."""
        with self._reading() as db:
            row = db.execute(
                "SELECT state, digest FROM batch JOIN frame ON batch.number = frame.batch WHERE identity = ?",
                (identity,),
            ).fetchone()
            return (BatchState(row[0]), row[1] or b"") if row else None

    def last_ms(self) -> int:
        """Return when a batch last changed; 0 for none. Raises JournalError."""
        with self._reading() as db:
            (at_ms,) = db.execute("SELECT coalesce(max(changed_ms), 0) FROM batch").fetchone()
            return int(at_ms)

    def note_complete(self, at_ms: int) -> None:
        """Note that frames stored before a time may be missing; 0: none are. Raises JournalError."""
        with self._transaction() as db:
            self._note_complete(db, at_ms)

    def taken(self, prefix: str) -> list[KnownRequest]:
        """Return the entries of identities that are `prefix`, ending in "/", and a number.

        Raises JournalError.
        """
        with self._reading() as db:
            return taken(db, prefix)

    def unfinished(self, *states: BatchState) -> list[tuple[str, list[AcceptedFrame]]]:
        """Return the batches in these states, open ones by default, in order. Raises JournalError."""
        wanted = ", ".join(str(int(state)) for state in states or (BatchState.OPEN,))
        with self._reading() as db:
            batches = db.execute(
                f"SELECT number, token FROM batch WHERE state IN ({wanted}) ORDER BY number"
            ).fetchall()
            return [(token, self._units(db, number)) for number, token in batches]

    def counts(self) -> dict[BatchState, int]:
        """Return the number of frames by outcome."""
        with self._reading() as db:
            sql = "SELECT state, count() FROM batch JOIN frame ON batch.number = frame.batch GROUP BY state"
            return dict.fromkeys(BatchState, 0) | {BatchState(s): n for s, n in db.execute(sql)}

    def close(self) -> None:
        """Close the file."""
        with self._reader_lock:
            self._reader.close()
        with self._lock:
            self._db.close()
        if self._file_lock is not None:
            self._file_lock.close()

    @staticmethod
    def _units(db: sqlite3.Connection, number: int) -> list[AcceptedFrame]:
        try:
            return read_units(db, number)
        except (wire.FrameError, msgspec.DecodeError) as e:
            raise JournalError(f"batch {number} cannot be read: {e}") from e

    @staticmethod
    def _set_state(
        db: sqlite3.Connection, token: str, state: BatchState, now_ms: int, reason: str | None = None
    ) -> None:
        db.execute(
            "UPDATE batch SET state = ?, changed_ms = ?, reason = ? WHERE token = ?",
            (state, now_ms, reason, token),
        )

    def _make_room(self, db: sqlite3.Connection, size: int) -> None:
        self.dropped_ended += make_room(db, size, self._max_aside_bytes)

    def _has_room(self, db: sqlite3.Connection, size: int) -> bool:
        """Return whether more bytes may be set aside, once there is all the room that can be made."""
        self._make_room(db, size)
        return size + kept_bytes(db) <= self._max_aside_bytes

    def _prune(self, db: sqlite3.Connection, now_ms: int) -> None:
        """Forget done and dropped batches that are too old, and the oldest of too many frames."""
        for _ in range(_PRUNED_AT_ONCE):
            oldest = oldest_over(db)
            if oldest is None:
                return
            number, changed_ms = oldest
            if changed_ms >= now_ms - self._max_age_ms and self._frames <= self._max_identities:
                return
            self._delete(db, number)
            self._note_complete(db, max(self.complete_since_ms or 0, changed_ms + 1))

    def _note_complete(self, db: sqlite3.Connection, at_ms: int) -> None:
        set_complete_since(db, at_ms)
        self.complete_since_ms = at_ms

    def _delete(self, db: sqlite3.Connection, number: int) -> None:
        self._frames -= db.execute("DELETE FROM frame WHERE batch = ?", (number,)).rowcount
        db.execute("DELETE FROM batch WHERE number = ?", (number,))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the file. Raises JournalError for a damaged one."""
        with self._reader_lock:
            try:
                self._reader.execute("BEGIN")
                with self._reader:
                    yield self._reader
            except (sqlite3.Error, ValueError, TypeError) as e:  # the latter: a row that is not Meterhouse's
                raise JournalError(str(e)) from e

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
