"""Tries set-aside batches again in turn, without a restart, until they are stored.

Owns the times of the attempts: soon at first, then less often while all fail. An attempt is one turn, so live
batches continue in between. An operator may list, show, retry and drop them (`meterhouse set-aside`).

Runs in one event loop; must not know how a batch is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from indexer.clickhouse.faults import Fault
from indexer.periodic_task import PeriodicTask
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_pages import next_waiting
from indexer.write.batch_state import BatchState, KeptBatch
from indexer.write.damaged_batches import DAMAGED, DamagedBatches
from indexer.write.journal import DamagedFramesError, Journal, JournalError

log = logging.getLogger(__name__)

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """Why an attempt to write a batch failed, in words for clients.

    `fault` is None if the journal failed. `ended`: identities of frames that were refused for their bytes.
    `waits`: the batch waits for another indexer. `settles_s`: how long its claims still settle. `left_out`:
    identities of frames that are not stored here.
    """

    told: str
    fault: Fault | None
    ended: frozenset[str] = frozenset()
    waits: bool = False
    settles_s: float = 0.0
    left_out: frozenset[str] = frozenset()

    @property
    def gone(self) -> frozenset[str]:
        """Frames that are no longer of the batch."""
        return self.ended | self.left_out

    @property
    def of_one_batch(self) -> bool:
        """Whether other batches may be stored meanwhile."""
        return self.waits or (self.fault is not None and self.fault.of_one_batch)


class _InThread(Protocol):
    def __call__(self, call: Callable[..., Any], *args: object) -> Awaitable[Any]: ...


class SetAsideBatches:
    """Retries set-aside batches.

    `attempt(token, units)` tries to write a batch and returns None on success. `on_empty` is called when none
    waits. `damaged`: decides about damaged ones.
    """

    def __init__(
        self,
        journal: Journal,
        in_thread: _InThread,
        attempt: Callable[[str, Sequence[AcceptedFrame]], Awaitable[FailedAttempt | None]],
        now_ms: Callable[[], int],
        damaged: DamagedBatches,
        on_mistake: Callable[[str], None],
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_empty = on_empty
        self._damaged = damaged
        self._journal = journal
        self._in_thread = in_thread
        self._attempt = attempt
        self._now_ms = now_ms
        self._turn = asyncio.Lock()
        self._pause_s = _FIRST_S
        self._idle = False  # none waits: a batch that is set aside begins the attempts
        self._task = PeriodicTask("aside", self._work, on_mistake, linger_s=_FIRST_S)

    def start(self) -> None:
        """Start the attempts."""
        self._task.start()

    def wake(self) -> None:
        """Try soon: a batch was set aside."""
        if self._idle:
            self._task.wake()

    async def stop(self) -> None:
        """Stop the attempts. A batch that is being tried stays set aside; its token makes a retry safe."""
        await self._task.stop()

    async def listing(self) -> list[KeptBatch]:
        """Return set-aside and ended batches, the oldest first. Raises JournalError."""
        kept: list[KeptBatch] = await self._in_thread(self._journal.kept)
        return kept

    async def count(self) -> Mapping[BatchState, int]:
        """Return how many there are, by state. Raises JournalError."""
        counted: Mapping[BatchState, int] = await self._in_thread(self._journal.count_kept)
        return counted

    async def units(self, token: str) -> list[AcceptedFrame]:
        """Return the frames of such a batch; none without such a batch. Raises JournalError."""
        units: list[AcceptedFrame] = await self._in_thread(self._journal.units, token)
        return units

    async def retry(self, token: str) -> FailedAttempt | None:
        """Try a batch now. Return None if it is stored. Raises KeyError, JournalError."""
        async with self._turn:
            if not await self._in_thread(self._journal.wait_again, token, self._now_ms()):
                raise KeyError(token)
            return await self._try(token, asked=True)

    async def drop(self, token: str) -> None:
        """Drop a batch. Raises KeyError, JournalError."""
        async with self._turn:
            if not await self._in_thread(self._journal.drop, token, self._now_ms()):
                raise KeyError(token)
        log.warning("event=batch_dropped token=%s", token)

    async def _work(self) -> float | None:
        """Do a round; return the pause until the next one, None if no batch waits."""
        self._idle = False
        try:
            stored = await self._round()
        except JournalError as e:
            log.warning("event=aside_not_read error=%s", e)
            stored = None
        if stored is None:  # none is left, or the journal fails
            self._idle = True
            if not await self._waiting():
                self._on_empty()
                self._pause_s = _FIRST_S
                return None
            self._idle = False
        pause_s = self._pause_s if stored is False else _FIRST_S
        self._pause_s = _FIRST_S if stored else min(2 * pause_s, _LONGEST_S)
        return pause_s

    async def _waiting(self) -> bool:
        try:
            return (await self.count())[BatchState.ASIDE] > 0
        except JournalError:
            return True

    async def _round(self) -> bool | None:
        """Try each batch once; return whether any was stored, None where none waits. Raises JournalError."""
        if kept_batches := await self._in_thread(self._journal.keep_overtaken, self._now_ms()):
            log.error("event=batches_kept count=%d hint=meterhouse set-aside list", kept_batches)
        last, after, stored = await self._in_thread(self._journal.highest_batch), 0, None
        while waiting := await self._in_thread(next_waiting, self._journal, after, last):
            for after, token in waiting:  # noqa: B007  # the last one is where the next page begins
                async with self._turn:
                    failed = await self._try(token)
                stored = bool(stored) or failed is None
                if failed is not None and not failed.of_one_batch:
                    return stored  # the others would fail the same way
        return stored

    async def _try(self, token: str, *, asked: bool = False) -> FailedAttempt | None:
        try:
            units = await self._units(token, asked=asked)
        except JournalError as e:  # others may be whole
            if not isinstance(e, DamagedFramesError):  # it was told when it was found
                log.warning("event=aside_not_read token=%s error=%s", token, e)
            return FailedAttempt(f"{DAMAGED}: drop it", Fault.DAMAGED)
        if not units:
            return None  # stored, dropped or ended meanwhile
        failed = await self._attempt(token, units)
        if failed is not None and failed.ended:
            rest = [unit for unit in units if unit.identity not in failed.gone]
            failed = await self._attempt(token, rest)
        if failed is None:
            log.info("event=batch_stored token=%s frames=%d", token, len(units))
        return failed

    async def _units(self, token: str, *, asked: bool) -> list[AcceptedFrame]:
        """Return the frames that may be written now; none if the batch is over. Raises JournalError."""
        try:
            return await self.units(token)
        except DamagedFramesError as e:
            rest = partial(self._damaged.rest, token, e, self._now_ms(), asked=asked)
            units: list[AcceptedFrame] = await self._in_thread(rest)
            return units or await self.units(token)  # raises again, unless all of them were stored
