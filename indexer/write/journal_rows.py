"""The tables of the journal's file, and the rows of batches; of frames: indexer/write/journal_frames.py."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import KEPT, BatchState, KeptBatch
from indexer.write.split_by_day import max_blocks

#: The format of the file. It rises where an earlier program would misread the rows, not for a new column.
VERSION: Final = 1
_SCHEMA: Final = """
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
    kept BLOB,
    created_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stored_part (
    token TEXT NOT NULL,
    part TEXT NOT NULL,
    PRIMARY KEY (token, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memory (complete_since_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS checked (times INTEGER NOT NULL);
INSERT INTO checked SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM checked);
CREATE TABLE IF NOT EXISTS journal (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS allowance (parts REAL NOT NULL, at_ms INTEGER NOT NULL);
"""

#: Columns that older files lack: (table, name, type).
_ADDED: Final = (
    ("frame", "digest", "BLOB"),
    ("frame", "retention_days", "INTEGER"),
    ("frame", "kept", "BLOB"),
    ("frame", "created_ms", "INTEGER"),
    ("frame", "hop", "INTEGER"),
    ("frame", "journal_lost", "INTEGER"),  # of all earlier hops; `lost_hops` goes before it
    ("frame", "lost_hops", "INTEGER"),
    ("frame", "sum", "INTEGER"),  # of its bytes and their meaning; NULL: not known
    ("batch", "reason", "TEXT"),
    ("batch", "blocks", "INTEGER"),  # of all batches up to this one, in the table that gets the most
    ("batch", "half_at", "INTEGER"),  # the latest `blocks` when an INSERT may have been stored in part
)

_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS frame_batch ON frame (batch)",
    "CREATE INDEX IF NOT EXISTS batch_state ON batch (state, number)",
)
#: A program that knows no sums may change a frame's bytes; their sum is then not known.
_FORGET_SUM: Final = """
CREATE TRIGGER IF NOT EXISTS frame_changed AFTER UPDATE OF body ON frame WHEN NEW.body NOT NULL
BEGIN UPDATE frame SET sum = NULL WHERE identity = NEW.identity; END
"""
#: The blocks of the latest batch, as SQL.
LATEST_BLOCKS: Final = (
    "coalesce((SELECT blocks FROM batch WHERE blocks NOT NULL ORDER BY number DESC LIMIT 1), 0)"
)

_OVERTAKEN: Final = "may be stored in part, and is too old to be tried again: a retry may count rows twice"
_KEPT: Final = f"({', '.join(str(int(state)) for state in KEPT)})"
#: Kept batches whose senders do not wait.
_ENDED: Final = f"({int(BatchState.ENDED)}, {int(BatchState.TOO_OLD)})"

#: A larger file is not checked for damage while it is opened (indexer/write/journal_check.py).
CHECKED_AT_ONCE: Final = 4 << 20
#: Batches that are looked for at once to make room.
_DROPPED_AT_ONCE: Final = 1_000
#: Frames per request that are examined.
_MAX_TAKEN: Final = 1_000


class KnownRequest(NamedTuple):
    """A known identity: the digest of its bytes (empty: not known), and when it came (0: not known)."""

    digest: bytes
    created_ms: int


def make_tables(db: sqlite3.Connection) -> None:
    """Create missing tables and columns; older rows have NULL in new columns.

    Raises sqlite3.NotSupportedError for a file of a later version, which is not changed.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.NotSupportedError(
            f"the journal has format {version}, of a later Meterhouse: expected at most {VERSION}"
        )
    if version < VERSION:
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.executescript(_SCHEMA)
    for table, name, kind in _ADDED:
        there = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        if name not in there:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    make_indexes(db)


def make_indexes(db: sqlite3.Connection) -> None:
    """Create missing indexes, and the trigger of frames."""
    for sql in (*_INDEXES, _FORGET_SUM):
        db.execute(sql)


def check_small(db: sqlite3.Connection, size: int) -> bool:
    """Check a small file for damage; return whether it was. Raises sqlite3.DatabaseError."""
    if size > CHECKED_AT_ONCE:
        return False
    check_pages(db)
    return True


def check_pages(db: sqlite3.Connection) -> None:
    """Compare all tables with their indexes. Raises sqlite3.DatabaseError where the file is damaged."""
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(
            f"the journal is damaged ({' '.join(found.split())}): expected a whole file, or none"
        )


def add_batch(
    db: sqlite3.Connection,
    token: str,
    state: BatchState,
    units: Sequence[AcceptedFrame],
    now_ms: int,
    reason: str | None = None,
) -> int:
    """Add a batch that is to be written, without its frames; return its number."""
    size = sum(len(unit.body) for unit in units)
    cursor = db.execute(
        "INSERT INTO batch (token, state, bytes, changed_ms, reason, blocks)"
        f" VALUES (?, ?, ?, ?, ?, ? + {LATEST_BLOCKS})",
        (token, state, size, now_ms, reason, max_blocks(units)),
    )
    return cursor.lastrowid or 0


def set_state(
    db: sqlite3.Connection, token: str, state: BatchState, now_ms: int, reason: str | None = None
) -> None:
    """Change the state of a batch."""
    db.execute(
        "UPDATE batch SET state = ?, changed_ms = ?, reason = ? WHERE token = ?",
        (state, now_ms, reason, token),
    )


def split_off(
    db: sqlite3.Connection,
    token: str,
    units: Sequence[AcceptedFrame],
    state: BatchState,
    now_ms: int,
    reason: str,
) -> str:
    """Take frames out of a batch, into one of their own; return its token."""
    other = uuid.uuid4().hex
    number = add_batch(db, other, state, units, now_ms, reason)
    size = sum(len(unit.body) for unit in units)
    db.execute("UPDATE batch SET bytes = max(0, bytes - ?) WHERE token = ?", (size, token))
    db.executemany(
        "UPDATE frame SET batch = ?, position = ? WHERE identity = ?",
        ((number, i, unit.identity) for i, unit in enumerate(units)),
    )
    return other


def batches_in(db: sqlite3.Connection, states: Iterable[BatchState]) -> list[tuple[int, str]]:
    """Return the numbers and tokens of the batches in these states, in order."""
    wanted = ", ".join(str(int(state)) for state in states)
    return db.execute(f"SELECT number, token FROM batch WHERE state IN ({wanted}) ORDER BY number").fetchall()


def stored_parts(db: sqlite3.Connection, token: str) -> set[str]:
    """Return the INSERTs of a batch that are known as stored."""
    return {part for (part,) in db.execute("SELECT part FROM stored_part WHERE token = ?", (token,))}


def note_parts(db: sqlite3.Connection, token: str, parts: Iterable[str]) -> None:
    """Note INSERTs of a batch as stored."""
    db.executemany("INSERT OR IGNORE INTO stored_part VALUES (?, ?)", ((token, part) for part in parts))


def forget_parts(db: sqlite3.Connection, token: str) -> None:
    """Forget the INSERTs of a batch that is over."""
    db.execute("DELETE FROM stored_part WHERE token = ?", (token,))


def drop_bodies(db: sqlite3.Connection, token: str) -> None:
    """Keep only the identities of a batch's frames."""
    db.execute(
        "UPDATE frame SET body = NULL, given_ids = NULL"
        " WHERE batch = (SELECT number FROM batch WHERE token = ?)",
        (token,),
    )


def leave_out(db: sqlite3.Connection, token: str, identities: Iterable[str]) -> int:
    """Forget frames of a batch; return their number."""
    deleted = db.executemany(
        "DELETE FROM frame WHERE identity = ? AND batch = (SELECT number FROM batch WHERE token = ?)",
        [(identity, token) for identity in identities],
    )
    return max(0, deleted.rowcount)


def journal_name(db: sqlite3.Connection) -> str:
    """Return the random name of the journal; an older file gets one."""
    db.execute("INSERT INTO journal SELECT ? WHERE NOT EXISTS (SELECT 1 FROM journal)", (uuid.uuid4().hex,))
    (name,) = db.execute("SELECT name FROM journal").fetchone()
    return str(name)


def allowance(db: sqlite3.Connection) -> tuple[float, int] | None:
    """Return how many parts the indexer might make, and when; None: not known."""
    row = db.execute(
        "SELECT CAST(parts AS REAL), CAST(at_ms AS INTEGER) FROM allowance"
        " WHERE parts NOT NULL AND at_ms NOT NULL"
    ).fetchone()
    return row and (float(row[0]), int(row[1]))


def note_allowance(db: sqlite3.Connection, left: Callable[[], float] | None, at_ms: int) -> None:
    """Note how many parts the indexer may make; None: no one counts them."""
    if left is not None:
        db.execute("DELETE FROM allowance")
        db.execute("INSERT INTO allowance VALUES (?, ?)", (left(), at_ms))


def batch_number(db: sqlite3.Connection, token: str) -> int:
    """Return the number of a batch; 0 for none."""
    row = db.execute("SELECT number FROM batch WHERE token = ?", (token,)).fetchone()
    return int(row[0]) if row else 0


def highest_batch(db: sqlite3.Connection) -> int:
    """Return the highest number that a batch was given; 0 for none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batch'").fetchone()
    return int(row[0]) if row else 0


def keep_overtaken(db: sqlite3.Connection, max_later_blocks: int, now_ms: int, token: str) -> int:
    """Keep set-aside batches that are stored in part, with more later blocks; return their number.

    `token`: and this open one.
    """
    return db.execute(
        "UPDATE batch SET state = ?, changed_ms = ?, reason = ?"
        f" WHERE (state = ? OR (state = ? AND token = ?)) AND half_at < {LATEST_BLOCKS} - ?",
        (BatchState.TOO_OLD, now_ms, _OVERTAKEN, BatchState.ASIDE, BatchState.OPEN, token, max_later_blocks),
    ).rowcount


def kept_batches(db: sqlite3.Connection, limit: int) -> list[KeptBatch]:
    """Return the oldest batches in the states KEPT, in order; if too many, those that only a person ends."""
    found: list[Any] = []
    for states in (_ENDED, f"({int(BatchState.ASIDE)})"):
        found += db.execute(
            "SELECT number, token, state, (SELECT count() FROM frame WHERE batch = number) AS frames, bytes,"
            f" changed_ms, coalesce(reason, '') FROM batch WHERE state IN {states} AND frames > 0"
            " ORDER BY number LIMIT ?",
            (limit - len(found),),
        ).fetchall()
    return [KeptBatch(token, BatchState(state), *rest) for _, token, state, *rest in sorted(found)]


def count_kept(db: sqlite3.Connection) -> dict[BatchState, int]:
    """Return how many batches are in each of the states KEPT."""
    rows = db.execute(
        f"SELECT state, count() FROM batch WHERE state IN {_KEPT}"
        " AND EXISTS (SELECT 1 FROM frame WHERE batch = number) GROUP BY state"
    )
    return dict.fromkeys(KEPT, 0) | {BatchState(state): count for state, count in rows}


def kept_bytes(db: sqlite3.Connection) -> int:
    """Return the bytes of the batches in the states KEPT."""
    (held,) = db.execute(f"SELECT coalesce(sum(bytes), 0) FROM batch WHERE state IN {_KEPT}").fetchone()
    return int(held)


def make_room(db: sqlite3.Connection, size: int, max_bytes: int) -> int:
    """Drop the oldest kept batches whose senders do not wait, until there is room; return their number."""
    lacking, dropped = size + kept_bytes(db) - max_bytes, 0
    while lacking > 0:
        oldest = db.execute(
            f"SELECT number, bytes FROM batch WHERE state IN {_ENDED} ORDER BY number LIMIT ?",
            (_DROPPED_AT_ONCE,),
        ).fetchall()
        if not oldest:
            break
        for number, its_bytes in oldest:
            db.execute(
                "UPDATE batch SET state = iif(state = ?, ?, ?) WHERE number = ?",
                (BatchState.TOO_OLD, BatchState.TOO_OLD_GONE, BatchState.DROPPED, number),
            )
            db.execute("UPDATE frame SET body = NULL, given_ids = NULL WHERE batch = ?", (number,))
            dropped += 1
            lacking -= its_bytes
            if lacking <= 0:
                break
    return dropped


def oldest_over(db: sqlite3.Connection) -> tuple[int, int] | None:
    """Return the number of the oldest batch that is over, and since when; None if there is none."""
    oldest = " UNION ALL ".join(
        f"SELECT * FROM (SELECT * FROM batch WHERE state = {int(state)} ORDER BY number LIMIT 1)"
        for state in (BatchState.DONE, BatchState.DROPPED, BatchState.TOO_OLD_GONE)
    )
    row = db.execute(f"SELECT number, changed_ms FROM ({oldest}) ORDER BY number LIMIT 1").fetchone()
    return row and (int(row[0]), int(row[1]))


def complete_since_ms(db: sqlite3.Connection) -> int | None:
    """Return since when the file has every stored frame (0: always); None: not known, it is new."""
    row = db.execute("SELECT complete_since_ms FROM memory").fetchone()
    if row is not None:
        return int(row[0])
    return None if db.execute("SELECT 1 FROM batch LIMIT 1").fetchone() is None else 0


def set_complete_since(db: sqlite3.Connection, at_ms: int) -> None:
    """Note since when the file has every stored frame; 0: always."""
    db.execute("DELETE FROM memory")
    db.execute("INSERT INTO memory VALUES (?)", (at_ms,))


def taken(db: sqlite3.Connection, prefix: str) -> list[KnownRequest]:
    """Return the entries of identities that are `prefix`, ending in "/", and a number."""
    end = prefix[:-1] + chr(ord("/") + 1)
    rows = db.execute(
        "SELECT identity, digest, created_ms FROM frame WHERE identity > ? AND identity < ? LIMIT ?",
        (prefix, end, _MAX_TAKEN),
    ).fetchall()
    found = ((identity[len(prefix) :].split("/days-")[0], *rest) for identity, *rest in rows)
    return [KnownRequest(name or b"", at_ms or 0) for number, name, at_ms in found if number.isdigit()]
