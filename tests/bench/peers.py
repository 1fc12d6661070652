"""Queries against peers: the same day of samples in Prometheus, VictoriaMetrics and `meterhouse up`.

python -m tests.bench.peers [--series 1000] [--hours 24] [--rounds 5] [--requests 200] [--cold 2]
    [--victoria-metrics PROGRAM] [--only WORD]

Ten typical dashboard queries, whole HTTP requests over a connection that stays open, servers taking turns.
*First* is the first time a query is asked after all servers were restarted (the page cache stays warm), once
with Meterhouse's memory of the questions before the restart, once without.
*Warm* is the minimum over the rounds; CPU is that of the server's process, of a batch of requests. Ratios
are to Meterhouse. VictoriaMetrics keeps answers: it is listed without them (`nocache=1`), and with.
Meterhouse keeps cells in memory, no answers: it is listed with them, and *by statement* alone (`nocache=1`).
One series over one hour is asked more often, and taken apart (`peer_profile`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.indexer_rows import START_S
from tests.bench.peer_profile import profile
from tests.bench.peer_servers import METRIC, Load, Peers, Query, Server

#: A batch is repeated until it has taken so long: CPU clocks tick in 10 ms.
_BATCH_S: Final = 0.25
#: Answers may differ by the extrapolation of Prometheus and VictoriaMetrics.
_TOLERANCE: Final = 0.1
ONE: Final = f'rate({METRIC}{{host="host-0003",route="/api/v1/route-4",status="200"}}[1m])'


def queries(hours: int) -> list[Query]:
    end = START_S + hours * 3_600

    def over(text: str, length_h: int, step_s: int, skip_s: int = 300) -> Query:
        length_h = min(length_h, hours)
        whole = length_h == hours
        start = end - length_h * 3_600 + (skip_s if whole else 0)
        parameters: dict[str, int] = {"start": start, "end": end, "step": step_s}
        return Query(text, "query_range", parameters, f"{length_h} h at {step_s} s", whole)

    m = METRIC
    return [
        over(f"sum(rate({m}[5m]))", 24, 60),
        over(f"sum by (route) (rate({m}[5m]))", 24, 60),
        over(f'sum(rate({m}{{status="500"}}[5m])) / sum(rate({m}[5m]))', 24, 60),
        over(f"topk(5, sum by (host) (rate({m}[5m])))", 24, 60),
        over(f"sum by (host) (increase({m}[1h]))", 24, 3_600, 3_600),
        Query(
            f"sum by (route) (increase({m}[{hours}h]))", "query", {"time": end}, f"{hours} h, one point", True
        ),
        over(f"topk(5, rate({m}[5m]))", 6, 60),
        over(f'rate({m}{{status="500"}}[5m])', 6, 60),
        over(f"sum by (route) (rate({m}[1m]))", 1, 15),
        over(ONE, 1, 15),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    wall_ms: float
    cpu_ms: float


def batch(query: Query, server: Server, requests: int) -> Cost:
    """Return the fastest of a batch, and CPU per request."""
    before = server.cpu_s()
    walls = [query.ask(server)[0] for _ in range(requests)]
    return Cost(min(walls) * 1000, (server.cpu_s() - before) / requests * 1000)


def warm(query: Query, servers: Sequence[Server], rounds: int) -> dict[str, Cost]:
    """Minima over rounds in which the servers take turns."""
    sizes = {s.name: max(1, round(_BATCH_S / min(query.ask(s)[0] for _ in range(2)))) for s in servers}
    found: dict[str, list[Cost]] = defaultdict(list)
    for _ in range(rounds):
        for server in servers:
            found[server.name].append(batch(query, server, min(500, sizes[server.name])))
    return {
        name: Cost(min(c.wall_ms for c in costs), min(c.cpu_ms for c in costs))
        for name, costs in found.items()
    }


def first(
    peers: Peers, asked: Sequence[Query], times: int, *, remembered: bool = True
) -> dict[str, dict[str, Cost]]:
    """Return by query and server the first answer after a restart, the least of `times` restarts.

    `remembered`: Meterhouse was asked the same before the restart; else it has never been asked anything.
    """
    found: dict[str, dict[str, Cost]] = defaultdict(dict)
    for _ in range(times):
        if not remembered:
            peers.forget()
        servers = [s for s in peers.start() if "," not in s.name]
        for server in servers:
            server.settle()
            for query in asked:
                cost = batch(query, server, 1)
                best = found[query.text].get(server.name, cost)
                found[query.text][server.name] = Cost(
                    min(cost.wall_ms, best.wall_ms), min(cost.cpu_ms, best.cpu_ms)
                )
        peers.stop()
    return found


def level(body: bytes) -> float:
    """Return the sum of an answer's last points: enough to see that servers answer the same question."""
    result: list[dict[str, Any]] = json.loads(body)["data"]["result"]
    points = [series["values"][-1] if "values" in series else series["value"] for series in result]
    return sum(float(value) for _, value in points)


def compare(query: Query, servers: Sequence[Server], tolerance: float = _TOLERANCE) -> None:
    """Fails when a server answers something else."""
    levels = {s.name: level(query.ask(s)[1]) for s in servers}
    ours = levels["meterhouse"]
    assert all(abs(v - ours) <= tolerance * abs(ours) for v in levels.values()), (query.text, levels)


def table(title: str, asked: Sequence[Query], costs: Mapping[str, Mapping[str, Cost]]) -> None:
    """Milliseconds of Meterhouse, and the ratio of the others to it."""
    names = [n for n in next(iter(costs.values())) if n != "meterhouse"]
    print(f"\n{title}\n")
    print("| query | over | ms | CPU ms | " + " | ".join(f"{n} | its CPU" for n in names) + " |")
    print("|---|---|" + "---:|" * (2 + 2 * len(names)))
    for query in asked:
        of = costs[query.text]
        ours = of["meterhouse"]
        cells = [f"{ours.wall_ms:.1f}", f"{ours.cpu_ms:.1f}"]
        for name in names:
            cells.append(f"{of[name].wall_ms / ours.wall_ms:.2g}x")
            cells.append(f"{of[name].cpu_ms / ours.cpu_ms:.2g}x" if ours.cpu_ms else "")
        print(f"| `{query.text}` | {query.over} | " + " | ".join(cells) + " |", flush=True)


def often(query: Query, servers: Sequence[Server], requests: int) -> None:
    """p50 and p99 of one small query, servers taking turns; each request is for a time of its own."""
    walls: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, float] = defaultdict(float)
    for batch_start in range(0, requests, 20):
        moved = [query.earlier(10 * i) for i in range(batch_start, batch_start + 20)]
        for server in servers:
            before = server.cpu_s()
            walls[server.name] += [q.ask(server)[0] * 1000 for q in moved]
            cpu[server.name] += server.cpu_s() - before
    print(f"\nOne series over one hour, {requests} requests\n")
    print("| server | p50 ms | p99 ms | min ms | CPU ms |\n|---|---:|---:|---:|---:|")
    for server in servers:
        ordered = sorted(walls[server.name])
        p99 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))]
        spent_ms = cpu[server.name] / len(ordered) * 1000
        print(
            f"| {server.name} | {statistics.median(ordered):.2f} | {p99:.2f} | {ordered[0]:.2f} |"
            f" {spent_ms:.2f} |",
            flush=True,
        )


def main() -> None:
    args = _arguments()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, commit {commit}")
    asked = [q for q in queries(args.hours) if args.only in q.text]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        peers = Peers(Path(directory), shutil.which(args.victoria_metrics))
        try:
            load = Load.of(args.series, args.hours)
            peers.fill_prometheus(load)
            servers = peers.start()
            peers.fill_running(load, servers)
            print(f"# {load.samples:,} samples in {', '.join(s.name for s in servers)}", flush=True)
            for server in servers:
                server.settle()
            for query in asked:
                compare(query, servers)
            table("Warm", asked, {q.text: warm(q, servers, args.rounds) for q in asked})
            one = queries(args.hours)[-1]
            often(one, servers, args.requests)
            moved = [one.earlier(10 * i) for i in range(args.requests)]
            profile(servers[0], moved)
            statement = profile(servers[1], moved)
            peers.stop()
            statement.measure(peers.embedded_path, args.requests)
            if args.cold:
                known = first(peers, asked, args.cold, remembered=True)
                table("First after a restart, asked before it", asked, known)
                unknown = first(peers, asked, args.cold, remembered=False)
                table("First after a restart, never asked before", asked, unknown)
        finally:
            peers.clear()


def _arguments() -> argparse.Namespace:
    parser = parser_of_peers()
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=200)
    return parser.parse_args()


def parser_of_peers() -> argparse.ArgumentParser:
    """Return a parser of the options that every bench beside peers has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", type=int, default=2, help="restarts, 0 for none")
    parser.add_argument("--victoria-metrics", default="victoria-metrics")
    parser.add_argument("--only", default="", help="queries that contain this")
    return parser


if __name__ == "__main__":
    main()
