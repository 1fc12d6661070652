"""Whether the store answers: waited for at the start, asked for by /readyz.

Owns how long is waited. Runs in one event loop; the store's calls run in threads of their own, so that a
ClickHouse that hangs keeps neither /readyz nor anything else waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Protocol

from indexer.agents import Agents
from indexer.health import Health, Part
from indexer.journal import KEPT, Journal, JournalError, State
from indexer.metrics import Metrics
from indexer.store import Store, StoreError
from indexer.writer import Writer

log = logging.getLogger(__name__)

#: Agents whose age /metrics shows; /status lists all.
_SHOWN_AGENTS: Final = 1_000

#: How long /readyz waits for the store.
_ANSWER_S: Final = 2.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0


class _InThread(Protocol):
    def __call__(self, call: Callable[[], Store]) -> Awaitable[Store]: ...


async def open_when_there(opening: Callable[[], Store], in_thread: _InThread) -> Store:
    """Open a store; wait while its server is away, starts or is overloaded, and say so once a minute.

    Raises StoreError for what does not pass by itself, a wrong password for example.
    """
    wait_s, waited_s, said_s = _FIRST_WAIT_S, 0.0, -60.0
    while True:
        try:
            return await in_thread(opening)
        except StoreError as e:
            if not e.retryable:
                raise
            if waited_s - said_s >= 60:
                log.warning("event=waiting_for_store waited_s=%.0f text=%s", waited_s, e)
                said_s = waited_s
        await asyncio.sleep(wait_s)
        waited_s += wait_s
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


class Readiness:
    """Asks the store and the journal; one question is under way at most."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="indexer-ready")
        self._asking: asyncio.Future[str] | None = None

    async def problems(self, store: Store, journal: Journal | None) -> Mapping[Part, str]:
        """Return what keeps the indexer from storing frames, or sets batches aside, in words."""
        found = dict(self._health.problems())
        if Part.JOURNAL in found and journal is not None and await self._in_thread(_is_written, journal):
            self._health.journal_works()
            del found[Part.JOURNAL]
        answer = await self._answer(store)
        if answer:
            found.setdefault(Part.STORE, answer)
        return found

    def close(self) -> None:
        """Let go of the threads; a question under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, store: Store) -> str:
        """Return why the store does not answer; empty when it does."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._in_thread(_asked, store))
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            return f"ClickHouse does not answer within {_ANSWER_S:.0f} s"

    async def _in_thread(self, call: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


def show_waiting(metrics: Metrics, health: Health, writer: Writer, journal: Journal | None) -> None:
    """Bring the metrics up to date that say whether frames wait, and why."""
    waits_s = writer.oldest_waiting_s()
    health.oldest_waits(waits_s)
    waits_s = max(waits_s, health.failing_s())
    states = Counter[State]()
    if journal is not None:
        with suppress(JournalError):
            oldest_ms = journal.oldest_waiting_ms()
            now_ms = time.time_ns() // 1_000_000
            waits_s = max(waits_s, 0.0 if oldest_ms is None else (now_ms - oldest_ms) / 1000)
            states.update(kept.state for kept in journal.kept())
    metrics.oldest_waiting.set(waits_s)
    for state in KEPT:
        metrics.aside.labels(state=state.name.lower()).set(states[state])
    problems = health.problems()
    for part in Part:
        metrics.problem.labels(part=part.value).set(part in problems)


def show_agents(metrics: Metrics, agents: Agents, now_ms: int) -> None:
    """Bring the metrics up to date that say which agents were heard of, and when."""
    known = agents.all(now_ms)
    metrics.agents.set(sum(one.progress.alive(now_ms) for _, one in known))
    heard_ms: dict[tuple[str, str, str], int] = {}
    ahead_ms: dict[tuple[str, str, str], int] = {}
    for run, one in known:
        if not one.progress.ended:
            labels = (str(run.org_id), str(run.project_id), run.agent)
            heard_ms[labels] = max(one.progress.heard_ms, heard_ms.get(labels, 0))
            if one.ahead_ms is not None:
                ahead_ms[labels] = one.ahead_ms
    metrics.heartbeat_age.clear()
    for labels, at_ms in islice(heard_ms.items(), _SHOWN_AGENTS):
        metrics.heartbeat_age.labels(*labels).set((now_ms - at_ms) / 1000)
    metrics.clock_ahead.clear()
    for labels, by_ms in islice(ahead_ms.items(), _SHOWN_AGENTS):
        metrics.clock_ahead.labels(*labels).set(by_ms / 1000)
    metrics.missing_frames.clear()
    for org_id, frames in islice(agents.missing_frames().items(), _SHOWN_AGENTS):
        metrics.missing_frames.labels(str(org_id)).set(frames)


def _asked(store: Store) -> str:
    try:
        store.rows("SELECT 1")
    except StoreError as e:
        return e.told
    return ""


def _is_written(journal: Journal) -> bool:
    try:
        journal.check()
    except JournalError:
        return False
    return True
