"""A process that asks hostile texts: its parent sees which one it does not survive.

python -m tests.support.hostile DIRECTORY SEED COUNT RUN

COUNT texts, each once, go through parser, printer and planner; of those that are planned, RUN go through the
engine on tables that hold another tenant's rows, too. Prints JSON. The number of the text that is being asked
is in DIRECTORY/at, so that a death has a name.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from shim.catalog import Catalog
from shim.engine.api import QueryOptions
from shim.engine.engine import QueryEngine
from shim.http.json_encoder import encode
from shim.model.errors import QueryError
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.plan.parse import parse
from shim.promql.ast_json import ast_json
from shim.promql.printer import format_query
from shim.settings import ShimSettings
from tests.support.hostile_texts import text
from tests.support.pipeline import Pipeline, finish

NOW_S: Final = 1_790_000_000 // 3_600 * 3_600
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
#: Names in the other tenant's rows; no answer may have them.
SECRET: Final = "secret-of-another"
OPTIONS: Final = QueryOptions(timeout_s=5.0, explain=True)
#: A text that takes longer is a failure: nothing that small may hold a worker. Beside other tests the clock
#: alone says little, so that the time counts that the process worked, too; waiting has a bound of its own.
MOST_S: Final = 20.0
MOST_WAIT_S: Final = 120.0


def main(folder: Path, seed: str, count: int, run: int) -> dict[str, Any]:
    store = open_store(f"chdb://{folder}/chdb?database=hostile", pool=4)
    migrate(store, KEPT)
    engine = _loaded(store)
    canary = _asked(engine, "temp")
    tables = _tables(store)
    seen: Counter[str] = Counter()
    known: set[str] = set()
    failures: list[str] = []
    slowest_s, left = 0.0, run
    with (folder / "at").open("wb", buffering=0) as at:
        for i in range(count):
            os.pwrite(at.fileno(), struct.pack("<q", i), 0)
            began, began_cpu = time.perf_counter(), time.process_time()
            query = text(seed, i)
            if query in known:
                seen["repeated"] += 1
                continue
            known.add(query)
            try:
                said = _one(engine, query, execute=left > 0)
            except Exception as e:  # we look for errors other than a QueryError
                failures.append(f"{i}: {query[:200]!r}: {e!r}")
                said = "defect"
            left -= said == "answered" or said.startswith("asked")
            seen[said] += 1
            took_s = time.perf_counter() - began
            slowest_s = max(slowest_s, took_s)
            if min(took_s, time.process_time() - began_cpu) > MOST_S or took_s > MOST_WAIT_S:
                failures.append(f"{i}: {query[:200]!r}: took {took_s:.1f} s")
    if _asked(engine, "temp") != canary or _tables(store) != tables:
        failures.append("the tables are not what they were")
    engine.close()
    store.close()
    return {"seen": seen, "failures": failures[:50], "failed": len(failures), "slowest_s": slowest_s}


def _loaded(store: Store) -> QueryEngine:
    pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
    lines = [f"temp:{n}|g|#host:h{n % 3},route:a|T{NOW_S - 10 * n}" for n in range(60)]
    pipeline.send([*lines, *(line.replace("temp", "hits").replace("|g", "|c") for line in lines)])
    pipeline.send([f"temp:1|g|#host:{SECRET}|T{NOW_S - 5}", f"{SECRET}:1|c|T{NOW_S - 5}"], project_id=2)
    pipeline.close()
    shim = ShimSettings(settle_s=0.0, retention=KEPT)
    return QueryEngine(store, Catalog(store, shim, version=lambda: 1), shim, now_s=lambda: float(NOW_S))


def _tables(store: Store) -> list[tuple[Any, ...]]:
    return store.rows("SELECT name, total_rows FROM system.tables WHERE database = 'hostile' ORDER BY name")


def _one(engine: QueryEngine, query: str, *, execute: bool) -> str:
    """Return how far the text came. Raises errors that no client should cause."""
    grid = Grid((NOW_S - 600) * 1000, NOW_S * 1000, 60_000)
    try:
        node = parse(query)
    except QueryError as e:
        json.dumps(str(e))
        return "not parsed"
    try:
        format_query(node)
        json.dumps(ast_json(node))
        engine.plan(query, grid, OPTIONS)
    except QueryError:
        return "not planned"
    if not execute:
        return "planned"
    try:
        found = _asked(engine, query)
    except QueryError as e:
        return f"asked: {type(e).__name__}"
    assert SECRET.encode() not in found, "another tenant's rows"
    return "answered"


def _asked(engine: QueryEngine, query: str) -> bytes:
    answer = finish(engine.instant(Tenant(1, 1), query, NOW_S * 1000, OPTIONS))
    return encode(answer).result


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
