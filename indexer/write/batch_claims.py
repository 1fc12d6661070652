"""Claims the frames of the journal's batches where several indexers write, and divides batches.

Owns the part GO of a batch: it is in the journal once the claims are decided, before the first INSERT. From
then on the batch is this indexer's, and its token always means the same frames. Between claim and decision a
released frame waits until all replicas have its claim, and no thread waits with it. Sync: runs in threads.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import KEPT
from indexer.write.errors import Unavailable, WriteError
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.identity import any_indexer
from indexer.write.journal import Journal
from indexer.write.stored_identities import is_remembered

#: The part of a batch whose claims are decided.
GO: Final = "claimed"
#: Beyond this number, batches are forgotten that an operator dropped undecided.
MAX_CLAIMED: Final = 1_000
#: When to send a frame again that another indexer may have.
_WAIT_S: Final = 15


class WaitsError(Exception):
    """Another indexer may have stored a part of these frames; `rest_s`: or their claims settle so long."""

    def __init__(self, text: str, rest_s: float = 0.0) -> None:
        super().__init__(text)
        self.rest_s = rest_s


class SettlingError(WaitsError):
    """The claims of released frames may not be on all replicas before `rest_s` seconds have passed."""

    def __init__(self, rest_s: float) -> None:
        super().__init__("it was released, and its claim is not on all replicas yet", rest_s)


class Decided(NamedTuple):
    """The remaining frames of a batch, and the answers to the others.

    `aside` of these are a set-aside batch now, or the open batch `roomless`, a token with its frames.
    """

    units: list[AcceptedFrame]
    answers: dict[str, WriteError | None]
    aside: int
    roomless: tuple[str, list[AcceptedFrame]] | None = None


class BatchClaims:
    """Claims batches of the journal. `on_left`: told why each frame is not stored here.

    `settle_s`: how long a claim may take until all replicas have it.
    """

    def __init__(
        self,
        claims: FrameClaims,
        journal: Journal,
        on_left: Callable[[Verdict], None] = lambda _: None,
        *,
        settle_s: float = 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_left = on_left
        self._claims = claims
        self._journal = journal
        self._settle_s = settle_s
        self._clock_s = clock_s
        self._claimed_s: dict[str, float] = {}  # by token, of this process; those that are not decided
        self._max_claimed = MAX_CLAIMED

    def acceptable(
        self, units: Sequence[AcceptedFrame]
    ) -> tuple[list[AcceptedFrame], dict[str, WriteError | None]]:
        """Return the frames that may be stored here, and the answers to the others (None: stored).

        Raises StoreError.
        """
        return self._divided(units, self._claims.look(units))

    def decide(self, token: str, units: Sequence[AcceptedFrame], now_ms: int) -> Decided:
        """Claim a batch of the journal, and remove the frames that are not stored here.

        Those that another indexer may have become a batch of their own, so that others do not wait with them:
        a set-aside one if there is room. The batch waits if it has no others.

        Raises StoreError, JournalError, SettlingError and WaitsError.
        """
        claimed = [unit for unit in units if is_remembered(unit.identity)]
        self._claim(token, claimed)
        verdicts = self._claims.verdicts(token, claimed) if claimed else {}
        told = Verdict.UNDECIDED.value
        waiting = [unit for unit in units if verdicts.get(unit.identity) is Verdict.UNDECIDED]
        gone = [identity for identity, verdict in verdicts.items() if verdict is not Verdict.UNDECIDED]
        if waiting and len(waiting) == len(units):
            raise WaitsError(told)
        open_one = self._journal.leave_out(token, gone, GO, waiting, now_ms, told)
        self._claimed_s.pop(token, None)
        left, answered = self._divided(units, verdicts)
        if open_one:
            return Decided(left, answered, 0, (open_one, waiting))
        return Decided(left, answered, len(waiting))

    def _claim(self, token: str, units: Sequence[AcceptedFrame]) -> None:
        """Claim frames, once in this process. Raises StoreError, and SettlingError until that has settled."""
        if token not in self._claimed_s:
            if units:
                self._claims.announce(token, units)
            if not self._settle_s or not any(unit.hop for unit in units):
                return
            if len(self._claimed_s) >= self._max_claimed:
                self._forget_dropped()
            self._claimed_s[token] = self._clock_s()
        rest_s = self._claimed_s[token] + self._settle_s - self._clock_s()
        if rest_s > 0:
            raise SettlingError(rest_s)

    def _forget_dropped(self) -> None:
        """Forget settled batches that are not set aside; an open one claims, and settles, again."""
        aside, settled_s = set(self._journal.tokens(*KEPT)), self._clock_s() - self._settle_s
        self._claimed_s = {
            token: at_s for token, at_s in self._claimed_s.items() if token in aside or at_s > settled_s
        }
        self._max_claimed = MAX_CLAIMED + 2 * len(self._claimed_s)

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
