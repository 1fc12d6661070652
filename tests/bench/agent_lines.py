"""CPU seconds per million StatsD lines: the agent, the kernel's floor and other servers, in the same run.

    python -m tests.bench.agent_lines [--quick] [--rounds 5] [--servers agent,netdata,...]

Four workloads (design/ingest.md): W1 one line a packet at 50,000 packets/s, W2 packets of 1,432 bytes at
200,000 lines/s, 1,000 and 100,000 series; mixed types, three tags (plain names as long for servers that
know no tags). All servers run at once, and each in turn gets a window: traffic for a whole flush interval,
then 10 s in which its CPU is read, so that every window holds one flush of 10 s of traffic, frames,
compression and sending included. Turns go round (A B C, A B C, ...), as the machine's speed drifts; ratios
of one run say more than seconds. A window in which a packet was lost does not count and is repeated, a few
times at most.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.agent_load import PACKED_BYTES, Programs, Sender, each_once, mixed, prefix_of, write_packets
from tests.bench.agent_servers import ALL, Agent, Server, Sinks
from tests.e2e.product import wait_for

ROOT: Final = Path(__file__).parents[2]
FLUSH_S: Final = 10.0
_FLOOR_S: Final = 5.0
_LINES: Final = 400_000
_WARM_LINES_PER_S: Final = 50_000


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    packet_bytes: int
    lines_per_s: int
    series: int


WORKLOADS: Final = tuple(
    Workload(name, packet_bytes, rate, series)
    for name, packet_bytes, rate in (("W1", 0, 50_000), ("W2", PACKED_BYTES, 200_000))
    for series in (1_000, 100_000)
)


@dataclass(slots=True)
class Score:
    """Results of one server's windows."""

    cpu_s_per_million: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # packets, in windows that do not count
    rss_bytes: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.cpu_s_per_million) if self.cpu_s_per_million else float("nan")

    def text(self) -> str:
        values = self.cpu_s_per_million
        spread = f"{min(values):.2f}-{max(values):.2f}" if values else "-"
        lost = f", {len(self.lost)} windows lost {min(self.lost):,}-{max(self.lost):,}" if self.lost else ""
        return f"{self.median:8.3f}  ({spread}, {len(values)} windows{lost})"


class Packets:
    """The files of packets of one workload, with and without tags."""

    def __init__(self, folder: Path, workload: Workload) -> None:
        self._folder = folder
        self._workload = workload

    def warm(self, *, tagged: bool) -> Path:
        """Each series once."""
        path = self._folder / f"warm-{tagged}"
        lines = each_once(self._workload.series, tagged=tagged)
        return path if path.exists() else write_packets(path, lines, self._workload.packet_bytes)

    def mixed(self, *, tagged: bool) -> Path:
        path = self._folder / f"mixed-{tagged}"
        lines = mixed(_LINES, self._workload.series, tagged=tagged)
        return path if path.exists() else write_packets(path, lines, self._workload.packet_bytes)


class Run:
    """All servers under one workload."""

    def __init__(
        self, programs: Programs, folder: Path, workload: Workload, scale: float, prefix: Sequence[str]
    ) -> None:
        self._programs = programs
        self._prefix = prefix
        self._workload = workload
        self._rate = workload.lines_per_s * scale
        self._packets = Packets(folder, workload)

    def warm_up(self, server: Server) -> None:
        """All series once, slowly; then a flush of them is waited for."""
        packets = self._packets.warm(tagged=server.tagged)
        sender = self._sender(server, packets, min(self._rate, _WARM_LINES_PER_S), passes=1)
        sender.wait(120)

    def prepare(self, server: Server) -> None:
        """Write the packets of windows, for windows that begin at the same time."""
        self._packets.mixed(tagged=server.tagged)

    def window(self, server: Server) -> tuple[float, int]:
        """CPU seconds per million lines of one window, and packets lost from its lead to its end."""
        lead_s, window_s = (FLUSH_S + 0.2, FLUSH_S) if server.flushes else (1.0, _FLOOR_S)
        drops, lines = server.kernel_drops(), server.lines()
        sender = self._sender(server, self._packets.mixed(tagged=server.tagged), self._rate)
        time.sleep(lead_s)
        cpu_s, sent, end = server.cpu_s(), sender.lines, time.monotonic() + window_s
        time.sleep(end - time.monotonic())
        cpu_s, sent = server.cpu_s() - cpu_s, sender.lines - sent
        sender.stop()
        lost = server.kernel_drops() - drops
        if lines is not None and not lost:
            _wait_lines(server, lines + sender.lines)
        if isinstance(server, Agent):
            server.check()
        return cpu_s / sent * 1e6, lost

    def _sender(self, server: Server, packets: Path, rate: float, passes: int = 0) -> Sender:
        return Sender(self._programs, packets, str(server.udp_port), lines_per_s=rate, passes=passes,
                      prefix=self._prefix)  # fmt: skip


def _wait_lines(server: Server, lines: int) -> None:
    """Return when the server reports the number we sent, to the line; raise if it never does."""
    wait_for(lambda: server.lines() == lines, f"{server.name} counts {lines} lines", 30)


def measure(
    programs: Programs,
    workload: Workload,
    servers: Sequence[type[Server]],
    *,
    rounds: int,
    scale: float,
    nice: int,
) -> dict[str, Score]:
    """Scores by server name; prints each window as it comes."""
    scores = {kind.name: Score() for kind in servers}
    sinks = Sinks()
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
        folder = Path(name)
        prefix = prefix_of(nice)
        run = Run(programs, folder, workload, scale, prefix)
        running = [kind(folder, programs, sinks, prefix) for kind in servers]
        try:
            for server in running:
                server.start()
                run.warm_up(server)
            time.sleep(FLUSH_S + 2)  # the work of a series' first flush is done
            _rounds(run, running, scores, rounds)
        finally:
            for server in running:
                server.stop()
            sinks.close()
    return scores


def _rounds(run: Run, servers: Sequence[Server], scores: dict[str, Score], rounds: int) -> None:
    """Window after window until each server has its loss-free ones, or has lost twice as often."""
    for _ in range(3 * rounds):
        for server in servers:
            score = scores[server.name]
            if len(score.cpu_s_per_million) >= rounds:
                continue
            if len(score.lost) >= 2 * rounds:
                continue
            used, lost = run.window(server)
            score.rss_bytes = server.rss_bytes()
            if lost:
                score.lost.append(lost)
            else:
                score.cpu_s_per_million.append(used)
            print(f"#   {server.name:20} {used:8.3f} lost {lost}", flush=True)


def report(workload: Workload, scores: dict[str, Score]) -> None:
    """Print a table of one workload: medians, ratios to the agent, memory."""
    ours = scores[Agent.name].median if Agent.name in scores else float("nan")
    print(f"\n{workload.name}, {workload.series:,} series: CPU s per million lines")
    for name, score in scores.items():
        ratio = f"{score.median / ours:6.2f}x" if score.median / ours > 0 else "      -"
        print(f"{name:20} {ratio} {score.text()}  RSS {score.rss_bytes / 1e6:.0f} MB", flush=True)


def machine() -> str:
    """One line about machine and commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    model = [at for at in Path("/proc/cpuinfo").read_text().splitlines() if at.startswith("model name")]
    return (
        f"{platform.platform()}, {os.cpu_count()} x {model[0].partition(': ')[2] if model else '?'}, "
        f"Python {platform.python_version()}, commit {commit.stdout.strip()}, load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {kind.name: kind for kind in ALL}
    parser.add_argument("--rounds", type=int, default=5, help="windows of each server (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--servers", default=",".join(known), help="of: %(default)s")
    parser.add_argument("--workloads", default="0,1,2,3", help="W1 1 k, W1 100 k, W2 1 k, W2 100 k")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on the lines a second")
    parser.add_argument("--nice", type=int, default=0, help="priority of servers and sender, -20 to 19")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    print(machine())
    servers = []
    for name in args.servers.split(","):
        if text := known[name].missing():
            print(f"# left out: {text}")
        else:
            servers.append(known[name])
    programs = Programs()
    try:
        for i in args.workloads.split(","):
            workload = WORKLOADS[int(i)]
            rounds = 1 if args.quick else args.rounds
            report(workload, measure(programs, workload, servers, rounds=rounds, scale=args.pace,
                                     nice=args.nice))  # fmt: skip
    finally:
        programs.close()


if __name__ == "__main__":
    main()
