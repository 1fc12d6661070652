"""What the agent tells about itself, in Prometheus' format: names `meterhouse_agent_*`.

Owns the names, help texts and labels. The hot path counts in plain numbers; they are read when somebody asks,
so counting costs no lock. FAMILIES is data, so that a test can compare it with the documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.core import Core, Received
from agent.forwarder import Forwarder, Outcome
from agent.line import Ignored, Reason, Skip
from agent.spool import Spool


class Family(msgspec.Struct, frozen=True):
    """One self-metric; counters end in `_total`."""

    name: str
    help: str
    label: str = ""


P: Final = "meterhouse_agent_"
FAMILIES: Final = tuple(
    Family(P + name, text, label)
    for name, text, label in (
        ("lines_total", "Lines received, good and bad.", ""),
        ("bad_lines_total", "Lines refused, by reason.", "reason"),
        ("skipped_lines_total", "Events and service checks, which are not kept.", "kind"),
        ("ignored_fields_total", "Fields and tags of good lines that were left out.", "reason"),
        ("clamped_lines_total", "Lines whose |T was outside the window and was moved to its edge.", "edge"),
        ("packets_total", "Datagrams, or reads of a stream.", "listener"),
        ("received_bytes_total", "Bytes received.", "listener"),
        ("kernel_dropped_packets_total", "Packets the kernel dropped: receive buffer full.", "listener"),
        ("connections", "TCP connections open.", ""),
        ("refused_connections_total", "TCP connections closed at once: too many.", ""),
        ("live_series", "Series of the present bucket.", ""),
        ("remembered_series", "Series remembered between buckets.", ""),
        ("forgotten_heads_total", "Series spellings forgotten early: agent.aggregate.max_series.", ""),
        ("entries", "Cells, set members and histogram entries in memory.", ""),
        ("early_flushes_total", "Flushes before a bucket's end: agent.aggregate.max_entries.", ""),
        ("last_flush_timestamp_seconds", "When buckets were last flushed.", ""),
        ("sent_frames_total", "Frames the indexer has acknowledged.", ""),
        ("sent_rows_total", "Rows the indexer has acknowledged.", ""),
        ("sent_bytes_total", "Bytes of acknowledged frames, compressed.", ""),
        ("send_retries_total", "Tries that failed and are repeated, by reason.", "reason"),
        ("last_success_timestamp_seconds", "When the indexer last acknowledged a frame.", ""),
        ("dropped_frames_total", "Frames lost, by reason.", "reason"),
        ("dropped_rows_total", "Rows of frames lost, by reason.", "reason"),
        ("unsent_frames", "Frames waiting or under way.", ""),
        ("unsent_bytes", "Bytes of frames waiting or under way, compressed.", ""),
    )
)


class Listener(Protocol):
    """What a listener tells."""

    @property
    def received(self) -> Received: ...


class Datagrams(Listener, Protocol):
    """A listener that can tell what the kernel dropped."""

    def kernel_drops(self) -> int | None: ...


class Streams(Listener, Protocol):
    """A listener with connections."""

    @property
    def connections(self) -> int: ...


class Sources(msgspec.Struct, kw_only=True):
    """The parts whose counters are shown."""

    core: Core
    spool: Spool
    forwarder: Forwarder
    datagrams: dict[str, Datagrams] = {}  # by listener name: udp, unix
    streams: Streams | None = None
    last_flush_s: float = 0.0

    @property
    def listeners(self) -> dict[str, Listener]:
        """All listeners by name."""
        return {**self.datagrams, **({"tcp": self.streams} if self.streams else {})}


Values = dict[str, float] | float


class AgentCollector(Collector):
    """Reads the counters of all parts when Prometheus asks."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of FAMILIES."""
        values = self._values()
        for family in FAMILIES:
            yield _metric(family, values[family.name.removeprefix(P)])

    def _values(self) -> Mapping[str, Values]:
        s = self._sources
        return {**_lines(s), **_memory(s), **_sent(s), **_sockets(s)}


def _metric(family: Family, values: Values) -> Metric:
    kind = CounterMetricFamily if family.name.endswith("_total") else GaugeMetricFamily
    if not isinstance(values, dict):
        return kind(family.name, family.help, value=values)
    metric = kind(family.name, family.help, labels=[family.label])
    for label, value in values.items():
        metric.add_metric([label], value)
    return metric


def _lines(s: Sources) -> dict[str, Values]:
    stats = s.core.stats
    bad: dict[str, float] = {reason.value: stats.bad[reason] for reason in Reason}
    received = [listener.received for listener in s.listeners.values()]
    framing = {
        Reason.LINE_TOO_LONG.value: sum(r.too_long for r in received),
        Reason.CUT_OFF.value: sum(r.cut_off for r in received),
    }
    for reason, count in framing.items():
        bad[reason] += count
    return {
        "lines_total": stats.lines + sum(framing.values()),
        "bad_lines_total": bad,
        "skipped_lines_total": {skip.value: stats.skipped[skip] for skip in (Skip.EVENT, Skip.SERVICE_CHECK)},
        "ignored_fields_total": {ignored.value: stats.ignored[ignored] for ignored in Ignored},
        "clamped_lines_total": {"old": stats.clamped_old, "future": stats.clamped_future},
    }


def _memory(s: Sources) -> dict[str, Values]:
    return {
        "live_series": s.core.live_series,
        "remembered_series": s.core.remembered_series,
        "forgotten_heads_total": s.core.forgotten_heads,
        "entries": s.core.entries,
        "early_flushes_total": s.core.stats.early_flushes,
        "last_flush_timestamp_seconds": s.last_flush_s,
    }


def _sent(s: Sources) -> dict[str, Values]:
    f = s.forwarder
    again = (o for o in Outcome if o not in (Outcome.ACCEPTED, Outcome.REFUSED))
    return {
        "sent_frames_total": f.sent_frames,
        "sent_rows_total": f.sent_rows,
        "sent_bytes_total": f.sent_bytes,
        "send_retries_total": {outcome.value: f.retries[outcome] for outcome in again},
        "last_success_timestamp_seconds": f.last_success_s,
        "dropped_frames_total": {"spool_full": s.spool.dropped_frames, "refused": f.refused_frames},
        "dropped_rows_total": {"spool_full": s.spool.dropped_rows, "refused": f.refused_rows},
        "unsent_frames": s.spool.unsent_frames,
        "unsent_bytes": s.spool.unsent_bytes,
    }


def _sockets(s: Sources) -> dict[str, Values]:
    drops = {name: listener.kernel_drops() for name, listener in s.datagrams.items()}
    return {
        "packets_total": {name: listener.received.packets for name, listener in s.listeners.items()},
        "received_bytes_total": {name: listener.received.bytes for name, listener in s.listeners.items()},
        "kernel_dropped_packets_total": {name: n for name, n in drops.items() if n is not None},
        "connections": s.streams.connections if s.streams else 0,
        "refused_connections_total": s.streams.received.refused_connections if s.streams else 0,
    }


def exposition(collectors: Iterable[Collector]) -> bytes:
    """The text of /metrics."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)
