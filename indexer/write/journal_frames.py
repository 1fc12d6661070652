"""The rows of frames in the journal's file: the conversion of frames to rows and back, and damaged ones."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from agent.wire import frame as wire
from agent.wire.release import earlier_hops
from indexer.clickhouse.retention import Retention
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState

#: The columns that `sum` covers, as SQL.
_SUMMED: Final = "identity, body, given_ids, digest, retention_days, kept, hop"
#: The hops of a frame whose journals are lost, as SQL; older files say it of all.
_LOST_HOPS: Final = "coalesce(lost_hops, iif(journal_lost, (1 << hop) - 1, 0))"


def add_units(db: sqlite3.Connection, batch: int, units: Sequence[AcceptedFrame]) -> None:
    """Add the frames of a batch, in order."""
    db.executemany(
        "INSERT INTO frame (batch, position, identity, body, given_ids, digest, retention_days, kept,"
        " created_ms, hop, journal_lost, lost_hops, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((batch, i, *_recorded(unit)) for i, unit in enumerate(units)),
    )


def move_ended(db: sqlite3.Connection, batch: int, unit: AcceptedFrame) -> None:
    """Take a frame into a batch of its own, with the bytes that are not stored."""
    facts = "batch = ?, position = 0, body = ?"
    db.execute(f"UPDATE frame SET {facts} WHERE identity = ?", (batch, unit.body, unit.identity))
    (row,) = db.execute(f"SELECT {_SUMMED} FROM frame WHERE identity = ?", (unit.identity,))
    db.execute("UPDATE frame SET sum = ? WHERE identity = ?", (_sum(*row), unit.identity))


def read_units(db: sqlite3.Connection, batch: int) -> tuple[list[AcceptedFrame], list[str]]:
    """Return the frames of a batch whose bytes are kept, and the identities of damaged ones."""
    rows = db.execute(
        f"SELECT {_SUMMED}, {_LOST_HOPS}, sum FROM frame WHERE batch = ? ORDER BY position", (batch,)
    ).fetchall()
    units: list[AcceptedFrame] = []
    damaged: list[str] = []
    for row in rows:
        try:
            units.append(_unit(row))
        except (wire.FrameError, msgspec.DecodeError, ValueError, TypeError):  # the last: NULL for bytes
            damaged.append(str(row[0]))
    return units, damaged


def mend_unit(db: sqlite3.Connection, unit: AcceptedFrame) -> bool:
    """Replace the damaged values of a frame by those that came again; return whether they are the same.

    The frame's sum tells that, or all other values if the sum, or the digest, is damaged.
    """
    row = db.execute(f"SELECT {_SUMMED}, sum FROM frame WHERE identity = ?", (unit.identity,)).fetchone()
    if row is None:
        return False
    *facts, known_sum = row
    came = _facts(unit)
    decided = (*came[:4], *facts[4:])  # with the decisions about it then: settings change
    if known_sum == _sum(*decided):
        same: tuple[Any, ...] = decided
    elif known_sum == _sum(*came) or (*facts[:3], *facts[4:]) == (*came[:3], *came[4:]):
        same = came
    else:
        return False
    db.execute(
        "UPDATE frame SET body = ?, given_ids = ?, digest = ?, retention_days = ?, kept = ?, hop = ?"
        " WHERE identity = ?",
        (*same[1:], unit.identity),
    )
    db.execute("UPDATE frame SET sum = ? WHERE identity = ?", (_sum(*same), unit.identity))
    return True


def has_sum_of(db: sqlite3.Connection, known: str, identity: str) -> bool:
    """Return whether the sum of the one row of a frame fits this identity, perhaps another than it has."""
    found = db.execute(f"SELECT {_SUMMED}, sum FROM frame WHERE +identity = ?", (known,)).fetchall()
    return len(found) == 1 and found[0][-1] == _sum(identity, *found[0][1:-1])


def move_units(
    db: sqlite3.Connection, identities: Sequence[str], token: str, state: BatchState, now_ms: int, reason: str
) -> None:
    """Take frames out of their batch, into one of their own, whatever their bytes."""
    number = db.execute(
        "INSERT INTO batch (token, state, bytes, changed_ms, reason) VALUES (?, ?, 0, ?, ?)",
        (token, state, now_ms, reason),
    ).lastrowid
    for i, identity in enumerate(identities):
        size = "coalesce((SELECT length(body) FROM frame WHERE identity = ?), 0)"
        db.execute(
            f"UPDATE batch SET bytes = max(0, bytes - {size})"
            " WHERE number = (SELECT batch FROM frame WHERE identity = ?)",
            (identity, identity),
        )
        db.execute(f"UPDATE batch SET bytes = bytes + {size} WHERE number = ?", (identity, number))
        db.execute("UPDATE frame SET batch = ?, position = ? WHERE identity = ?", (number, i, identity))


def note_lost_hops(db: sqlite3.Connection, identity: str, hops: int) -> None:
    """Note the earlier hops of a frame whose journals are lost."""
    db.execute(f"UPDATE frame SET lost_hops = {_LOST_HOPS} | ? WHERE identity = ?", (hops, identity))


def _unit(row: tuple[Any, ...]) -> AcceptedFrame:
    *facts, lost, known_sum = row
    if known_sum not in (None, _sum(*facts)):
        raise wire.FrameError("the bytes of a frame are damaged")
    identity, body, given, digest, retention_days, kept, hop = facts
    return AcceptedFrame(
        identity,
        body,
        _decoded(body, retention_days),
        msgspec.msgpack.decode(given, type=dict[int, int]),
        digest or b"",
        msgspec.msgpack.decode(kept, type=Retention) if kept else None,
        hop or 0,
        lost or 0,
    )


def _sum(*facts: str | bytes | int | None) -> int:
    return zlib.crc32(msgspec.msgpack.encode(facts))


def _recorded(unit: AcceptedFrame) -> tuple[object, ...]:
    """Return the values that a frame is restored from, in the order of the INSERT."""
    *facts, hop = summed = _facts(unit)
    all_lost = hop > 0 and unit.lost_hops == earlier_hops(hop)
    return *facts, unit.frame.created_ms, hop, int(all_lost), unit.lost_hops, _sum(*summed)


def _facts(unit: AcceptedFrame) -> tuple[str, bytes, bytes, bytes, int, bytes | None, int]:
    """Return the values that the sum covers, in its order."""
    given = msgspec.msgpack.encode(unit.given_ids)
    kept = msgspec.msgpack.encode(unit.kept) if unit.kept else None
    return unit.identity, unit.body, given, unit.digest, unit.frame.retention_days, kept, unit.hop


def _decoded(body: bytes, retention_days: int | None) -> wire.Frame:
    """Return the frame with the decided retention; None: written before it was rounded."""
    frame = wire.decode(body)
    if retention_days is None or retention_days == frame.retention_days:
        return frame
    return msgspec.structs.replace(frame, retention_days=retention_days)
