"""Live ingest beside `meterhouse backfill`: how long frames wait for their acknowledgement.

    python -m tests.bench.backfill_beside [--lines 2000000] [--days 7] [--quiet-s 20] [--agents 10]
        [--server journal|frame]

Live agents send a frame of `--series` series of each type every 10 s to a `meterhouse up`, spread over the
10 s, first alone and then while a file of old lines is sent. With `--server` they send to an indexer over
HTTP that batches in this way (tests/support/clickhouse_http.py). Exit code 1: the p99 beside the backfill is
beyond twice the quiet one and beyond the quiet one plus 250 ms.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from agent.wire.frame import encode
from tests.bench.agent_lines import machine
from tests.bench.many_agents import percentiles
from tests.e2e.product import PROGRAM, ROOT, Starter
from tests.e2e.services import Services
from tests.support.clickhouse_http import running
from tests.support.frames import FrameRows, make_frame

_PERIOD_S: Final = 10.0
_DAY_S: Final = 86_400
_SPARE_S: Final = 0.25
_TIMEOUT_S: Final = 60.0


class Live:
    """A live agent over one connection, whose frames are due at its own part of each period."""

    def __init__(self, url: str, name: str, series: int, first_s: float) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_S)
        self._name = name
        self._series = series
        self._epoch = time.time_ns()
        self._sequence = 0
        self._due_s = first_s

    def run(self, goes_on: Callable[[], bool]) -> list[float]:
        """Send frames while `goes_on`; return the seconds from when each was due to its answer."""
        waits: list[float] = []
        while goes_on():
            if (rest_s := self._due_s - time.monotonic()) > 0:
                time.sleep(min(rest_s, 0.1))
                continue
            self._send()
            waits.append(time.monotonic() - self._due_s)
            self._due_s += _PERIOD_S
        return waits

    def _send(self) -> None:
        self._sequence += 1
        body = encode(make_frame(
            _rows(self._series), agent=self._name, epoch=self._epoch, sequence=self._sequence,
            created_ms=time.time_ns() // 1_000_000,
        ))  # fmt: skip
        while True:
            self._connection.request("POST", "/v1/frames", body)
            response = self._connection.getresponse()
            response.read()
            if response.status == 200:
                return
            time.sleep(float(response.getheader("Retry-After", "1")))


def _rows(series: int) -> FrameRows:
    bucket_s = int(time.time()) // 10 * 10
    tags = [{"k": str(k)} for k in range(series)]
    return FrameRows(
        counters=[("live_c", t, bucket_s, 1.0) for t in tags],
        gauges=[("live_g", t, bucket_s, (bucket_s * 1_000, 1.0, 1.0, 1.0, 1.0, 1.0)) for t in tags],
        distributions=[("live_d", t, bucket_s, [1.0]) for t in tags],
        sets=[("live_s", t, bucket_s, [k]) for k, t in enumerate(tags)],
    )


def _old_lines(path: Path, lines: int, days: int) -> None:
    """Write lines of 1,000 series in order of time, up to yesterday."""
    rng = random.Random(1)
    first_s = int(time.time()) - (days + 1) * _DAY_S
    with path.open("w") as out:
        for n in range(lines):
            at_s = first_s + n * days * _DAY_S // lines
            out.write(f"old.{n % 10}:{rng.randrange(1_000)}|{'cgh'[n % 3]}|#k:{rng.randrange(100)}|T{at_s}\n")


def _run_all(agents: Sequence[Live], goes_on: Callable[[], bool]) -> list[float]:
    with ThreadPoolExecutor(len(agents)) as threads:
        return [wait for waits in threads.map(lambda live: live.run(goes_on), agents) for wait in waits]


def _indexer(folder: Path, batching: str, stack: ExitStack) -> str:
    """Start an indexer over HTTP, or `meterhouse up` where `batching` is empty; return its URL."""
    start = Starter(folder)
    if batching:
        port = stack.enter_context(running(folder / "clickhouse"))
    stack.callback(start.clear)
    if not batching:
        return start.up().indexer
    journal = str(folder / "journal.sqlite")
    environ = {"METERHOUSE_INDEXER__BATCHING": batching, "METERHOUSE_INDEXER__JOURNAL__PATH": journal}
    return Services(start, f"http://127.0.0.1:{port}/beside").indexer(environ)[1]


def _run(indexer: str, folder: Path, args: argparse.Namespace) -> int:
    old = folder / "old.statsd"
    _old_lines(old, args.lines, args.days)
    began_s = time.monotonic()
    agents = [
        Live(indexer, f"live-{n}", args.series, began_s + n * _PERIOD_S / args.agents)
        for n in range(args.agents)
    ]
    warm_s = began_s + _PERIOD_S
    _run_all(agents, lambda: time.monotonic() < warm_s)
    end_s = warm_s + args.quiet_s
    quiet = _run_all(agents, lambda: time.monotonic() < end_s)
    environ = {**os.environ, "METERHOUSE_AGENT__FORWARD__URL": indexer}
    began_s = time.monotonic()
    with subprocess.Popen([*PROGRAM, "backfill", str(old)], cwd=ROOT, env=environ) as backfill:
        beside = _run_all(agents, lambda: backfill.poll() is None)
    took_s = time.monotonic() - began_s
    print(percentiles("quiet", quiet))
    print(percentiles("beside", beside))
    before, after = float(np.percentile(quiet, 99)), float(np.percentile(beside, 99))
    limit = max(2 * before, before + _SPARE_S)
    print(f"{args.lines / took_s:,.0f} old lines/s; p99 {after:.3f} s beside, at most {limit:.3f} s wanted")
    return 1 if backfill.returncode or after > limit else 0


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backfill_beside", description=__doc__)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--series", type=int, default=25)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--quiet-s", type=float, default=20.0)
    parser.add_argument("--server", choices=("journal", "frame"), default="")
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name, ExitStack() as stack:
        return _run(_indexer(Path(name), args.server, stack), Path(name), args)


if __name__ == "__main__":
    sys.exit(main())
