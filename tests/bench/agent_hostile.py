"""The most that a client can cost an agent by doing its worst.

    python -m tests.bench.agent_hostile

Prints CPU of the core, or of the thread that reads, in one process, and the cost of well-behaved lines.
Bounds are small, so that they are reached: the result is that cost and memory stay level, not their height.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from agent.core._native.core import NativeCore
from agent.core.interface import KeyMapper
from agent.mapping.config_file import parse
from agent.net.fd_limit import raise_limit
from agent.net.sockets import bind, grow_receive_buffer
from agent.receive.receiver import ReceiveOptions
from agent.receive.stream import StreamLimits, StreamListener
from agent.receive.stream_splitter import LineSplitter
from agent.runtime.logs import Log
from agent.runtime.loop import Loop
from agent.settings import AgentSettings, AggregateSettings
from tests.bench.agent_core import NOW_MS, make_frames
from tests.bench.agent_lines import machine

MAX_SERIES: Final = 20_000
BATCH_LINES: Final = 1_000
TURNS: Final = 8
LIVE: Final = 1_000
CONNECTIONS: Final = 10_000
MAPPINGS: Final = """
mappings:
- {match: "shop.*.*", name: shop, labels: {place: "$1", item: "$2"}}
- {match: "^(web|api)\\\\.([a-z]+)\\\\.(.*)$", match_type: regex, name: "$1", labels: {part: "$2"}}
"""


class Core:
    """A core that takes batches, half a second each, and makes frames of the flushed buckets."""

    def __init__(self, mapper: KeyMapper | None = None) -> None:
        self.core = NativeCore(AgentSettings(aggregate=AggregateSettings(max_series=MAX_SERIES)), mapper)
        self._now_ms = NOW_MS
        self.longest_ns = 0

    def take(self, lines: list[bytes]) -> float:
        """CPU of adding them, in ns a line."""
        spent = 0
        for start in range(0, len(lines), BATCH_LINES):
            batch = b"\n".join(lines[start : start + BATCH_LINES])
            before = time.thread_time_ns()
            self.core.add(batch, self._now_ms)
            took = time.thread_time_ns() - before
            self.longest_ns = max(self.longest_ns, took)
            spent += took
            self._now_ms += 500
            if self.core.flush(self._now_ms):
                make_frames(self.core, [0])
        return spent / len(lines)


def endless(title: str, name: Callable[[int], bytes], mapper: KeyMapper | None = None) -> None:
    """Feed new heads without an end, a live gauge among them; print the first turn, and the last one."""
    core = Core(mapper)
    live = [b"live.%d:1|c|#host:web-%d" % (i % LIVE, i % LIVE) for i in range(5 * LIVE)]
    core.take(live)
    known = core.take(live)
    numbers = itertools.count()
    costs, sizes = [], []
    for _ in range(TURNS):
        lines = [name(next(numbers)) for _ in range(MAX_SERIES)]
        lines[:: MAX_SERIES // 4] = [b"mine:+1|g"] * 4  # who comes in each turn is not forgotten
        costs.append(core.take(lines))
        sizes.append(core.core.memory_bytes / 2**20)
    print(f"{title:28} {costs[0]:6.0f} ns a line in the first turn, {costs[-1]:6.0f} in turn {TURNS}; known "
          f"lines {known:.0f}; {sizes[1]:.1f} MiB after two turns, {max(sizes):.1f} at most; longest batch "
          f"{core.longest_ns / 1e6:.1f} ms; {core.core.forgotten_heads:,} forgotten", flush=True)  # fmt: skip


def events(there: bool) -> None:
    """Packets full of events, with and without a working relay."""
    packet = b"\n".join([b"_e{1,1}:a|b"] * 119)
    core = NativeCore(AgentSettings())
    sock = bind("udp", "127.0.0.1:0", socket.SOCK_DGRAM)
    grow_receive_buffer(sock, 8 << 20)
    with Loop() as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM
    ) as relay, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:  # fmt: skip
        other.bind(("127.0.0.1", 0))
        relay.connect(other.getsockname())
        relay.setblocking(False)
        if not there:
            other.close()
        sender.connect(sock.getsockname())
        receiver = core.receive([sock], ReceiveOptions(loop=loop, events=relay))
        thread = next(at for at in threading.enumerate() if at.name.startswith("receive-"))
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        before = time.clock_gettime_ns(clock)
        for count in range(1, 2_001):
            sender.send(packet)
            if count % 100 == 0:
                until(lambda: receiver.received.packets == count)  # noqa: B023 - called at once
        until(lambda: core.stats.lines == 2_000 * 119)
        spent = time.clock_gettime_ns(clock) - before
        receiver.stop()
        sent, dropped = receiver.relayed_events.packets, receiver.relayed_events.dropped.total()
    print(f"events, relay {'up' if there else 'down':14} {spent / (2_000 * 119):6.0f} ns an event; "
          f"{sent:,} sent, {dropped:,} dropped and counted", flush=True)  # fmt: skip


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.001)


class Stream:
    """A stream listener in a loop of this thread, with clients in another."""

    def __init__(self, loop: Loop, most: int = 1_024) -> None:
        sock = bind("tcp", "127.0.0.1:0", socket.SOCK_STREAM)
        self.address = sock.getsockname()
        self.lines_bytes = 0
        self._loop = loop
        self.listener = StreamListener(
            loop, sock, self._take, lambda: LineSplitter(65_536), StreamLimits(most), Log()
        )

    def _take(self, lines: bytes, _: bytes) -> None:
        self.lines_bytes += len(lines)

    def run(self, clients: Callable[[], object], done: Callable[[], bool]) -> int:
        """CPU of the loop's thread, in ns, until `done`."""
        thread = threading.Thread(target=clients)
        before = time.thread_time_ns()
        thread.start()
        end = time.monotonic() + 60
        while not done():
            if time.monotonic() > end:
                raise TimeoutError
            self._loop.turn(0.05)
        spent = time.thread_time_ns() - before
        thread.join()
        self.listener.stop()
        return spent


def endless_line(title: str, pieces: Iterator[bytes], total: int) -> None:
    with Loop() as loop:
        stream = Stream(loop)

        def client() -> None:
            with socket.create_connection(stream.address) as sock:
                for piece in pieces:
                    sock.sendall(piece)

        spent = stream.run(client, lambda: stream.listener.received.bytes >= total)
        print(f"{title:28} {spent / total:6.2f} ns a byte; {stream.listener.received.too_long} too long, "
              f"{stream.lines_bytes / 2**20:.1f} MiB of lines", flush=True)  # fmt: skip


def many_connections() -> None:
    raise_limit(3 * CONNECTIONS)
    with Loop() as loop:
        stream = Stream(loop)
        received = stream.listener.received
        held: list[socket.socket] = []

        def clients() -> None:
            held.extend(socket.create_connection(stream.address) for _ in range(CONNECTIONS))

        spent = stream.run(
            clients, lambda: stream.listener.connections + received.refused_connections == CONNECTIONS
        )
        for sock in held:
            sock.close()
        print(f"{CONNECTIONS:,} connections           {spent / CONNECTIONS / 1000:6.1f} us each; "
              f"{received.refused_connections:,} refused and counted", flush=True)  # fmt: skip


def main() -> None:
    print(machine())
    mapper = parse(MAPPINGS).mapper(AgentSettings().lines)
    endless("new names", lambda i: b"evil.%d:1|c|#host:web-%d,env:production" % (i, i))
    endless("new tags", lambda i: b"evil:1|c|#user:%d,env:production" % i)
    endless("new names, a glob", lambda i: b"shop.x.%d:1|c" % i, mapper)
    endless("new tags, a regex", lambda i: b"api.hits.x:1|c|#user:%d" % i, mapper)
    endless("new names, no rule", lambda i: b"other.%d.:1|c" % i, mapper)
    events(there=True)
    events(there=False)
    mib = b"x" * (1 << 20)
    endless_line("a line without end", itertools.repeat(mib, 256), 256 << 20)
    endless_line("lines of 20 bytes", itertools.repeat(b"requests.count:1|c\n" * 50_000, 64), 64 * 950_000)
    many_connections()


if __name__ == "__main__":
    main()
