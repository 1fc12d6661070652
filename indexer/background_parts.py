"""The parts of an indexer that run beside its writing.

The short verify at the start, the watch of a cluster's tables, heartbeats of agents, and `up`, with the
observer that reads the last two.
"""

from __future__ import annotations

from indexer.agents.heartbeats import HeartbeatWriter
from indexer.agents.observer import AgentObserver
from indexer.agents.registry import AgentRegistry
from indexer.agents.up import ReportedUp, UpWriter
from indexer.clickhouse.store import Store
from indexer.integrity.startup_check import StartupCheck
from indexer.integrity.tables_watch import TablesWatch
from indexer.intern.series import Project
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.assembly import Writing
from indexer.write.health import Health


class BackgroundParts:
    """The parts of the settings, each stopped once. `start_up` follows the listening."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        writing: Writing,
        strings: StringIndexer,
        *,
        agents: AgentRegistry,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._verify = StartupCheck(store, settings.retention, metrics)
        self._tables = TablesWatch(store, metrics.mistake) if store.cluster is not None else None
        #: None with an embedded store: no other process could read the table.
        self.heartbeats = None if store.embedded else HeartbeatWriter(store, health.store_failed)
        self._up: UpWriter | None = None
        if settings.up:
            self._up = UpWriter(
                writing.writer,
                agents,
                ReportedUp(store, strings),
                metrics,
                Project(settings.org_id, settings.project_id),
                settings.retention,
            )
        sees_all = writing.journal is not None
        self.observer = AgentObserver(agents, self.heartbeats, self._up, sees_all=sees_all)

    def start(self) -> None:
        """Start the verify and the watch of tables."""
        self._verify.start()
        if self._tables is not None:
            self._tables.start()

    def start_up(self, instance: str) -> None:
        """Start writing `up`, also of this indexer."""
        if self._up is not None:
            self._up.start(instance)

    async def stop_up(self) -> None:
        """Stop writing `up`; to be called while frames can still be written."""
        if self._up is not None:
            await self._up.stop()
            self._up = None

    async def stop(self) -> None:
        """Stop all others. Twice does nothing."""
        await self._verify.stop()
        if self._tables is not None:
            await self._tables.stop()
            self._tables = None
        if self.heartbeats is not None:
            await self.heartbeats.stop()
            self.heartbeats = None
