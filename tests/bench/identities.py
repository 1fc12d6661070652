"""Cost of stored identities: CPU of ingest, bytes on disk, the time a start and a look-up take.

python -m tests.bench.identities [--batches 60] [--million 10]

Batches are those of 1,000 agents that send a frame of 100 rows each 10 s: 5 frames in 50 ms. They are written
in turn with and without identities; the result is the ratio of each pair, with its 95 % interval. Then the
table gets millions of identities of 1,000 agents over 48 h, and is merged.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from statistics import fmean, stdev
from typing import Final

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.schema.bookkeeping import IDENTITIES
from indexer.clickhouse.store import Store, open_store
from indexer.intern.cache import LruCache
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter
from indexer.write.stored_identities import StoredIdentities
from tests.support.frames import TEN_YEARS, counter_frame, unit

_AGENTS: Final = 1_000
_FRAMES: Final = 5
_ROWS: Final = 100


def batch(number: int, at_s: int) -> list[AcceptedFrame]:
    values = {f"h{i}": 1.0 for i in range(_ROWS)}
    agents = ((number * _FRAMES + i) % _AGENTS for i in range(_FRAMES))
    return [
        unit(counter_frame(values, at_s, agent=f"1:1/agent-{agent}", sequence=number, name=f"hits_{agent}"))
        for agent in agents
    ]


def ingest(store: Store, batches: int) -> None:
    now_s = int(time.time()) // 10 * 10
    strings = StringIndexer(ClickHouseIdStore(store), [LruCache(1_000_000)])
    registry = SeriesRegistry(1_000_000)
    identities = StoredIdentities(store, 14, lambda: now_s * 1000)
    plain, with_them = (
        Inserter(store, strings, registry, retention=TEN_YEARS, identities=each)
        for each in (None, identities)
    )
    for number in range(_AGENTS // _FRAMES):  # strings and series are known after that
        plain.insert(f"warm-{number}", batch(number, now_s))
    ratios, cpu_ms = [], []
    for pair in range(batches):
        spent = []
        for inserter in (plain, with_them) if pair % 2 else (with_them, plain):
            began = time.process_time()
            for i in range(10):
                inserter.insert(f"{pair}-{i}-{inserter is plain}", batch(pair * 10 + i, now_s))
            spent.append(time.process_time() - began)
        first, second = spent if pair % 2 else spent[::-1]
        ratios.append(second / first)
        cpu_ms.append(first * 100)
    half = 1.96 * stdev(ratios) / len(ratios) ** 0.5
    print(f"CPU of a batch of {_FRAMES} frames of {_ROWS} rows: {fmean(cpu_ms):.1f} ms without identities")
    mean = fmean(ratios)
    print(f"with them: x {mean:.3f} (95 % interval {mean - half:.3f} .. {mean + half:.3f})")


def size(store: Store, million: int) -> None:
    store.command(f"TRUNCATE TABLE {IDENTITIES}")
    blocks = million * 1_000_000 // 64 // _AGENTS
    agent = f"number % {_AGENTS}"
    for half in (0, 1):
        store.command(
            f"INSERT INTO {IDENTITIES} SELECT concat('f1:1/agent-', toString({agent}),"
            f" '.example.com/17958258000', leftPad(toString(cityHash64({agent}) % 100000000), 8, '0')),"
            f" intDiv(number, {_AGENTS}) + {half * (blocks // 2)}, 18446744073709551615,"
            f" toUnixTimestamp64Milli(now64(3)) - {2 - half} * 86400000 + number, today() + {15 + half}"
            f" FROM numbers({blocks // 2 * _AGENTS})"
        )
    store.command(f"OPTIMIZE TABLE {IDENTITIES} FINAL")
    ((rows, size_bytes),) = store.rows(
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active"
        f" AND database = currentDatabase() AND table = '{IDENTITIES}'"
    )
    print(f"{million} million identities: {rows:,} rows, {size_bytes / 1e6:.2f} MB")
    identities = StoredIdentities(store, 14, lambda: time.time_ns() // 1_000_000)
    began = time.perf_counter()
    latest = identities.latest(64)
    print(f"a start asks for the latest: {(time.perf_counter() - began) * 1000:.0f} ms, {len(latest)} found")
    began = time.perf_counter()
    for number in range(100):
        assert identities.has(latest[0].rsplit("/", 1)[0] + f"/{number * 64}")
    print(f"a look-up of 64 frames of an agent: {(time.perf_counter() - began) * 10:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=60, help="pairs of ten batches")
    parser.add_argument("--million", type=int, default=10, help="identities in the table")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"chdb://{directory}/chdb", pool=1)
        migrate(store, Retention())
        ingest(store, args.batches)
        size(store, args.million)
        store.close()


if __name__ == "__main__":
    main()
