"""The core in Python: readable, the reference for the native one, and the fallback without a compiler.

Owns only the wiring: agent/aggregate/aggregator.py aggregates, agent/core/frame_builder.py makes frames, and
agent/receive/datagram.py reads packets in the agent's loop.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from agent.aggregate.aggregator import Aggregator, LineCounters
from agent.aggregate.state import Bucket
from agent.aggregate.top_clients import NO_CLIENT, TopClient, TopClients
from agent.core.frame_builder import RowQueue, frame_of
from agent.core.interface import KeyMapper
from agent.protocol.line import Reason
from agent.receive.datagram import DatagramListener
from agent.receive.receiver import DatagramReceiver, ReceiveOptions
from agent.runtime.clock import machine_ms, steady_ms
from agent.settings import AgentSettings
from agent.wire.frame import Frame, Sender


class PythonCore:
    """Implements agent/core/interface.py, which documents each member."""

    native: Final = False
    memory_bytes: Final = 0
    longest_stop_ns: Final = 0

    def __init__(self, settings: AgentSettings, mapper: KeyMapper | None, wake: Callable[[], None]) -> None:
        self._aggregator = Aggregator(settings.aggregate, settings.lines, settings.tags, mapper)
        self._max_entries = settings.aggregate.max_entries
        self._wake = wake
        self._rows = RowQueue()
        self._clients = TopClients()
        self._base_ms = machine_ms() - steady_ms()

    @property
    def stats(self) -> LineCounters:
        """Running totals of lines since the start."""
        return self._aggregator.stats

    def take_refused(self) -> tuple[Reason, bytes] | None:
        """Return a line refused since the last call, and the reason."""
        return self._aggregator.take_refused()

    @property
    def entries(self) -> int:
        """Cells, set members, histogram entries and bindings of open buckets."""
        return self._aggregator.entries

    @property
    def full(self) -> bool:
        """True while more than `max_entries` entries wait to become frames."""
        return self._rows.entries > self._max_entries

    @property
    def live_series(self) -> int:
        """Series of the current bucket."""
        return self._aggregator.live_series

    @property
    def remembered_series(self) -> int:
        """Series cached between buckets."""
        return self._aggregator.remembered_series

    @property
    def forgotten_heads(self) -> int:
        """Heads evicted early because `max_series` was reached."""
        return self._aggregator.forgotten_heads

    @property
    def forgotten_last_values(self) -> int:
        """Last values of gauges evicted because `max_last_values` was reached."""
        return self._aggregator.forgotten_last_values

    def remap(self, mapper: KeyMapper) -> None:
        """Forget all heads, and ask another mapper about them."""
        self._aggregator.remap(mapper)

    def export_last_values(self, now_ms: int) -> bytes:
        """Return records of the last values of gauges that may get deltas."""
        return self._aggregator.export_last_values(now_ms)

    def import_last_values(self, data: bytes, now_ms: int) -> None:
        """Load such records; to be called before the first line."""
        self._aggregator.import_last_values(data, now_ms)

    def set_clock_base(self, base_ms: int) -> None:
        """Set the offset to the steady clock that gives the time of datagrams."""
        self._base_ms = base_ms

    def add(self, data: bytes, now_ms: int, client: bytes = NO_CLIENT) -> None:
        """Add whole newline-separated lines arrived at `now_ms`; flush early if that fills the memory."""
        before = self._aggregator.new_series
        self._aggregator.add(data, now_ms)
        if self._aggregator.new_series != before:
            self._clients.count(client, self._aggregator.new_series - before)
        if self._aggregator.full:
            self.flush_all(now_ms)
            self._wake()

    def top_metrics(self, count: int) -> list[tuple[str, int]]:
        """Return the metrics with the most cached series, and their number of series."""
        return Counter(name for _, name, _ in self._aggregator.series_keys()).most_common(count)

    def top_clients(self, count: int) -> list[TopClient]:
        """Return the clients that were the first to send the most series."""
        return self._clients.top(count)

    def sample_tags(self, count: int) -> list[tuple[tuple[str, str], ...]]:
        """Return the tags of some cached series."""
        return [tags for _, _, tags in self._aggregator.series_keys()[:count]]

    def flush(self, now_ms: int) -> bool:
        """Queue buckets that ended at or before `now_ms` for frames; return whether there are any."""
        return self._put(self._aggregator.flush(now_ms))

    def flush_all(self, now_ms: int) -> bool:
        """Queue all buckets for frames; return whether there are any."""
        return self._put(self._aggregator.flush_all(now_ms))

    def _put(self, buckets: list[Bucket]) -> bool:
        self._rows.put(buckets)
        return bool(buckets)

    def next_frame(
        self, sender: Sender, sequence: int, created_ms: int, *, max_rows: int, max_bytes: int
    ) -> Frame | None:
        """Return the next frame of the flushed rows; None if nothing is left."""
        rows = self._rows.take(max_rows, max_bytes)
        return frame_of(rows, sender, sequence, created_ms) if rows else None

    def receive(self, socks: Sequence[socket.socket], options: ReceiveOptions) -> DatagramReceiver:
        """Read the sockets in the agent's loop: one thread for all sockets."""
        return DatagramListener(socks, self._take, options)

    def _take(self, lines: bytes, client: bytes) -> None:
        self.add(lines, steady_ms() + self._base_ms, client)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
