"""Kills everything but ClickHouse at random, and prints one line of JSON: exact or not, and measurements.

python -m tests.faults.cluster [--seconds 600] [--seed 1] [--redis always|half|foreign]
                               [--agents 200] [--real 50] [--parts 8]

Three indexers with a journal each, two shims with a rule group and a Redis serve simulated agents
(tests/bench/many_agents.py), which are not killed, and agent processes. `--redis half` takes Redis away half
of the time, `foreign` lets another program write under Meterhouse's names, or lets Redis refuse
(tests/support/foreign_redis.py). Both shims are asked all the time. After 7 tenths of a run of a minute
an indexer dies while agents hold frames for it, which an operator releases; it returns after the end.
Exit code 1: not exact, or not so released.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.agent_lines import machine
from tests.faults.cluster.cluster_run import ClusterRun
from tests.support.clickhouse_http import running


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cluster", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--redis", choices=("always", "half", "foreign"), default="always")
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--real", type=int, default=50)
    parser.add_argument("--indexers", type=int, default=3)
    parser.add_argument("--shims", type=int, default=2)
    parser.add_argument("--series", type=int, default=10, help="of each type and simulated agent")
    parser.add_argument("--parts", type=float, default=8.0, help="indexer.batch.parts_per_s")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two kills, about")
    args = parser.parse_args(argv)
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="meterhouse-cluster-"))
    with running(folder / "clickhouse") as port:
        run = ClusterRun(folder, port, args)
        try:
            report = run.run()
        finally:
            run.clear()
    print(json.dumps(vars(args) | report), flush=True)
    released = report["dead_indexer"].get("stored", True)
    if not released:
        print("# frames of the dead indexer were not released, or not stored without it", file=sys.stderr)
    if not (report["exact"] and released):
        print(f"# logs: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
