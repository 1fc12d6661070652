"""Damage to the journal's file: bits of a frame's bytes that flip on the disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def damage_frame(path: Path, identity: str, column: str = "body") -> None:
    """Flip a bit of a frame in a journal; its sum stays."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER IF EXISTS frame_changed")  # the journal makes it again
        (data,) = db.execute(f"SELECT {column} FROM frame WHERE identity = ?", (identity,)).fetchone()
        flipped = bytearray(data)
        flipped[len(flipped) // 2] ^= 1
        db.execute(f"UPDATE frame SET {column} = ? WHERE identity = ?", (bytes(flipped), identity))
