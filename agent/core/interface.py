"""The core of an agent, lines in and frames out, behind one interface.

Owns the interface; agent/core/factory.py chooses one. Two cores keep to it and give the same rows for the
same lines:

* `agent.core._native.core.NativeCore`: compiled; receives, parses and aggregates without the GIL;
* `agent.core.python_core.PythonCore`: the readable definition, for where no compiler was.

Every core flushes by itself when its open buckets hold `max_entries`, and says so through `wake`: nothing is
lost, the part that left simply becomes rows of its own. While more than `max_entries` entries wait to become
frames the core is `full`: receivers leave packets in the kernel, and whoever calls `add` makes frames first.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.protocol.line import Ignored, MetricKey, Reason, Skip
from agent.receive.receiver import DatagramReceiver, ReceiveOptions
from agent.wire.frame import Frame, Sender

#: What a new head becomes, or that its lines are dropped; asked once per head (agent/mapping/mapper.py).
KeyMapper = Callable[[MetricKey], MetricKey | Skip]


class CoreStats(Protocol):
    """Running totals of lines since the start; agent/telemetry/metrics.py shows them."""

    @property
    def lines(self) -> int: ...
    @property
    def bad(self) -> Counter[Reason]: ...
    @property
    def skipped(self) -> Counter[Skip]: ...
    @property
    def ignored(self) -> Counter[Ignored]: ...
    @property
    def clamped_old(self) -> int: ...
    @property
    def clamped_future(self) -> int: ...
    @property
    def overflow_lines(self) -> int: ...
    @property
    def early_flushes(self) -> int: ...


class Core(Protocol):
    """Lines in, frames out. Made by `open_core`; one thread calls it, receivers may have their own."""

    @property
    def native(self) -> bool: ...

    @property
    def stats(self) -> CoreStats: ...

    @property
    def entries(self) -> int:
        """Cells, set members and histogram entries of open buckets, not of those flushed."""

    @property
    def full(self) -> bool:
        """True while more than `max_entries` entries wait to become frames: make some first."""

    @property
    def live_series(self) -> int:
        """Series of the present bucket."""

    @property
    def remembered_series(self) -> int:
        """Series remembered between buckets."""

    @property
    def forgotten_heads(self) -> int:
        """Heads forgotten before their time because `max_series` was reached."""

    @property
    def forgotten_last_values(self) -> int:
        """Last values of gauges forgotten because `max_last_values` was reached."""

    @property
    def memory_bytes(self) -> int:
        """What the core holds, as far as it knows; 0 if it does not."""

    @property
    def longest_stop_ns(self) -> int:
        """The longest time that a flush kept receivers waiting; 0 where they share a thread."""

    def set_clock_base(self, base_ms: int) -> None:
        """Adds this to the steady clock (agent/runtime/clock.py) for the time of datagrams."""

    def add(self, data: bytes, now_ms: int) -> None:
        """Takes whole lines of one or more packets, parted by newlines, arrived at `now_ms` (Unix time)."""

    def top_metrics(self, count: int) -> list[tuple[str, int]]:
        """The metrics with the most remembered series, and how many each has; from any thread."""

    def sample_tags(self, count: int) -> list[tuple[tuple[str, str], ...]]:
        """The tags of about so many remembered series; from any thread."""

    def flush(self, now_ms: int) -> bool:
        """Buckets that ended at or before `now_ms` wait to become frames; True if there are any."""

    def flush_all(self, now_ms: int) -> bool:
        """The same for all buckets, the present one too."""

    def next_frame(
        self, sender: Sender, sequence: int, created_ms: int, *, max_rows: int, max_bytes: int
    ) -> Frame | None:
        """The next frame of what was flushed; None if nothing is left, and `sequence` was not used."""

    def receive(self, socks: Sequence[socket.socket], options: ReceiveOptions) -> DatagramReceiver:
        """Starts reading bound datagram sockets, and owns them; several share an address (SO_REUSEPORT)."""

    def export_last_values(self, now_ms: int) -> bytes:
        """Return records (agent/aggregate/last_values.py) of gauges that may get deltas; from any thread.

        A key may come twice: the later time counts.
        """

    def import_last_values(self, data: bytes, now_ms: int) -> None:
        """Takes such records, before the first line."""

    def close(self) -> None:
        """Frees everything; its receivers have stopped."""
