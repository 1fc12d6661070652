"""Speed and memory of `meterhouse export`: 10 million rows of one counter, from a running `meterhouse up`.

python -m tests.bench.export_values [--series 20000] [--buckets 500] [--formats csv openmetrics parquet]

Starts `meterhouse up` in a folder of its own, posts a row of each series in each bucket of 10 s, and exports
all of them with the command. Prints for each format: rows, seconds, size, and the peak RSS of the command and
of the server meanwhile (`VmHWM`, reset before). The rows of CSV are counted and their values added up.
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
from pathlib import Path

from tests.bench.sizes import Server, load
from tests.e2e.product import PROGRAM, Starter

#: Runs a command and prints its peak RSS in kB: VmHWM, as ru_maxrss begins with that of the parent.
PEAK = (
    "import runpy, sys; sys.argv = sys.argv[1:]\n"
    "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "finally:\n"
    "    found = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
    "    print('peak', found[0], file=sys.stderr)\n"
)


def export(server: Server, file: Path, start_s: int, end_s: int) -> None:
    """Export and print a row of the table."""
    times = ("--start", str(start_s), "--end", str(end_s), "--url", server.up.api.url)
    server.forget_peak()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, PROGRAM[1], "export", "x", str(file), *times],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    took = time.monotonic() - began
    rows, peak = re.search(r"(\d+) rows", done.stdout), re.search(r"peak (\d+)", done.stderr)
    assert rows is not None
    assert peak is not None
    print(
        f"| {file.suffix} | {int(rows[1]):,} | {took:.0f} | {file.stat().st_size / 1e6:,.0f}"
        f" | {int(peak[1]) / 1024:.0f} | {server.peak_mb():.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--buckets", type=int, default=500)
    parser.add_argument("--formats", nargs="+", default=["csv", "openmetrics", "parquet"])
    args = parser.parse_args()
    print(f"# {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    end_s = int(time.time()) // 3_600 * 3_600
    start_s = end_s - 10 * args.buckets
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        starter = Starter(Path(directory))
        try:
            up = starter.up()
            load(up, "counter", args.series, range(start_s, end_s, 10))
            print(
                "| format | rows | s | MB | peak RSS of the command, MB | of the server, MB |\n"
                "|---|---|---|---|---|---|"
            )
            for form in args.formats:
                file = Path(directory) / f"x.{form}"
                export(Server(up, []), file, start_s, end_s)
                if form == "csv":
                    check(file, args.series, args.buckets)
        finally:
            starter.clear()


def check(file: Path, series: int, buckets: int) -> None:
    """Raise AssertionError unless the CSV file has each row once."""
    with file.open() as lines:
        next(lines)
        values = [float(line.split(",", 3)[2]) for line in lines]
    assert len(values) == series * buckets
    assert sum(values) == buckets * sum(i % 10 + 1 for i in range(series))


if __name__ == "__main__":
    main()
