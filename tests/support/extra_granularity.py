"""Registers a granularity of 300 s, then makes tables, ingests and queries; prints the results as JSON.

python -m tests.support.extra_granularity DSN

A process of its own: tables and readers derive constants from the granularities when they are imported.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from indexer.clickhouse import granularities

EXTRA: Final = granularities.Granularity(
    name="300s",
    seconds=300,
    partition="toMonday(timestamp)",
    cluster=granularities.ClusterTerm("toStartOfDay", 86_400, max_span_s=4 * 86_400),
    chunk_s=86_400,
    sketch_chunk_s=21_600,
    retention_days=3_650,
)
START_S: Final = 1_764_000_000


def register() -> None:
    """Add the granularity to the only list there is."""
    known = sorted((*granularities.GRANULARITIES, EXTRA), key=lambda g: g.seconds)
    granularities.GRANULARITIES = tuple(known)  # type: ignore[misc]


def run(dsn: str) -> dict[str, object]:
    """Ingest 40 minutes of a counter, leave only the rows of 300 s, and query them."""
    from indexer.clickhouse.retention import Retention
    from indexer.clickhouse.schema import migrate
    from indexer.clickhouse.store import open_store
    from tests.support.pipeline import Pipeline

    store = open_store(dsn, pool=2)
    try:
        kept = Retention(*[3_650] * len(granularities.GRANULARITIES))
        migrate(store, kept)
        pipeline = Pipeline.open(store, (START_S + 7_200) * 1000, retention=kept)
        pipeline.send(f"hits:1|c|T{START_S + second}" for second in range(0, 2_400, 10))
        for granularity in granularities.GRANULARITIES:
            if granularity is not EXTRA:
                store.command(f"TRUNCATE TABLE counters_{granularity.name}")
        found = pipeline.range("increase(hits[10m])", START_S + 600, START_S + 2_400, 600)
        pipeline.close()
        return {
            "default_days": Retention().days(EXTRA.name),
            "rows": store.rows(f"SELECT count() FROM counters_{EXTRA.name}")[0][0],
            "values": list(found.values()),
        }
    finally:
        store.close()


if __name__ == "__main__":
    register()
    print(json.dumps(run(sys.argv[1])))
