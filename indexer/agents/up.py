"""Stores `up{job, instance}` as a gauge: 1 for agents and indexers while they live.

Writes a row every 30 s for every agent that sends heartbeats, and for this indexer, under their own org and
project; for a new agent at once. The rows go the way of frames, so all that holds for a gauge holds for them.
A project that stores an `up` of its own gets none from here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np

from agent.config.host_port import format_host_port, is_every_address
from agent.wire.frame import BUCKET_SECONDS, OF_UP, Frame, Gauges, SeriesColumns, encode
from indexer.agents.registry import AgentRegistry
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store, StoreError
from indexer.intern.series import Project
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.periodic_task import PeriodicTask
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import WriteError
from indexer.write.writer import Writer

log = logging.getLogger(__name__)

NAME: Final = "up"
AGENT_JOB: Final = "meterhouse-agent"
INDEXER_JOB: Final = "meterhouse-indexer"
#: Prometheus looks back 5 minutes; samples every 10 s would add nothing.
_EVERY_S: Final = 30
#: In the middle of a bucket, away from the flushes of agents.
_PHASE_S: Final = 3
#: Agents that start together are written together.
_LINGER_S: Final = 0.2
#: A project's own `up` takes precedence for this long after its last row.
_OWN_S: Final = 86_400
#: Projects whose own `up` is remembered.
MAX_PROJECTS: Final = 10_000


class Instance(NamedTuple):
    """The labels of one `up` series."""

    job: str
    instance: str


def up_frame(project: Project, up: Iterable[Instance], at_ms: int, identity: tuple[str, int, int]) -> Frame:
    """Return the frame with `up` of these instances; `identity` is its agent, epoch and sequence."""
    strings = {NAME: 0, "instance": 1, "job": 2}
    values: list[int] = []
    for one in up:
        values += [strings.setdefault(text, len(strings)) for text in (one.instance, one.job)]
    rows = len(values) // 2
    one_each = np.ones(rows, "<f8").tobytes()
    agent, epoch, sequence = identity
    return Frame(
        agent=agent,
        epoch=epoch,
        sequence=sequence,
        created_ms=at_ms,
        org_id=project.org_id,
        project_id=project.project_id,
        strings=list(strings),
        series=SeriesColumns(
            name=np.zeros(rows, "<u4").tobytes(),
            tag_count=np.full(rows, 2, "<u2").tobytes(),
            tag_key=np.tile(np.array([1, 2], "<u4"), rows).tobytes(),
            tag_value=np.array(values, "<u4").tobytes(),
        ),
        gauges=Gauges(
            series=np.arange(rows, dtype="<u4").tobytes(),
            bucket=np.full(rows, at_ms // 1000 // BUCKET_SECONDS * BUCKET_SECONDS, "<u4").tobytes(),
            last_ms=np.full(rows, at_ms, "<i8").tobytes(),
            last=one_each,
            min=one_each,
            max=one_each,
            sum=one_each,
            count=one_each,
        ),
    )


def instance_of(host: str, port: int) -> str:
    """Return the indexer's `instance`: its address, with the host name if it listens everywhere."""
    return format_host_port(socket.gethostname() if is_every_address(host) else host, port)


def has_up(frame: Frame) -> bool:
    """Return whether a frame has series named `up`."""
    try:
        number = frame.strings.index(NAME)
    except ValueError:
        return False
    return bool((np.frombuffer(frame.series.name, "<u4") == number).any())


class ReportedUp:
    """The projects that store an `up` of their own; bounded, as the tables know them."""

    def __init__(self, store: Store, strings: StringIndexer) -> None:
        self._store = store
        self._strings = strings
        self._until_s: dict[Project, float] = {}

    def saw(self, frame: Frame) -> None:
        """Note the `up` of a frame that was sent."""
        if has_up(frame):
            self._note(Project(frame.org_id, frame.project_id), time.time() + _OWN_S)

    def wins(self, project: Project) -> bool:
        """Return whether the project's own `up` takes precedence. Asks the tables once. Raises StoreError."""
        until_s = self._until_s.get(project)
        if until_s is None:
            until_s = self._stored_until_s(project)
            self._note(project, max(until_s, self._until_s.get(project, 0.0)))
        return time.time() < until_s

    def _note(self, project: Project, until_s: float) -> None:
        if len(self._until_s) >= MAX_PROJECTS and project not in self._until_s:
            self._until_s.clear()  # the tables know
        self._until_s[project] = until_s

    def _stored_until_s(self, project: Project) -> float:
        metric = self._strings.resolve(project.org_id, NAME)
        if metric is None:
            return 0.0
        jobs = [self._strings.resolve(project.org_id, job) or 0 for job in (AGENT_JOB, INDEXER_JOB)]
        ((last_s,),) = self._store.rows(
            "SELECT toUInt32(max(last_seen)) FROM series WHERE org_id = {org:UInt32}"
            " AND project_id = {project:UInt32} AND metric_id = {metric:UInt64}"
            " AND day >= today() - 2 AND NOT hasAny(tag_values, {jobs:Array(UInt64)})",
            {"org": project.org_id, "project": project.project_id, "metric": metric, "jobs": jobs},
        )
        return float(last_s) + _OWN_S


class UpWriter:
    """Writes `up` in the background, in the indexer's event loop. `project` is this indexer's.

    `retention`: how long its rows are kept.
    """

    def __init__(
        self,
        writer: Writer,
        agents: AgentRegistry,
        own: ReportedUp,
        metrics: Metrics,
        project: Project,
        retention: Retention,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own = own
        self._steady_s = steady_s
        self._writer = writer
        self._agents = agents
        self._metrics = metrics
        self._project = project
        self._retention = retention
        self._instance = ""
        self._now_ms = now_ms
        self._epoch = time.time_ns()
        self._sequence = itertools.count(1)
        self._told = set[tuple[Project, Instance]]()  # in the present 30 s
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="indexer-up")
        self._due_s = 0.0  # `steady_s` when the next 30 s begin
        self._task = PeriodicTask("up", self._write, metrics.mistake, linger_s=_LINGER_S)

    def start(self, instance: str) -> None:
        """Start writing; `instance` is this indexer's."""
        self._instance = instance
        self._task.start()

    def wake(self) -> None:
        """Write soon: a new agent appeared."""
        self._task.wake()

    async def stop(self) -> None:
        """Stop writing."""
        await self._task.stop()
        self._threads.shutdown()

    async def _write(self) -> float:
        """Write the instances that are up and were not written in these 30 s; return how long these last."""
        if self._steady_s() >= self._due_s:
            self._due_s = self._steady_s() + _EVERY_S - (self._now_ms() / 1000 - _PHASE_S) % _EVERY_S
            self._told.clear()
        up = {(Project(r.org_id, r.project_id), Instance(AGENT_JOB, r.agent))
              for r in self._agents.alive(self._now_ms())}  # fmt: skip
        up.add((self._project, Instance(INDEXER_JOB, self._instance)))
        fresh = sorted(up - self._told)
        self._told.update(fresh)
        loop = asyncio.get_running_loop()
        for project, found in itertools.groupby(fresh, key=lambda one: one[0]):
            try:
                if await loop.run_in_executor(self._threads, self.own.wins, project):
                    continue
                identity = (f"{OF_UP}{self._instance}", self._epoch, next(self._sequence))
                frame = up_frame(project, [instance for _, instance in found], self._now_ms(), identity)
                await self._writer.write(
                    AcceptedFrame(frame.identity, encode(frame), frame, kept=self._retention)
                )
            except (StoreError, WriteError) as e:  # the log has the store's problem already
                self._metrics.up_failures.inc()
                log.debug("event=up_not_written org_id=%d project_id=%d error=%s", *project, e)
        return max(0.0, self._due_s - self._steady_s())
