"""Sums that overflow in ClickHouse, in windows and in totals: held at the largest number by all readers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, open_store
from shim.read.saturation import LARGEST
from tests.integration.test_http_api import AT, NOW_S, serving
from tests.support.pipeline import Pipeline


@pytest.fixture(params=["chdb_dsn", "http_dsn"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = open_store(request.getfixturevalue(request.param), pool=4)
    migrate(store)
    pipeline = Pipeline.open(store, NOW_S * 1000)
    for second in (300, 20, 20, 10):  # two rows of one bucket: the store adds them up
        at = f"T{NOW_S - second}"
        pipeline.send([f"c:1.7e308|c|#a:{a}|{at}" for a in "xy"] + [f"down:-1.7e308|c|{at}"])
        pipeline.send([f"d:1.7e308|d|{at}", f"g:1.7e308|g|{at}"])
    pipeline.send([f"c:5|c|#a:x|T{NOW_S - 100}", f"d:1|d|T{NOW_S - 100}"])
    pipeline.close()
    yield store
    store.close()


HELD = {
    "increase(c[1m])": LARGEST,
    "sum by (a) (increase(c[1m]))": LARGEST,
    "sum(increase(c[1m]))": LARGEST,
    "rate(c[1m]) < bool Inf": 1,
    "increase(c[10m])": LARGEST,
    "c": LARGEST,
    "increase(down[1m])": -LARGEST,
    "down": -LARGEST,
    "histogram_sum(increase(d[1m]))": LARGEST,
    "histogram_sum(d)": LARGEST,
    "d_sum": LARGEST,
    'increase(c{a="x"}[1m] offset 1m)': 5,
    "histogram_sum(increase(d[1m] offset 1m))": 1,
    "histogram_count(increase(d[1m]))": 3,
}


async def test_answers(store: Store) -> None:
    async with serving(store, settle_s=0) as client:
        for query, value in HELD.items():
            for _ in range(2):  # cold and warm
                data = (await client.ask("query", {"query": query, **AT})).data["result"]
                assert data, query
                assert {float(one["value"][1]) for one in data} == {value}, query
            window = {"start": str(NOW_S - 600), "end": str(NOW_S), "step": "30"}
            reply = await client.ask("query_range", {"query": query, **window})
            assert "Inf" not in json.dumps(reply.data), query
            assert "NaN" not in json.dumps(reply.data), query
