"""Indexer: rows per CPU second from frame bytes to ClickHouse, and bytes per stored sample.

python -m tests.bench.indexer_rows [--rows 100000] [--frames 20] [--series 1000] [--skip-storage]

The path is the whole one of a batch: decode and check the frame, commit it to the journal, record its
strings, write new series, insert into four rollups, mark it done. CPU is that of the whole process,
ClickHouse's threads and merges included. The floor in the same run is the INSERT alone, of ready-made
columns. Limits and turns by org are measured beside the path of the same frames.
 Deltas are exponential integers of mean 10; storage is 1,000 counter series, a day at 10 s, merged.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent.wire.frame import Counters, Distributions, Frame, Gauges, SeriesColumns, Sets, decode, encode
from indexer.clickhouse.native_format import ColumnData
from indexer.clickhouse.schema import GRANULARITIES, Retention, migrate
from indexer.clickhouse.store import Store, open_store
from indexer.intern.cache import open_near_cache
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.ids import string_id
from indexer.intern.series import SeriesRegistry
from indexer.intern.stored_series import StoredSeries
from indexer.intern.string_indexer import StringIndexer
from indexer.receive.decode_budget import DecodeBudget
from indexer.receive.org_rates import OrgRates
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batcher import Batcher
from indexer.write.frame_to_columns import KEEP, check, kept_columns
from indexer.write.inserter import Inserter
from indexer.write.journal import Journal
from indexer.write.org_turns import OrgTurns
from indexer.write.series_limit import SeriesLimit
from indexer.write.split_by_day import RetentionRules, day_groups, expired_rows
from tests.support.frames import TEN_YEARS

DAY_S = 86_400
START_S = int(time.time()) // DAY_S * DAY_S - 5 * DAY_S


def series_columns(count: int) -> tuple[list[str], SeriesColumns]:
    """`count` series of one metric with three tags."""
    strings = ["http_requests", "host", "route", "status"]
    hosts = [f"host-{i:04d}" for i in range(max(1, count // 20))]
    routes = [f"/api/v1/route-{i}" for i in range(10)]
    statuses = ["200", "500"]
    at = {s: i for i, s in enumerate(strings + hosts + routes + statuses)}
    values = [(at[h], at[r], at[s]) for h in hosts for r in routes for s in statuses][:count]
    return list(at), SeriesColumns(
        np.zeros(len(values), "<u4").tobytes(),
        np.full(len(values), 3, "<u2").tobytes(),
        np.tile(np.array([1, 2, 3], "<u4"), len(values)).tobytes(),
        np.array(values, "<u4").tobytes(),
    )


def counters(rng: np.random.Generator, rows: int, series: int, start_s: int) -> Counters:
    """Rows bucket by bucket, every series in each: exponential integer deltas, mean about 10."""
    index = np.arange(rows) % series
    bucket = start_s + np.arange(rows) // series * 10
    value = np.floor(rng.exponential(10.0, rows))
    return Counters(index.astype("<u4").tobytes(), bucket.astype("<u4").tobytes(), value.tobytes())


def counter_frames(rows: int, frames: int, series: int) -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    strings, columns = series_columns(series)
    for i in range(frames):
        data = counters(rng, rows, series, START_S + i * (rows // series) * 10)
        yield encode(
            Frame(
                agent="bench",
                epoch=1,
                sequence=i,
                created_ms=0,
                strings=strings,
                series=columns,
                counters=data,
            )
        )


def mixed_frames(rows: int, frames: int, series: int) -> Iterator[bytes]:
    """Half counters, a quarter gauges, a fifth distributions of 20 observations, the rest sets of 10."""
    rng = np.random.default_rng(2)
    strings, columns = series_columns(series)
    for i in range(frames):
        start_s = START_S + i * (rows // series) * 10
        n_gauges, n_dists, n_sets = rows // 4, rows // 5, rows // 20
        c = counters(rng, rows - n_gauges - n_dists - n_sets, series, start_s)
        g, d, s = (counters(rng, n, series, start_s) for n in (n_gauges, n_dists, n_sets))
        last_ms = (np.frombuffer(g.bucket, "<u4").astype("<i8") * 1000).tobytes()
        index = np.sort(rng.normal(160, 20, (n_dists, 20)).astype("<i4"), axis=1)
        index += np.arange(20, dtype="<i4")  # distinct within a row
        yield encode(
            Frame(
                agent="bench-mixed", epoch=1, sequence=i, created_ms=0, strings=strings, series=columns,
                counters=c,
                gauges=Gauges(g.series, g.bucket, last_ms, g.value, g.value, g.value, g.value, g.value),
                distributions=Distributions(
                    d.series, d.bucket, d.value, d.value, d.value, d.value, d.value, d.value,
                    np.full(n_dists, 20, "<u4").tobytes(), index.tobytes(), np.ones(n_dists * 20).tobytes(),
                    np.zeros(n_dists, "<u4").tobytes(),
                ),
                sets=Sets(
                    s.series, s.bucket, np.full(n_sets, 10, "<u4").tobytes(),
                    rng.integers(0, 1 << 63, n_sets * 10, dtype="<u8").tobytes(),
                ),
            )
        )  # fmt: skip


class Pipeline:
    """The indexer's path without its HTTP server."""

    def __init__(self, store: Store, journal: Journal) -> None:
        strings = StringIndexer(ClickHouseIdStore(store), [open_near_cache(1_000_000)])
        self.store = store
        self.registry = SeriesRegistry(2_000_000)
        self.inserter = Inserter(store, strings, self.registry, retention=TEN_YEARS)
        self.journal = journal

    def write(self, body: bytes) -> int:
        frame = decode(body)
        check(frame, latest_s=1 << 32)
        unit = AcceptedFrame(frame.identity, body, frame)
        now_ms = time.time_ns() // 1_000_000
        self.journal.begin(unit.identity, [unit], now_ms)
        rows = self.inserter.insert(unit.identity, [unit])
        self.journal.finish(unit.identity, now_ms)
        return rows


class Limited:
    """The part of a frame's path that limits and days add: calls by `Intake`, `Batcher` and the writer."""

    def __init__(self, pipeline: Pipeline, max_series: int) -> None:
        settings = Settings()
        self._inserter = pipeline.inserter
        self._rates = OrgRates(settings.limits)
        self._rates.note_charges()  # as with a Redis that others share
        self._rules = RetentionRules(settings.retention, settings.limits.retention_steps)
        self._limit = SeriesLimit(pipeline.registry, max_series, StoredSeries(pipeline.store))
        self._batcher = Batcher(settings.batch, settings.bounds.queue_bytes)
        self._turns = OrgTurns(1)
        self._turns.note(0)  # a second org
        self._budget = DecodeBudget(settings.bounds.decode_bytes)
        self._loop = asyncio.new_event_loop()

    async def _turn(self, unit: AcceptedFrame) -> None:
        """Take the turns of a heavy frame, for decoding and for writing."""
        async with self._budget.reserve(unit.held_bytes, 10, unit.frame.org_id):
            pass
        async with self._turns.turn(unit.frame.org_id):
            pass

    def ask(self, unit: AcceptedFrame) -> None:
        frame, now_ms = unit.frame, time.time_ns() // 1_000_000
        self._rates.exceeded(frame.org_id)
        self._rates.charge("rows", frame.org_id, frame.rows)
        first_day = self._rules.first_day(self._rules.rounded(frame.retention_days), now_ms, now_ms)
        expired_rows(frame, first_day)
        day_groups(frame)
        self._batcher.offer(unit, now_ms)
        units = self._batcher.take()
        if self._limit.near(units):
            self._limit.excess(self._inserter.resolve(units))
        self._batcher.release([unit])
        self._loop.run_until_complete(self._turn(unit))

    def close(self) -> None:
        self._loop.close()


def paired(name: str, bodies: list[bytes], pipeline: Pipeline, max_series: int) -> None:
    """Print the CPU that limits add to a frame, each pair measured on the same frame."""
    limited = Limited(pipeline, max_series)
    ratios = []
    for body in bodies:
        began = time.process_time()
        pipeline.write(body)
        whole_s = time.process_time() - began
        frame = decode(body)
        unit = AcceptedFrame(frame.identity, body, frame)
        began = time.thread_time()
        limited.ask(unit)
        ratios.append((time.thread_time() - began) / whole_s)
    limited.close()
    mean, error = np.mean(ratios), 1.96 * np.std(ratios, ddof=1) / len(ratios) ** 0.5
    print(f"{name:<32} limits add {100 * mean:.2f} % CPU, 95 % interval up to {100 * (mean + error):.2f} %")


def report(name: str, rows: int, cpu_s: float, wall_s: float, sent: str = "") -> None:
    print(f"{name:<32} {rows:>9} rows {rows / cpu_s:>9,.0f} rows/CPU s {rows / wall_s:>9,.0f} rows/s  {sent}")


def measure(name: str, bodies: list[bytes], write: Callable[[bytes], int]) -> None:
    warm = write(bodies[0])
    wall, cpu = time.perf_counter(), time.process_time()
    rows = sum(write(b) for b in bodies[1:])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    report(name, rows, cpu, wall, f"{sum(map(len, bodies)) / (rows + warm):.2f} B/row sent")


def counter_block(org_id: int, ids: npt.NDArray[np.uint64], c: Counters) -> dict[str, ColumnData]:
    rows = len(c.series) // 4
    return {
        "org_id": np.full(rows, org_id, "u4"),
        "project_id": np.full(rows, 1, "u4"),
        "metric_id": np.full(rows, string_id(org_id, "http_requests"), "u8"),
        "series_id": ids[np.frombuffer(c.series, "<u4")],
        "bucket": np.frombuffer(c.bucket, "<u4"),
        **kept_columns(rows, KEEP, TEN_YEARS),
        "value": np.frombuffer(c.value, "<f8"),
    }


def floor(store: Store, rows: int, frames: int, series: int) -> None:
    """INSERT alone, through the same four views."""
    rng = np.random.default_rng(3)
    ids = rng.integers(1, 1 << 63, series, dtype="u8")
    step_s = (rows // series) * 10
    blocks = [counter_block(2, ids, counters(rng, rows, series, START_S + i * step_s)) for i in range(frames)]
    wall, cpu = time.perf_counter(), time.process_time()
    for i, block in enumerate(blocks):
        store.insert("incoming_counters", block, token=f"floor/{i}")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    report("floor: INSERT alone, counters", rows * frames, cpu, wall)


def storage(store: Store) -> None:
    """Bytes on disk per sample, whole parts and by column."""
    rng = np.random.default_rng(4)
    ids = np.sort(rng.integers(1, 1 << 63, 1000, dtype="u8"))
    for hour in range(24):
        block = counter_block(3, ids, counters(rng, 360_000, 1000, START_S + hour * 3600))
        store.insert("incoming_counters", block, token=f"storage/{hour}")
    here = "database = currentDatabase() AND active AND table = {t:String}"
    for granularity in GRANULARITIES:
        table = {"t": f"counters_{granularity.name}"}
        store.command(f"OPTIMIZE TABLE {table['t']} FINAL")
        ((rows, size),) = store.rows(
            f"SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE {here}", table
        )
        print(f"{table['t']:<14} {rows:>9} rows  {size / rows:.3f} B/row on disk")
        columns = store.rows(
            "SELECT column, sum(column_bytes_on_disk) / sum(rows) AS size FROM system.parts_columns"
            f" WHERE {here} GROUP BY column HAVING size > 0 ORDER BY size DESC",
            table,
        )
        print("   ", ", ".join(f"{c} {b:.3f}" for c, b in columns))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--skip-storage", action="store_true")
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    print(f"# {platform.machine()}, {platform.python_version()}, commit {commit}, {args}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        store = open_store(f"chdb://{directory}/chdb")
        migrate(store, Retention())
        settings = Settings().journal
        journal = Journal(
            Path(directory) / "journal.sqlite",
            max_identities=settings.identities,
            max_age_ms=settings.identity_days * DAY_S * 1000,
            max_aside_bytes=settings.aside_bytes,
        )
        pipeline = Pipeline(store, journal)
        floor(store, args.rows, args.frames, args.series)
        measure(
            "counters, frame to ClickHouse",
            list(counter_frames(args.rows, args.frames, args.series)),
            pipeline.write,
        )
        measure(
            "mixed, frame to ClickHouse",
            list(mixed_frames(args.rows, args.frames, args.series)),
            pipeline.write,
        )
        made = list(counter_frames(args.rows, 3 * args.frames, args.series))[args.frames :]
        limit = Settings().limits.series_per_day
        paired("counters with limits", made[: args.frames], pipeline, limit)
        paired("an org near its limit of series", made[args.frames :], pipeline, args.series)
        if not args.skip_storage:
            for granularity in GRANULARITIES:
                store.command(f"TRUNCATE TABLE counters_{granularity.name}")
            storage(store)
        store.close()
        journal.close()


if __name__ == "__main__":
    main()
