"""How long after a bucket's end it is shown, and whether shown values change.

`up`: indexer and API in one process. `separate`: two indexers, an API, and ClickHouse by HTTP (chdb in
tests/support/clickhouse_http.py). Four agents send all the time: a steady one, a slow one (its buckets leave
1 s after their end), one that stops half way, one that starts half way. The API is asked seven range queries
up to now, 20 times a second at most.

python -m tests.bench.live_edge [--buckets 20] [--mode up|separate]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.e2e.product import Starter
from tests.e2e.services import Services
from tests.support import clickhouse_http
from tests.support.live_edge import Scene


def in_one_process(folder: Path, buckets: int) -> str:
    start = Starter(folder)
    try:
        up = start.up()
        return Scene(start, up.api, [up.indexer]).play(buckets).report()
    finally:
        start.clear()


def separately(folder: Path, buckets: int) -> str:
    start = Starter(folder)
    with clickhouse_http.running(folder / "clickhouse") as port:
        try:
            services = Services(start, f"http://127.0.0.1:{port}/edge")
            urls = [services.indexer()[1], services.indexer()[1]]
            return Scene(start, services.api(), urls).play(buckets).report()
        finally:
            start.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--buckets", type=int, default=20)
    parser.add_argument("--mode", choices=("up", "separate"))
    args = parser.parse_args()
    for mode, measure in (("up", in_one_process), ("separate", separately)):
        if args.mode in (None, mode):
            with tempfile.TemporaryDirectory() as folder:
                print(f"{mode}: {measure(Path(folder), args.buckets)}", flush=True)


if __name__ == "__main__":
    main()
