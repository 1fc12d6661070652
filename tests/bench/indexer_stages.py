"""Where the indexer's CPU goes, frame to ClickHouse: our Python, and the INSERT of each kind.

    python -m tests.bench.indexer_stages [--rows 100000] [--frames 12] [--series 1000]

The same frames and the same path as tests.bench.indexer_rows, and then frames as an agent makes them, whole
buckets of 100,000 series: 5,000 rows in a frame, each with the strings of its own series, the frames of a
bucket in one batch. The store's INSERTs are timed by the CPU clock of the process, so ClickHouse's threads
are in, and merges that run then. Ours is the calling thread outside of them: decoding and checking, the
journal, strings and ids, series and sorting. The rest are ClickHouse's merges during the run; the last
line of each has also those that follow, until none runs. Each begins with empty tables. Set TMPDIR to a
directory in memory (/dev/shm) to leave out the time that the file system takes to create files.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from operator import itemgetter
from pathlib import Path

from agent.core.factory import open_core
from agent.runtime.logs import Log
from agent.settings import AgentSettings
from agent.wire.frame import Sender, decode, encode
from indexer.clickhouse.schema import GRANULARITIES, KINDS, Retention, migrate
from indexer.clickhouse.store import ColumnData, Store, open_store
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import check
from indexer.write.journal import Journal
from tests.bench.agent_lines import machine
from tests.bench.agent_load import each_once
from tests.bench.indexer_rows import DAY_S, START_S, Pipeline, counter_frames, mixed_frames


class TimedStore(Store):
    """A store that counts rows and CPU seconds of its INSERTs, by table."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.pool, store.database, store.cluster, embedded=store.embedded)
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        self.rows_in: Counter[str] = Counter()
        self.thread_s = 0.0  # of the calling thread alone

    def insert(
        self,
        table: str,
        columns: Mapping[str, ColumnData],
        *,
        token: str | None = None,
        fold: bool = True,
    ) -> None:
        start, thread_start = time.process_time(), time.thread_time()
        super().insert(table, columns, token=token, fold=fold)
        self.cpu_s[table] += time.process_time() - start
        self.thread_s += time.thread_time() - thread_start
        self.rows_in[table] += len(next(iter(columns.values())))


class BatchPipeline(Pipeline):
    """The path of several frames in one batch."""

    def write_batch(self, bodies: Sequence[bytes]) -> int:
        frames = [decode(body) for body in bodies]
        for frame in frames:
            check(frame, latest_s=1 << 32)
        units = [
            AcceptedFrame(frame.identity, body, frame) for frame, body in zip(frames, bodies, strict=True)
        ]
        now_ms = time.time_ns() // 1_000_000
        self.journal.begin(units[0].identity, units, now_ms)
        rows = self.inserter.insert(units[0].identity, units)
        self.journal.finish(units[0].identity, now_ms)
        return rows


def agent_batches(
    series: int, buckets: int, lines: Callable[[int], Iterator[bytes]]
) -> Iterator[list[bytes]]:
    """Frames of an agent that got `lines(series)`, for each bucket."""
    core = open_core(AgentSettings(), None, lambda: None, Log())
    sender = Sender(agent="bench-agent", epoch=time.time_ns())
    sequence = count(1)
    settings = AgentSettings().flush
    for bucket in range(buckets):
        at_ms = (START_S + bucket * 10) * 1000
        core.add(b"\n".join(lines(series)), at_ms)
        core.flush_all(at_ms + 10_000)
        batch = []
        while frame := core.next_frame(
            sender,
            next(sequence),
            at_ms,
            max_rows=settings.max_frame_rows,
            max_bytes=settings.max_frame_bytes,
        ):
            batch.append(encode(frame))
        yield batch
    core.close()


def empty(store: Store) -> None:
    """Remove all rows, and end the merges of earlier ones."""
    for kind in KINDS:
        for granularity in GRANULARITIES:
            store.command(f"TRUNCATE TABLE {kind}_{granularity.name}")


def wait_for_merges(store: Store) -> None:
    """Until none has run for a while: the next ones are chosen in between."""
    quiet = 0
    while quiet < 8:
        time.sleep(0.25)
        quiet = 0 if store.rows("SELECT count() FROM system.merges")[0][0] else quiet + 1


def measure(
    name: str, store: TimedStore, write: Callable[[Sequence[bytes]], int], batches: list[list[bytes]]
) -> None:
    """Print a line for all of it, and one for each stage."""
    empty(store)
    write(batches[0])  # strings and series are known from here on
    store.cpu_s.clear()
    store.rows_in.clear()
    store.thread_s = 0.0
    start, thread_start = time.process_time(), time.thread_time()
    rows = sum(map(write, batches[1:]))
    cpu_s, thread_s = time.process_time() - start, time.thread_time() - thread_start
    print(f"{name:24} {rows:>9,} rows {rows / cpu_s:>9,.0f} rows/CPU s")
    ours_s = thread_s - store.thread_s
    merges_s = cpu_s - ours_s - sum(store.cpu_s.values())
    print(f"  {'ours':22} {ours_s / cpu_s:6.1%} {rows / ours_s:>11,.0f} rows/CPU s")
    print(f"  {'merges meanwhile':22} {merges_s / cpu_s:6.1%}")
    for table, used_s in sorted(store.cpu_s.items(), key=itemgetter(1), reverse=True):
        print(f"  {table:22} {used_s / cpu_s:6.1%} {store.rows_in[table] / used_s:>11,.0f} rows/CPU s")
    wait_for_merges(store)
    print(f"  {'with merges after it':29} {rows / (time.process_time() - start):>11,.0f} rows/CPU s")


def counter_lines(series: int) -> Iterator[bytes]:
    """Yield a counter of every series."""
    for i in range(series):
        tags = f"env:production,route:/api/v1/items/{i % 97},host:web-{i:05d}"
        yield f"api.requests.count:{i}|c|#{tags}".encode()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--agent-series", type=int, default=100_000)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        store = TimedStore(open_store(f"chdb://{directory}/chdb"))
        migrate(store, Retention())
        settings = Settings().journal
        journal = Journal(
            Path(directory) / "journal.sqlite",
            max_identities=settings.identities,
            max_age_ms=settings.identity_days * DAY_S * 1000,
            max_aside_bytes=settings.aside_bytes,
        )
        pipeline = BatchPipeline(store, journal)
        for name, frames in (("counters", counter_frames), ("mixed", mixed_frames)):
            bodies = frames(args.rows, args.frames, args.series)
            measure(name, store, pipeline.write_batch, [[body] for body in bodies])
        for name, lines in (("an agent's, counters", counter_lines), ("an agent's, mixed", each_once)):
            batches = agent_batches(args.agent_series, args.frames, lines)
            measure(name, store, pipeline.write_batch, list(batches))
        store.close()
        journal.close()


if __name__ == "__main__":
    main()
