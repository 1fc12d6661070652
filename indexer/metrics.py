"""The indexer's own metrics, `meterhouse_indexer_*`, in their own registry (docs/metrics.md lists them)."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from agent.runtime.program_version import program_version
from indexer.clickhouse.store_errors import StoreError

Limit = Literal["rows", "strings", "series", "folded"]
LIMITS: Final[tuple[Limit, ...]] = ("rows", "strings", "series", "folded")
#: Orgs with a label of their own; all others count as one.
_MAX_ORGS: Final = 100
_PREFIX: Final = "meterhouse_indexer_"


class _Makers(msgspec.Struct, frozen=True):
    """Makes metrics of one registry, with the common prefix."""

    registry: CollectorRegistry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(_PREFIX + name, text, buckets=buckets, registry=self.registry)


class Metrics:
    """The indexer's metrics; attributes are named after them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make = _Makers(self.registry)
        self.build_info = make.gauge("build_info", "1, with the version of the program", "version")
        self.build_info.labels(program_version()).set(1)
        self._count_requests(make)
        self._watch_store(make)
        self._watch_catalog(make)
        self._watch_identities(make)
        self._watch_agents(make)
        self._limited_orgs: set[int] = set()
        self._limited: Counts[tuple[Limit, int]] = Counts()
        self.rows_total = 0
        self.last_write_s = 0.0

    def _count_requests(self, make: _Makers) -> None:
        """Create the counters of requests and rows."""
        self.frames = make.counter("frames", "Frames by outcome", "outcome")
        self.refused = make.counter("refused", "Refused requests, by reason", "reason")
        self.connections_closed = make.counter(
            "connections_closed", "Connections the server closed, by reason", "reason"
        )
        self.saturated = make.counter("saturated", "Sums that overflowed and are held at the largest number")
        self.messages = make.counter("messages", "JSON messages by outcome", "outcome")
        self.stream_batches = make.counter("stream_batches", "Batches of the stream that were committed")
        self.stream_taken_over = make.counter(
            "stream_taken_over", "Batches of the stream that were taken over from silent consumers"
        )
        self.dead_letters = make.counter(
            "dead_letters", "Messages of the stream that are kept as dead letters, with the reason"
        )
        self.stream_lost = make.counter(
            "stream_lost",
            "Messages of a Kafka topic that were removed before they were read, by their offsets",
        )
        self.parked = make.counter(
            "parked_frames",
            "Frames of the stream whose org was past a limit: parked, and later stored or refused (ended)",
            "outcome",
        )
        self.metadata = make.counter("metadata", "Metrics whose metadata was written")
        self.dropped_rows = make.counter(
            "dropped_rows", "Rows of accepted requests that are not written", "reason"
        )
        self.limited_rows = make.counter(
            "limited_rows",
            "Rows past a limit of their org: of new series, folded (reason folded), else answered 429; by the"
            " first 100 orgs, then other",
            "reason",
            "org_id",
        )
        self.rows = make.counter("rows", "Rows written into ClickHouse (before rollups)")
        self.received_bytes = make.counter("received_bytes", "Bytes of request bodies")

    def _watch_store(self, make: _Makers) -> None:
        """Create the metrics of batches, the store and its problems."""
        self.batches = make.counter("batches", "Batches written")
        self.replayed = make.counter("replayed_batches", "Unfinished batches written again at start")
        self.store_errors = make.counter("store_errors", "Failed calls of ClickHouse", "retryable")
        self.store_faults = make.counter(
            "store_faults", "Failed calls of ClickHouse that write, by cause", "fault"
        )
        self.problem = make.gauge(
            "problem",
            "1 while nothing can be stored, by the failing part: store, journal (its disk), writer (stalled);"
            " stream (Redis), kafka, batches and room: a part of it",
            "part",
        )
        self.oldest_waiting = make.gauge(
            "oldest_waiting_seconds", "How long the oldest frame that is not stored has waited"
        )
        self.aside = make.gauge(
            "set_aside_batches",
            "Batches in the journal that wait (aside), are refused for their bytes (ended), or may be stored"
            " already (too_old)",
            "state",
        )
        self.inserted_parts = make.counter(
            "inserted_parts", "Parts of INSERTs at most, where several indexers may share a server"
        )
        self.sharing_indexers = make.gauge(
            "sharing_indexers", "Indexers that share indexer.batch.parts_per_s, with this one; 0: not known"
        )
        self.batch_seconds = make.histogram(
            "batch_seconds",
            "Time from taking a batch to its last INSERT",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )

    def _watch_catalog(self, make: _Makers) -> None:
        """Create the gauges of frames, series, strings and caches."""
        self.held_bytes = make.gauge("held_bytes", "Bytes of accepted frames not yet written")
        self.series = make.gauge("known_series", "(series, day) pairs known to be in the table")
        self.forgotten = make.gauge("forgotten_series", "Such pairs dropped at the bound")
        self.cached = make.gauge("cached_strings", "Strings whose ids are kept in the process")
        self.strings = make.gauge("strings", "Strings by how their id was obtained", "fetch_type")
        self.collisions = make.gauge("string_collisions", "Strings that met another one's id")
        self.redis_failures = make.gauge(
            "redis_failures",
            "Failed calls of indexer.redis_url, for its cache and for rates",
            "use",
            "reason",
        )
        self.redis_ignored = make.gauge(
            "redis_ignored_values",
            "Values of the shared cache that another program wrote: unreadable, or wrong_id",
            "reason",
        )
        self.cache_skipped = make.gauge(
            "redis_skipped", "Calls of the shared cache not tried after a failure"
        )
        self.cache_used = make.gauge(
            "redis_used", "Whether the shared cache is used (1) or not after a failure (0)"
        )

    def _watch_identities(self, make: _Makers) -> None:
        """Create the metrics of repeated frames and requests, and of stored data."""
        self.identity_lookups = make.counter(
            "identity_lookups",
            "Frames that the journal may have forgotten, by ClickHouse's answer: stored, new, too_old",
            "outcome",
        )
        self.pending_requests = make.gauge(
            "pending_requests",
            "Requests of messages without a key that are remembered because they were answered 503",
        )
        self.forgotten_requests = make.counter(
            "forgotten_requests",
            "Such requests forgotten because there were too many: sent again, they may count twice",
        )
        self.catalog_resets = make.gauge(
            "catalog_resets", "Times that stored strings or series were missing, so that caches were emptied"
        )
        self.verify_findings = make.gauge(
            "verify_findings", "Findings of the short verify at the start, by kind", "what"
        )
        self.dropped_aside = make.gauge(
            "dropped_aside_batches", "Refused frames that the journal had no room to keep"
        )

    def _watch_agents(self, make: _Makers) -> None:
        """Create the metrics of agents."""
        self.heartbeats = make.counter("heartbeats", "Heartbeats of agents, by outcome", "outcome")
        self.agents = make.gauge("agents", "Agents heard of in the last 30 s that have not ended")
        self.heartbeat_age = make.gauge(
            "heartbeat_age_seconds",
            "Time since an agent was last heard of, for at most 1,000 agents",
            "org_id",
            "project_id",
            "agent",
        )
        self.clock_ahead = make.gauge(
            "agent_clock_ahead_seconds",
            "How far an agent's clock is ahead of ours, for at most 1,000 agents",
            "org_id",
            "project_id",
            "agent",
        )
        self.missing_frames = make.gauge(
            "missing_frames",
            "Frames that never came, by the agents' own numbers; not judged with batching = frame",
            "org_id",
        )
        self.moved_rows = make.counter(
            "moved_rows", "Rows moved to the present that an agent's clock had put too far into the future"
        )
        self.heartbeat_failures = make.gauge("heartbeats_not_stored", "Heartbeats that ClickHouse refused")
        self.up_failures = make.counter("up_failures", "Writes of the series up that failed")
        self.mistakes = make.counter("mistakes", "Mistakes of Meterhouse that a background task met", "task")
        self.last_write = make.gauge("last_write_timestamp_seconds", "When rows were last written")

    def mistake(self, task: str) -> None:
        """Count a mistake that a background task met."""
        self.mistakes.labels(task=task).inc()

    def limited(self, reason: Limit, org_id: int, rows: int) -> None:
        """Count rows past a limit of an org, by consequence."""
        if org_id not in self._limited_orgs and len(self._limited_orgs) < _MAX_ORGS:
            self._limited_orgs.add(org_id)
        org = str(org_id) if org_id in self._limited_orgs else "other"
        self.limited_rows.labels(reason=reason, org_id=org).inc(rows)
        if org != "other":
            self._limited[reason, org_id] += rows

    def limited_of(self, org_id: int) -> dict[Limit, int]:
        """Return the rows past each limit of an org; zeros for one beyond the first 100."""
        return {reason: self._limited[reason, org_id] for reason in LIMITS}

    def store_failed(self, error: StoreError) -> None:
        """Count a failed call of ClickHouse."""
        self.store_errors.labels(retryable=str(error.retryable).lower()).inc()
        self.store_faults.labels(fault=error.fault.value).inc()

    def left(self, verdict: str) -> None:
        """Note a frame that is not stored here, as another indexer has it or may have it."""
        self.frames.labels(outcome=f"left_{verdict}").inc()

    def wrote(self, frames: int, rows: int, seconds: float) -> None:
        """Note a stored batch."""
        self.frames.labels(outcome="written").inc(frames)
        self.rows.inc(rows)
        self.batches.inc()
        self.batch_seconds.observe(seconds)
        self.rows_total += rows
        self.last_write_s = time.time()
        self.last_write.set(self.last_write_s)
