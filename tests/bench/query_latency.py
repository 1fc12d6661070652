"""Query latency: how long a dashboard waits, over HTTP, on a day of 1,000 counter series (8.64 M rows).

python -m tests.bench.query_latency [--series 1000] [--hours 24] [--rounds 9] [--requests 200]

Starts `meterhouse up` in a folder of its own, posts the day as frames to its indexer, waits until merges
are quiet, and asks. CPU is that of the whole server process (ClickHouse's threads included) between request
and answer, wall time that of the asker. The floor of the run is `vector(1)`: the same request without data.
Every query is asked twice: by statement alone (`nocache=1`), and as anybody asks it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Final, Protocol

from agent.wire.frame import CONTENT_TYPE
from tests.bench.indexer_rows import DAY_S, START_S, counter_frames
from tests.e2e.product import Starter, Up

TICKS: Final = os.sysconf("SC_CLK_TCK")
METRIC: Final = "http_requests"


class Asker:
    """One keep-alive connection, and the CPU clock of its server."""

    def __init__(self, up: Up) -> None:
        url = urllib.parse.urlsplit(up.api.url)
        assert url.hostname is not None
        self._connection = http.client.HTTPConnection(url.hostname, url.port)
        self._pid = up.pid

    def cpu_s(self) -> float:
        """User and system time of the server, all threads, in seconds (10 ms steps: sum over many)."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def ask(self, path: str, **parameters: object) -> tuple[float, int]:
        """Wall seconds and bytes of one answer."""
        body = urllib.parse.urlencode(parameters)
        start = time.perf_counter()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", f"/api/v1/{path}", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - start
        assert answer.status == 200, text[:500]
        return took, len(text)

    def measure(self, name: str, times: int, path: str, **parameters: object) -> None:
        """Ask both ways: by statement alone, and from cells in memory where possible."""
        self.measure_one(f"{name}, by statement", times, path, **parameters, nocache=1)
        self.measure_one(name, times, path, **parameters)

    def measure_one(self, name: str, times: int, path: str, **parameters: object) -> None:
        _, size = self.ask(path, **parameters)  # once cold: caches of parts and series fill
        before = self.cpu_s()
        walls = sorted(self.ask(path, **parameters)[0] for _ in range(times))
        cpu_ms = (self.cpu_s() - before) / times * 1000
        p99 = walls[min(len(walls) - 1, round(len(walls) * 0.99))] * 1000
        print(
            f"{name:<76} CPU {cpu_ms:7.1f} ms  wall min {walls[0] * 1000:7.1f}  "
            f"p50 {statistics.median(walls) * 1000:7.1f}  p99 {p99:7.1f} ms  {size:>9} B",
            flush=True,
        )


def load(up: Up, series: int, hours: int) -> None:
    """Post the frames; each is answered when it is in ClickHouse."""
    indexer = up.find(r"frames +(http\S+)")[1]
    rows_a_frame = series * 30
    start = time.perf_counter()
    for body in counter_frames(rows_a_frame, hours * 12, series):
        request = urllib.request.Request(indexer, body, {"Content-Type": CONTENT_TYPE})
        with urllib.request.urlopen(request, timeout=120) as response:
            assert response.status == 200
    print(f"# {series * hours * 360:,} rows posted in {time.perf_counter() - start:.1f} s", flush=True)


def ask_all(asker: Asker, args: argparse.Namespace) -> None:
    end = START_S + args.hours * 3_600
    day = {"start": end - args.hours * 3_600 + 300, "end": end, "step": 60}
    hour = {"start": end - 3_600, "end": end, "step": 15}
    one = f'rate({METRIC}{{host="host-0003",route="/api/v1/route-4",status="200"}}[1m])'
    by = f"sum by (route) (rate({METRIC}[5m]))"
    n = args.rounds
    asker.measure_one("floor: vector(1), one point", args.requests, "query", query="vector(1)", time=end)
    asker.measure(f"{by}, day at 60 s, 10 s table", n, "query_range", query=by, granularity=10, **day)
    asker.measure(f"{by}, day at 60 s, 60 s table", n, "query_range", query=by, **day)
    hosts = f"sum by (host) (increase({METRIC}[1h]))"
    hourly = {**day, "start": end - args.hours * 3_600 + 3_600, "step": 3_600}
    asker.measure(f"{hosts}, day at 1 h", n, "query_range", query=hosts, **hourly)
    fine = f"sum by (route) (rate({METRIC}[1m]))"
    asker.measure(f"{fine}, hour at 15 s", n, "query_range", query=fine, **hour)
    top = f"topk(5, rate({METRIC}[5m]))"
    six = {"start": end - min(6, args.hours) * 3_600, "end": end, "step": 60}
    asker.measure(f"{top}, 6 h at 60 s", n, "query_range", query=top, **six)
    asker.measure("rate of one series, hour at 15 s", args.requests, "query_range", query=one, **hour)
    asker.measure("rate of one series, one point", args.requests, "query", query=one, time=end)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    print(
        f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, commit {commit}, {args}"
    )
    assert time.time() - START_S < 30 * DAY_S
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        starter = Starter(Path(directory))
        try:
            up = starter.up()
            load(up, args.series, args.hours)
            asker = Asker(up)
            settle(asker)
            ask_all(asker, args)
        finally:
            starter.clear()


class HasCpuTime(Protocol):
    def cpu_s(self) -> float:
        """CPU seconds of the server so far."""


def settle(asker: HasCpuTime, deadline_s: float = 120.0) -> None:
    """Until background merges have gone quiet: under 5 % of a core over a second, or the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        before = asker.cpu_s()
        time.sleep(1.0)
        if asker.cpu_s() - before < 0.05:
            return
    print(json.dumps({"note": "merges were still running"}))


if __name__ == "__main__":
    main()
