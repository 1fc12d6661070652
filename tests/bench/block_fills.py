"""Cost of filling blocks: rows put in their cells here, beside arrays made in ClickHouse.

python -m tests.bench.block_fills [--series 1000] [--rounds 5]

A job of the 10 s table (four hours) and one of the 60 s table (a day), 1.44 M rows each. CPU of the process,
the least of the rounds, which take turns. The floor adds up the same rows to one number.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from indexer.intern.ids import string_id
from shim.read.cell_cache.chunk import Source, places
from shim.read.cell_cache.fill_statements import FillJob, fetch, jobs, made
from tests.bench.indexer_rows import START_S, counter_block, counters


def load(store: Store, series: int) -> Source:
    """Return a day of all series."""
    rng = np.random.default_rng(5)
    ids = np.sort(rng.integers(1, 1 << 63, series, dtype="u8"))
    for hour in range(24):
        block = counter_block(1, ids, counters(rng, 360 * series, series, START_S + hour * 3_600))
        store.insert("incoming_counters", block, token=f"fills/{hour}")
    for table in ("counters_10s", "counters_60s"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    return Source(1, 1, (string_id(1, "http_requests"),), "counters", "value")


def forms(store: Store, job: FillJob) -> dict[str, Callable[[], object]]:
    place = job.places[0]
    floor = (
        f"SELECT sum(value) FROM {place.table} WHERE org_id = 1 AND metric_id = {place.source.metric_ids[0]}"
        f" AND timestamp >= {job.lo_s} AND timestamp < {job.hi_s} SETTINGS max_threads = 1"
    )
    return {
        "rows put in their cells here": lambda: made(job, fetch(store, job, 10**6)),
        "arrays made in ClickHouse": lambda: made(job, fetch(store, job, 10**6, most_plain=0)),
        "floor: one sum": lambda: store.fetch(floor, "<f8"),
    }


def measure(store: Store, job: FillJob, rounds: int) -> None:
    calls = forms(store, job)
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            before = time.process_time()
            call()
            least[name] = min(least[name], (time.process_time() - before) * 1000)
    arrays = least["arrays made in ClickHouse"]
    for name, ms in least.items():
        print(f"| {job.places[0].table} | {name} | {ms:.1f} | {ms / arrays:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, {args}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        store = open_store(f"chdb://{Path(directory) / 'fills'}", pool=1)
        migrate(store)
        source = load(store, args.series)
        print("| rows of | what | CPU ms | ratio |\n|---|---|---:|---:|")
        for granularity_s, hours in ((10, 4), (60, 24)):
            (job,) = jobs(places(source, granularity_s, START_S, START_S + hours * 3_600))
            measure(store, job, args.rounds)
        store.close()


if __name__ == "__main__":
    main()
