"""Claims the frames of the journal's batches where several indexers write, and divides batches.

Owns the part GO of a batch: it is in the journal once the claims are decided, before the first INSERT. From
then on the batch is this indexer's, and its token always means the same frames. Sync: runs in threads.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Final

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Unavailable, WriteError
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.identity import any_indexer
from indexer.write.journal import Journal

#: The part of a batch whose claims are decided.
GO: Final = "claimed"
#: When to send a frame again that another indexer may have.
_WAIT_S: Final = 15


class WaitsError(Exception):
    """Another indexer may have stored a part of these frames."""


class BatchClaims:
    """Claims batches of the journal. `on_left`: told why each frame is not stored here."""

    def __init__(
        self, claims: FrameClaims, journal: Journal, on_left: Callable[[Verdict], None] = lambda _: None
    ) -> None:
        self._on_left = on_left
        self._claims = claims
        self._journal = journal

    def acceptable(
        self, units: Sequence[AcceptedFrame]
    ) -> tuple[list[AcceptedFrame], dict[str, WriteError | None]]:
        """Return the frames that may be stored here, and the answers to the others (None: stored).

        Raises StoreError.
        """
        return self._divided(units, self._claims.look(units))

    def decide(
        self, token: str, units: Sequence[AcceptedFrame]
    ) -> tuple[list[AcceptedFrame], dict[str, WriteError | None]]:
        """Claim a batch of the journal, and remove the frames that are not stored here.

        Return the remaining frames, and the answers to the others (None: stored). Raises StoreError,
        JournalError, and WaitsError: the batch then waits.
        """
        verdicts = self._claims.claim(token, units)
        if Verdict.UNDECIDED in verdicts.values():
            raise WaitsError(Verdict.UNDECIDED.value)
        self._journal.leave_out(token, list(verdicts), GO)
        return self._divided(units, verdicts)

    def _divided(
        self, units: Sequence[AcceptedFrame], verdicts: dict[str, Verdict]
    ) -> tuple[list[AcceptedFrame], dict[str, WriteError | None]]:
        for verdict in verdicts.values():
            self._on_left(verdict)
        return [u for u in units if u.identity not in verdicts], answers(verdicts)


def answers(verdicts: dict[str, Verdict]) -> dict[str, WriteError | None]:
    """Return the answers to frames that are not stored here; None for stored ones."""
    return {
        identity: None if verdict is Verdict.STORED else Unavailable(verdict.value, _WAIT_S)
        for identity, verdict in verdicts.items()
    }


def divided(units: Sequence[AcceptedFrame]) -> list[tuple[str, list[AcceptedFrame]]]:
    """Return batches with their tokens, for tables that several indexers write.

    Released frames may wait for another indexer, so they are a batch of their own. Messages with a key
    and chunks of a backfill may be sent again to any indexer: each is a batch under its identity, which
    ClickHouse recognises as a token.
    """
    batches: dict[str, list[AcceptedFrame]] = {}
    for unit in units:
        key = unit.identity if any_indexer(unit.identity) else f"/{min(unit.hop, 1)}"
        batches.setdefault(key, []).append(unit)
    return [(key if key[0] != "/" else uuid.uuid4().hex, batch) for key, batch in batches.items()]
