"""Cost of a query by the number of series, beside Prometheus and VictoriaMetrics: counters.

python -m tests.bench.peer_sizes [--series 1000 10000 100000] [--buckets 10] [--victoria-metrics PROGRAM]

The metric of `tests.bench.sizes`: Meterhouse gets deltas, the others the running totals at the end of each
minute. Each query is asked twice of each server in turn, as an instant and over an hour at 60 s; the second
is shown: CPU of the server's process between request and answer, wall, and its peak RSS meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.wire.frame import encode
from tests.bench.indexer_rows import START_S
from tests.bench.peer_servers import Family, Load, Peers, Server
from tests.support.sizes import DISTINCT, sized_frames, value

QUERIES: Final = (
    "sum(rate(x[5m]))", "sum by (host) (rate(x[5m]))", "sum by (grp) (rate(x[5m]))", "topk(5, rate(x[5m]))",
    "quantile(0.9, rate(x[5m]))", 'sum(rate(x{path=~"path-1.*"}[5m]))', 'rate(x{i="7"}[5m])',
)  # fmt: skip


class Minutes(Family):
    """A sample of each series at the end of each minute."""

    @property
    def times_s(self) -> npt.NDArray[np.int64]:
        return START_S + 60 * np.arange(1, self.values.shape[1] + 1)


def load_of(series: int, buckets: int) -> Load:
    """Return the same counters as deltas and as running totals."""
    starts = [START_S + 60 * k for k in range(buckets)]
    frames = [encode(frame) for frame in sized_frames("counter", "x", series, starts)]
    labels = [
        {"i": str(i), **{tag: f"{tag}-{i % distinct}" for tag, distinct in DISTINCT.items()}}
        for i in range(series)
    ]
    totals = value(np.arange(series))[:, None] * np.arange(1, buckets + 1)
    return Load(frames, [Minutes("x", labels, totals)])


def cell(server: Server, path: str, parameters: dict[str, object]) -> str:
    """Return the second of two answers."""
    for _ in range(2):
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
        before = server.cpu_s()
        wall_s, _ = server.ask(path, parameters)
        cpu_s = server.cpu_s() - before
    status = Path(f"/proc/{server.pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return f"{cpu_s * 1000:,.0f} | {wall_s * 1000:,.0f} | {peak_kb / 1000:,.0f}"


def run(series: int, buckets: int, program: str | None) -> None:
    end_s = START_S + 60 * buckets
    over: dict[str, object] = {"start": end_s - 3_600, "end": end_s, "step": 60}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        peers = Peers(Path(directory), program)
        try:
            load = load_of(series, buckets)
            peers.fill_prometheus(load)
            servers = peers.start()
            peers.fill_running(load, servers)
            servers = [server for server in servers if "," not in server.name]
            for server in servers:
                server.settle()
            print(f"\n{series:,} series x {buckets} samples\n")
            print(
                "| query | | "
                + " | ".join(f"{s.name}: CPU ms | wall ms | peak RSS MB" for s in servers)
                + " |"
            )
            print("|---|---|" + "---:|" * (3 * len(servers)), flush=True)
            for query in QUERIES:
                for name, path, when in (
                    ("instant", "query", {"time": end_s}),
                    ("hour", "query_range", over),
                ):
                    cells = [cell(server, path, {"query": query, **when}) for server in servers]
                    print(f"| `{query}` | {name} | " + " | ".join(cells) + " |", flush=True)
        finally:
            peers.clear()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--buckets", type=int, default=10, help="samples of each series, a minute apart")
    parser.add_argument("--victoria-metrics", default="victoria-metrics")
    args = parser.parse_args()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, {args}")
    for series in args.series:
        run(series, args.buckets, shutil.which(args.victoria_metrics))


if __name__ == "__main__":
    main()
