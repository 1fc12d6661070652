"""Deletions of several orgs side by side over large tables, beside the writes and queries of another org.

python -m tests.bench.deletions_beside [--orgs 50] [--series 2000] [--buckets 198] [--days 33] [--apart 2.5]

Fills an embedded store: counters of `--orgs` orgs with `--series` series each, one row in each of `--buckets`
buckets of 10 s that lie on `--days` days, and the coarser rollups. Then MAX_DELETIONS orgs delete at once,
each `--apart` seconds after the other: all of their rows, half of their series, or a part of the time.
Meanwhile the last org inserts 1,000 rows and sums its rows of 60 s, some three times a second. Prints how
long each deletion took and held INSERTs of its own org back, how long the last org's INSERTs and queries took
before and beside, and the memory. Exit code 1: the sums of a rollup are not exact.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import MAX_S, DeletionRequest, MetricSeries
from indexer.deletion.deletion_threads import MAX_DELETIONS
from indexer.write.write_gate import WriteGate
from tests.bench.agent_lines import machine
from tests.support.frames import TEN_YEARS

_DAY_S: Final = 86_400
#: Seconds of the last org's work before the deletions, and between two of its INSERTs.
_ALONE_S: Final = 5.0
_EVERY_S: Final = 0.3


def metric(org_id: int) -> int:
    return 100 + org_id


class Bench:
    """A store, and the work beside."""

    def __init__(self, store: Store, args: argparse.Namespace) -> None:
        self.store = store
        self.orgs, self.series, self.days = int(args.orgs), int(args.series), int(args.days)
        self.of_day = max(1, args.buckets // self.days)
        self.start_s = (int(time.time()) // _DAY_S - self.days) * _DAY_S
        self.gate = WriteGate()
        self.deleter = Deleter(store, TEN_YEARS, DeletionParts(self.gate, None, lambda: None, alone=True))
        self.waits: list[tuple[float, float]] = []
        self.held_s: defaultdict[int, float] = defaultdict(float)
        self.over = threading.Event()

    def fill(self) -> None:
        """Fill the rollups and `series`."""
        for g in GRANULARITIES:
            rows = max(1, -(-self.of_day * 10 // g.seconds))
            at = f"{self.start_s} + {_DAY_S} * intDiv(n, {rows}) + {g.seconds} * (n % {rows})"
            self.store.command(
                f"INSERT INTO counters_{g.name}"
                " (org_id, project_id, metric_id, series_id, timestamp, retention_days, value)"
                f" WITH 1 + intDiv(number, {self.series * self.days * rows}) AS org,"
                f" intDiv(number, {self.series}) % {self.days * rows} AS n"
                f" SELECT org, 1, 100 + org, 1 + number % {self.series}, toDateTime({at}, 'UTC'), 3650,"
                f" {self.of_day} / {rows} FROM numbers({self.orgs * self.series * self.days * rows})"
                " SETTINGS max_threads = 2, max_partitions_per_insert_block = 0"
            )
        self.store.command(
            "INSERT INTO series (org_id, project_id, metric_id, series_id, type, tag_keys, tag_values, day,"
            f" first_seen, last_seen) WITH 1 + intDiv(number, {self.series}) AS org,"
            f" toDate({self.start_s // _DAY_S} + arrayJoin(range({self.days}))) AS day"
            f" SELECT org, 1, 100 + org, 1 + number % {self.series}, 'counter', [11, 12],"
            f" [100 + number % {self.series}, 50 + number % 7], day, day, day"
            f" FROM numbers({self.orgs * self.series}) SETTINGS max_partitions_per_insert_block = 0"
        )

    def beside(self) -> None:
        """Insert and query as the last org."""
        while not self.over.wait(_EVERY_S):
            began = time.monotonic()
            with self.gate.insert([self.orgs]):
                self.store.command(
                    "INSERT INTO counters_10s"
                    " (org_id, project_id, metric_id, series_id, timestamp, retention_days, value)"
                    f" SELECT {self.orgs}, 1, 99, number, now(), 3650, 1 FROM numbers(1000)"
                )
            middle = time.monotonic()
            of_org = f"org_id = {self.orgs} AND metric_id = {metric(self.orgs)}"
            self.store.rows(f"SELECT sum(value) FROM counters_60s WHERE {of_org}")
            self.waits.append((middle - began, time.monotonic() - middle))

    def watch(self) -> None:
        """Add up how long INSERTs of each org are held back."""
        last = time.monotonic()
        while not self.over.wait(0.02):
            now = time.monotonic()
            for org_id in self.gate.closed:
                self.held_s[org_id] += now - last
            last = now

    def delete(self, asked: DeletionRequest) -> None:
        """Delete, and print how long it took."""
        began = time.monotonic()
        try:
            told = str(self.deleter.delete(asked).rows)
        except Exception as e:  # it is printed, and its rows are counted
            told = repr(e)
        took_s, held_s = time.monotonic() - began, self.held_s[asked.org_id]
        print(f"| {asked.org_id} | {told} | {took_s:.1f} | {held_s:.1f} |", flush=True)

    def requests(self) -> list[DeletionRequest]:
        """Return the deletions: all rows, half of the series, the second half of the days, all rows."""
        half = np.arange(1, self.series // 2 + 1, dtype="<u8").tobytes()
        middle_s = self.start_s + self.days // 2 * _DAY_S
        found = []
        for org_id in range(1, 1 + MAX_DELETIONS):
            ids = half if org_id % 4 == 2 else b""
            start_s = middle_s if org_id % 4 == 3 else 0
            series = [MetricSeries(1, "counters", metric(org_id), ids)]
            found.append(DeletionRequest(org_id, series, start_s, MAX_S))
        return found

    def wrong(self) -> list[str]:
        """Return the rollups whose sums are not exact."""
        of_series = self.days * self.of_day
        left = {2: self.series - self.series // 2, 3: self.series * (self.days // 2) / self.days}
        wanted = {n: of_series * left.get(n, 0 if n <= MAX_DELETIONS else self.series) for n in range(1, 6)}
        found = []
        for g in GRANULARITIES:
            rows: Sequence[tuple[int, float]] = self.store.rows(
                f"SELECT org_id, sum(value) FROM counters_{g.name} WHERE org_id <= 5 AND metric_id >= 100"
                " GROUP BY org_id"
            )
            sums = dict.fromkeys(wanted, 0.0) | {int(org_id): value for org_id, value in rows}
            if any(abs(sums[n] - wanted[n]) > 1e-6 * of_series for n in wanted):
                found.append(f"{g.name}: {sums}, not {wanted}")
        return found


def percentiles(title: str, waits: Sequence[tuple[float, float]]) -> None:
    p50, p99, top = np.percentile(waits, (50, 99, 100), axis=0) * 1000
    for n, name in enumerate(("INSERT", "query")):
        print(f"{name} {title}: p50 {p50[n]:.0f} ms, p99 {p99[n]:.0f} ms, max {top[n]:.0f} ms")


def run(bench: Bench, apart_s: float) -> int:
    """Delete beside the other work; return the exit code."""
    beside = [threading.Thread(target=work, daemon=True) for work in (bench.beside, bench.watch)]
    for thread in beside:
        thread.start()
    time.sleep(_ALONE_S)
    alone = len(bench.waits)
    print("| org | deleted rows | s | INSERTs held back, s |\n|---|---:|---:|---:|", flush=True)
    deletions = [threading.Thread(target=bench.delete, args=(asked,)) for asked in bench.requests()]
    for thread in deletions:
        thread.start()
        time.sleep(apart_s)
    for thread in deletions:
        thread.join()
    bench.over.set()
    for thread in beside:
        thread.join()
    print()
    percentiles("alone", bench.waits[:alone])
    percentiles("beside", bench.waits[alone:])
    wrong = bench.wrong()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak RSS {peak_mb} MB;", f"NOT exact: {wrong}" if wrong else "exact")
    return 1 if wrong else 0


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--orgs", type=int, default=50)
    parser.add_argument("--series", type=int, default=2_000)
    parser.add_argument("--buckets", type=int, default=198)
    parser.add_argument("--days", type=int, default=33)
    parser.add_argument("--apart", type=float, default=2.5)
    args = parser.parse_args()
    print(f"# {machine()}: {' '.join(sys.argv[1:])}", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(f"chdb://{Path(folder) / 'data'}?database=large", pool=8)) as store,
    ):
        migrate(store, TEN_YEARS)
        bench, began = Bench(store, args), time.monotonic()
        bench.fill()
        ((rows,),) = store.rows(
            "SELECT sum(rows) FROM system.parts WHERE active AND database = currentDatabase()"
            " AND table LIKE 'counters_%'"
        )
        print(f"# {rows:,} rows in {time.monotonic() - began:.0f} s", flush=True)
        return run(bench, args.apart)


if __name__ == "__main__":
    sys.exit(main())
