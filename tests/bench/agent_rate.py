"""The rate that one core takes without loss, and how long a flush stops the receiver.

    python -m tests.bench.agent_rate rate [--packets 500000,0] [--seconds 60] [--series 1000] [--gso]
    python -m tests.bench.agent_rate stop [--series 100000] [--packets 50000] [--flushes 6]

`rate`: packets of one line at a pace (0: as fast as the sender goes), the agent on one core by `taskset`, the
sender on another. Prints the lines sent, the lines that arrived, and the drops as /metrics shows them.

`stop`: agent_queue.c looks at the socket's receive queue from outside, some thousand times a second; the
queue shrinks only when somebody receives. Prints the longest time it held packets and did not shrink, around
each flush and, to compare, between flushes: there it is the nap, and other work on the core. It also prints
the agent's own measurement: how long a flush kept a receiver waiting.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from tests.bench.agent_lines import FLUSH_S, machine
from tests.bench.agent_load import (
    PACKED_BYTES,
    Programs,
    Queue,
    Sender,
    each_once,
    mixed,
    prefix_of,
    write_packets,
)
from tests.bench.agent_servers import ALL, Agent, Server, Sinks

_LINES: Final = 400_000
_WARM_LINES_PER_S: Final = 50_000
#: A flush begins half a second after a bucket's end; its frames are sent within seconds.
_DELAY_S: Final = 0.5
_AROUND_S: Final = 4.0


class Bench:
    """One agent, pinned or not, warm with all series."""

    def __init__(self, args: argparse.Namespace, agent_core: int | None) -> None:
        self.args = args
        self.programs = Programs()
        self.sinks = Sinks()
        folder = self.programs.folder
        kind = next(kind for kind in ALL if kind.name == args.server)
        self.server: Server = kind(folder, self.programs, self.sinks, prefix_of(args.nice, agent_core))
        lines = mixed(_LINES, args.series, tagged=kind.tagged)
        if args.gso:
            lines = _by_length(lines)
        self.packets = write_packets(folder / "mixed", lines, args.packet_bytes)
        self.server.start()
        warm = write_packets(
            folder / "warm", each_once(args.series, tagged=kind.tagged), min(args.packet_bytes, PACKED_BYTES)
        )
        self.send(warm, _WARM_LINES_PER_S, passes=1).wait(600)

    def send(
        self,
        packets: Path,
        lines_per_s: float,
        *,
        seconds: float = 0,
        passes: int = 0,
        core: int | None = None,
    ) -> Sender:
        return Sender(self.programs, packets, str(self.server.udp_port), lines_per_s=lines_per_s,
                      seconds=seconds, passes=passes, prefix=prefix_of(self.args.nice, core),
                      segmented=self.args.gso)  # fmt: skip

    def close(self) -> None:
        self.server.stop()
        self.sinks.close()
        self.programs.close()


def _by_length(lines: Iterator[bytes], of: int = 4_000) -> Iterator[bytes]:
    """Yield lines by length within blocks of `of` lines, so that neighbours can go together."""
    while block := list(islice(lines, of)):
        yield from sorted(block, key=len)


def rate(args: argparse.Namespace) -> None:
    """Print a line for each pace."""
    print("    asked    sent/s      packets       lost     loss  cores     s/M")
    for pace in map(int, args.packets.split(",")):
        bench = Bench(args, agent_core=0)
        server = bench.server
        try:
            before, cpu_s, start = server.kernel_drops(), server.cpu_s(), time.monotonic()
            sender = bench.send(bench.packets, pace, seconds=args.seconds, core=1)
            sender.wait(args.seconds + 60)
            took_s, cpu_s = time.monotonic() - start, server.cpu_s() - cpu_s
            time.sleep(1.0)  # the last packets are taken
            sent, lost = sender.packets, server.kernel_drops() - before
            if isinstance(server, Agent):
                assert server.metric("kernel_dropped_packets_total") == before + lost, "drops not shown"
                taken = server.lines() - args.series + before
                assert args.packet_bytes or taken == sent - lost, f"{taken} lines counted of {sent} - {lost}"
            print(f"{pace:9,} {sent / took_s:9,.0f} {sent:12,} {lost:10,} {lost / sent:8.3%} "
                  f"{cpu_s / took_s:6.2f} {cpu_s / (sender.lines - lost) * 1e6:7.3f}",
                  flush=True)  # fmt: skip
        finally:
            bench.close()


def stop(args: argparse.Namespace) -> None:
    """Print the longest stop around each flush, and between flushes."""
    bench = Bench(args, agent_core=None)
    sender = bench.send(bench.packets, float(args.packets))
    queue = Queue(bench.programs, bench.server.udp_port, ["chrt", "-f", "10"] if args.nice < 0 else [])
    around, between = [], []
    try:
        time.sleep(FLUSH_S)
        for _ in range(args.flushes):
            _sleep_until(_DELAY_S + _AROUND_S + 0.5)
            between.append(_longest(queue, FLUSH_S - _AROUND_S - 1.0))
            _sleep_until(_DELAY_S - 0.1)
            around.append(_longest(queue, _AROUND_S))
            print(f"# flush {around[-1][0]:7.2f} ms (looked away for {around[-1][1]:.2f}), "
                  f"between {between[-1][0]:7.2f} ms ({between[-1][1]:.2f}), most queued "
                  f"{queue.most_bytes / 1e6:.1f} MB, lost {bench.server.kernel_drops()}",
                  flush=True)  # fmt: skip
        if isinstance(bench.server, Agent):
            own_ms = bench.server.metric("longest_stop_seconds") * 1000
            print(f"by the agent's own clock, longest since its start: {own_ms:.3f} ms")
    finally:
        queue.close()
        sender.stop()
        bench.close()
    for name, seen in (("around a flush", around), ("between flushes", between)):
        ms = [at[0] for at in seen]
        print(f"{name}: median {statistics.median(ms):.2f} ms, {min(ms):.2f} to {max(ms):.2f}")


def _longest(queue: Queue, seconds: float) -> tuple[float, float]:
    """Return the longest stop of the next seconds, and the time without a look, in ms."""
    queue.restart()
    time.sleep(seconds)
    return queue.stop_ms, queue.gap_ms


def _sleep_until(phase_s: float) -> None:
    """Sleep until this long after the end of a bucket."""
    time.sleep((phase_s - time.time()) % FLUSH_S)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for what, series, packets in ((rate, 1_000, "500000,0"), (stop, 100_000, "50000")):
        command = commands.add_parser(what.__name__)
        command.set_defaults(run=what)
        command.add_argument("--series", type=int, default=series)
        command.add_argument("--packets", default=packets, help="a second; default %(default)s")
        command.add_argument("--packet-bytes", type=int, default=0, help="0: a line a packet")
        command.add_argument("--seconds", type=float, default=60.0)
        command.add_argument("--flushes", type=int, default=6)
        command.add_argument("--server", default=Agent.name)
        command.add_argument("--gso", action="store_true", help="send by UDP_SEGMENT: see agent_send.c")
        command.add_argument("--nice", type=int, default=0, help="priority of server and sender, -20 to 19")
    args = parser.parse_args()
    print(machine())
    args.run(args)


if __name__ == "__main__":
    main()
