"""CPU and time of an indexer's start after kill -9, on a day with many series.

python -m tests.bench.indexer_restart [--starts 30] [--series 20000] [--against TREE]

The indexer is that of `tests/bench/many_agents.py`: batching by journal, Redis, ClickHouse's interface over
HTTP, all real processes, but no agents. Measured from its exec on, of all its threads: until it listens, and
until `/readyz` says 200. `--against`: another tree of Meterhouse, whose starts alternate with this one's in
random order; the mean ratio of the pairs is printed with its 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from agent.wire.frame import encode
from tests.bench.agent_lines import machine
from tests.bench.many_agents import rows_of_agent
from tests.bench.stream_rows import ratio
from tests.e2e.product import ROOT, Process, get
from tests.faults.actors.processes import House
from tests.support.frames import make_frame

_START_S: Final = 60.0
#: Types of values, each with series of its own.
_KINDS: Final = 4
_CPUCLOCK_SCHED: Final = 2


class Start(NamedTuple):
    """Seconds of one start: until it listens and until it is ready, and its CPU until then."""

    listens_s: float
    ready_s: float
    listens_cpu_s: float
    ready_cpu_s: float


def cpu_s(pid: int) -> float:
    """Return the CPU of all threads of a process, ended ones too: clock_getcpuclockid(3) of Linux."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def measure(house: House, tree: Path) -> Start:
    """Start the indexer of a tree and kill it; return the seconds of its start."""
    began_s = time.monotonic()
    process = Process(
        house.folder, "indexer", environ=house.indexer.environ,
        program=(sys.executable, str(tree / "meterhouse.py")),
    )  # fmt: skip
    address = house.indexer.environ["METERHOUSE_INDEXER__LISTEN"].rpartition(":")
    try:
        _until(process, lambda: _listens(address[0], int(address[2])))
        listens_s, listens_cpu_s = time.monotonic() - began_s, cpu_s(process.pid)
        url = f"http://{address[0]}:{address[2]}/readyz"
        _until(process, lambda: get(url, _START_S)[0] == 200)
        return Start(listens_s, time.monotonic() - began_s, listens_cpu_s, cpu_s(process.pid))
    finally:
        process.kill()


def _until(process: Process, ask: Callable[[], bool]) -> None:
    end = time.monotonic() + _START_S
    while not ask():
        assert process.running, process.output
        assert time.monotonic() < end, process.output
        time.sleep(0.002)


def _listens(host: str, port: int) -> bool:
    with closing(socket.socket()) as sock:
        return sock.connect_ex((host, port)) == 0


def fill(url: str, series: int) -> None:
    """Store a bucket of today with this number of series."""
    made_ms = time.time_ns() // 1_000_000
    rows = rows_of_agent("many", series // _KINDS, made_ms // 10_000 * 10 - 10, 0)
    frame = make_frame(rows, agent="many", created_ms=made_ms)
    request = urllib.request.Request(
        f"{url}/v1/frames", encode(frame), {"Content-Type": "application/x-meterhouse-frame"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def line(name: str, starts: Sequence[Start]) -> str:
    """Return a row of Markdown: medians and ranges."""
    columns = (
        f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        for values in zip(*starts, strict=True)
    )
    return f"| {name} | {' | '.join(columns)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.indexer_restart", description=__doc__)
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--against", type=Path)
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled, too
    os.environ.pop("PYTHONPATH", None)  # each start has the modules of its own tree
    trees = [ROOT] + ([args.against.resolve()] if args.against else [])
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
        house = House(Path(name), "journal", own_clocks=False)
        del house.indexer.environ["METERHOUSE_INDEXER__ACKNOWLEDGE_S"]  # its default
        try:
            house.redis.start()
            house.clickhouse.start()
            house.indexer.start()
            fill(house.indexer_url, args.series)
            house.indexer.kill()
            found: dict[Path, list[Start]] = {tree: [] for tree in trees}
            for tree in trees:
                measure(house, tree)  # compiles
            for _ in range(args.starts):
                for tree in random.sample(trees, len(trees)):
                    found[tree].append(measure(house, tree))
        finally:
            house.clear()
    print(
        "| tree | listens s | ready s | CPU until it listens | CPU until it is ready |\n|---|---|---|---|---|"
    )
    for tree, starts in found.items():
        print(line("this" if tree == ROOT else "other", starts))
    if args.against:
        ours, theirs = found.values()
        for at, title in (("ready_s", "time"), ("ready_cpu_s", "CPU")):
            one, other = ([getattr(start, at) for start in starts] for starts in (ours, theirs))
            print(f"{title} until it is ready, this / other: {ratio(one, other)}")


if __name__ == "__main__":
    main()
