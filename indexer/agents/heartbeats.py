"""Heartbeats in ClickHouse, for processes that answer queries but do not hear the agents.

Owns the rows of the table: `HeartbeatWriter` gathers heartbeats of one moment into one INSERT, and `read`
returns the progress of every agent heard of lately, by any indexer. The table is small: one row per agent and
bucket, for an hour. It holds no samples: a lost row only makes its bucket wait for `settle_s`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np

from indexer.agents.completeness import HEARD_MS, Progress
from indexer.agents.registry import AgentRun
from indexer.clickhouse.schema.tables import HEARTBEATS
from indexer.clickhouse.store import Store, StoreError

#: Heartbeats that come within this time after the first are inserted together, and those that come within
#: the longer one after an INSERT, too: each INSERT makes a part.
_LINGER_S: Final = 0.05
_APART_S: Final = 2.0
_ROW: Final = [
    ("org_id", "<u4"), ("project_id", "<u4"), ("flushed_until", "<i8"), ("heard", "<i8"), ("ended", "|u1"),
]  # fmt: skip

#: The progress of the agents of each org and project.
Heard = Mapping[int, Mapping[int, list[Progress]]]


class HeartbeatWriter:
    """Writes heartbeats in the background. Runs in one event loop; the INSERT has its own thread.

    `on_failure` is called with the error of each failed INSERT.
    """

    def __init__(self, store: Store, on_failure: Callable[[StoreError], None]) -> None:
        self._store = store
        self._on_failure = on_failure
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-heartbeats")
        self._waiting: dict[AgentRun, Progress] = {}
        self._task: asyncio.Task[None] | None = None
        self.failures = 0
        self._stopping = asyncio.Event()
        self._next_s = 0.0  # time.monotonic() of the next INSERT at the earliest

    def put(self, run: AgentRun, progress: Progress) -> None:
        """Queue a heartbeat without waiting; only the latest of each agent is kept."""
        before = self._waiting.get(run)
        self._waiting[run] = progress if before is None else progress.after(before)
        if self._task is None:
            self._task = asyncio.create_task(self._write_soon(), name="indexer-heartbeats")

    async def stop(self) -> None:
        """Write the queued heartbeats and stop."""
        self._stopping.set()
        while self._task is not None:
            await asyncio.wait([self._task])
        self._threads.shutdown()

    async def _linger(self) -> None:
        wait_s = max(_LINGER_S, self._next_s - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        self._next_s = time.monotonic() + _APART_S

    async def _write_soon(self) -> None:
        try:
            while self._waiting:
                await self._linger()
                rows, self._waiting = self._waiting, {}
                insert = partial(self._store.insert, HEARTBEATS, _block(rows))
                try:
                    await asyncio.get_running_loop().run_in_executor(self._threads, insert)
                except StoreError as e:
                    self.failures += len(rows)
                    self._on_failure(e)
        finally:
            self._task = None


def _block(rows: Mapping[AgentRun, Progress]) -> Mapping[str, np.ndarray | list[str]]:
    progress = rows.values()
    return {
        "org_id": np.array([r.org_id for r in rows], np.uint32),
        "project_id": np.array([r.project_id for r in rows], np.uint32),
        "agent": [r.agent for r in rows],
        "epoch": np.array([r.epoch for r in rows], np.uint64),
        "flushed_until_ms": np.array([p.flushed_until_ms for p in progress], np.int64),
        "heard_ms": np.array([p.heard_ms for p in progress], np.int64),
        "ended": np.array([p.ended for p in progress], np.uint8),
    }


def read(store: Store, now_ms: int) -> Heard:
    """Return the progress of each agent that may have to be waited for. Raises StoreError."""
    sql = (
        "SELECT org_id, project_id, max(flushed_until_ms), max(heard_ms), max(ended)"
        f" FROM {HEARTBEATS} WHERE heard_ms > {now_ms - HEARD_MS}"
        " GROUP BY org_id, project_id, agent, epoch"
    )
    out: dict[int, dict[int, list[Progress]]] = {}
    for org_id, project_id, flushed_ms, heard_ms, ended in store.fetch(sql, _ROW).tolist():
        progress = Progress(flushed_ms, heard_ms, bool(ended))
        out.setdefault(org_id, {}).setdefault(project_id, []).append(progress)
    return out
