"""Results of the same tick over those of the store: the same answers as if they were stored already."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import open_store
from indexer.receive.messages import parse
from shim.engine.api import QueryOptions
from shim.model import labels as lb
from shim.model.labels import Labels
from shim.rules.memory_samples import MemorySamples
from shim.rules.overlay_leaves import OverlayLeaves
from shim.rules.rule_queries import instant_vector
from tests.support.pipeline import Pipeline

T: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
#: At the tick a has a new value, b ends, c is new, and d has only older values.
TICK: Final[dict[str, float | None]] = {"a": 50.0, "b": None, "c": 7.0}
QUERIES: Final = (
    "x",
    "sum(x)",
    "sum by (n) (x) > 5",
    "x offset 1m",
    "timestamp(x)",
    "max_over_time(x[5m])",
    "count_over_time(x[150s])",
    "rate(x[5m])",
    "delta(x[5m] offset 30s)",
    "last_over_time(x[30s])",
    'absent(x{n="b"})',
    "max_over_time(sum(x)[3m:30s])",
    '{__name__=~"x|y"}',
    "x + on (n) y",
    "quantile_over_time(0.5, x[5m])",
    "y",
    "topk(1, x)",
)


@pytest.fixture(scope="module")
def pipelines(chdb_path: Path) -> Iterator[tuple[Pipeline, Pipeline]]:
    """Provide a store without the results of the tick, and one that has them."""
    made = []
    for name in ("before", "after"):
        store = open_store(f"chdb://{chdb_path}?database=overlay_{name}", pool=4)
        migrate(store, KEPT)
        pipeline = Pipeline.open(store, (T + 900) * 1000, retention=KEPT)
        lines = [f"x:{n * n}|g|#n:{s}|T{T + 60 * n}" for n in range(1, 6) for s in "abd"]
        pipeline.send([*lines, *(f"y:{n}|g|#n:{s}|T{T + 60 * n}" for n in range(1, 7) for s in "abc")])
        made.append(pipeline)
    body = json.dumps([
        {"org_id": 1, "project_id": 1, "type": "g", "name": "x", "tags": {"n": n}, "timestamp": T + 360,
         "value": "stale" if value is None else value}
        for n, value in TICK.items()
    ]).encode()  # fmt: skip
    parsed = parse(body, key="tick", created_ms=T * 1000, latest_s=T + 900, max_messages=10)
    made[1].insert(parsed.units)
    yield made[0], made[1]
    for pipeline in made:
        pipeline.close()
        pipeline.store.command(f"DROP DATABASE {pipeline.store.database} SYNC")
        pipeline.store.close()


def _answer(pipeline: Pipeline, query: str, **options: Any) -> dict[Labels, float]:
    chosen = QueryOptions(timeout_s=60.0, **options)
    found = asyncio.run(pipeline.engine.instant(pipeline.tenant, query, (T + 360) * 1000, chosen))
    return dict(instant_vector(found.value))


@pytest.mark.parametrize("query", QUERIES)
def test_answers_are_those_of_stored_results(pipelines: tuple[Pipeline, Pipeline], query: str) -> None:
    before, after = pipelines
    seen = MemorySamples()
    for n, value in TICK.items():
        seen.append(lb.make({lb.NAME: "x", "n": n}), (T + 360) * 1000, value)
    found = _answer(before, query, over=partial(OverlayLeaves, samples=seen))
    wanted = _answer(after, query)
    assert found == pytest.approx(wanted), query
    if query != "y" and "offset" not in query:
        assert found != _answer(before, query)
