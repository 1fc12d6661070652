"""The indexer's own metrics, `meterhouse_indexer_*`, in their own registry (docs/metrics.md lists them)."""

from __future__ import annotations

import time
from collections import Counter as Counts
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from indexer.clickhouse.store_errors import StoreError

Limit = Literal["rows", "strings", "series", "folded"]
LIMITS: Final[tuple[Limit, ...]] = ("rows", "strings", "series", "folded")
#: Orgs with a label of their own; all others count as one.
_MAX_ORGS: Final = 100


class Metrics:
    """The indexer's metrics; attributes are named after them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        p = "meterhouse_indexer_"
        r = self.registry
        self.frames = Counter(p + "frames", "Frames by what became of them", ["outcome"], registry=r)
        self.refused = Counter(p + "refused", "Requests not taken, by reason", ["reason"], registry=r)
        self.connections_closed = Counter(
            p + "connections_closed", "Connections the server closed, by reason", ["reason"], registry=r
        )
        self.saturated = Counter(
            p + "saturated", "Sums that overflowed and are held at the largest number", registry=r
        )
        self.messages = Counter(
            p + "messages", "JSON messages by what became of them", ["outcome"], registry=r
        )
        self.metadata = Counter(p + "metadata", "Metrics whose metadata was written", registry=r)
        self.dropped_rows = Counter(
            p + "dropped_rows", "Rows of accepted requests that are not written", ["reason"], registry=r
        )
        self.limited_rows = Counter(
            p + "limited_rows",
            "Rows past a limit of their org: of new series, folded (reason folded), else answered 429; by the"
            " first 100 orgs, then other",
            ["reason", "org_id"],
            registry=r,
        )
        self.rows = Counter(p + "rows", "Rows written into ClickHouse (before rollups)", registry=r)
        self.received_bytes = Counter(p + "received_bytes", "Bytes of request bodies", registry=r)
        self.batches = Counter(p + "batches", "Batches written", registry=r)
        self.replayed = Counter(
            p + "replayed_batches", "Unfinished batches written again at start", registry=r
        )
        self.store_errors = Counter(
            p + "store_errors", "Failed calls of ClickHouse", ["retryable"], registry=r
        )
        self.store_faults = Counter(
            p + "store_faults", "Failed calls of ClickHouse that write, by cause", ["fault"], registry=r
        )
        self.problem = Gauge(
            p + "problem",
            "1 while nothing can be stored, by what fails: store, journal (its disk), writer (stalled)",
            ["part"],
            registry=r,
        )
        self.oldest_waiting = Gauge(
            p + "oldest_waiting_seconds", "For how long the oldest frame waits that is not stored", registry=r
        )
        self.aside = Gauge(
            p + "set_aside_batches",
            "Batches in the journal that wait (aside), are refused for their bytes (ended), or may be stored"
            " already (too_old)",
            ["state"],
            registry=r,
        )
        self.batch_seconds = Histogram(
            p + "batch_seconds",
            "Time from taking a batch to its last INSERT",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=r,
        )
        self.held_bytes = Gauge(p + "held_bytes", "Bytes of frames taken and not yet written", registry=r)
        self.series = Gauge(p + "known_series", "(series, day) pairs known to be in the table", registry=r)
        self.forgotten = Gauge(p + "forgotten_series", "Such pairs dropped at the bound", registry=r)
        self.cached = Gauge(p + "cached_strings", "Strings whose ids are kept in the process", registry=r)
        self.strings = Gauge(p + "strings", "Strings by how their id was fetched", ["fetch_type"], registry=r)
        self.collisions = Gauge(p + "string_collisions", "Strings that met another one's id", registry=r)
        self.cache_failures = Gauge(p + "redis_failures", "Failed calls of the shared cache", registry=r)
        self.cache_skipped = Gauge(
            p + "redis_skipped", "Calls of the shared cache not tried after a failure", registry=r
        )
        self.cache_used = Gauge(
            p + "redis_used",
            "Whether the shared cache is used (1) or left alone after a failure (0)",
            registry=r,
        )
        self.identity_lookups = Counter(
            p + "identity_lookups",
            "Frames that the journal may have forgotten, by what ClickHouse said: stored, new, too_old",
            ["outcome"],
            registry=r,
        )
        self.pending_requests = Gauge(
            p + "pending_requests",
            "Requests of messages without a key that are remembered because they were answered 503",
            registry=r,
        )
        self.forgotten_requests = Counter(
            p + "forgotten_requests",
            "Such requests forgotten because there were too many: sent again, they may count twice",
            registry=r,
        )
        self.catalog_resets = Gauge(
            p + "catalog_resets",
            "Times that stored strings or series were found missing, and caches were made new",
            registry=r,
        )
        self.verify_findings = Gauge(
            p + "verify_findings",
            "What the short look through the stored data found at the start, by kind",
            ["what"],
            registry=r,
        )
        self.dropped_aside = Gauge(
            p + "dropped_aside_batches", "Refused frames that the journal had no room to keep", registry=r
        )
        self.heartbeats = Counter(
            p + "heartbeats", "Heartbeats of agents, by outcome", ["outcome"], registry=r
        )
        self.agents = Gauge(p + "agents", "Agents heard of in the last 30 s that have not ended", registry=r)
        self.heartbeat_age = Gauge(
            p + "heartbeat_age_seconds",
            "Time since an agent was last heard of, of at most 1,000 agents",
            ["org_id", "project_id", "agent"],
            registry=r,
        )
        self.clock_ahead = Gauge(
            p + "agent_clock_ahead_seconds",
            "What an agent's clock is ahead of ours, of at most 1,000 agents",
            ["org_id", "project_id", "agent"],
            registry=r,
        )
        self.missing_frames = Gauge(
            p + "missing_frames",
            "Frames that never came, by what agents say of their numbers; not judged with batching = frame",
            ["org_id"],
            registry=r,
        )
        self.moved_rows = Counter(
            p + "moved_rows",
            "Rows moved to the present that an agent's clock had put too far into the future",
            registry=r,
        )
        self.heartbeat_failures = Gauge(
            p + "heartbeats_not_stored", "Heartbeats that ClickHouse did not take", registry=r
        )
        self.up_failures = Counter(p + "up_failures", "Writes of the series up that failed", registry=r)
        self.last_write = Gauge(p + "last_write_timestamp_seconds", "When rows were last written", registry=r)
        self._limited_orgs: set[int] = set()
        self._limited: Counts[tuple[Limit, int]] = Counts()
        self.rows_total = 0
        self.last_write_s = 0.0

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

    def wrote(self, frames: int, rows: int, seconds: float) -> None:
        """Note a stored batch."""
        self.frames.labels(outcome="written").inc(frames)
        self.rows.inc(rows)
        self.batches.inc()
        self.batch_seconds.observe(seconds)
        self.rows_total += rows
        self.last_write_s = time.time()
        self.last_write.set(self.last_write_s)
