"""Batches of the journal with damaged frames: each is set aside, and holds no other up.

Their senders have no acknowledgement, so they send the frames again. Until then the batch waits: the same
bytes under the same token count once, however much of it is stored. After a minute its other frames are
written without them. Each INSERT of the token is then repeated and dropped by ClickHouse, or is new, so those
count once, too. The damaged frames may be stored: they become a batch that is kept for a person, with their
bytes when these come. So do frames of a batch whose own row, or index, is damaged
(indexer/write/disagreeing_rows.py). Sync: runs in threads.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Final

from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.disagreeing_rows import disagreeing_rows, settle
from indexer.write.health import Health
from indexer.write.journal import DamagedFramesError, Journal, JournalError
from indexer.write.journal_frames import mend_unit, move_units, read_units
from indexer.write.journal_rows import LATEST_BLOCKS, batch_number, drop_bodies, forget_parts, set_state

log = logging.getLogger(__name__)

#: How long a batch waits for its damaged frames: agents send again at least each 15 s.
AWAITED_S: Final = 60.0
DAMAGED: Final = "its bytes in the journal are damaged"
_AWAITED: Final = f"{DAMAGED}: it waits for its senders to send them again"
_KEPT: Final = f"{DAMAGED}, and it may be stored: a retry may count rows twice"


class DamagedBatches:
    """See the module. `stored_of` returns those identities that ClickHouse has. Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        stored_of: Callable[[Collection[str]], Collection[str]],
        metrics: Metrics,
        health: Health,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._stored_of = stored_of
        self._metrics = metrics
        self._health = health
        self._clock_s = clock_s
        self._found_s: dict[str, float] = {}  # by token
        self._awaited: dict[str, str] = {}  # tokens by identity

    def unfinished(self, now_ms: int) -> list[tuple[str, list[AcceptedFrame]]]:
        """Return the open batches of an earlier run, and set the damaged ones aside. Raises JournalError."""
        whole = []
        try:
            if not self._journal.checked:
                self._settle_disagreeing(now_ms)
            for token in self._journal.tokens(BatchState.OPEN):
                try:
                    whole.append((token, self._journal.units(token, (BatchState.OPEN,))))
                except DamagedFramesError as e:
                    self.set_aside(token, e, now_ms)
        except JournalError as e:
            raise JournalError(f"{self._journal.path}: {e}") from e
        return whole

    def _settle_disagreeing(self, now_ms: int) -> None:
        """Let frames leave their batches of which a row disagrees with an index. Raises JournalError."""
        try:
            with self._journal.reading() as db:
                found = disagreeing_rows(db)
        except JournalError:
            # A page that cannot be read may have rows of stored batches alone, which end no start: the check
            # of the whole file tells of it (indexer/write/journal_check.py).
            with self._journal.reading() as db:
                found = disagreeing_rows(db, scan=False)
        if not found:
            return
        self._journal.note_complete(now_ms)  # rows of stored frames may be lost, too
        stored = self._stored("", list(found.identities))
        with self._journal.transaction() as db:
            settle(db, found, stored, now_ms, _KEPT)
        kept = len(found.identities - set(stored))
        self._metrics.frames.labels(outcome="damaged").inc(kept)
        log.error(
            "event=journal_rows_damaged batches=%d frames=%d kept=%d hint=meterhouse set-aside list",
            len(found.batches), len(found.identities), kept,
        )  # fmt: skip

    def set_aside(self, token: str, error: DamagedFramesError, now_ms: int) -> None:
        """Set an open batch aside, whether or not there is room: its bytes are there. Raises JournalError."""
        with self._journal.transaction() as db:
            db.execute(
                "UPDATE batch SET state = ?, changed_ms = ?, reason = ?,"
                f" half_at = coalesce(half_at, {LATEST_BLOCKS}) WHERE token = ? AND state = ?",
                (BatchState.ASIDE, now_ms, _AWAITED, token, BatchState.OPEN),
            )
        self._note(token, error)

    def rest(self, token: str, error: DamagedFramesError, now_ms: int, *, asked: bool) -> list[AcceptedFrame]:
        """Return the frames of a set-aside batch that may be written now without the damaged ones.

        None while those are awaited, unless a person has `asked`, and none if all are damaged. Frames that
        come again meanwhile are mended, and among them. Raises JournalError.
        """
        self._note(token, error)
        stored = self._stored(token, error.identities)
        over = asked or self._clock_s() - self._found_s[token] >= AWAITED_S
        with self._journal.transaction() as db:
            readable, damaged = read_units(db, batch_number(db, token))
            done = [identity for identity in damaged if identity in stored]
            left = [identity for identity in damaged if identity not in stored]
            _move(db, done, BatchState.DONE, now_ms)
            if readable and over:
                _move(db, left, BatchState.TOO_OLD, now_ms)
            elif not left and not readable:
                set_state(db, token, BatchState.DONE, now_ms)
                forget_parts(db, token)
            elif not readable and over:
                set_state(db, token, BatchState.TOO_OLD, now_ms, _KEPT)
        waits = bool(left) and not over
        for identity in done if waits else error.identities:
            self._awaited.pop(identity, None)
        if waits:
            return []
        if left:
            log.error(
                "event=frames_kept token=%s frames=%d error=%s hint=meterhouse set-aside list",
                token, len(left), DAMAGED,
            )  # fmt: skip
        del self._found_s[token]
        return readable

    def mend(self, unit: AcceptedFrame, state: BatchState) -> bool:
        """Take the bytes of a damaged frame that came again, and return True, if they are the same."""
        try:
            if not self._is_damaged(unit.identity, state):
                return False
            with self._journal.transaction() as db:
                mended = mend_unit(db, unit)
        except JournalError as e:
            log.warning("event=frame_not_mended identity=%s error=%s", unit.identity, e)
            return False
        if mended:
            self._awaited.pop(unit.identity, None)
            log.info("event=frame_mended identity=%s", unit.identity)
        return mended

    def _note(self, token: str, error: DamagedFramesError) -> None:
        self._awaited |= dict.fromkeys(error.identities, token)
        self._health.batch_damaged("a batch of the journal is damaged: meterhouse set-aside list")
        if token in self._found_s:
            return
        self._found_s[token] = self._clock_s()
        self._metrics.frames.labels(outcome="damaged").inc(len(error.identities))
        log.error(
            "event=batch_damaged token=%s frames=%d readable=%d effect=it is set aside until senders send the"
            " damaged frames again hint=meterhouse set-aside show %s",
            token, len(error.identities), len(error.readable), token,
        )  # fmt: skip

    def _is_damaged(self, identity: str, state: BatchState) -> bool:
        """Return whether a frame is awaited, or was kept for its damage by this or an earlier process."""
        if identity in self._awaited or state is not BatchState.TOO_OLD:
            return identity in self._awaited
        with self._journal.reading() as db:
            sql = "SELECT reason FROM batch JOIN frame ON batch.number = frame.batch WHERE identity = ?"
            return bool(db.execute(sql, (identity,)).fetchone() == (_KEPT,))

    def _stored(self, token: str, identities: Sequence[str]) -> Collection[str]:
        """Return those damaged frames that ClickHouse has."""
        try:
            return set(self._stored_of(identities))
        except StoreError as e:
            log.warning("event=frames_not_looked_up token=%s error=%s", token, e)
            return ()


def _move(db: sqlite3.Connection, identities: Sequence[str], state: BatchState, now_ms: int) -> None:
    """Take damaged frames out of their batch."""
    if identities:
        other = uuid.uuid4().hex
        move_units(db, identities, other, state, now_ms, _KEPT)
        if state is BatchState.DONE:
            drop_bodies(db, other)
