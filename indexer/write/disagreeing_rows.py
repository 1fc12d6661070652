"""Finds rows of unfinished batches that disagree with their indexes, in a file that is not checked yet.

SQLite keeps the number, state and token of a batch, and the batch and identity of a frame, twice: in the row
and in an index. After a bit has flipped one of both is wrong, and SQLite reads one or the other. So a batch
would be replayed without its frames, or a frame would be answered as stored that is not.

A whole file is not checked at the start, which would take seconds; unfinished batches are usually few. The
frames of which the batch, its state or its token is not certain leave it: those that ClickHouse has are over,
the others may be stored and are kept for a person. Then the indexes are made again from the rows.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from indexer.write.batch_state import BatchState
from indexer.write.journal_frames import has_sum_of
from indexer.write.journal_rows import drop_bodies, highest_batch, make_indexes

_UNFINISHED: Final = f"({BatchState.OPEN:d}, {BatchState.ASIDE:d})"
_BY_INDEX: Final = f"SELECT number, state FROM batch INDEXED BY batch_state WHERE state IN {_UNFINISHED}"
_BY_ROW: Final = f"SELECT number, state, bytes FROM batch NOT INDEXED WHERE state IN {_UNFINISHED}"
#: The rows of those that the index has, without a look at all others.
_BY_NUMBER: Final = (
    "SELECT number, state, bytes FROM batch NOT INDEXED WHERE number IN"
    f" (SELECT number FROM batch INDEXED BY batch_state WHERE state IN {_UNFINISHED})"
)
#: Batches whose token the index of tokens does not have once, with their number.
_WRONG_TOKENS: Final = (
    "SELECT one.number FROM batch AS one INDEXED BY batch_state"
    " LEFT JOIN batch AS known INDEXED BY sqlite_autoindex_batch_1 ON known.token = one.token"
    f" WHERE one.state IN {_UNFINISHED} AND known.number IS NOT one.number"
)
#: Batches whose frames by the index differ from the frames' rows, or from the batch's bytes. One statement
#: for all: a start waits for it, and there may be a hundred thousand set-aside batches.
_DOUBTFUL: Final = (
    "SELECT batch.number FROM batch INDEXED BY batch_state"
    " LEFT JOIN frame AS known INDEXED BY frame_batch ON known.batch = batch.number"
    " LEFT JOIN frame ON frame.identity = known.identity"
    f" WHERE batch.state IN {_UNFINISHED} GROUP BY batch.state, batch.number"
    " HAVING sum(frame.batch IS NOT known.batch) OR coalesce(sum(length(frame.body)), 0) IS NOT batch.bytes"
)
#: The frames of a batch by the index, and the batch and size of each by its row.
_FRAMES: Final = (
    "SELECT known.identity, frame.batch, length(frame.body) FROM"
    " (SELECT identity FROM frame INDEXED BY frame_batch WHERE batch = ?) AS known"
    " LEFT JOIN frame ON frame.identity = known.identity"
)
_NO_ROW: Final = (None, 0)
#: The frames of several batches by their rows. `+`: not by the index.
_FRAMES_BY_ROW: Final = (
    "SELECT identity, batch, length(body) FROM frame WHERE +batch IN (SELECT value FROM json_each(?))"
)

#: Batch and size of frames by identity; 0 for one with two rows.
_Frames = dict[str, tuple[int | None, int | None]]


@dataclass(slots=True)
class DisagreeingRows:
    """Batches by number, and the identities of frames that leave theirs.

    `frames`: rows of frames disagree with their index. `renamed`: damaged identities, with the right ones.
    """

    batches: set[int] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    frames: bool = False
    renamed: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.batches) or self.frames


def disagreeing_rows(db: sqlite3.Connection, *, scan: bool = True) -> DisagreeingRows:
    """Compare the rows of unfinished batches and their frames with the indexes.

    `scan`: look through all batches, for those that are unfinished by their row alone.
    """
    by_index: dict[int, int] = dict(db.execute(_BY_INDEX).fetchall())
    by_row: dict[int, tuple[int | None, int]] = {}
    for number, *rest in db.execute(_BY_ROW if scan else _BY_NUMBER).fetchall():
        by_row[number] = _NO_ROW if number in by_row else (*rest,)  # two rows: one number is damaged
    numbers = by_index.keys() | by_row.keys()
    out = DisagreeingRows()
    out.batches = {of for of in numbers if by_row.get(of, _NO_ROW)[0] != by_index.get(of)}
    out.batches.update(number for (number,) in db.execute(_WRONG_TOKENS))
    doubtful = {number for (number,) in db.execute(_DOUBTFUL)} - out.batches
    frames = _frames_by_row(db, out.batches | doubtful)
    for number in out.batches:
        out.identities.update(_by_identity(db.execute(_FRAMES, (number,))), frames[number])
    for number in sorted(doubtful):
        _compare_frames(db, number, by_row[number][1], frames[number], out)
    return out


def _compare_frames(
    db: sqlite3.Connection, number: int, size: int, by_row: _Frames, out: DisagreeingRows
) -> None:
    """Note the frames of a batch that its index has and the rows have not, or elsewhere."""
    found = _by_identity(db.execute(_FRAMES, (number,)))
    whole = all(batch == number for batch, _ in found.values())
    # Else the index lacks a frame, or the size is not exact: an ended frame takes a part of it.
    out.frames = out.frames or not whole or by_row.keys() != found.keys()
    unknown = by_row.keys() - found.keys()
    lost = {identity for identity, (batch, _) in found.items() if batch is None and identity not in by_row}
    for identity in list(lost):
        damaged = next((one for one in unknown if has_sum_of(db, one, identity)), None)
        if damaged is not None:
            out.renamed[damaged] = identity
            lost.discard(identity)
    if lost and _size(by_row) == size and all(has_sum_of(db, one, one) for one in unknown):
        lost = set()  # the index has a damaged identity
    out.identities |= lost | {i for i, (batch, _) in found.items() if batch not in (number, None)}


def _frames_by_row(db: sqlite3.Connection, numbers: Collection[int]) -> Mapping[int, _Frames]:
    """Return the frames of batches by number; looks through all frames, once."""
    rows: dict[int, list[tuple[Any, ...]]] = {number: [] for number in numbers}
    if rows:
        for row in db.execute(_FRAMES_BY_ROW, (json.dumps(list(rows)),)):
            rows[row[1]].append(row)
    return {number: _by_identity(found) for number, found in rows.items()}


def _by_identity(rows: Iterable[tuple[Any, ...]]) -> _Frames:
    """Return frames by identity. A damaged page has rows without one."""
    found: _Frames = {}
    for identity, *rest in rows:
        if identity is not None:
            found[identity] = (0, 0) if identity in found else (*rest,)
    return found


def _size(frames: Mapping[str, tuple[int | None, int | None]]) -> int:
    return sum(length or 0 for _, length in frames.values())


def settle(
    db: sqlite3.Connection, found: DisagreeingRows, stored: Collection[str], now_ms: int, reason: str
) -> None:
    """Move the frames into batches of their own, as stored or to be kept, and make the indexes again."""
    if found.batches:
        _rebuild(db, "batch")
    if found.frames:
        _rebuild(db, "frame")
    for damaged, identity in found.renamed.items():
        db.execute("UPDATE OR IGNORE frame SET identity = ? WHERE identity = ?", (identity, damaged))
    for number in found.batches:
        db.execute("UPDATE batch SET state = ?, changed_ms = ? WHERE number = ?",
                   (BatchState.DONE, now_ms, number))  # fmt: skip
    _put(db, found.identities & set(stored), BatchState.DONE, now_ms, None)
    _put(db, found.identities - set(stored), BatchState.TOO_OLD, now_ms, reason)


def _rebuild(db: sqlite3.Connection, table: str) -> None:
    """Copy readable rows into a new table: in the old one a row may be where SQLite does not look for it."""
    (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    highest = highest_batch(db)
    db.execute(sql.replace(table, f"{table}_copy", 1))
    # Without the condition SQLite copies pages, the indexes' too.
    db.execute(f"INSERT OR IGNORE INTO {table}_copy SELECT * FROM {table} WHERE 1")
    db.execute(f"DROP TABLE {table}")
    db.execute(f"ALTER TABLE {table}_copy RENAME TO {table}")
    make_indexes(db)
    db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'batch'", (highest,))


def _put(
    db: sqlite3.Connection, identities: Collection[str], state: BatchState, now_ms: int, reason: str | None
) -> None:
    """Move frames into a batch of their own; one whose row is gone gets another, without bytes."""
    if not identities:
        return
    token = uuid.uuid4().hex
    number = db.execute(
        "INSERT INTO batch (token, state, bytes, changed_ms, reason) VALUES (?, ?, 0, ?, ?)",
        (token, state, now_ms, reason),
    ).lastrowid
    db.executemany(
        "INSERT INTO frame (identity, batch, position) VALUES (?, ?, ?)"
        " ON CONFLICT (identity) DO UPDATE SET batch = excluded.batch, position = excluded.position",
        ((identity, number, at) for at, identity in enumerate(sorted(identities))),
    )
    if state is BatchState.DONE:
        drop_bodies(db, token)
    db.execute(
        "UPDATE batch SET bytes = (SELECT coalesce(sum(length(body)), 0) FROM frame WHERE batch = number)"
        " WHERE number = ?",
        (number,),
    )
