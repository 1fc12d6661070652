"""Bytes of a row by kind and granularity, for the sizing in docs/clickhouse.md.

python -m tests.bench.stored_bytes [--series 300] [--hours 6] [--observations 20]

Each series has a row in every 10 s bucket: a counter of exponential whole numbers, a gauge of a random walk,
a distribution of that number of lognormal observations, a set of that number of random members. Then all
parts are merged. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from typing import Any

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import Block, Ragged
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.schema.metric_types import KINDS, Kind
from indexer.clickhouse.store import Store, open_store
from indexer.write.frame_to_columns import concat
from tests.support.frames import TEN_YEARS

#: Buckets of an INSERT.
_BUCKETS = 180

_SIZES = """
SELECT sum(rows), sum(data_compressed_bytes) FROM system.parts
WHERE database = currentDatabase() AND active AND table = {table:String}
"""


def _bins(random: np.random.Generator, rows: int, observations: int) -> tuple[Any, Any]:
    index = np.floor(np.log2(random.lognormal(3, 1, (rows, observations))) * 32).astype("<i4")
    found = [np.unique(row, return_counts=True) for row in index]
    lengths = np.array([len(bins) for bins, _ in found])
    counts = np.concatenate([count for _, count in found]).astype("<f8")
    return Ragged(lengths, np.concatenate([bins for bins, _ in found])), Ragged(lengths, counts)


def _values(kind: Kind, random: np.random.Generator, bucket: int, walk: Any, observations: int) -> Block:
    rows = len(walk)
    ones = np.ones(rows)
    match kind:
        case "counters":
            return {"value": np.ceil(random.exponential(20, rows))}
        case "gauges":
            walk += random.normal(0, 1, rows).round(2)
            last_ms = bucket * 1000 + random.integers(0, 10_000, rows)
            return {
                "last_ms": last_ms,
                **dict.fromkeys(("last", "min", "max", "sum"), walk.copy()),
                "count": ones,
            }
        case "distributions":
            index, count = _bins(random, rows, observations)
            empty = Ragged(np.zeros(rows, "<i8"), np.zeros(0, "<i4"))
            none = Ragged(np.zeros(rows, "<i8"), np.zeros(0))
            floats = {c: random.lognormal(3, 1, rows) for c in ("sum", "sum_squares", "min", "max")}
            bins = {"positive_index": index, "positive_count": count}
            return {
                **bins,
                "negative_index": empty,
                "negative_count": none,
                **floats,
                "zero": np.zeros(rows),
                "count": ones * observations,
            }
        case "sets":
            members = random.integers(0, 2**63, rows * observations).astype("<u8")
            return {"member": Ragged(np.full(rows, observations), members)}


def _fill(store: Store, kind: Kind, args: argparse.Namespace) -> None:
    random = np.random.default_rng(7)
    ids = random.integers(1, 2**63, args.series).astype("<u8")
    walk = random.normal(100, 20, args.series).round(2)
    start_s = int(time.time()) // 86_400 * 86_400 - args.hours * 3600
    blocks: list[Block] = []
    for bucket in range(start_s, start_s + args.hours * 3600, 10):
        key: Block = {
            "org_id": np.ones(args.series, "<u4"),
            "project_id": np.ones(args.series, "<u4"),
            "metric_id": np.full(args.series, 5, "<u8"),
            "series_id": ids,
            "bucket": np.full(args.series, bucket, "<u4"),
            **{f"days_{g.name}": np.full(args.series, 3650, "<u2") for g in GRANULARITIES},
        }
        values = _values(kind, random, bucket, walk, args.observations)
        blocks.append({**key, **values})
        if len(blocks) == _BUCKETS or bucket + 10 == start_s + args.hours * 3600:
            store.insert(f"incoming_{kind}", concat(blocks))
            blocks.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--observations", type=int, default=20)
    args = parser.parse_args()
    print(f"| kind | {' | '.join(g.name for g in GRANULARITIES)} | a series and day, in all |")
    print("|---|" + "---:|" * (len(GRANULARITIES) + 1))
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(f"chdb://{folder}/data", pool=1)) as store,
    ):
        migrate(store, TEN_YEARS)
        for kind in KINDS:
            _fill(store, kind, args)
            cells, day_bytes = [], 0.0
            for granularity in GRANULARITIES:
                table = f"{kind}_{granularity.name}"
                store.command(f"OPTIMIZE TABLE {table} FINAL")
                ((rows, size),) = store.rows(_SIZES, {"table": table})
                cells.append(f"{size / rows:.2f}")
                day_bytes += size / rows * 86_400 / granularity.seconds
            print(f"| {kind} | {' | '.join(cells)} | {day_bytes / 1000:.1f} kB |", flush=True)


if __name__ == "__main__":
    main()
