"""The values of the agent's own metrics, in Prometheus' format.

Their names, help texts and labels: agent/telemetry/metric_families.py. The hot path counts in plain numbers,
which are read on request, so counting costs no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from agent.core.interface import Core
from agent.forward.channel import FINAL, Outcome
from agent.forward.heartbeat_sender import HeartbeatSender
from agent.forward.sending import Sending
from agent.forward.spool.spool import Spool
from agent.protocol.line import Ignored, Reason, Skip
from agent.receive.receiver import ReceiveCounters
from agent.receive.relay import NotSent, RelayCounters
from agent.runtime.clock import Clock
from agent.runtime.program_version import program_version
from agent.telemetry.metric_families import FAMILIES, Family, P
from agent.wire.exposition_text import head_of

if TYPE_CHECKING:
    from agent.exposition.exposition import Exposition
    from agent.forward.metadata_sender import MetadataSender
    from agent.forward.spool.timers import SpoolTimers
    from agent.mapping.mapper import Mapper  # only with a mapping file: it costs memory
    from agent.mapping.mapping_reload import MappingReload
    from agent.receive.tls_listener import TlsAcceptor


#: Why the agent closes a stream.
CLOSED: Final = (
    "idle",
    "room",
    "foreign_source",
    "http_request",
    "length_of_payload",
    "handshake_timeout",
    "handshake_failed",
)

#: Outcomes of scrapes of the exposition.
SCRAPED: Final = ("answered", "broken_off", "refused")

Values = dict[str, float] | float


class DatagramStats(Protocol):
    """Counters of a datagram listener."""

    @property
    def received(self) -> ReceiveCounters:
        """Running totals."""

    @property
    def threads(self) -> int:
        """Number of its threads."""

    def kernel_drops(self) -> int | None:
        """Return the packets the kernel dropped; None if unknown."""


class StreamStats(Protocol):
    """Counters of a stream listener."""

    @property
    def received(self) -> ReceiveCounters:
        """Running totals."""

    @property
    def connections(self) -> int:
        """Number of open connections."""


class ListenerStats(Protocol):
    """Counters of agent/receive/listeners.py."""

    @property
    def datagrams(self) -> Mapping[str, DatagramStats]:
        """Datagram listeners by name."""

    @property
    def streams(self) -> Mapping[str, StreamStats]:
        """Stream listeners by name."""

    @property
    def relayed(self) -> Sequence[RelayCounters]:
        """Totals of copied packets, by listener."""

    @property
    def relayed_events(self) -> Sequence[RelayCounters]:
        """Totals of copied events, by listener."""


class SavedStateStats(Protocol):
    """Counters of agent/core/saved_gauges.py."""

    @property
    def written_s(self) -> float:
        """Unix time of the last write."""

    @property
    def failed(self) -> int:
        """Number of failed writes."""

    @property
    def damaged(self) -> int:
        """Number of damaged files set aside."""


class MetricSources(msgspec.Struct, kw_only=True):
    """The parts whose counters are shown."""

    core: Core
    inputs: ListenerStats
    spool: Spool
    steady_ms: Callable[[], int]
    forwarder: Sending
    beats: HeartbeatSender
    clock: Clock
    state: SavedStateStats
    mapper: Mapper | None = None
    mapping_reload: MappingReload | None = None
    timers: SpoolTimers | None = None
    announcer: MetadataSender | None = None
    ops_tls: TlsAcceptor | None = None
    exposition: Exposition | None = None
    last_flush_s: float = 0.0
    restamped_rows: int = 0

    @property
    def received(self) -> dict[str, ReceiveCounters]:
        """Totals of all listeners by name."""
        listeners: dict[str, DatagramStats | StreamStats] = {**self.inputs.datagrams, **self.inputs.streams}
        return {name: listener.received for name, listener in listeners.items()}


def exposition(sources: MetricSources) -> bytes:
    """Format the text of /metrics: all families, in the order of FAMILIES."""
    values = _values(sources)
    return "".join(_text(family, values[family.name.removeprefix(P)]) for family in FAMILIES).encode()


def _text(family: Family, values: Values) -> str:
    """Format one family. Labels are our own names, or URLs without quotes: nothing must be escaped."""
    lines = [head_of(family.name, family.type, family.help).rstrip("\n")]
    if isinstance(values, dict):
        lines += [f'{family.name}{{{family.label}="{label}"}} {value!r}' for label, value in values.items()]
    else:
        lines.append(f"{family.name} {values!r}")
    return "\n".join(lines) + "\n"


def _values(s: MetricSources) -> Mapping[str, Values]:
    return {**_lines(s), **_memory(s), **_sent(s), **_sockets(s), **_relayed(s), **_exposed(s.exposition)}


def _lines(s: MetricSources) -> dict[str, Values]:
    stats = s.core.stats
    bad: dict[str, float] = {reason.value: stats.bad[reason] for reason in Reason}
    received = s.received.values()
    framing = {
        Reason.LINE_TOO_LONG.value: sum(r.too_long for r in received),
        Reason.CUT_OFF.value: sum(r.cut_off for r in received),
    }
    for reason, count in framing.items():
        bad[reason] += count
    return {
        "lines_total": stats.lines + sum(framing.values()),
        "bad_lines_total": bad,
        "skipped_lines_total": {skip.value: stats.skipped[skip] for skip in Skip if skip is not Skip.EMPTY},
        "mapped_heads_total": s.mapper.counts() if s.mapper else {},
        "mapping_reloads_total": s.mapping_reload.counts() if s.mapping_reload else {},
        "metadata_total": s.announcer.counts() if s.announcer else {},
        "ignored_fields_total": {ignored.value: stats.ignored[ignored] for ignored in Ignored},
        "overflow_lines_total": stats.overflow_lines,
        "clamped_lines_total": {"old": stats.clamped_old, "future": stats.clamped_future},
    }


def _memory(s: MetricSources) -> dict[str, Values]:
    return {
        "live_series": s.core.live_series,
        "remembered_series": s.core.remembered_series,
        "forgotten_heads_total": s.core.forgotten_heads,
        "forgotten_last_values_total": s.core.forgotten_last_values,
        "state_written_timestamp_seconds": s.state.written_s,
        "state_errors_total": {"damaged": s.state.damaged, "not_written": s.state.failed},
        "entries": s.core.entries,
        "build_info": {program_version(): 1},
        "core": {"native" if s.core.native else "python": 1},
        "core_memory_bytes": s.core.memory_bytes,
        "longest_stop_seconds": s.core.longest_stop_ns / 1e9,
        "early_flushes_total": s.core.stats.early_flushes,
        "last_flush_timestamp_seconds": s.last_flush_s,
    }


def _sent(s: MetricSources) -> dict[str, Values]:
    f, dropped = s.forwarder, s.spool.dropped
    again = (o for o in Outcome if o not in FINAL)
    targets = f.targets()
    return {
        "sent_frames_total": f.sent_frames,
        "sent_rows_total": f.sent_rows,
        "sent_lines_total": f.sent_lines,
        "sent_bytes_total": f.sent_bytes,
        "send_retries_total": {outcome.value: f.retries[outcome] for outcome in again},
        "last_success_timestamp_seconds": f.last_success_s,
        "dropped_frames_total": {
            **{reason: lost.frames for reason, lost in dropped.items()},
            **_by_outcome(f.dropped_frames),
        },
        "dropped_rows_total": {
            **{reason: lost.rows for reason, lost in dropped.items()},
            **_by_outcome(f.dropped_rows),
        },
        "dropped_lines_total": {
            **{reason: lost.lines for reason, lost in dropped.items()},
            **_by_outcome(f.dropped_lines),
        },
        "unsent_frames": s.spool.unsent_frames,
        "target_held_frames": {url: held for url, (held, _) in targets.items()},
        "target_current": {url: int(current) for url, (_, current) in targets.items()},
        "unsent_bytes": s.spool.unsent_bytes,
        **_spooled(s),
        "clock_skew_seconds": s.clock.skew_ms / 1000,
        "clock_offset_seconds": s.clock.offset_ms / 1000,
        "clock_steps_total": s.clock.steps,
        "restamped_rows_total": s.restamped_rows,
        "heartbeats_total": s.beats.sent,
        "failed_heartbeats_total": {o.value: s.beats.failed[o] for o in Outcome if o is not Outcome.ACCEPTED},
    }


def _spooled(s: MetricSources) -> dict[str, Values]:
    oldest_ms, backlog = s.spool.oldest_ms, s.spool.backlog
    return {
        "oldest_unsent_frame_age_seconds": (
            max(s.steady_ms() - oldest_ms, 0) / 1000 if oldest_ms is not None else 0.0
        ),
        "spool_frames": backlog.frames if backlog else 0,
        "spool_bytes": backlog.bytes if backlog else 0,
        "spool_written_frames_total": backlog.written_frames if backlog else 0,
        "spool_recovered_frames": backlog.recovered_frames if backlog else 0,
        "spool_checkpoints_total": s.timers.checkpoints if s.timers else 0,
        "spool_write_errors_total": backlog.failed_writes if backlog else 0,
    }


def _exposed(shown: Exposition | None) -> dict[str, Values]:
    state = shown.state if shown else None
    return {
        "exposition_series": state.series if state else 0,
        "exposition_entries": state.entries if state else 0,
        "exposition_overflow_rows_total": state.overflow_rows if state else 0,
        "exposition_dropped_rows_total": {"name_of_another_type": state.clashing_rows if state else 0},
        "exposition_expired_series_total": state.expired_series if state else 0,
        "exposition_scrapes_total": {one: shown.scrapes[one] if shown else 0 for one in SCRAPED},
    }


def _by_outcome(counted: Mapping[Outcome, int]) -> dict[str, float]:
    """Return the counts of outcomes that end a frame unsent."""
    return {outcome.value: counted.get(outcome, 0) for outcome in (Outcome.REFUSED, Outcome.CONFLICT)}


def _sockets(s: MetricSources) -> dict[str, Values]:
    drops = {name: receiver.kernel_drops() for name, receiver in s.inputs.datagrams.items()}
    streams = s.inputs.streams
    return {
        "packets_total": {name: r.packets for name, r in s.received.items()},
        "received_bytes_total": {name: r.bytes for name, r in s.received.items()},
        "dropped_packets_total": {"foreign_source": sum(r.foreign for r in s.received.values())},
        "kernel_dropped_packets_total": {name: n for name, n in drops.items() if n is not None},
        "receiver_threads": sum(receiver.threads for receiver in s.inputs.datagrams.values()),
        "receiver_pauses_total": {name: r.received.pauses for name, r in s.inputs.datagrams.items()},
        "connections": {name: stream.connections for name, stream in streams.items()},
        "closed_connections_total": {
            why: sum(stream.received.closed_connections[why] for stream in streams.values()) for why in CLOSED
        },
        "failed_ops_handshakes_total": s.ops_tls.failed if s.ops_tls else 0,
        "refused_connections_total": {name: r.received.refused_connections for name, r in streams.items()},
    }


def _relayed(s: MetricSources) -> dict[str, Values]:
    out: dict[str, Values] = {}
    for name, found in (("packets", s.inputs.relayed), ("events", s.inputs.relayed_events)):
        out[f"relayed_{name}_total"] = sum(one.packets for one in found)
        out[f"relay_dropped_{name}_total"] = {
            reason.value: sum(one.dropped[reason] for one in found) for reason in NotSent
        }
    return out
