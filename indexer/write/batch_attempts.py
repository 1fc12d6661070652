"""One attempt to write a batch of the journal: claims, INSERTs, the mark that it is stored.

Owns the meaning of each failure. Runs in one event loop; the store's calls run in threads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import GO, BatchClaims, Decided, WaitsError
from indexer.write.ended_frames import end_refused
from indexer.write.errors import WriteError
from indexer.write.gated_batches import DELETED, GATE_LOOK_S, GatedBatches
from indexer.write.health import Health
from indexer.write.inserter import Inserter
from indexer.write.journal import Journal, JournalError
from indexer.write.set_aside_batches import FailedAttempt

log = logging.getLogger(__name__)


class _InThread(Protocol):
    def __call__(self, call: Callable[..., Any], *args: object) -> Awaitable[Any]: ...


class BatchAttempts:
    """Writes batches of the journal.

    `claims`: where several indexers write. `on_divided` is told when undecided frames left a batch.
    """

    def __init__(
        self,
        inserter: Inserter,
        journal: Journal,
        metrics: Metrics,
        health: Health,
        in_thread: _InThread,
        *,
        gated: GatedBatches,
        claims: BatchClaims | None,
        on_divided: Callable[[str, Decided], None],
    ) -> None:
        self._inserter = inserter
        self._journal = journal
        self._metrics = metrics
        self._health = health
        self._in_thread = in_thread
        self._gated = gated
        self._claims = claims
        self._on_divided = on_divided

    async def attempt(
        self,
        token: str,
        units: Sequence[AcceptedFrame],
        *,
        first: bool = False,
        answers: dict[str, WriteError | None] | None = None,
    ) -> FailedAttempt | None:
        """Try once to write a batch of the journal; return None if it is stored and marked.

        Frames that are not stored here leave the batch; their answers are added to `answers`. `first`: the
        caller has entered the gate of INSERTs.
        """
        with nullcontext(True) if first else self._gated.passing(units) as entered:
            if not entered:
                return FailedAttempt(DELETED, None, waits=True, settles_s=GATE_LOOK_S)
            return await self._try(token, units, first=first, answers=answers)

    async def _try(
        self,
        token: str,
        units: Sequence[AcceptedFrame],
        *,
        first: bool,
        answers: dict[str, WriteError | None] | None,
    ) -> FailedAttempt | None:
        out: dict[str, WriteError | None] = {}
        try:
            began = time.perf_counter()
            rows = 0
            stored = () if first else await self._in_thread(self._journal.stored_parts, token)
            if self._claims is not None and units and GO not in stored:
                decided = await self._in_thread(self._claims.decide, token, units, _now_ms())
                units, out = decided.units, decided.answers
                (answers if answers is not None else {}).update(out)
                self._on_divided(token, decided)
            if units:
                rows = await self._in_thread(
                    partial(self._inserter.insert, token, units, first=first, stored=stored, entered=True)
                )
                self._health.store_works()
            await self._in_thread(self._journal.finish, token, _now_ms())
        except JournalError as e:  # the rows are in, the mark is not: the same again changes nothing
            self._health.journal_failed(str(e))
            return FailedAttempt(str(e), None, left_out=frozenset(out))
        except StoreError as e:
            return replace(await self._failed(token, units, e), left_out=frozenset(out))
        except WaitsError as e:
            return FailedAttempt(str(e), None, waits=True, settles_s=e.rest_s)
        except Exception as e:  # a mistake of ours: it must not stop the other batches
            log.exception("event=batch_failed token=%s", token)
            told = f"a mistake of Meterhouse: {type(e).__name__}"
            return FailedAttempt(told, Fault.STATEMENT, left_out=frozenset(out))
        self._health.journal_works()
        self._metrics.wrote(len(units), rows, time.perf_counter() - began)
        return None

    async def _failed(self, token: str, units: Sequence[AcceptedFrame], error: StoreError) -> FailedAttempt:
        """Note a failure; take frames whose bytes caused it out of the batch."""
        self.store_failed(error)
        half = bool(error.kind) and not error.fault.before_rows
        if half or error.stored:
            try:
                await self._in_thread(partial(self._journal.note_parts, token, error.stored, half=half))
            except JournalError as e:  # so it is as if it were not known
                log.warning("event=parts_not_noted token=%s error=%s", token, e)
        ended = await self._in_thread(
            end_refused, self._inserter, self._journal, token, units, error, _now_ms()
        )
        self._metrics.frames.labels(outcome="refused").inc(len(ended))
        return FailedAttempt(error.told, error.fault, frozenset(unit.identity for unit in ended))

    def store_failed(self, error: StoreError) -> None:
        """Note a failed call of the store."""
        self._metrics.store_failed(error)
        self._health.store_failed(error)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
