"""Batches that others pass, and that `indexer.journal.aside_bytes` has no room to set aside.

They stay open in the journal and are tried again in turn, while later batches are written. Their bytes count
as held (indexer/write/held_bytes.py). While an org has undecided frames among them, further released frames
of it are refused, as they could only join these; all its other frames go on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from indexer.metrics import Metrics
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.gated_batches import orgs_of
from indexer.write.health import Health
from indexer.write.journal import Journal

log = logging.getLogger(__name__)

#: Seconds between two tries of such a batch.
ROOM_WAIT_S: Final = 15
NO_ROOM: Final = "no room to set its batch aside: indexer.journal.aside_bytes"


class RoomlessBatches:
    """The tokens of such batches, with the orgs of undecided frames."""

    def __init__(self, journal: Journal, health: Health, metrics: Metrics) -> None:
        self._journal = journal
        self._health = health
        self._metrics = metrics
        self._orgs: dict[str, set[int]] = {}

    def add(self, token: str, units: Sequence[AcceptedFrame], told: str, *, undecided: bool) -> None:
        """Note a batch that later ones pass."""
        if token not in self._orgs:
            log.error("event=batch_passed token=%s frames=%d error=%s", token, len(units), told)
            self._metrics.frames.labels(outcome="no_room").inc(len(units))
        self._orgs[token] = orgs_of(units) if undecided else set()
        self._health.no_room()

    def end(self, token: str) -> None:
        """Note that a batch is stored or set aside, if it is one of them."""
        if self._orgs.pop(token, None) is not None and not self._orgs:
            self._health.has_room()

    def refuses(self, unit: AcceptedFrame) -> bool:
        """Return whether a frame is released, and its org has undecided ones here."""
        return unit.hop > 0 and any(unit.frame.org_id in orgs for orgs in self._orgs.values())

    def open_units(self, token: str, now_ms: int) -> list[AcceptedFrame]:
        """Return the frames of a batch that may be tried again, with the latest facts about them.

        None if it is stored in part, and its token may be forgotten: it is kept for a person. Raises
        JournalError.
        """
        self._journal.keep_overtaken(now_ms, token)
        return self._journal.units(token, (BatchState.OPEN,))
