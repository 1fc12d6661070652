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
#: Frames of them: a batch may have thousands. The last batch is read wholly.
_FRAMES: Final = 10_000


class BatchFrame(NamedTuple):
    """A frame of a batch, without its bytes. `created_ms`: None if the journal does not know it."""

    token: str
    identity: str
    created_ms: int | None


def frames_of_batches(journal: Journal, states: Sequence[BatchState]) -> Iterator[BatchFrame]:
    """Yield the frames of all batches in these states, batch by batch, in order. Raises JournalError."""
    last: int | None = 0
    while last is not None:
        last, frames = _page(journal, states, last)
        yield from frames


def _page(journal: Journal, states: Sequence[BatchState], after: int) -> tuple[int | None, list[BatchFrame]]:
    """Return the frames of the next batches after one, and the last of these; None if there is none."""
    batches = f"batch WHERE state IN ({', '.join(str(int(state)) for state in states)}) AND number > ?"
    counted = f"SELECT number, (SELECT count() FROM frame WHERE batch = number) FROM {batches}"
    last, left = None, _FRAMES
    with journal.reading() as db:
        for number, count in db.execute(f"{counted} ORDER BY number LIMIT ?", (after, _PAGE)).fetchall():
            last, left = number, left - count
            if left <= 0:
                break
        found = db.execute(
            f"SELECT token, identity, created_ms FROM (SELECT number, token FROM {batches} AND number <= ?)"
            " CROSS JOIN frame ON frame.batch = number ORDER BY number, position",
            (after, last or after),
        ).fetchall()
    return last, [
        BatchFrame(token, identity, created_ms if isinstance(created_ms, int) else None)
        for token, identity, created_ms in found
        if identity is not None
    ]


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
