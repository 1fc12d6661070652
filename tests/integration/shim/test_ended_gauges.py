"""A gauge that ends is absent at once, in every way it is read: cells, memory, SnQL, in both stores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from indexer.access.grants import EVERYTHING
from indexer.clickhouse.schema import Retention
from indexer.receive.messages import parse
from shim.catalog import Catalog
from shim.engine.api import QueryOptions
from shim.model.labels import Labels
from shim.settings import CacheSettings, ShimSettings
from shim.snql.lower import Asked
from shim.snql.service import Languages
from tests.support.pipeline import Pipeline
from tests.support.worlds import migrated

#: Half past an hour, so that coarse buckets hold all of it.
T: Final = 20_400 * 86_400 + 1_800
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


@pytest.fixture(scope="module", params=["cells", "memory", "http"])
def pipeline(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """Store a value each minute for five minutes; a ends at the third, and b is back at the fourth."""
    if request.param == "http":
        dsn = f"http://127.0.0.1:{request.getfixturevalue('clickhouse_port')}/ended"
    else:
        dsn = f"chdb://{request.getfixturevalue('chdb_path')}?database=ended_{request.param}"
    with migrated(dsn) as store:
        options: dict[str, Any] = {"cache": CacheSettings(fill_after=1)} if request.param == "memory" else {}
        made = Pipeline.open(store, (T + 3_600) * 1000, retention=KEPT, **options)
        values: Mapping[str, list[float | str]] = {
            "a": [1, 2, "stale", "stale", "stale"],
            "b": [1, 2, "stale", 4, 5],
            "c": [1, 2, 3, 4, 5],
        }
        for minute in range(5):
            made.insert(_units(minute, {name: of[minute] for name, of in values.items()}))
        yield made
        made.close()


def _units(minute: int, values: Mapping[str, float | str]) -> Any:
    body = json.dumps([
        {"org_id": 1, "project_id": 1, "type": "g", "name": "load", "tags": {"n": name},
         "timestamp": T + 60 * minute + 3.5, "value": value}
        for name, value in values.items()
    ]).encode()  # fmt: skip
    parsed = parse(
        body, key=f"m{minute}", created_ms=T * 1000, latest_s=T + 9_999, max_messages=10, grant=EVERYTHING
    )
    assert not parsed.rejected
    return parsed.units


def _by_n(found: Mapping[Labels, Any]) -> dict[str, Any]:
    return {dict(labels)["n"]: value for labels, value in found.items()}


def test_it_is_absent_from_its_end_to_its_next_value(pipeline: Pipeline) -> None:
    for _ in range(2):  # cold and warm
        assert _by_n(pipeline.range("load", T + 60, T + 270, 30)) == {
            "a": [1, 2, 2, None, None, None, None, None],
            "b": [1, 2, 2, None, None, 4, 4, 5],
            "c": [1, 2, 2, 3, 3, 4, 4, 5],
        }
    assert _by_n(pipeline.instant("load", T + 123.499)) == {"a": 2, "b": 2, "c": 2}
    assert _by_n(pipeline.instant("load", T + 123.5)) == {"c": 3}


def test_windows_hold_its_values_alone(pipeline: Pipeline) -> None:
    expected: dict[str, dict[str, float]] = {
        "count_over_time(load[10m])": {"a": 2, "b": 4, "c": 5},
        "sum_over_time(load[10m])": {"a": 3, "b": 12, "c": 15},
        "min_over_time(load[10m])": {"a": 1, "b": 1, "c": 1},
        "max_over_time(load[10m])": {"a": 2, "b": 5, "c": 5},
        "last_over_time(load[10m])": {"a": 2, "b": 5, "c": 5},
        "delta(load[130s])": {"b": 130 / 60, "c": 130 / 60},
    }
    for query, wanted in expected.items():
        found = _by_n(pipeline.instant(query, T + 300))
        assert found.keys() == wanted.keys(), query
        assert found == pytest.approx(wanted, rel=0.3 if "delta" in query else 1e-12), query
    assert _by_n(pipeline.instant("max_over_time(load[30s])", T + 130)) == {"c": 3}


def test_sums_and_absence_see_it(pipeline: Pipeline) -> None:
    assert pipeline.instant("sum(load)", T + 190) == {(): 8}
    assert pipeline.instant('absent(load{n="a"})', T + 190) == {(("n", "a"),): 1}
    assert pipeline.instant('absent(load{n="b"})', T + 190) == {}


def test_snql_leaves_it_out(pipeline: Pipeline) -> None:
    settings = ShimSettings(retention=KEPT)
    languages = Languages(pipeline.engine, Catalog(pipeline.store, settings), settings)

    def answer(from_s: int, to_s: int) -> dict[str, Any]:
        query = (
            "MATCH (metrics_gauges) SELECT last(value) AS l, min(value) AS lo, max(value) AS hi,"
            " count(value) AS n BY tags[n] AS t WHERE metric_id = 'load' GRANULARITY 60"
        )
        asked = Asked(pipeline.tenant, to_s, from_s=from_s, to_s=to_s)
        found = asyncio.run(languages.snql(query, asked, QueryOptions(timeout_s=60.0), dry_run=False))
        return {row["t"]: (row["l"], row["lo"], row["hi"], row["n"]) for row in found.data}

    assert answer(T, T + 300) == {"a": (2, 1, 2, 2), "b": (5, 1, 5, 4), "c": (5, 1, 5, 5)}
    assert answer(T + 120, T + 180) == {"c": (3, 3, 3, 1)}
