"""Answers for frames that the journal knows, to senders that repeat them (indexer/write/known_states.py)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.damaged_batches import DamagedBatches
from indexer.write.errors import Unavailable
from indexer.write.journal import Journal, JournalError
from indexer.write.known_states import check_digest, unstored_error


class JournaledFrames:
    """The frames of a journal. `on_failure`: told why it cannot be read. `damaged`: those of damaged ones."""

    def __init__(self, journal: Journal, on_failure: Callable[[str], None], damaged: DamagedBatches) -> None:
        self._journal = journal
        self._on_failure = on_failure
        self._damaged = damaged

    def has(self, unit: AcceptedFrame) -> bool:
        """Return whether the frame is known as stored. Raises WriteError for any other known state."""
        try:
            found = self._journal.find(unit.identity)
        except JournalError as e:
            self._on_failure(str(e))
            raise Unavailable("the journal cannot be read", retry_after_s=5) from e
        if found is None:
            return False
        state, digest = found
        if state in (BatchState.ASIDE, BatchState.TOO_OLD) and self._damaged.mend(unit, state):
            raise unstored_error(state)  # its digest may have been the damage
        check_digest(unit, digest)
        if state in (BatchState.ASIDE, BatchState.OPEN) and unit.lost_hops:
            with suppress(JournalError):  # it comes again
                self._journal.note_lost_hops(unit.identity, unit.lost_hops)
        if state is not BatchState.DONE:
            raise unstored_error(state)
        return True
