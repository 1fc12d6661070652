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
from functools import partial
from pathlib import Path
from typing import Final

from indexer.clickhouse.data_lock import DataLock
from indexer.clickhouse.private_files import make_private, make_private_file
from indexer.write import journal_frames as frames
from indexer.write import journal_rows as rows
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import KEPT, BatchState, KeptBatch
from indexer.write.journal_rows import LATEST_BLOCKS, KnownRequest

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


class DamagedFramesError(JournalError):
    """Frames of a batch cannot be read: `identities`. The others are `readable`."""

    def __init__(self, token: str, identities: Sequence[str], readable: list[AcceptedFrame]) -> None:
        super().__init__(f"batch {token} cannot be read: the bytes of {len(identities)} frames are damaged")
        self.identities = identities
        self.readable = readable


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
            self._db = _connected(path)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self.checked = rows.check_small(self._db, path.stat().st_size)
            rows.make_tables(self._db)
            self.complete_since_ms = rows.complete_since_ms(self._db)
            self.name = rows.journal_name(self._db)  # random, made with the file
            self.allowance = rows.allowance(self._db)  # as an earlier process left it
            self.allowance_left: Callable[[], float] | None = None  # of now, kept with each batch
            # Reads have their own connection: they do not wait for a commit to reach the disk.
            self._reader = _connected(path)
            self._reader_lock = threading.Lock()
            (self._frames,) = self._db.execute("SELECT count() FROM frame").fetchone()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as e:  # the last: of an error's text
            raise JournalError(f"{path}: {e}") from e

    def begin(self, token: str, units: Sequence[AcceptedFrame], now_ms: int) -> None:
        """Commit a batch before it is written. Raises JournalError."""
        with self.transaction() as db:
            frames.add_units(db, rows.add_batch(db, token, BatchState.OPEN, units, now_ms), units)
            self._frames += len(units)
            rows.note_allowance(db, self.allowance_left, now_ms)

    def finish(self, token: str, now_ms: int) -> None:
        """Mark a batch as stored and keep only its frames' identities. Raises JournalError."""
        with self.transaction() as db:
            rows.set_state(db, token, BatchState.DONE, now_ms)
            rows.drop_bodies(db, token)
            rows.forget_parts(db, token)
            rows.note_allowance(db, self.allowance_left, now_ms)
            self._prune(db, now_ms)

    def stored_parts(self, token: str) -> set[str]:
        """Return the INSERTs of a batch that are known as stored. Raises JournalError."""
        with self.reading() as db:
            return rows.stored_parts(db, token)

    def note_parts(self, token: str, parts: Iterable[str], *, half: bool) -> None:
        """Note INSERTs as stored; `half`: another one may be stored in part. Raises JournalError."""
        with self.transaction() as db:
            rows.note_parts(db, token, parts)
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
        with self.transaction() as db:
            if aside:
                roomless = rows.split_off(db, token, aside, BatchState.OPEN, now_ms, told)
                if self._has_room(db, sum(len(unit.body) for unit in aside)):  # the batch is smaller by now
                    rows.set_state(db, roomless, BatchState.ASIDE, now_ms, told)
                    roomless = ""
            self._frames -= rows.leave_out(db, token, gone)
            rows.note_parts(db, token, [go])
        return roomless

    def note_lost_hops(self, identity: str, hops: int) -> None:
        """Note the earlier hops of a frame whose journals are lost. Raises JournalError."""
        with self.transaction() as db:
            frames.note_lost_hops(db, identity, hops)

    def batch_of(self, token: str) -> tuple[str, int]:
        """Return this journal's name, and the number of a batch. Raises JournalError."""
        with self.reading() as db:
            return self.name, rows.batch_number(db, token)

    def highest_batch(self) -> int:
        """Return the highest number that a batch was given; 0 for none. Raises JournalError."""
        with self.reading() as db:
            return rows.highest_batch(db)

    def keep_overtaken(self, now_ms: int, token: str = "") -> int:
        """Keep set-aside batches for the operator that are stored in part, and whose tokens may be forgotten.

        Return the number of them. `token`: and this open one. Raises JournalError.
        """
        with self.transaction() as db:
            return rows.keep_overtaken(db, self._max_later_blocks, now_ms, token)

    def set_aside(self, token: str, now_ms: int, reason: str = "") -> bool:
        """Set a batch aside. Return False if room is lacking: it then stays open. Raises JournalError."""
        with self.transaction() as db:
            (size,) = db.execute("SELECT bytes FROM batch WHERE token = ?", (token,)).fetchone()
            if not self._has_room(db, size):
                return False
            rows.set_state(db, token, BatchState.ASIDE, now_ms, reason)
        return True

    def end(self, token: str, units: Sequence[AcceptedFrame], now_ms: int, reason: str) -> None:
        """Take refused frames out of a batch; each is kept as a batch of its own. Raises JournalError.

        `units` hold their rows that are not stored. The oldest ended ones are dropped if room is lacking.
        """
        with self.transaction() as db:
            for number, unit in enumerate(units):
                size = len(unit.body)
                self._make_room(db, size)
                cursor = db.execute(
                    "INSERT INTO batch (token, state, bytes, changed_ms, reason) VALUES (?, ?, ?, ?, ?)",
                    (f"{token}-{now_ms}-{number}", BatchState.ENDED, size, now_ms, reason),
                )
                db.execute("UPDATE batch SET bytes = max(0, bytes - ?) WHERE token = ?", (size, token))
                frames.move_ended(db, cursor.lastrowid or 0, unit)

    def keep(self, token: str, unit: AcceptedFrame, now_ms: int, reason: str) -> None:
        """Keep a frame that is too old, and in no batch. Raises JournalError."""
        with self.transaction() as db:
            self._make_room(db, len(unit.body))
            cursor = db.execute(
                "INSERT INTO batch (token, state, bytes, changed_ms, reason) VALUES (?, ?, ?, ?, ?)",
                (token, BatchState.TOO_OLD, len(unit.body), now_ms, reason),
            )
            frames.add_units(db, cursor.lastrowid or 0, [unit])
            self._frames += 1

    def kept(self, limit: int = 1_000) -> list[KeptBatch]:
        """Return batches that are kept for a person, the oldest first. Raises JournalError."""
        with self.reading() as db:
            return rows.kept_batches(db, limit)

    def count_kept(self) -> dict[BatchState, int]:
        """Return how many batches are kept for a person, by state. Raises JournalError."""
        with self.reading() as db:
            return rows.count_kept(db)

    def units(self, token: str, states: Sequence[BatchState] = KEPT) -> list[AcceptedFrame]:
        """Return the frames of a batch in one of these states; else none. Raises JournalError."""
        with self.reading() as db:
            found = db.execute("SELECT number, state FROM batch WHERE token = ?", (token,)).fetchone()
            return self._units(db, token, found[0]) if found and found[1] in states else []

    def tokens(self, *states: BatchState) -> list[str]:
        """Return the batches in these states, in order. Raises JournalError."""
        with self.reading() as db:
            return [token for _, token in rows.batches_in(db, states)]

    def wait_again(self, token: str, now_ms: int) -> bool:
        """Set a kept batch aside, to be tried again. Return False without such a batch."""
        with self.transaction() as db:
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
        with self.transaction() as db:
            found = db.execute(
                f"SELECT number FROM batch WHERE token = ? AND state IN {_KEPT}", (token,)
            ).fetchone()
            if found is None:
                return False
            rows.forget_parts(db, token)
            rows.set_state(db, token, BatchState.DROPPED, now_ms)
            db.execute("UPDATE frame SET body = NULL, given_ids = NULL WHERE batch = ?", found)
        return True

    def oldest_waiting_ms(self) -> int | None:
        """Return since when the oldest open or set-aside batch waits; None for none."""
        with self.reading() as db:
            (found,) = db.execute(
                "SELECT min(changed_ms) FROM batch WHERE state IN (?, ?)", (BatchState.OPEN, BatchState.ASIDE)
            ).fetchone()
        return None if found is None else int(found)

    def check(self) -> None:
        """Write a test row. Raises JournalError if the file is not writable."""
        with self.transaction() as db:
            db.execute("UPDATE checked SET times = times + 1")

    def state(self, identity: str) -> BatchState | None:
        """Return the state of a frame's batch; None if the frame is not known (any more)."""
        found = self.find(identity)
        return found[0] if found else None

    def find(self, identity: str) -> tuple[BatchState, bytes] | None:
        """Return the state of a frame's batch, and the digest it came with (empty: not known)."""
        with self.reading() as db:
            row = db.execute(
                "SELECT state, digest FROM batch JOIN frame ON batch.number = frame.batch WHERE identity = ?",
                (identity,),
            ).fetchone()
            return (BatchState(row[0]), row[1] or b"") if row else None

    def last_ms(self) -> int:
        """Return when a batch last changed; 0 for none. Raises JournalError."""
        with self.reading() as db:
            (at_ms,) = db.execute("SELECT coalesce(max(changed_ms), 0) FROM batch").fetchone()
            return int(at_ms)

    def note_complete(self, at_ms: int) -> None:
        """Note that frames stored before a time may be missing; 0: none are known to be. Raises JournalError.

        A later time that is known stays: the check of the file and the start note times side by side. This
        process knows it also if the file takes no changes.
        """
        try:
            with self.transaction() as db:
                self._note_complete(db, at_ms)
        except JournalError:
            self.complete_since_ms = max(self.complete_since_ms or 0, at_ms)
            raise

    def taken(self, prefix: str) -> list[KnownRequest]:
        """Return the entries of identities that are `prefix`, ending in "/", and a number.

        Raises JournalError.
        """
        with self.reading() as db:
            return rows.taken(db, prefix)

    def unfinished(self, *states: BatchState) -> list[tuple[str, list[AcceptedFrame]]]:
        """Return the batches in these states, open ones by default, in order. Raises JournalError."""
        with self.reading() as db:
            found = rows.batches_in(db, states or (BatchState.OPEN,))
            return [(token, self._units(db, token, number)) for number, token in found]

    def counts(self) -> dict[BatchState, int]:
        """Return the number of frames by outcome."""
        with self.reading() as db:
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
    def _units(db: sqlite3.Connection, token: str, number: int) -> list[AcceptedFrame]:
        units, damaged = frames.read_units(db, number)
        if damaged:
            raise DamagedFramesError(token, damaged, units)
        return units

    def _make_room(self, db: sqlite3.Connection, size: int) -> None:
        self.dropped_ended += rows.make_room(db, size, self._max_aside_bytes)

    def _has_room(self, db: sqlite3.Connection, size: int) -> bool:
        """Return whether more bytes may be set aside, once there is all the room that can be made."""
        self._make_room(db, size)
        return size + rows.kept_bytes(db) <= self._max_aside_bytes

    def _prune(self, db: sqlite3.Connection, now_ms: int) -> None:
        """Forget done and dropped batches that are too old, and the oldest of too many frames."""
        for _ in range(_PRUNED_AT_ONCE):
            oldest = rows.oldest_over(db)
            if oldest is None:
                return
            number, changed_ms = oldest
            if changed_ms >= now_ms - self._max_age_ms and self._frames <= self._max_identities:
                return
            self._delete(db, number)
            self._note_complete(db, changed_ms + 1)

    def _note_complete(self, db: sqlite3.Connection, at_ms: int) -> None:
        since_ms = max(self.complete_since_ms or 0, at_ms)
        rows.set_complete_since(db, since_ms)
        self.complete_since_ms = since_ms

    def _delete(self, db: sqlite3.Connection, number: int) -> None:
        self._frames -= db.execute("DELETE FROM frame WHERE batch = ?", (number,)).rowcount
        db.execute("DELETE FROM batch WHERE number = ?", (number,))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the file. Raises JournalError for a damaged one."""
        with self._reader_lock:
            try:
                self._reader.execute("BEGIN")
                with self._reader:
                    yield self._reader
            except (sqlite3.Error, ValueError, TypeError) as e:  # the latter: a row that is not Meterhouse's
                raise JournalError(str(e)) from e

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all changes that follow, or none. Raises JournalError."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except (sqlite3.Error, UnicodeDecodeError) as e:  # the latter: of an error's text
                raise JournalError(str(e)) from e


def _connected(path: Path) -> sqlite3.Connection:
    """Open the file; damaged text is read as other text, so that it does not hide the rows beside it."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.text_factory = partial(str, encoding="utf-8", errors="replace")
    return db
