"""Cost of `agent.exposition`: per line against an agent without it, and of scrapes of many series.

    python -m tests.bench.agent_exposition [--rounds 3] [--series 200000]

Lines: CPU of the whole agent in windows that alternate with and without it, as tests/bench/agent_lines.py
measures. Scrapes: counters of three tags, and distributions with 20 observations each; CPU of the agent, time
until the last byte, bytes, memory, and packets that the kernel drops during scrapes at 50,000 lines a second.
"""

from __future__ import annotations

import argparse
import http.client
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.agent_lines import FLUSH_S, WORKLOADS, machine, measure, report
from tests.bench.agent_load import PACKED_BYTES, Programs, Sender, write_packets
from tests.bench.agent_servers import Agent, Sinks
from tests.e2e.product import wait_for

PROTOBUF: Final = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
FORMATS: Final = {"text": "", "openmetrics": "application/openmetrics-text", "protobuf": PROTOBUF}
_OBSERVATIONS: Final = 20
_LINES_PER_S: Final = 50_000


class ExposingAgent(Agent):
    """Ours with an exposition."""

    name = "agent-exposition"

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environ = super().command()
        return command, {**environ, "METERHOUSE_AGENT__EXPOSITION": "true"}


def counters(series: int) -> Iterator[bytes]:
    for i in range(series):
        yield b"shop.requests_total:1|c|#route:/api/v1/item/%d,method:GET,host:web-%d" % (i, i % 50)


def distributions(series: int) -> Iterator[bytes]:
    for i in range(series):
        values = b":".join(b"%d" % (10 + (i * 7 + k * 13) % 400) for k in range(_OBSERVATIONS))
        yield b"shop.latency:%b|d|#route:/api/v1/item/%d,method:GET" % (values, i)


def scrape(agent: Agent, accept: str, encoding: str) -> tuple[float, int]:
    """Return the seconds until the last byte, and the bytes."""
    began_s = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", agent.ops_port, timeout=60)
    try:
        connection.request("GET", "/metrics/statsd", headers={"Accept": accept, "Accept-Encoding": encoding})
        answer = connection.getresponse()
        size = 0
        while piece := answer.read(1 << 20):
            size += len(piece)
        assert answer.status == 200
    finally:
        connection.close()
    return time.monotonic() - began_s, size


def scrapes(programs: Programs, sinks: Sinks, folder: Path, label: str, lines: Sequence[bytes]) -> None:
    """Print a table of scrapes of the series of some lines, each of another series."""
    agent = ExposingAgent(folder, programs, sinks)
    agent.start()
    try:
        packets = write_packets(folder / "packets", iter(lines), PACKED_BYTES)
        empty = agent.rss_bytes()
        sender = Sender(programs, packets, str(agent.udp_port), lines_per_s=_LINES_PER_S, passes=1)
        sender.wait(120)
        wait_for(lambda: agent.metric("exposition_series") == len(lines), "all series", 60)
        time.sleep(FLUSH_S + 2)  # the table is published
        held = agent.rss_bytes()
        drops = agent.kernel_drops()
        print(f"{label}: {len(lines):,} series; the agent grew by {(held - empty) / 2**20:.0f} MiB")
        for name, accept in FORMATS.items():
            for encoding in ("identity", "gzip"):
                before_s = agent.cpu_s()
                found = [scrape(agent, accept, encoding) for _ in range(3)]
                cpu_s = (agent.cpu_s() - before_s) / len(found)
                took_s, size = median(seconds for seconds, _ in found), found[-1][1]
                print(f"  {name:>12} {encoding:>8}: CPU {cpu_s:5.2f} s, {took_s:6.2f} s until its end,"
                      f" {size / 2**20:6.1f} MiB", flush=True)  # fmt: skip
        traffic = Sender(programs, packets, str(agent.udp_port), lines_per_s=_LINES_PER_S, passes=1_000)
        for accept in FORMATS.values():
            scrape(agent, accept, "gzip")
        traffic.stop()
        grown = (agent.rss_bytes() - held) / 2**20
        print(f"  packets dropped meanwhile: {agent.kernel_drops() - drops}; grew by {grown:.0f} MiB")
    finally:
        agent.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="pairs of windows; 0: scrapes alone")
    parser.add_argument("--series", type=int, default=200_000)
    args = parser.parse_args()
    print(machine())
    programs = Programs()
    try:
        for workload in (WORKLOADS[0], WORKLOADS[3]) if args.rounds else ():
            kinds = (Agent, ExposingAgent)
            report(workload, measure(programs, workload, kinds, rounds=args.rounds, scale=1.0, nice=0))
        sinks = Sinks()
        with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
            every = list(counters(args.series))
            scrapes(programs, sinks, Path(name) / "c", "counters", every)
            fewer = list(distributions(args.series // 10))
            scrapes(programs, sinks, Path(name) / "d", "distributions", fewer)
        sinks.close()
    finally:
        programs.close()


if __name__ == "__main__":
    main()
