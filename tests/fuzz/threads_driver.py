"""The program under ThreadSanitizer (tests/fuzz/threads.py): all of the native core that threads share.

Cores one after the other, each with sockets that share a UDP port and a Unix socket, a receiver thread each,
two relays, and a mapping (Python called from receivers; some types become gauges, so lines change shards).
Bounds are small: early flushes, evictions and sweeps all the time. Senders send as fast as they may; this
thread adds lines as a stream's would, flushes, makes frames, sweeps and reads every number.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from agent.core._native.core import NativeCore, NativeReceiver
from agent.mapping.config_file import parse
from agent.net.sockets import bind_datagrams, bind_unix
from agent.receive.receiver import ReceiveOptions
from agent.runtime.loop import Loop
from agent.settings import AgentSettings, AggregateSettings, ReceiveSettings
from agent.wire.frame import Sender, encode

#: Lives of a core in a run.
CORES: Final = 4
SENDERS: Final = 3
#: Packets after which a sender lets others run.
BURST: Final = 20
MAPPING: Final = """
mappings:
- {match: "m.*", name: mapped, labels: {n: "$1"}}
- {match: "gauge.*", match_metric_type: counter, metric_type: gauge, name: "gauge.$1"}
- {match: "drop.*", action: drop, name: x}
"""
SETTINGS: Final = AggregateSettings(max_entries=5_000, max_series=1_500, gauge_memory_s=1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def packet(rng: random.Random) -> bytes:
    """Lines of all types, of series that come again and of some that do not."""
    i = rng.randrange(4_000)
    return b"\n".join([
        b"a%d:1|c|#x:y,host:web-%d" % (i, i % 50), b"g%d:+1|g" % (i % 50), b"d%d:%d|d|@0.5" % (i % 900, i),
        b"d%d:%d:%d|ms" % (i % 9, i, i + 1), b"s%d:%d|s" % (i % 90, i), b"m.%d:1|c" % (i % 500),
        b"gauge.%d:+2|c" % (i % 40), b"gauge.%d:+2|c:3|d" % (i % 4), b"drop.%d:1|c" % (i % 99),
        b"late%d:1|c|T%d" % (i % 99, time.time() - rng.randrange(40)), b"_e{1,1}:a|b", b"bad", b"bad:1|x",
    ])  # fmt: skip


class Senders:
    """Threads that send to one of the addresses each, until `stop`."""

    def __init__(self, addresses: list[tuple[socket.AddressFamily, object]]) -> None:
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number, *address))
            for number, address in enumerate(itertools.islice(itertools.cycle(addresses), SENDERS))
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int, family: socket.AddressFamily, address: object) -> None:
        rng = random.Random(number)
        while not self._stopped.is_set():  # a new source each time: the kernel spreads sources over sockets
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect(address)  # type: ignore[arg-type] # a path or a host and port
                sock.setblocking(False)  # a core that waits for frames leaves a Unix socket's queue full
                for _ in range(BURST):
                    with contextlib.suppress(BlockingIOError):
                        sock.send(packet(rng))
            time.sleep(0.002)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def look(core: NativeCore, receivers: list[NativeReceiver]) -> None:
    """Read every number that other threads change."""
    _ = (core.entries, core.full, core.live_series, core.remembered_series, core.forgotten_heads)
    _ = (core.memory_bytes, core.longest_stop_ns, core.stats)
    for receiver in receivers:
        _ = (receiver.received, receiver.relayed, receiver.relayed_events, receiver.kernel_drops())


def make_frames(core: NativeCore, sequence: Iterator[int], most: int = 1_000_000) -> int:
    """Make at most this number of frames; return their rows."""
    rows = 0
    while most and (frame := core.next_frame(
        Sender(agent="a", epoch=1), next(sequence), 1, max_rows=500, max_bytes=1 << 20
    )):  # fmt: skip
        rows += frame.rows
        most -= 1
        encode(frame)
    return rows


def life(seconds: float, threads: int) -> str:
    """One core from its opening to its end; its counts."""
    settings = AgentSettings(
        aggregate=SETTINGS, receive=ReceiveSettings(threads=threads), tags={"pod": "web"}
    )
    core = NativeCore(settings, parse(MAPPING).mapper(settings.lines), lambda: None)
    rng, sequence, rows = random.Random(), itertools.count(1), 0
    with ExitStack() as stack:
        loop = stack.enter_context(Loop())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there, relay, events = (stack.enter_context(_udp()) for _ in range(3))
        there.bind(("127.0.0.1", 0))  # without a reader: its queue fills
        relay.connect(there.getsockname())
        events.connect(("127.0.0.1", 9))  # without a listener
        options = ReceiveOptions(loop=loop, nap_ms=1, relay=relay, events=events)
        socks = bind_datagrams("udp", "127.0.0.1:0", threads)
        port = socks[0].getsockname()
        receivers = [
            core.receive(socks, options),
            core.receive([bind_unix("unix", str(folder / "s"))], options),
        ]
        senders = Senders(
            [(socket.AF_INET, port), (socket.AF_INET, port), (socket.AF_UNIX, str(folder / "s"))]
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            core.add(packet(rng), now_ms())
            core.flush_all(now_ms()) if rng.random() < 0.1 else core.flush(now_ms())
            rows += make_frames(core, sequence, rng.choice([0, 1, 1_000]))
            if rng.random() < 0.1:
                core.sweep()
            look(core, receivers)
            time.sleep(0.002)
        senders.stop()
        for receiver in receivers:
            receiver.stop()
    core.flush_all(now_ms())
    rows += make_frames(core, sequence)
    packets = sum(receiver.received.packets for receiver in receivers)
    core.close()
    return (
        f"{packets} packets, {core.stats.lines} lines, {rows} rows, "
        f"{core.stats.early_flushes} early flushes, {core.forgotten_heads} heads forgotten"
    )


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def main() -> None:
    ctypes.CDLL(None).__tsan_init  # noqa: B018 - AttributeError: without the sanitizer
    seconds, threads = float(sys.argv[1]), int(sys.argv[2])
    for _ in range(CORES):
        sys.stdout.write(life(seconds / CORES, threads) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
