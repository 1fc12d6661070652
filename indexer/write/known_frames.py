"""Knows which frames are stored, as far back as an agent may resend them.

The journal knows the latest. ClickHouse knows those that the journal has forgotten, or never had because its
file is lost or an older copy (indexer/write/stored_identities.py). A frame older than both remember is
refused as too old, since it may be stored. Asked before the writer, which knows the frames in progress.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from indexer.clickhouse.schema import STORED_IDENTITIES, applied_times
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import TOO_OLD, TooOld, Unavailable
from indexer.write.identity_lookups import IdentityLookups
from indexer.write.journal import Journal, JournalError
from indexer.write.stored_identities import StoredIdentities, is_remembered

log = logging.getLogger(__name__)

_DAY_MS: Final = 86_400_000
#: Latest identities; a journal that lacks one is an older copy.
_LATEST: Final = 64
#: A new database has all its migrations within this time.
_NEW_MS: Final = 60_000


class KnownFrames(Protocol):
    @property
    def remembers_s(self) -> int:
        """Minimum seconds that a stored frame is known; 0: unknown."""

    async def has(self, unit: AcceptedFrame) -> bool:
        """Return whether the frame is known as stored, if the writer does not know it. Raises WriteError."""


class NoKnownFrames:
    """Knows no frames: with several indexers the server knows a number of them by their tokens."""

    remembers_s: Final = 0

    async def has(self, unit: AcceptedFrame) -> bool:  # noqa: ARG002
        """Return False: the server knows."""
        return False


class RememberedFrames:
    """Asks the journal and ClickHouse.

    `days`: how long ClickHouse remembers. `ahead_ms`: how far an agent's clock may be ahead of ours.
    `began_ms`: when the database was made. `since_ms`: when it began to remember; 0: then.
    """

    def __init__(
        self,
        journal: Journal,
        stored: StoredIdentities,
        metrics: Metrics,
        *,
        began_ms: int,
        since_ms: int,
        days: int,
        ahead_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._journal = journal
        self._lookups = IdentityLookups(stored.stored_of)
        self._metrics = metrics
        self._began_ms = began_ms
        self._since_ms = since_ms
        self._days = days
        self._ahead_ms = ahead_ms
        self._now_ms = now_ms

    @property
    def remembers_s(self) -> int:
        """Seconds that ClickHouse remembers a stored frame."""
        return self._days * _DAY_MS // 1000

    async def has(self, unit: AcceptedFrame) -> bool:
        """Return whether journal or ClickHouse knows the frame as stored. Raises WriteError."""
        complete_ms = self._journal.complete_since_ms or 0
        created_ms = unit.frame.created_ms
        forgotten = complete_ms and created_ms < complete_ms + self._ahead_ms
        if not forgotten or not is_remembered(unit.identity):
            return False
        try:
            if self._journal.find(unit.identity) is not None:
                return False
        except JournalError as e:
            raise Unavailable("the journal cannot be read", retry_after_s=5) from e
        if created_ms < min(complete_ms, self._remembered_ms()):
            self._count("too_old")
            await asyncio.to_thread(self._keep, unit)
            raise TooOld(again=False)
        try:
            found = await self._lookups.has(unit.identity)
        except StoreError as e:
            raise Unavailable("the store does not say whether the frame is stored", retry_after_s=5) from e
        self._count("stored" if found else "new")
        return found

    def _remembered_ms(self) -> int:
        """Return since when ClickHouse remembers frames; 0: always."""
        oldest_ms = self._now_ms() - self._days * _DAY_MS
        return max(self._since_ms, oldest_ms if oldest_ms > self._began_ms else 0)

    def _keep(self, unit: AcceptedFrame) -> None:
        """Keep the frame for the operator (`meterhouse set-aside`)."""
        with suppress(JournalError):  # it is refused all the same
            self._journal.keep(uuid.uuid4().hex, unit, self._now_ms(), TOO_OLD)

    def _count(self, outcome: str) -> None:
        self._metrics.identity_lookups.labels(outcome=outcome).inc()


def open_known_frames(
    store: Store,
    journal: Journal | None,
    stored: StoredIdentities | None,
    metrics: Metrics,
    settings: Settings,
    now_ms: Callable[[], int],
    applied_ms: Mapping[int, int] | None = None,
) -> KnownFrames:
    """Find out how far back the journal is complete; call it after the unfinished batches are written.

    `applied_ms`: when each migration was applied; None: it is read. Raises StoreError and JournalError.
    """
    if journal is None or stored is None:
        return NoKnownFrames()
    applied = applied_times(store) if applied_ms is None else applied_ms
    began_ms, since_ms = applied.get(1, 0), applied.get(STORED_IDENTITIES, 0)
    if since_ms - began_ms < _NEW_MS:
        since_ms = 0
    known = journal.complete_since_ms
    if _lacks_frames(journal, stored, shared=not store.embedded, remembers=since_ms > 0):
        log.warning(
            "event=journal_behind effect=frames sent again are looked up in ClickHouse"
            " hint=the journal is new or an older copy"
        )
        known = now_ms()
    if known != journal.complete_since_ms or known is None:
        journal.note_complete(known or 0)
    days, ahead_ms = settings.journal.identity_days, settings.bounds.future_s * 1000
    return RememberedFrames(
        journal,
        stored,
        metrics,
        began_ms=began_ms,
        since_ms=since_ms,
        days=days,
        ahead_ms=ahead_ms,
        now_ms=now_ms,
    )


def _lacks_frames(journal: Journal, stored: StoredIdentities, *, shared: bool, remembers: bool) -> bool:
    """Return whether the journal may lack frames: it is new or an older copy.

    `shared`: ClickHouse has identities of other journals, too. `remembers`: an older database began to
    remember them with a migration. Raises StoreError and JournalError.
    """
    known = journal.complete_since_ms
    if shared:
        behind = stored.last_batch(journal.name) > journal.highest_batch()
        return behind or (known is None and (remembers or stored.any()))
    behind = stored.last_ms() > journal.last_ms()  # clocks may step: the frames are looked for, too
    latest = stored.latest(_LATEST)
    return (
        (known is None and remembers) or behind or any(journal.state(identity) is None for identity in latest)
    )
