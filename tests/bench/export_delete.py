"""Speed and memory of `meterhouse export` and `meterhouse delete` at 10 million rows of one counter.

python -m tests.bench.export_delete [--series 50000] [--buckets 200] [--formats csv openmetrics parquet]
                                    [--store http]

Starts `meterhouse up`, posts a row of each series in each bucket of 10 s, exports all of them by each format,
and deletes: half of the series in a time that divides a bucket of every rollup, then all. Prints seconds, CPU
seconds, and the peak RSS of the command, of indexer and API (one process), and with `--store http` that of
ClickHouse, which is otherwise in the same process. Totals are compared by each granularity.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from agent.wire.frame import CONTENT_TYPE, Frame, encode
from tests.bench.export_values import PEAK, check
from tests.bench.sizes import Server, store_of
from tests.e2e.product import PROGRAM, Starter, Up
from tests.support.sizes import sized_frames

#: One indexer, so that a deletion divides days.
ENVIRON: Final = {"METERHOUSE_SHIM__ADMIN_API": "true", "METERHOUSE_INDEXER__BATCHING": "journal"}


def run(server: Server, name: str, arguments: Sequence[str]) -> str:
    """Run a command and print a row of the table; return its output."""
    server.forget_peak()
    began, cpu_s = time.monotonic(), server.cpu_s()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, PROGRAM[1], *arguments, "--url", server.up.api.url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    peak = re.search(r"peak (\d+)", done.stderr)
    assert peak is not None
    up_mb = Server(server.up).peak_mb()
    took = f"{time.monotonic() - began:.0f} | {server.cpu_s() - cpu_s:.0f}"
    peaks = f"{int(peak[1]) / 1024:.0f} | {up_mb:.0f} | {server.peak_mb() - up_mb:.0f}"
    print(f"| {name} | {took} | {peaks} |", flush=True)
    return done.stdout


def load(up: Up, series: int, times: range) -> None:
    """Post the frames, several at once, so that one batch has several."""

    def post(frame: Frame) -> None:
        request = urllib.request.Request(
            f"{up.indexer}/v1/frames", encode(frame), {"Content-Type": CONTENT_TYPE}
        )
        while True:  # as an agent: the same bytes again, which count once
            try:
                urllib.request.urlopen(request, timeout=300).close()
            except urllib.error.HTTPError as e:
                if e.code != 503:
                    raise
            else:
                return

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(post, sized_frames("counter", "x", series, times)):
            pass
    print(f"# {series:,} series x {len(times)} rows in {time.monotonic() - began:.0f} s", flush=True)


def total(server: Server, granularity_s: int, at_s: int, hours: int) -> float:
    """Return the sum of all increments, by one granularity."""
    data = server.up.api.data(
        "query", query=f"sum(increase(x[{hours}h]))", time=at_s, granularity=granularity_s, nocache=1
    )
    return float(data["result"][0]["value"][1]) if data["result"] else 0.0


def delete(server: Server, series: int, times: range) -> None:
    """Delete half of the series in a part of the time, then all; check the totals by each granularity."""
    first, last = times[len(times) // 4], times[3 * len(times) // 4]
    end_s = -(-times[-1] // 86_400) * 86_400
    hours = (end_s - times[0] // 86_400 * 86_400) // 3_600
    values = [i % 10 + 1 for i in range(series)]
    gone = sum(value for i, value in enumerate(values) if str(i).endswith(("1", "3", "5", "7", "9")))
    left = sum(values) * len(times) - gone * ((last - first) // 10)
    odd = 'x{i=~".*[13579]"}'
    told = run(server, "delete half", ("delete", odd, "--yes", "--from", str(first), "--to", str(last)))
    print(f"# {told.strip()}")
    found = [total(server, g, end_s, hours) for g in (10, 60, 3_600)]
    assert found == [left] * 3, (found, left)
    print(f"# {run(server, 'delete all', ('delete', 'x', '--yes')).strip()}")
    assert [total(server, g, end_s, hours) for g in (10, 60, 3_600)] == [0.0] * 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=50_000)
    parser.add_argument("--buckets", type=int, default=200)
    parser.add_argument("--formats", nargs="*", default=["csv", "openmetrics", "parquet"])
    parser.add_argument("--store", choices=["embedded", "http"], default="embedded")
    args = parser.parse_args()
    print(f"# {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    end_s = int(time.time()) // 3_600 * 3_600 - 70  # both ends divide a minute
    start_s = end_s - 10 * args.buckets
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        starter = Starter(Path(directory))
        with store_of(args.store, Path(directory)) as (environ, beside):
            try:
                up = starter.up(environ={**environ, **ENVIRON})
                server, times = Server(up, beside), range(start_s, end_s, 10)
                load(up, args.series, times)
                print(
                    "| command | s | CPU s of the servers | peak RSS of the command, MB |"
                    " of indexer and API, MB | of ClickHouse, MB |\n|---|---|---|---|---|---|"
                )
                span = ("--start", str(start_s), "--end", str(end_s))
                for form in args.formats:
                    file = Path(directory) / f"x.{form}"
                    run(server, f"export {form}", ("export", "x", str(file), *span))
                    if form == "csv":
                        check(file, args.series, args.buckets)
                    file.unlink()
                delete(server, args.series, times)
            finally:
                starter.clear()


if __name__ == "__main__":
    main()
