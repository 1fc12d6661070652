"""Writes frames exactly once: acknowledges a frame when all its rows are in ClickHouse.

Two ways, one interface (indexer/write/writer.py):

* JournalWriter, with a journal on a disk. Frames that come while a batch is being written form the next
  one (group commit). Batch and frames are committed to the journal, then inserted under the batch's token,
  then marked done. A crash anywhere leaves an unfinished batch, which is written again under the same token
  at the next start; a resent frame is known by its identity.
* FrameWriter (indexer/write/frame_writer.py), without a disk.

A failure of ClickHouse never ends a frame, unless the frame's own bytes cause it
(indexer/clickhouse/faults.py). A batch that others could pass is set aside
(indexer/write/set_aside_batches.py); any other failure is waited out.

Runs in one event loop; the store's calls run in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from typing import Final, TypeVar

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import Store, StoreError
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.ahead_of_batch import AheadOfBatch
from indexer.write.attempt_pauses import AttemptPauses
from indexer.write.batch_attempts import BatchAttempts
from indexer.write.batch_claims import BatchClaims, Decided, divided
from indexer.write.batch_turns import BatchTurns, TakenBatch
from indexer.write.batcher import Batcher
from indexer.write.damaged_batches import DamagedBatches
from indexer.write.errors import Refused, Unavailable, WriteError
from indexer.write.frame_claims import Verdict
from indexer.write.gated_batches import GatedBatches
from indexer.write.health import Health
from indexer.write.inserter import Inserter
from indexer.write.journal import DamagedFramesError, Journal, JournalError
from indexer.write.journal_check import JournalCheck
from indexer.write.journaled_frames import JournaledFrames
from indexer.write.known_states import ASIDE_WAIT_S, check_digest
from indexer.write.limited_frames import LimitedFrames
from indexer.write.roomless_batches import NO_ROOM, ROOM_WAIT_S, RoomlessBatches
from indexer.write.series_limit import SeriesLimit
from indexer.write.set_aside_batches import FailedAttempt, SetAsideBatches
from indexer.write.settling_batches import BegunBatch, SettlingBatches
from indexer.write.shared_pace import SharedPace
from indexer.write.waiting_frames import WaitingFrames

log = logging.getLogger(__name__)

T = TypeVar("T")

_UNDECIDED: Final = Verdict.UNDECIDED.value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class JournalWriter:
    """Writes batches through the journal.

    `claims`: where several indexers write.
    """

    def __init__(
        self,
        store: Store,
        inserter: Inserter,
        journal: Journal,
        settings: Settings,
        metrics: Metrics,
        limit: SeriesLimit | None = None,
        health: Health | None = None,
        claims: BatchClaims | None = None,
    ) -> None:
        self._claims = claims
        self._pace = SharedPace(
            store, journal, settings.batch.parts_per_s if claims is not None else 0.0, metrics
        )
        self._health = health or Health()
        self._inserter = inserter
        self._journal = journal
        self._settings = settings
        self._metrics = metrics
        self._now_ms = _now_ms
        paced = claims is not None and settings.batch.parts_per_s > 0
        self._batcher = Batcher(settings.batch, settings.bounds.queue_bytes, paced=paced)
        self._ahead = AheadOfBatch(inserter, self._pace, self._health, self._in_thread, on=paced)
        self._turns = BatchTurns()
        self._gated = GatedBatches(inserter.gate)
        self._attempts = BatchAttempts(
            inserter, journal, metrics, self._health, self._in_thread,
            gated=self._gated, claims=claims, on_divided=self._note_divided,
        )  # fmt: skip
        self._waiting = WaitingFrames()
        self._damaged = DamagedBatches(journal, inserter.stored_of, metrics, self._health)
        self._known = JournaledFrames(journal, self._health.journal_failed, self._damaged)
        self._limited = LimitedFrames(limit, inserter, metrics, self._attempts.store_failed)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-writer")
        self._check = JournalCheck(journal, self._now_ms)
        self._came = asyncio.Event()
        self._settling = SettlingBatches(self._came.set)
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None
        self._left: list[BegunBatch] = []
        self._roomless = RoomlessBatches(journal, self._health, metrics)
        ask = partial(store.rows, "SELECT 1")
        self._pauses = AttemptPauses(self._in_thread, ask, self._health.store_failed)
        self.aside = SetAsideBatches(
            journal, self._in_thread, self._attempts.attempt, self._now_ms,
            self._damaged, metrics.mistake, self._health.nothing_aside,
        )  # fmt: skip

    @property
    def held_bytes(self) -> int:
        """Bytes of frames that wait or are being written."""
        return self._batcher.held_bytes

    def oldest_waiting_s(self) -> float:
        """Return how long the oldest frame in progress has waited; 0 for none."""
        return self._waiting.oldest_s(self._gated.closed)

    async def start(self) -> None:
        """Begin to write, the unfinished batches of an earlier run before all else.

        Where other indexers write, too, frames are received meanwhile. Embedded, each batch is tried once
        before: ClickHouse's identities are compared with the journal next (indexer/write/known_frames.py).
        """
        self._pace.start()
        for token, units in await self._in_thread(self._damaged.unfinished, self._now_ms()):
            log.info("event=replay token=%s frames=%d", token, len(units))
            self._metrics.replayed.inc()
            rest = units if self._claims is not None else await self._tried_once(token, units)
            if rest is not None:
                self._left.append(BegunBatch(token, rest, rest, {}, held=False))
                for unit in rest:
                    self._waiting.add(unit)  # sent again, they wait for this batch
        self._loop_task = asyncio.create_task(self._run(), name="indexer-writer")
        self.aside.start()
        self._check.start()

    async def _tried_once(self, token: str, units: Sequence[AcceptedFrame]) -> list[AcceptedFrame] | None:
        """Try to write a batch; return the frames that are left, None if it is done or set aside."""
        failed = await self._attempts.attempt(token, units)
        if failed is None or await self._set_aside_if_alone(token, units, failed):
            return None
        return [unit for unit in units if unit.identity not in failed.gone]

    async def write(self, unit: AcceptedFrame) -> None:
        """Write a frame with the next batch. Raises WriteError."""
        held = self._waiting.get(unit.identity)
        if held is not None:
            check_digest(unit, held.digest)
            self._metrics.frames.labels(outcome="repeated").inc()
            future = held.future
        elif self._known.has(unit):
            self._metrics.frames.labels(outcome="repeated").inc()
            return
        else:
            future = self._queue(unit)
        try:
            async with asyncio.timeout(self._settings.acknowledge_s):
                await asyncio.shield(future)
        except TimeoutError:
            raise Unavailable("not written yet") from None

    async def knows(self, unit: AcceptedFrame) -> bool:
        """Return whether the journal knows the frame as stored. Raises WriteError."""
        if unit.identity in self._waiting or not self._known.has(unit):
            return False
        self._metrics.frames.labels(outcome="repeated").inc()
        return True

    async def stop(self, deadline_s: float) -> None:
        """Write the waiting frames until the deadline, then stop."""
        self._stopping = True
        self._came.set()
        self._settling.stop()
        await self.aside.stop()
        if self._loop_task is not None:
            await asyncio.wait([self._loop_task], timeout=deadline_s)
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        await asyncio.to_thread(self._check.stop)
        self._threads.shutdown()
        self._waiting.end_all(Unavailable("shutting down"))
        self._journal.close()

    def _queue(self, unit: AcceptedFrame) -> asyncio.Future[None]:
        if self._stopping:
            raise Unavailable("shutting down", begun=False)
        if self._roomless.refuses(unit):
            self._metrics.refused.labels(reason="no_room").inc()
            raise Unavailable(NO_ROOM, ROOM_WAIT_S, begun=False)
        if not self._batcher.offer(unit, _steady_ms()):
            self._metrics.refused.labels(reason="queue_full").inc()
            raise Unavailable("too much is waiting to be written", begun=False)
        self._came.set()
        return self._waiting.add(unit)

    async def _run(self) -> None:
        while self._left:
            await self._write_begun(self._left.pop(0))
        while True:
            if self._settling:
                await self._write_again(self._settling.pop())
                continue
            now_ms, closed = _steady_ms(), self._gated.closed
            self._turns.put_back(self._gated.opened())
            wait_ms = self._batcher.ready_in_ms(now_ms, self._pace.wait_ms(), closed)
            if wait_ms == 0 or (wait_ms is not None and self._stopping):
                units = self._batcher.take(closed)
                self._turns.add(divided(units) if self._claims else [(uuid.uuid4().hex, units)])
            if self._turns:
                with self._gated.entered(self._turns.pop()) as batch:
                    if batch is not None:
                        await self._write_next(batch)
                continue
            if wait_ms is None and self._stopping:
                return
            await self._wait(wait_ms, now_ms, closed)

    async def _wait(self, wait_ms: int | None, now_ms: int, closed: frozenset[int]) -> None:
        """Wait until the next batch or something new; prepare frames in the meantime."""
        last_ms = self._batcher.last_ms
        rest_ms = None if wait_ms is None else self._ahead.rest_ms(last_ms, now_ms)
        if rest_ms == 0:
            await self._ahead.prepare(self._batcher.waiting(closed), last_ms)
            return
        if wait_ms is not None and rest_ms is not None:
            wait_ms = min(wait_ms, rest_ms)
        self._came.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gated.wait_s(wait_ms)):
                await self._came.wait()

    async def _write_next(self, batch: TakenBatch) -> None:
        """Commit a new batch to the journal, and write it."""
        answers: dict[str, WriteError | None] = {}
        units = await self._begin(batch, answers)
        begun = BegunBatch(batch.token, units, batch.units, answers, held=True)
        if units:
            with self._pace.unowed() if batch.alone else nullcontext():
                await self._write_begun(begun, first=True)
        else:
            self._end(begun, answers)

    async def _write_begun(self, batch: BegunBatch, *, first: bool = False) -> None:
        """Write a batch of the journal, however long it takes, and answer its senders.

        One that settles continues later, without the frames that left it. `first`: it was never tried.
        """
        token, units, answers = batch.token, batch.units, dict(batch.answers)
        failures = tries = 0
        while (
            failed := await self._attempts.attempt(token, units, first=first, answers=answers)
        ) is not None:
            first = False
            units = [unit for unit in units if unit.identity not in failed.gone]
            if failed.settles_s:
                self._settling.add(batch._replace(units=units, answers=answers), failed.settles_s)
                return
            if failed.ended:
                answers |= dict.fromkeys(failed.ended, Refused(failed.told))
                continue
            failures += failed.fault is Fault.OTHER and await self._pauses.answers()
            aside = await self._set_aside_if_alone(token, units, failed, failures)
            if aside is not False:
                told = Unavailable(failed.told, retry_after_s=ASIDE_WAIT_S)
                answers |= dict.fromkeys((unit.identity for unit in units), told)
                self._end(batch, answers, over=aside is True)
                if aside is None:
                    self._let_pass(token, units, failed.told, undecided=failed.waits)
                return
            await self._pauses.wait(tries, failed.fault)
            tries += 1
        self._end(batch, answers)

    def _end(self, batch: BegunBatch, answers: Mapping[str, WriteError | None], *, over: bool = True) -> None:
        """Answer the senders of a batch; `over`: it is stored or set aside."""
        if batch.held:
            self._batcher.release(batch.senders)
        if not batch.passed:
            self._waiting.end(batch.senders, answers)
        if over:
            self._roomless.end(batch.token)

    def _let_pass(self, token: str, units: Sequence[AcceptedFrame], told: str, *, undecided: bool) -> None:
        """Let later batches go before one that does not fit into the set-aside ones."""
        self._roomless.add(token, units, told, undecided=undecided)
        self._batcher.hold(units)
        batch = BegunBatch(token, units, list(units), {}, held=True, passed=True)
        self._settling.add(batch, ROOM_WAIT_S)

    async def _write_again(self, batch: BegunBatch) -> None:
        """Write a batch that waited while others were written."""
        if batch.passed:
            try:
                units = await self._in_thread(self._roomless.open_units, batch.token, self._now_ms())
            except DamagedFramesError as e:
                await self._set_damaged_aside(batch, e)
                return
            except JournalError as e:
                self._health.journal_failed(str(e))
                self._settling.add(batch, ROOM_WAIT_S)
                return
            if not units:
                self._end(batch, {})
                return
            batch = batch._replace(units=units)
        await self._write_begun(batch)

    async def _set_damaged_aside(self, batch: BegunBatch, error: DamagedFramesError) -> None:
        try:
            await self._in_thread(self._damaged.set_aside, batch.token, error, self._now_ms())
        except JournalError as e:
            self._health.journal_failed(str(e))
            self._settling.add(batch, ROOM_WAIT_S)
        else:
            self._end(batch, {})
            self.aside.wake()

    async def _begin(
        self, batch: TakenBatch, answers: dict[str, WriteError | None]
    ) -> Sequence[AcceptedFrame]:
        """Commit a new batch to the journal; return its frames, and add the answers to others."""
        token: str = batch.token
        units: Sequence[AcceptedFrame] = batch.units
        try:
            if self._claims is not None:
                units, left = await self._pauses.until_there(
                    self._claims.acceptable,
                    units,
                    failed=self._attempts.store_failed,
                    stops=lambda: self._stopping,
                )
                answers.update(left)
            if not units:
                return ()
            written = await self._in_thread(self._limited.folded, units)
            await self._in_thread(partial(self._pace.begin, alone=batch.alone))
            await self._in_thread(self._journal.begin, token, written, self._now_ms())
        except StoreError as e:
            self._attempts.store_failed(e)
            unavailable = Unavailable(e.told, retry_after_s=5, begun=False)
        except JournalError as e:  # the disk: the frames' senders keep them
            self._health.journal_failed(str(e))
            unavailable = Unavailable(f"journal: {e}", retry_after_s=5, begun=False)
        else:
            self._health.journal_works()
            return written
        answers.update(dict.fromkeys((unit.identity for unit in units), unavailable))
        return ()

    async def _set_aside_if_alone(
        self, token: str, units: Sequence[AcceptedFrame], failed: FailedAttempt, failures: int = 0
    ) -> bool | None:
        """Set a batch aside if others may be stored meanwhile; return whether it was, None without room."""
        if failed.settles_s or (not failed.of_one_batch and failures < self._settings.attempts):
            return False
        try:
            if not await self._in_thread(self._journal.set_aside, token, self._now_ms(), failed.told):
                return None
        except JournalError as e:
            self._health.journal_failed(str(e))
            return False
        self._note_aside(token, len(units), failed.told)
        return True

    def _note_divided(self, token: str, decided: Decided) -> None:
        if decided.aside:
            self._note_aside(token, decided.aside, _UNDECIDED)
        if decided.roomless:
            self._let_pass(*decided.roomless, _UNDECIDED, undecided=True)

    def _note_aside(self, token: str, frames: int, told: str) -> None:
        log.error("event=batch_set_aside token=%s frames=%d error=%s", token, frames, told)
        self._metrics.frames.labels(outcome="set_aside").inc(frames)
        self._health.batch_aside(told)
        self.aside.wake()

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
