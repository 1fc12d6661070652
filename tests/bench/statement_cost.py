"""Cost of one statement in embedded ClickHouse, by its phases and by its forms.

python -m tests.bench.statement_cost [--series 1000] [--hours 8] [--rounds 100] [--pause-ms 0]

Counters at 10 s in a store of its own, no server and no HTTP. The forms take turns, each time for another
hour, so that the drift of the machine is in all of them; CPU is that of the whole process, ClickHouse's
threads included. The last column says how often the first row's CPU fits.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from indexer.write.frame_to_columns import KEEP, kept_columns
from shim.catalog.types import Part
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.read.cell_statements import _read_blocks, _read_plain
from shim.read.key_conditions import within
from shim.read.raw_rows import read_rows
from shim.read.reader import Reader, each
from shim.read.window_plan import Limits
from shim.sql import nodes as sql
from shim.sql.render import render
from tests.bench.indexer_rows import START_S
from tests.support.frames import TEN_YEARS

TENANT: Final = Tenant(1, 1)
METRIC: Final = 607_164_926_997_686_255
ROW: Final = [("series_id", "<u8"), ("timestamp", "<u4"), ("value", "<f8")]

Ask = Callable[[int], object]  # of an hour


def load(store: Store, ids: np.ndarray[tuple[int], np.dtype[np.uint64]], hours: int) -> None:
    rng = np.random.default_rng(1)
    for start_s in range(START_S, START_S + hours * 3_600, 600):
        rows = len(ids) * 60
        store.insert(
            "incoming_counters",
            {
                "org_id": np.full(rows, 1, "u4"),
                "project_id": np.full(rows, 1, "u4"),
                "metric_id": np.full(rows, METRIC, "u8"),
                "series_id": np.repeat(ids, 60),
                "bucket": np.tile(np.arange(start_s, start_s + 600, 10, dtype="u4"), len(ids)),
                **kept_columns(rows, KEEP, TEN_YEARS),
                "value": np.floor(rng.exponential(10.0, rows)),
            },
        )


def measure(forms: Mapping[str, Ask], rounds: int, hours: int, pause_s: float) -> None:
    walls: dict[str, list[float]] = {name: [] for name in forms}
    cpus: dict[str, list[float]] = {name: [] for name in forms}
    for i in range(rounds + 3):
        hour = random.randrange(1, hours)
        for name in random.sample(list(forms), len(forms)):
            time.sleep(pause_s)  # as between requests: code and data leave the processor's caches
            cpu, wall = time.process_time(), time.perf_counter()
            forms[name](hour)
            if i >= 3:
                walls[name].append((time.perf_counter() - wall) * 1000)
                cpus[name].append((time.process_time() - cpu) * 1000)
    first = statistics.median(next(iter(cpus.values())))
    print("| what | ms | least | CPU ms | least | CPU, ratio |\n|---|---:|---:|---:|---:|---:|")
    for name in forms:
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        print(
            f"| {name} | {wall:.2f} | {min(walls[name]):.2f} | {cpu:.2f} | {min(cpus[name]):.2f}"
            f" | {cpu / first:.2f} |",
            flush=True,
        )


def one_series(store: Store, part: Part, hours: int) -> Mapping[str, Ask]:
    """Return the statement for one series over an hour, its phases, and the forms it does not have."""
    reader = Reader(store, TENANT, Limits(), 10**6, 10**8, time.monotonic() + 3_600)
    keys = each(part)

    def text(hour: int) -> str:
        """Return the statement as the reader makes it."""
        start_ms = (START_S + hour * 3_600) * 1000
        reading = reader.windows(Grid(start_ms, start_ms + 3_590_000, 15_000), 60_000, 300_000)
        reader.statements.clear()
        read_rows(reader, "counters", part, keys, reading, ("value",))
        return reader.statements[-1].sql

    texts = [text(hour) for hour in range(hours)]

    def ranges(hour: int) -> str:
        """Return the same by conditions on each column."""
        lo_s = START_S + hour * 3_600 - 300
        columns = tuple(sql.Named(sql.col(name), name) for name, _ in ROW)
        where = (*reader.conditions(part), *within(10, lo_s, lo_s + 3_900))
        settings = (("optimize_move_to_prewhere", 0),)
        query = sql.Query(columns, reader.source("counters", 10), prewhere=where, settings=settings)
        return render(query).text

    parallel = "output_format_parallel_formatting = 1"
    return {
        "the statement": lambda h: store.fetch(texts[h], ROW),
        "by conditions on columns": lambda h: store.fetch(ranges(h), ROW),
        "with threads that format": lambda h: store.fetch(f"{texts[h]}, {parallel}", ROW),
        "`EXPLAIN PIPELINE`": lambda h: store.fetch(f"EXPLAIN PIPELINE {texts[h]}", "u1"),
        "`EXPLAIN PLAN`": lambda h: store.fetch(f"EXPLAIN PLAN {texts[h]}", "u1"),
        "`EXPLAIN QUERY TREE`": lambda h: store.fetch(f"EXPLAIN QUERY TREE {texts[h]}", "u1"),
        "`SELECT 1`": lambda _: store.fetch("SELECT toUInt8(1)", "u1"),
        "`SELECT 1`, with threads that format": lambda _: store.fetch(
            f"SELECT toUInt8(1) SETTINGS {parallel}", "u1"
        ),
    }


def many_series(store: Store, part: Part) -> Mapping[str, Ask]:
    """Rates of all series over an hour at 10 s, a cell a row."""
    keys = each(part)
    limits = Limits()

    def form(read: Callable[..., object]) -> Ask:
        def ask(hour: int) -> object:
            reader = Reader(store, TENANT, limits, 10**7, 10**8, time.monotonic() + 3_600)
            start_ms = (START_S + hour * 3_600) * 1000
            reading = reader.windows(Grid(start_ms, start_ms + 3_590_000, 10_000), 60_000, 60_000)
            return read(reader, "counters", part, keys, reading, ("value",))

        return ask

    return {"arrays of each series": form(_read_blocks), "rows as they are": form(_read_plain)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--hours", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pause-ms", type=float, default=0.0)
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    print(f"# {platform.machine()}, {platform.python_version()}, commit {commit.stdout.strip()}, {args}\n")
    ids = np.sort(np.random.default_rng(2).integers(1, 2**63, args.series, dtype=np.uint64))
    labels = [(("series", str(i)),) for i in range(args.series)]
    whole = Part("counter", "", (METRIC,), ids, np.ones(len(ids), np.uint32), labels, whole=True)
    some = slice(args.series // 2, args.series // 2 + 1)
    one = replace(
        whole, series_ids=ids[some], project_ids=whole.project_ids[some], labels=labels[some], whole=False
    )
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"chdb://{directory}", pool=1)
        try:
            migrate(store)
            load(store, ids, args.hours)
            measure(one_series(store, one, args.hours), args.rounds, args.hours, args.pause_ms / 1000)
            print()
            measure(many_series(store, whole), max(5, args.rounds // 10), args.hours, 0.0)
        finally:
            store.close()


if __name__ == "__main__":
    main()
