"""Cost of a query by the number of series: a metric of 1,000 to 1,000,000, over HTTP of `meterhouse up`.

python -m tests.bench.sizes [--series 1000 10000 100000] [--types counter gauge histogram set]
                            [--store embedded http] [--buckets 60] [--queries TEXT ...]

For every type and size: starts `meterhouse up` in a folder of its own (`--store http`: over the tests' server
of ClickHouse's HTTP interface, whose process is counted too), posts a metric with one row per series and
minute to its indexer, ends it, starts it again and asks each query three times, as an instant and over an
hour at 60 s. The first time is cold for this query; the first query of all is cold for the series as well.
The third time is by statement (`nocache=1`). Cells of some 20,000 series stay in memory, of more they do
not (`--cache-mb`), so it is this time that compares sizes; users see the second time. CPU is that of
the server's processes between request and answer, RSS their peak meanwhile (`VmHWM`, reset before each
query). Prints tables in Markdown; a refused or failed query is a row that says so. `max_series` is raised to
the size, and a little for `up`.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from agent.wire.frame import CONTENT_TYPE, encode
from tests.bench.query_latency import settle
from tests.e2e.product import Starter, Up
from tests.support.clickhouse_http import running
from tests.support.sizes import TYPES, Type, sized_frames

TICKS: Final = os.sysconf("SC_CLK_TCK")
HOUR_S: Final = 3_600

#: By type: the query of the metric `x`; `{f}` is the function of each series.
_FLOATS: Final = (
    "sum({f})", "count({f})", "sum by (host) ({f})", "sum by (grp) ({f})", "topk(5, {f})",
    "quantile(0.9, {f})", 'count_values("v", {f})', "sort({f})", 'sum({f_one})', "sum({f_regex})",
    "{f} + {f}", "{f}", 'topk(10, count({{__name__=~".+"}}) by (__name__))',
)  # fmt: skip
QUERIES: Final[dict[Type, tuple[str, ...]]] = {
    "counter": tuple(
        q.format(f="rate(x[5m])", f_one='rate(x{i="7"}[5m])', f_regex='rate(x{path=~"path-1.*"}[5m])')
        for q in _FLOATS
    ),
    "gauge": (
        *(q.format(f="x", f_one='x{i="7"}', f_regex='x{path=~"path-1.*"}') for q in _FLOATS),
        "max_over_time(x[5m])",
    ),
    "histogram": (
        "sum(rate(x_count[5m]))", "count(x)", "histogram_quantile(0.9, sum(rate(x[5m])))",
        "histogram_quantile(0.9, sum by (host) (rate(x[5m])))",
        "histogram_quantile(0.9, sum by (grp) (rate(x[5m])))", "topk(5, rate(x_count[5m]))",
        "max(max_over_time(x[5m]))", 'histogram_quantile(0.9, sum(rate(x{path=~"path-1.*"}[5m])))',
        'histogram_quantile(0.9, rate(x{i="7"}[5m]))', "rate(x_count[5m])",
    ),
    "set": (
        "sum(sum_over_time(x[5m]))", "count(x)", "sum by (host) (sum_over_time(x[5m]))",
        "sum by (grp) (sum_over_time(x[5m]))", "topk(5, x)", 'sum(sum_over_time(x{path=~"path-1.*"}[5m]))',
        'sum_over_time(x{i="7"}[5m])', "sum_over_time(x[5m])",
    ),
}  # fmt: skip


@dataclass
class Server:
    """The processes that answer, as one."""

    up: Up
    beside: list[int] = field(default_factory=list)  # a server of ClickHouse

    @property
    def pids(self) -> list[int]:
        return [self.up.pid, *self.beside]

    def cpu_s(self) -> float:
        """User and system time, all threads."""
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def forget_peak(self) -> None:
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """Of each process its peak since then, together."""
        total = 0
        for pid in self.pids:
            status = Path(f"/proc/{pid}/status").read_text()
            total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return total / 1000


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    peak_mb: float
    size: int
    error: str

    def cell(self) -> str:
        if self.error:
            return f"{self.error} | | "
        return f"{self.cpu_s * 1000:,.0f} | {self.wall_s * 1000:,.0f} | {self.peak_mb:,.0f}"


def ask(server: Server, path: str, parameters: dict[str, object], timeout_s: float) -> Cost:
    """One request, from sending to the last byte."""
    url = urllib.parse.urlsplit(server.up.api.url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout_s + 30)
    server.forget_peak()
    cpu, wall = server.cpu_s(), time.perf_counter()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", f"/api/v1/{path}", urllib.parse.urlencode(parameters), headers)
    answer = connection.getresponse()
    body = answer.read()
    wall = time.perf_counter() - wall
    connection.close()
    error = "" if answer.status == 200 else f"{answer.status} {msgspec.json.decode(body)['error'][:60]}"
    return Cost(server.cpu_s() - cpu, wall, server.peak_mb(), len(body), error)


def load(up: Up, type_: Type, series: int, buckets: Sequence[int]) -> None:
    """Post the frames; each is answered when it is in ClickHouse."""
    indexer = up.find(r"frames +(http\S+)")[1]
    start = time.perf_counter()
    for frame in sized_frames(type_, "x", series, buckets):
        request = urllib.request.Request(indexer, encode(frame), {"Content-Type": CONTENT_TYPE})
        with urllib.request.urlopen(request, timeout=300) as response:
            assert response.status == 200
    took = time.perf_counter() - start
    print(f"\n# {type_}, {series:,} series x {len(buckets)} rows in {took:.0f} s", flush=True)


def measure(server: Server, type_: Type, end_s: int, queries: Sequence[str], timeout_s: float) -> None:
    columns = "CPU ms | wall ms | peak RSS MB"
    print(f"\n| query | | {columns} | warm: {columns} | by statement: {columns} | answer kB |")
    print("|---" * 12 + "|", flush=True)
    over = {"start": end_s - HOUR_S, "end": end_s, "step": 60}
    for query in queries or QUERIES[type_]:
        for name, path, when in (("instant", "query", {"time": end_s}), ("hour", "query_range", over)):
            given: dict[str, object] = {"query": query, "timeout": f"{timeout_s:g}s", **when}
            cold, warm, alone = (
                ask(server, path, given | {"nocache": flag}, timeout_s) for flag in ("0", "0", "1")
            )
            shown = query.replace("|", "\\|")
            print(
                f"| `{shown}` | {name} | {cold.cell()} | {warm.cell()} | {alone.cell()} |"
                f" {warm.size / 1000:,.0f} |",
                flush=True,
            )


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Provide the environment's settings of the store, and the processes that it is in."""
    if kind == "embedded":
        yield {}, []
        return
    with running(folder / "clickhouse") as port:
        dsn = f"http://127.0.0.1:{port}/sizes"
        yield {"METERHOUSE_INDEXER__DSN": dsn, "METERHOUSE_SHIM__DSN": dsn}, _children()


def _children() -> list[int]:
    """Return the processes that this one has started."""
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def run(kind: str, type_: Type, series: int, args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        folder = Path(directory)
        with store_of(kind, folder) as (environ, beside):
            environ |= {
                "METERHOUSE_SHIM__MAX_SERIES": str(max(100_000, series + 100)),
                "METERHOUSE_SHIM__TIMEOUT_S": str(args.timeout),
                "METERHOUSE_SHIM__CACHE__MAX_BYTES": str(args.cache_mb << 20),
            }
            end_s = int(time.time()) // HOUR_S * HOUR_S - HOUR_S
            starter = Starter(folder)
            try:
                up = starter.up(environ=environ)
                load(up, type_, series, [end_s - 60 * k for k in range(args.buckets, 0, -1)])
                settle(Server(up, beside))
                up.terminate(300)
                up = starter.up(environ=environ)
                settle(Server(up, beside))  # entries that are looked up after a start
                print(f"# store: {kind}")
                measure(Server(up, beside), type_, end_s, args.queries, args.timeout)
            finally:
                starter.clear()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--store", nargs="+", choices=("embedded", "http"), default=["embedded"])
    parser.add_argument("--buckets", type=int, default=60, help="rows of each series, a minute apart")
    parser.add_argument("--queries", nargs="+", default=[], help="instead of the list; the metric is x")
    parser.add_argument("--cache-mb", type=int, default=256, help="shim.cache.max_bytes, in MiB")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that a query may take")
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    print(
        f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, commit {commit}, {args}"
    )
    for kind in args.store:
        for type_ in args.types:
            for series in args.series:
                run(kind, type_, series, args)


if __name__ == "__main__":
    main()
