"""The core of an agent, lines in and frames out, behind one interface; and which one runs.

Owns the interface and the choice. Two cores keep to it and give the same rows for the same lines:

* `agent.native.core.NativeCore`: compiled; receives, parses and aggregates without the interpreter's lock;
* `agent.python_core.PythonCore`: the readable definition, for where no compiler was.

Every core flushes by itself when its open buckets hold `max_entries`, and says so through `wake`: nothing is
lost, the part that left simply becomes rows of its own. While more than `max_entries` entries wait to become
frames the core is `full`: receivers leave packets in the kernel, and whoever calls `add` makes frames first.
"""

from __future__ import annotations

import importlib
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from agent.frame import Frame, Sender
from agent.line import Head, Ignored, Reason, Skip
from agent.logs import Log
from agent.loop import Loop
from agent.relay import Relayed
from agent.settings import AgentSettings

if TYPE_CHECKING:
    from agent.networks import Networks

#: What a new head becomes, or that its lines are dropped; asked once per head (agent/mapping.py).
Mapper = Callable[[Head], Head | Skip]


class CoreError(OSError):
    """The core that the settings want cannot run here; the text is for people."""


class Stats(Protocol):
    """Running totals of lines since the start; agent/metrics.py shows them."""

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


class Received:
    """Running totals of one listener."""

    def __init__(self) -> None:
        self.packets = 0  # datagrams, or reads of a stream
        self.bytes = 0
        self.foreign = 0  # datagrams from no allowed network
        self.cut_off = 0  # lines lost at the end of a datagram too large, or of a connection that broke
        self.too_long = 0  # lines of a stream beyond the bound
        self.refused_connections = 0
        self.closed_connections: Counter[str] = Counter()  # by us, by reason
        self.pauses = 0  # times it left packets in the kernel because the core was full


class DatagramReceiver(Protocol):
    """Reads bound datagram sockets into the core it came from, until `stop`."""

    @property
    def received(self) -> Received: ...

    @property
    def threads(self) -> int:
        """Threads of its own."""

    @property
    def behind(self) -> bool:
        """True if more is in the kernel than it takes at once; only where it shares its caller's thread."""

    @property
    def relayed(self) -> Relayed:
        """What was copied to `options.relay`."""

    @property
    def relayed_events(self) -> Relayed:
        """What was copied to `options.events`."""

    def kernel_drops(self) -> int | None:
        """Packets the kernel dropped because the buffer was full; None where it does not say."""

    def stop(self) -> None:
        """Takes what the kernel still holds, and closes the sockets."""


class ReceiveOptions(msgspec.Struct, frozen=True):
    """How datagrams are received."""

    #: Where cores without threads of their own read.
    loop: Loop
    #: Longest pause between two reads of a busy socket, so that packets queue up; 0: none.
    nap_ms: int = 10
    #: A connected datagram socket that does not block: every packet is copied there as it came.
    relay: socket.socket | None = None
    #: The same for events and service checks, a datagram each.
    events: socket.socket | None = None
    #: Where UDP packets may come from; None: from everywhere.
    allowed: Networks | None = None


class Core(Protocol):
    """Lines in, frames out. Made by `open_core`; one thread calls it, receivers may have their own."""

    @property
    def native(self) -> bool: ...

    @property
    def stats(self) -> Stats: ...

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
        """Adds this to the steady clock (agent/clock.py) for the time of datagrams."""

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
        """Records (agent/last_values.py) of gauges that may get deltas; from any thread, beside all else.

        A key may come twice: the later time counts.
        """

    def import_last_values(self, data: bytes, now_ms: int) -> None:
        """Takes such records, before the first line."""

    def close(self) -> None:
        """Frees everything; its receivers have stopped."""


def open_core(settings: AgentSettings, mapper: Mapper | None, wake: Callable[[], None], log: Log) -> Core:
    """The core that `settings.core` says. Raises CoreError if it must be the native one, and there is none.

    `wake` is called, from any thread, after an early flush. No `mapper`: every head stays as it is.
    """
    if settings.core != "python":
        try:
            native = importlib.import_module("agent.native.core")
        except ImportError as e:
            if settings.core == "native":
                raise CoreError(f"agent.core = 'native': {e}") from None
            log.warning("core", core="python", reason=e)
        else:
            log.info("core", core="native")
            native.settle_allocator()
            core: Core = native.NativeCore(settings, mapper, wake)
            return core
    else:
        log.info("core", core="python")
    from agent.python_core import PythonCore  # not where the native one runs: it is memory

    return PythonCore(settings, mapper, wake)
