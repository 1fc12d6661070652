"""Cost of distinct series to an indexer: resident bytes of its process, as a curve, and the exact total.

    python -m tests.bench.indexer_cardinality [--series 10000000] [--per-day 1000000] [--batching journal]

All series are counters that come once, 10,000 in a frame, each with a tag value of its own. ClickHouse
(tests/support/clickhouse_http.py) is another process. Series beyond `--per-day` fold into the overflow series
of their metric (`indexer.limits.series_per_day`). Exit code 1: the total is not exact.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from agent.wire.frame import encode
from indexer.clickhouse.store import open_store
from tests.bench.agent_lines import machine
from tests.e2e.product import START_S, Starter, get, wait_for
from tests.support.clickhouse_http import running
from tests.support.frames import counter_frame
from tests.support.ports import free_port

_OF_A_FRAME: Final = 10_000
_TIMEOUT_S: Final = 120.0


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def _send(connection: HTTPConnection, sequence: int) -> None:
    """Send a frame of new series until it is stored."""
    first = sequence * _OF_A_FRAME
    now_s = int(time.time())
    rows = {f"v{n}": 1.0 for n in range(first, first + _OF_A_FRAME)}
    body = encode(
        counter_frame(rows, now_s // 10 * 10, agent="many", sequence=sequence, created_ms=now_s * 1000)
    )
    while True:
        connection.request("POST", "/v1/frames", body)
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            return
        time.sleep(float(response.getheader("Retry-After", "1")))


def _run(folder: Path, port: int, args: argparse.Namespace) -> int:
    listen, dsn = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{port}/default"
    start = Starter(folder)
    process = start("indexer", environ={
        "METERHOUSE_INDEXER__LISTEN": listen,
        "METERHOUSE_INDEXER__DSN": dsn,
        "METERHOUSE_INDEXER__BATCHING": args.batching,
        "METERHOUSE_INDEXER__UP": "false",
        "METERHOUSE_INDEXER__JOURNAL__PATH": str(folder / "journal.sqlite"),
        "METERHOUSE_INDEXER__LIMITS__SERIES_PER_DAY": str(args.per_day),
    })  # fmt: skip
    try:
        wait_for(lambda: get(f"http://{listen}/readyz")[0] == 200, "the indexer is ready", START_S)
        connection = HTTPConnection(listen, timeout=_TIMEOUT_S)
        frames = args.series // _OF_A_FRAME
        highest = 0.0
        print(f"{'series':>12} {'RSS MiB':>9} {'highest':>9} {'series/s':>9}")
        began_s = time.monotonic()
        for sequence in range(frames):
            _send(connection, sequence)
            highest = max(highest, _rss_mib(process.pid))
            sent = (sequence + 1) * _OF_A_FRAME
            if sent % (args.series // 10) == 0:
                rate = sent / (time.monotonic() - began_s)
                print(f"{sent:>12,} {_rss_mib(process.pid):>9.0f} {highest:>9.0f} {rate:>9,.0f}", flush=True)
    finally:
        start.clear()
    store = open_store(dsn, pool=1)
    ((total,),) = store.rows("SELECT sum(value) FROM counters_10s")
    store.close()
    print(f"total {total:,.0f} of {frames * _OF_A_FRAME:,}")
    return 0 if total == frames * _OF_A_FRAME else 1


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.indexer_cardinality", description=__doc__)
    parser.add_argument("--series", type=int, default=10_000_000)
    parser.add_argument("--per-day", type=int, default=1_000_000)
    parser.add_argument("--batching", choices=("frame", "journal"), default="journal")
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-") as name:
        folder = Path(name)
        (folder / "clickhouse").mkdir()
        with running(folder / "clickhouse") as port:
            return _run(folder, port, args)


if __name__ == "__main__":
    sys.exit(main())
