"""The names, help texts and labels of the agent's own metrics: `meterhouse_agent_*`.

Data, so that a test can compare it with the documentation; agent/telemetry/metrics.py has the values. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Family(msgspec.Struct, frozen=True):
    """One self-metric; counters end in `_total`."""

    name: str
    help: str
    label: str = ""

    @property
    def type(self) -> str:
        """Prometheus' type."""
        return "counter" if self.name.endswith("_total") else "gauge"


P: Final = "meterhouse_agent_"
FAMILIES: Final = tuple(
    Family(P + name, text, label)
    for name, text, label in (
        ("lines_total", "Lines received, good and bad.", ""),
        ("bad_lines_total", "Lines refused, by reason.", "reason"),
        ("skipped_lines_total", "Events, service checks, and lines that a mapping drops.", "kind"),
        ("ignored_fields_total", "Fields and tags of good lines that were left out.", "reason"),
        ("mapped_heads_total", "Series spellings mapped by agent.mapping, by result.", "result"),
        ("mapping_reloads_total", "Reloads of agent.mapping, by result.", "result"),
        (
            "metadata_total",
            "Metrics whose help, unit or buckets were sent, by outcome.",
            "outcome",
        ),
        ("clamped_lines_total", "Lines whose |T was outside the window and was moved to its edge.", "edge"),
        (
            "overflow_lines_total",
            "Lines of series beyond a limit, added to `__overflow__` of their metric.",
            "",
        ),
        ("packets_total", "Datagrams, or reads of a stream.", "listener"),
        ("received_bytes_total", "Bytes received.", "listener"),
        ("dropped_packets_total", "UDP packets dropped unread, by reason.", "reason"),
        ("kernel_dropped_packets_total", "Packets the kernel dropped: receive buffer full.", "listener"),
        ("receiver_threads", "Threads that receive datagrams: none with the Python core.", ""),
        ("receiver_pauses_total", "Times datagrams were left in the kernel: too many entries.", "listener"),
        ("connections", "Stream connections open.", "listener"),
        ("refused_connections_total", "Stream connections closed at once: too many.", "listener"),
        ("closed_connections_total", "Stream connections closed by the agent, by reason.", "reason"),
        ("failed_ops_handshakes_total", "TLS handshakes of agent.ops that failed.", ""),
        ("relayed_packets_total", "Datagrams copied to agent.relay.address.", ""),
        ("relay_dropped_packets_total", "Datagrams that could not be copied, by reason.", "reason"),
        ("relayed_events_total", "Events and service checks sent to agent.relay.events.", ""),
        (
            "relay_dropped_events_total",
            "Events and service checks that could not be sent, by reason.",
            "reason",
        ),
        ("build_info", "1, with the version of the program.", "version"),
        ("core", "1 for the core that runs: native or python.", "core"),
        ("core_memory_bytes", "Memory of the native core, if known.", ""),
        ("longest_stop_seconds", "Longest time that a flush kept a receiver waiting.", ""),
        ("live_series", "Series of the current bucket.", ""),
        ("remembered_series", "Series remembered between buckets.", ""),
        ("forgotten_heads_total", "Series spellings forgotten early: agent.aggregate.max_series.", ""),
        (
            "forgotten_last_values_total",
            "Last values of gauges forgotten: aggregate.max_last_values.",
            "",
        ),
        ("state_written_timestamp_seconds", "When agent.state_dir was last written; 0: never.", ""),
        ("state_errors_total", "Files of agent.state_dir not written, or damaged and set aside.", "reason"),
        ("entries", "Cells, set members and histogram entries in memory.", ""),
        ("early_flushes_total", "Flushes before a bucket's end: agent.aggregate.max_entries.", ""),
        ("last_flush_timestamp_seconds", "When buckets were last flushed.", ""),
        ("sent_frames_total", "Frames the indexer has acknowledged.", ""),
        ("sent_rows_total", "Rows the indexer has acknowledged.", ""),
        ("sent_lines_total", "Lines of frames the indexer has acknowledged.", ""),
        ("sent_bytes_total", "Bytes of acknowledged frames, compressed.", ""),
        ("send_retries_total", "Tries that failed and are repeated, by reason.", "reason"),
        ("last_success_timestamp_seconds", "When the indexer last acknowledged a frame.", ""),
        ("dropped_frames_total", "Frames lost, by reason.", "reason"),
        ("dropped_rows_total", "Rows of frames lost, by reason.", "reason"),
        ("unsent_frames", "Frames waiting or in flight.", ""),
        ("dropped_lines_total", "Lines of frames lost, by reason.", "reason"),
        (
            "target_held_frames",
            "Frames sent to an indexer of agent.forward.urls that wait for it alone.",
            "target",
        ),
        ("target_current", "1 for the indexer of agent.forward.urls that gets new frames.", "target"),
        ("unsent_bytes", "Bytes of frames waiting or in flight, compressed.", ""),
        ("oldest_unsent_frame_age_seconds", "Age of the oldest unsent frame; 0: all are sent.", ""),
        ("spool_frames", "Unsent frames in agent.spool.path.", ""),
        ("spool_bytes", "Bytes of the files in agent.spool.path.", ""),
        ("spool_written_frames_total", "Frames written to agent.spool.path.", ""),
        ("spool_checkpoints_total", "Times open buckets were flushed for agent.spool.checkpoint_ms.", ""),
        ("spool_recovered_frames", "Frames found there at the start, from an earlier run.", ""),
        (
            "spool_write_errors_total",
            "Writes to agent.spool.path that failed; the frames stay in memory.",
            "",
        ),
        ("clock_skew_seconds", "How far this machine's clock is ahead of the indexer's.", ""),
        ("clock_offset_seconds", "Seconds subtracted from this machine's time to stamp lines.", ""),
        ("clock_steps_total", "Steps of this machine's clock.", ""),
        ("restamped_rows_total", "Rows moved out of the future after the clock jumped back.", ""),
        ("exposition_series", "Series of /metrics/statsd; 0: agent.exposition is off.", ""),
        ("exposition_entries", "Histogram buckets and set members in its memory.", ""),
        (
            "exposition_overflow_rows_total",
            "Rows of series beyond agent.exposition_max_series, added to `__overflow__` of their metric.",
            "",
        ),
        ("exposition_dropped_rows_total", "Rows not shown at /metrics/statsd, by reason.", "reason"),
        ("exposition_expired_series_total", "Series not shown any more: no line for their ttl.", ""),
        ("exposition_scrapes_total", "Scrapes of /metrics/statsd, by outcome.", "outcome"),
        ("heartbeats_total", "Heartbeats the indexer has accepted.", ""),
        ("failed_heartbeats_total", "Heartbeats it has not accepted, by reason.", "reason"),
    )
)
