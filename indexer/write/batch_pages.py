"""Reads many batches of the journal in pages: no look at all of them keeps other readers waiting.

There may be a million: a set-aside batch may be one small frame. Sync: runs in threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from indexer.write.batch_state import BatchState
from indexer.write.journal import Journal

#: Batches that are read at once.
_PAGE: Final = 1_000


class BatchFrame(NamedTuple):
    """A frame of a batch, without its bytes. `created_ms`: None if the journal does not know it."""

    token: str
    identity: str
    created_ms: int | None


def frames_of_batches(journal: Journal, states: Sequence[BatchState]) -> Iterator[BatchFrame]:
    """Yield the frames of all batches in these states, batch by batch, in order. Raises JournalError."""
    last, listed = 0, ", ".join(str(int(state)) for state in states)
    while True:
        with journal.reading() as db:
            rows = db.execute(
                "SELECT number, token, identity, created_ms FROM"
                f" (SELECT number, token FROM batch WHERE state IN ({listed}) AND number > ?"
                " ORDER BY number LIMIT ?) LEFT JOIN frame ON frame.batch = number ORDER BY number, position",
                (last, _PAGE),
            ).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        for _, token, identity, created_ms in rows:
            if identity is not None:
                yield BatchFrame(token, identity, created_ms if isinstance(created_ms, int) else None)


def next_waiting(journal: Journal, after: int, last: int) -> list[tuple[int, str]]:
    """Return numbers and tokens of the next set-aside batches after one, up to the last.

    Raises JournalError.
    """
    with journal.reading() as db:
        return db.execute(
            "SELECT number, token FROM batch WHERE state = ? AND number > ? AND number <= ?"
            " AND EXISTS (SELECT 1 FROM frame WHERE batch = number) ORDER BY number LIMIT ?",
            (BatchState.ASIDE, after, last, _PAGE),
        ).fetchall()
