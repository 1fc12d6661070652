"""Updates gauges when /metrics is requested."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from indexer.agents.heartbeats import HeartbeatWriter
from indexer.agents.registry import AgentRegistry
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.metrics import Metrics
from indexer.write.health import Health, Part
from indexer.write.journal import KEPT, Journal, JournalError
from indexer.write.writer import Writer

if TYPE_CHECKING:
    from indexer.intern.redis_cache import RedisCache
    from indexer.receive.shared_rates import SharedRates

#: Agents whose age /metrics shows; /status lists all.
_SHOWN_AGENTS: Final = 1_000


def show_agents(metrics: Metrics, agents: AgentRegistry, writer: HeartbeatWriter | None, now_ms: int) -> None:
    """Update the metrics of the agents that were heard of, and when."""
    if writer is not None:
        metrics.heartbeat_failures.set(writer.failures)
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


def show_catalog(
    metrics: Metrics,
    registry: SeriesRegistry,
    strings: StringIndexer | None,
    redis: RedisCache | None,
    rates: SharedRates | None,
) -> None:
    """Update the metrics of the known series and strings, of their sources, and of the shared Redis."""
    metrics.series.set(len(registry))
    metrics.forgotten.set(registry.forgotten)
    if strings is not None:
        metrics.collisions.set(strings.collisions)
        for fetch_type, count in strings.fetched.items():
            metrics.strings.labels(fetch_type=fetch_type.value).set(count)
    if redis is not None:
        for fault, count in redis.circuit.faults.items():
            metrics.redis_failures.labels("cache", fault).set(count)
        metrics.redis_ignored.labels("unreadable").set(redis.unreadable)
        metrics.redis_ignored.labels("wrong_id").set(strings.wrong_ids if strings is not None else 0)
        for fault, count in (rates.faults if rates is not None else {}).items():
            metrics.redis_failures.labels("rates", fault).set(count)
        metrics.cache_skipped.set(redis.circuit.skipped)
        metrics.cache_used.set(redis.circuit.closed)


def show_waiting(metrics: Metrics, health: Health, writer: Writer, journal: Journal | None) -> None:
    """Update the metrics of waiting frames, and of the reason."""
    waits_s = writer.oldest_waiting_s()
    health.oldest_waits(waits_s)
    waits_s = max(waits_s, health.failing_s())
    states = dict.fromkeys(KEPT, 0)
    if journal is not None:
        with suppress(JournalError):
            oldest_ms = journal.oldest_waiting_ms()
            now_ms = time.time_ns() // 1_000_000
            waits_s = max(waits_s, 0.0 if oldest_ms is None else (now_ms - oldest_ms) / 1000)
            states = journal.count_kept()
    metrics.oldest_waiting.set(waits_s)
    for state in KEPT:
        metrics.aside.labels(state=state.name.lower()).set(states[state])
    problems = health.problems()
    for part in Part:
        metrics.problem.labels(part=part.value).set(part in problems)
