"""The interface of an agent's core: lines in, frames out.

Owns the interface; agent/core/factory.py chooses a core. Both cores give the same rows for the same lines:

* `agent.core._native.core.NativeCore`: compiled; receives, parses and aggregates without the GIL;
* `agent.core.python_core.PythonCore`: the readable definition, used where no compiler was available.

Every core flushes by itself when its open buckets contain `max_entries`, and reports it through `wake`.
Nothing is lost: the flushed part becomes rows of its own. While more than `max_entries` entries wait to
become frames the core is `full`: receivers leave packets in the kernel, and callers of `add` must make frames
first.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.aggregate.top_clients import NO_CLIENT, TopClient
from agent.protocol.line import Ignored, MetricKey, Reason, Skip
from agent.receive.receiver import DatagramReceiver, ReceiveOptions
from agent.wire.frame import Frame, Sender

#: Maps a new head, or drops its lines; called once per head (agent/mapping/mapper.py),
#: and again after `remap`.
KeyMapper = Callable[[MetricKey], MetricKey | Skip]


class CoreStats(Protocol):
    """Running totals of lines since the start; agent/telemetry/metrics.py shows them."""

    @property
    def lines(self) -> int:
        """Lines received, except empty ones."""

    @property
    def bad(self) -> Counter[Reason]:
        """Refused lines, by reason."""

    @property
    def skipped(self) -> Counter[Skip]:
        """Lines without a metric, by kind."""

    @property
    def ignored(self) -> Counter[Ignored]:
        """Ignored parts of good lines, by kind."""

    @property
    def clamped_old(self) -> int:
        """Lines moved to the oldest accepted time."""

    @property
    def clamped_future(self) -> int:
        """Lines moved to the latest accepted time."""

    @property
    def overflow_lines(self) -> int:
        """Lines of series beyond a limit."""

    @property
    def early_flushes(self) -> int:
        """Flushes before a bucket's end."""


class Core(Protocol):
    """Lines in, frames out. Made by `open_core`; used by one thread, receivers may have their own."""

    @property
    def native(self) -> bool:
        """Whether this is the compiled core."""

    @property
    def stats(self) -> CoreStats:
        """Running totals of lines."""

    @property
    def entries(self) -> int:
        """Cells, set members and histogram entries of open buckets, without flushed ones."""

    def take_refused(self) -> tuple[Reason, bytes] | None:
        """Return a line refused since the last call, cut to SHOWN_BYTES, and the reason; None without one."""

    @property
    def full(self) -> bool:
        """True while more than `max_entries` entries wait to become frames: make some first."""

    @property
    def live_series(self) -> int:
        """Series of the current bucket."""

    @property
    def remembered_series(self) -> int:
        """Series cached between buckets."""

    @property
    def forgotten_heads(self) -> int:
        """Heads evicted early because `max_series` was reached."""

    @property
    def forgotten_last_values(self) -> int:
        """Last values of gauges evicted because `max_last_values` was reached."""

    @property
    def memory_bytes(self) -> int:
        """Memory that the core uses, if known; else 0."""

    @property
    def longest_stop_ns(self) -> int:
        """The longest time that a flush blocked receivers; 0 where they share a thread."""

    def set_clock_base(self, base_ms: int) -> None:
        """Set the offset to the steady clock (agent/runtime/clock.py) that gives the time of datagrams."""

    def add(self, data: bytes, now_ms: int, client: bytes = NO_CLIENT) -> None:
        """Add whole newline-separated lines of one or more packets, arrived at `now_ms` (Unix time).

        `client`: the address that they came from, 16 bytes.
        """

    def top_metrics(self, count: int) -> list[tuple[str, int]]:
        """Return the metrics with the most cached series, and their number of series; thread-safe."""

    def top_clients(self, count: int) -> list[TopClient]:
        """Return the clients that were the first to send the most series, since the start; from any thread.

        A line beyond a limit counts as a series.
        """

    def sample_tags(self, count: int) -> list[tuple[tuple[str, str], ...]]:
        """Return the tags of about `count` cached series; thread-safe."""

    def flush(self, now_ms: int) -> bool:
        """Queue buckets that ended at or before `now_ms` for frames; return whether there are any."""

    def flush_all(self, now_ms: int) -> bool:
        """Queue all buckets, including the current one; return whether there are any."""

    def next_frame(
        self, sender: Sender, sequence: int, created_ms: int, *, max_rows: int, max_bytes: int
    ) -> Frame | None:
        """Return the next frame of flushed rows; None if nothing is left: `sequence` is then unused."""

    def receive(self, socks: Sequence[socket.socket], options: ReceiveOptions) -> DatagramReceiver:
        """Start reading bound datagram sockets, and own them; several may share an address (SO_REUSEPORT)."""

    def remap(self, mapper: KeyMapper) -> None:
        """Forget all heads, and ask another mapper about them; for a core that was opened with one.

        Open buckets stay as they are: a series that still has its name goes on in its cell.
        """

    def export_last_values(self, now_ms: int) -> bytes:
        """Return records (agent/aggregate/last_values.py) of gauges that may get deltas; thread-safe.

        A key may occur twice: the later time counts.
        """

    def import_last_values(self, data: bytes, now_ms: int) -> None:
        """Load such records; to be called before the first line."""

    def close(self) -> None:
        """Free all memory, after its receivers have stopped."""
