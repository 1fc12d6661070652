"""Writing frames exactly once: a frame is acknowledged when all its rows are in ClickHouse, and never twice.

Two ways, one interface (`Writer.write`):

* JournalWriter, when one indexer owns the data. Frames that come while a batch is being written form the next
  one (group commit). Batch and frames are committed to the journal, then inserted under the batch's token,
  then marked done. A crash anywhere leaves an unfinished batch, which is written again under the same token
  at the next start; a frame that is sent again is known by its identity.
* FrameWriter, when several may run. The frame is the unit of INSERT and its identity the token, so it does
  not matter which indexer gets it again; the server coalesces inserts (async_insert).

Runs in one event loop; the store's calls run in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from indexer.batch import Batcher
from indexer.fold import SeriesLimit, folded
from indexer.insert import Inserter
from indexer.journal import Journal, JournalError, State
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.shares import HeldBytes
from indexer.store import Store, StoreError
from indexer.unit import Unit

log = logging.getLogger(__name__)

#: When to try a frame of too many new series again: some of them may be known by then.
_SERIES_WAIT_S: Final = 60
_BACKOFF_S: Final = (0.1, 0.3, 1.0, 3.0, 5.0)

T = TypeVar("T")


class WriteError(Exception):
    """A frame that is not in ClickHouse."""


class Unavailable(WriteError):  # names the answer, like HTTP's
    """Not now: send the same bytes again after `retry_after_s`."""

    def __init__(self, text: str, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Limited(WriteError):  # names the answer, like HTTP's
    """Past a limit of its org: send the same bytes again after `retry_after_s`."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Refused(WriteError):  # names the answer, like HTTP's
    """Never: ClickHouse will not take it."""


class Conflict(WriteError):  # names the answer, like HTTP's
    """Never: other bytes were taken under this identity before."""


class Writer(Protocol):
    async def start(self) -> None:
        """Write what an earlier run left unfinished, then be ready."""

    async def write(self, unit: Unit) -> None:
        """Returns when the unit is in ClickHouse. Raises WriteError."""

    async def knows(self, unit: Unit) -> bool:
        """Return whether the unit is known to be in ClickHouse. Raises WriteError where it is not to come."""

    async def stop(self, deadline_s: float) -> None:
        """Write what was taken, until the deadline; take nothing any more."""


class _InFlight(NamedTuple):
    """A frame that is being written: the digest it came with, and who waits."""

    digest: bytes
    future: asyncio.Future[None]


def _check_digest(unit: Unit, known: bytes) -> None:
    """Raises Conflict when the identity came with other bytes before, as far as that is known."""
    if known and unit.digest and known != unit.digest:
        raise Conflict(f"{unit.identity[:200]}: other bytes were taken under this identity before")


class JournalWriter:
    """See the module. `now_ms` is the wall clock."""

    def __init__(
        self,
        store: Store,
        inserter: Inserter,
        journal: Journal,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        limit: SeriesLimit | None = None,
    ) -> None:
        self._limit = limit
        self._store = store
        self._inserter = inserter
        self._journal = journal
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._batcher = Batcher(settings.batch, settings.bounds.queue_bytes)
        self._in_flight: dict[str, _InFlight] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-writer")
        self._came = asyncio.Event()
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def held_bytes(self) -> int:
        return self._batcher.held_bytes

    async def start(self) -> None:
        for token, units in await self._in_thread(self._journal.unfinished):
            log.info("event=replay token=%s frames=%d", token, len(units))
            await self._write_batch(token, units)
            self._metrics.replayed.inc()
        self._loop_task = asyncio.create_task(self._run(), name="indexer-writer")

    async def write(self, unit: Unit) -> None:
        held = self._in_flight.get(unit.identity)
        if held is not None:
            _check_digest(unit, held.digest)
            self._metrics.frames.labels(outcome="repeated").inc()
            future = held.future
        elif self._known(unit):
            self._metrics.frames.labels(outcome="repeated").inc()
            return
        else:
            future = self._queue(unit)
        try:
            async with asyncio.timeout(self._settings.acknowledge_s):
                await asyncio.shield(future)
        except TimeoutError:
            raise Unavailable("not written yet") from None

    async def knows(self, unit: Unit) -> bool:
        if unit.identity in self._in_flight or not self._known(unit):
            return False
        self._metrics.frames.labels(outcome="repeated").inc()
        return True

    async def stop(self, deadline_s: float) -> None:
        self._stopping = True
        self._came.set()
        if self._loop_task is not None:
            await asyncio.wait([self._loop_task], timeout=deadline_s)
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        self._threads.shutdown()
        for future in (held.future for held in self._in_flight.values()):
            if not future.done():
                future.set_exception(Unavailable("shutting down"))
                future.exception()  # nobody may be waiting for it any more
        self._journal.close()

    def _known(self, unit: Unit) -> bool:
        """Return whether the journal knows the unit as stored. Raises WriteError for any other state."""
        try:
            found = self._journal.find(unit.identity)
        except JournalError as e:
            log.error("event=journal_failed error=%s", e)
            raise Unavailable("the journal cannot be read", retry_after_s=5) from e
        if found is None:
            return False
        state, digest = found
        _check_digest(unit, digest)
        match state:
            case State.OPEN:
                raise Unavailable("its batch is unfinished", retry_after_s=5)
            case State.ASIDE:
                raise Refused("ClickHouse refused this frame before; it is kept aside")
        return True

    def _queue(self, unit: Unit) -> asyncio.Future[None]:
        if self._stopping:
            raise Unavailable("shutting down")
        if not self._batcher.offer(unit, self._now_ms()):
            self._metrics.refused.labels(reason="queue_full").inc()
            raise Unavailable("too much is waiting to be written")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_flight[unit.identity] = _InFlight(unit.digest, future)
        self._came.set()
        return future

    async def _run(self) -> None:
        while True:
            wait_ms = self._batcher.ready_in_ms(self._now_ms())
            if wait_ms is None:
                if self._stopping:
                    return
                self._came.clear()
                await self._came.wait()
            elif wait_ms > 0 and not self._stopping:
                self._came.clear()
                try:
                    async with asyncio.timeout(wait_ms / 1000):
                        await self._came.wait()
                except TimeoutError:
                    pass
            else:
                await self._write_next()

    async def _write_next(self) -> None:
        units = self._batcher.take()
        outcome: WriteError | None
        try:
            token = uuid.uuid4().hex
            written = await self._in_thread(self._within_limit, units)
            await self._in_thread(self._journal.begin, token, written, self._now_ms())
            outcome = await self._write_batch(token, written, first=True)
        except JournalError as e:  # the disk: the frames' senders keep them
            log.error("event=journal_failed error=%s", e)
            outcome = Unavailable(f"journal: {e}", retry_after_s=5)
        finally:
            self._batcher.release(units)
        for unit in units:
            future = self._in_flight.pop(unit.identity).future
            if outcome is None:
                future.set_result(None)
            else:
                future.set_exception(outcome)
                future.exception()  # nobody may be waiting for it any more

    def _within_limit(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Return the units with the series beyond their org's limit folded.

        Returns them as they are while the store does not answer: the batch is in the journal all the same.
        """
        if self._limit is None or not self._limit.near(units):
            return units
        try:
            excess = self._limit.excess(self._inserter.resolve(units))
        except StoreError as e:
            log.warning("event=series_not_counted frames=%d error=%s", len(units), e)
            return units
        out = []
        for unit, beyond in zip(units, excess, strict=True):
            changed, rows = folded(unit, beyond) if beyond.series else (unit, 0)
            out.append(changed)
            if rows:
                self._metrics.limited("folded", unit.frame.org_id, rows)
        return out

    async def _write_batch(
        self, token: str, units: Sequence[Unit], *, first: bool = False
    ) -> WriteError | None:
        """Write a batch that stands in the journal, however long it takes; None when it is stored.

        `first`: nobody tried to write it before.
        """
        failures = tries = 0
        while True:
            try:
                began = time.perf_counter()
                attempt = partial(self._inserter.insert, token, units, first=first)
                first = False
                rows = await self._in_thread(attempt)
                await self._in_thread(self._journal.finish, token, self._now_ms())
            except JournalError as e:  # the rows are in, the mark is not: the same again changes nothing
                log.warning("event=journal_failed token=%s error=%s", token, e)
            except StoreError as e:
                self._metrics.store_errors.labels(retryable=str(e.retryable).lower()).inc()
                if not e.retryable:
                    return await self._set_aside(token, units, e)
                failures += not e.no_room and await self._answers()
                if failures >= self._settings.attempts:
                    return await self._set_aside(token, units, e)
                log.warning("event=batch_retry token=%s failures=%d error=%s", token, failures, e)
            except Exception as e:  # a mistake of ours: it must not stop the other batches
                log.exception("event=batch_failed token=%s", token)
                return await self._set_aside(token, units, e)
            else:
                self._metrics.wrote(len(units), rows, time.perf_counter() - began)
                return None
            await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
            tries += 1

    async def _set_aside(self, token: str, units: Sequence[Unit], error: Exception) -> Refused:
        log.error("event=batch_set_aside token=%s frames=%d error=%s", token, len(units), error)
        await self._in_thread(self._journal.set_aside, token, self._now_ms())
        self._metrics.frames.labels(outcome="set_aside").inc(len(units))
        return Refused(f"{type(error).__name__}: {error}")

    async def _answers(self) -> bool:
        """Whether ClickHouse is there at all: if not, the batch is not to blame."""
        try:
            await self._in_thread(self._store.rows, "SELECT 1")
        except StoreError:
            return False
        return True

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


class FrameWriter:
    """See the module."""

    def __init__(
        self, inserter: Inserter, settings: Settings, metrics: Metrics, limit: SeriesLimit | None = None
    ) -> None:
        self._limit = limit
        self._inserter = inserter
        self._settings = settings
        self._metrics = metrics
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="indexer-writer")
        self._stopping = False
        self._held = HeldBytes(settings.bounds.queue_bytes)

    @property
    def held_bytes(self) -> int:
        return self._held.total

    async def start(self) -> None:
        """Nothing is left over: whoever sent a frame that is not stored sends it again."""

    async def write(self, unit: Unit) -> None:
        task = self._in_flight.get(unit.identity)
        if task is None:
            if self._stopping:
                raise Unavailable("shutting down")
            if not self._held.take(unit.frame.org_id, unit.held_bytes):
                self._metrics.refused.labels(reason="queue_full").inc()
                raise Unavailable("too much is waiting to be written")
            task = self._in_flight[unit.identity] = asyncio.create_task(self._insert(unit))
            task.add_done_callback(
                lambda t: t.cancelled() or t.exception()
            )  # somebody may have waited, or not
        try:
            async with asyncio.timeout(self._settings.acknowledge_s):
                await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable("not written yet") from None

    async def knows(self, unit: Unit) -> bool:  # noqa: ARG002  # the server knows, by tokens
        return False

    async def stop(self, deadline_s: float) -> None:
        self._stopping = True
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=deadline_s)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _insert_within_limit(self, unit: Unit) -> int:
        """Write the unit. Raises StoreError, and Limited where it has too many new series."""
        if self._limit is not None and self._limit.near([unit]):
            (beyond,) = self._limit.excess(self._inserter.resolve([unit]))
            if beyond.series:
                self._metrics.limited("series", unit.frame.org_id, unit.frame.rows)
                raise Limited("too many new series today: indexer.limits.series_per_day", _SERIES_WAIT_S)
        return self._inserter.insert(unit.identity, [unit])

    async def _insert(self, unit: Unit) -> None:
        try:
            began = time.perf_counter()
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._threads, self._insert_within_limit, unit)
            self._metrics.wrote(1, rows, time.perf_counter() - began)
        except StoreError as e:
            self._metrics.store_errors.labels(retryable=str(e.retryable).lower()).inc()
            if e.retryable:
                raise Unavailable(str(e), retry_after_s=2) from e
            log.error("event=frame_refused frame=%s error=%s", unit.identity, e)
            self._metrics.frames.labels(outcome="refused").inc()
            raise Refused(str(e)) from e
        finally:
            self._held.release(unit.frame.org_id, unit.held_bytes)
            del self._in_flight[unit.identity]
