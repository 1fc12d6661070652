"""The live edge: the end of the last complete bucket, up to which a query sees data.

Decides where the progress of agents is read and how often, and keeps a complete bucket complete.
`indexer/agents/completeness.py` has the definition. The indexer of this process is asked in memory. Without
one, the table that indexers write is read while live queries come.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from indexer.agents.completeness import complete_s, settled_s
from indexer.agents.heartbeats import Heard, read
from indexer.clickhouse.store import Store, StoreError
from shim.model.tenancy import Tenant

_log = logging.getLogger("shim.live_edge")

#: Seconds between reads of the table, and how long reading goes on after the last live query.
_EVERY_S: Final = 0.25
_USED_S: Final = 60.0
#: Seconds for which a read of the table is used when it cannot be read again.
_FRESH_S: Final = 1.0
#: Tenants whose edge is remembered.
_MAX_TENANTS: Final = 10_000


class Agents(Protocol):
    """The progress of agents: `Agents` of the indexer in this process, or `TableAgents`."""

    def complete_s(self, org_id: int, project_id: int | None, now_ms: int, settle_ms: int) -> int:
        """Return the end of the last complete bucket of a project; None: of all projects of the org."""


class LiveEdge:
    """The end of complete data, by tenant. Thread-safe.

    `settle_s` 0 turns the live edge off. Without `agents`, time alone says which buckets are complete.
    """

    def __init__(self, settle_s: float, agents: Agents | None = None) -> None:
        self._settle_ms = round(settle_s * 1000)
        self._agents = agents
        self._lock = threading.Lock()
        self._shown: dict[
            Tenant, int
        ] = {}  # ends of complete buckets given out that lie after the settle time

    def complete_s(self, tenant: Tenant, end_ms: int, now_s: float) -> int | None:
        """Return the end of the last complete bucket for a query that reads until `end_ms`; None: no limit.

        It never goes back, even when an agent with older buckets appears. Queries about the past ask no
        agent.
        """
        if not self._settle_ms:
            return None
        now_ms = int(now_s * 1000)
        settled = settled_s(now_ms, self._settle_ms)
        if self._agents is None or end_ms < (settled + 10) * 1000:
            return settled
        found = self._agents.complete_s(tenant.org_id, tenant.project_id, now_ms, self._settle_ms)
        with self._lock:
            # An end shown before the clock stepped back may lie in the future now.
            found = max(found, min(self._shown.get(tenant, 0), settled_s(now_ms, 0)))
            if found > settled:
                self._shown[tenant] = found
                if len(self._shown) > _MAX_TENANTS:
                    self._shown = {t: s for t, s in self._shown.items() if s > settled}
        return max(found, settled)


class TableAgents:
    """The progress of agents in the table, which a thread reads while queries come and a while after."""

    def __init__(self, store: Store, now_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now_s = now_s
        self._reading = threading.Lock()
        self._changed = threading.Condition()
        self._heard: Heard = {}
        self._read_s = -_USED_S  # time.monotonic()
        self._asked_s = -_USED_S
        self._closed = False
        self._thread: threading.Thread | None = None

    def complete_s(self, org_id: int, project_id: int | None, now_ms: int, settle_ms: int) -> int:
        """Return the end as `Agents` does. Reads the table at most once a second; never raises."""
        with self._changed:
            idle = self._idle()
            self._asked_s = time.monotonic()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="live-edge", daemon=True)
                self._thread.start()
            elif idle:
                self._changed.notify_all()
        self._refresh(_FRESH_S)
        projects = self._heard.get(org_id, {})
        of = projects.values() if project_id is None else [projects.get(project_id, [])]
        return complete_s((p for one in of for p in one), now_ms, settle_ms)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _refresh(self, max_age_s: float) -> None:
        """Read the table unless it was read lately; one thread reads, the others wait for it."""
        if time.monotonic() - self._read_s < max_age_s:
            return
        with self._reading:
            began_s = time.monotonic()
            if began_s - self._read_s < max_age_s:
                return
            try:
                self._heard = read(self._store, int(self._now_s() * 1000))
            except StoreError as e:
                self._heard = {}  # then time alone decides
                _log.warning("event=heartbeats_not_read code=%s error=%s", e.code, e)
            self._read_s = began_s

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _EVERY_S)
                self._changed.wait_for(lambda: self._closed or not self._idle())
                if self._closed:
                    return
            self._refresh(_EVERY_S)

    def _idle(self) -> bool:
        return time.monotonic() - self._asked_s > _USED_S
