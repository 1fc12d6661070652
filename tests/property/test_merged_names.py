"""Names that are one in underscores are one: every answer is that of the same lines sent under one name.

Values are whole numbers, whose sums do not depend on their order, and no two values of a gauge have one time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Samples, Vector
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DATABASE: Final = "merged_names"
NOW_S: Final = 20_400 * 86_400 + 43_200
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
#: As they are sent: the name's last two parts, and a tag's key.
NAMES: Final = ("a.b", "a-b", "a_b")
KEYS: Final = ("pod.name", "pod-name", "pod_name")
#: Of the org whose names differ, and of the one that sent everything under one.
MIXED, ONE = 1, 2


def _lines(rng: random.Random, ages_s: range) -> Iterator[tuple[str, str]]:
    """Each line under one of several names, and under the one they all become."""
    for age_s in ages_s:
        name, key = rng.choice(NAMES), rng.choice(KEYS)
        value = {
            "hits": f"{rng.randrange(1, 99)}|c",
            "lat": f"{rng.randrange(1, 30)}|d",
            "load": f"{rng.randrange(1, 99)}|g",
            "users": f"u{rng.randrange(40)}|s",
        }
        for base, text in value.items():
            tags = f"|#{{}}:p{rng.randrange(2)},zone:{rng.choice('xy')}|T{NOW_S - age_s}"
            yield f"{base}.{name}:{text}{tags.format(key)}", f"{base}_a_b:{text}{tags.format('pod_name')}"


@pytest.fixture(scope="module")
def stored(chdb_path: Path) -> Iterator[Store]:
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        rng = random.Random(3)
        for project in (1, 2):
            lines = [*_lines(rng, range(5, 2_400, 7)), *_lines(rng, range(2_400, 100_000, 900))]
            pipeline.send((mixed for mixed, _ in lines), org_id=MIXED, project_id=project)
            pipeline.send((one for _, one in lines), org_id=ONE, project_id=project)
        pipeline.close()
        yield store


#: Which of the ways to read: few rows added up here, all in ClickHouse, or from memory as far as it goes.
@pytest.fixture(scope="module", params=["rows", "statements", "memory"])
def p(request: pytest.FixtureRequest, stored: Store) -> Iterator[Pipeline]:
    options: dict[str, Any] = {"retention": KEPT}
    if request.param == "memory":
        options["cache"] = CacheSettings(max_bytes=64 << 20, fill_after=1)
    few_rows = 0 if request.param == "statements" else 1 << 13
    pipeline = Pipeline.open(stored, NOW_S * 1000, few_rows=few_rows, **options)
    yield pipeline
    pipeline.close()


QUERIES: Final = (
    "hits_a_b",
    'hits_a_b{pod_name="p1"}',
    "sum(hits_a_b)",
    "count(hits_a_b)",
    "increase(hits_a_b[5m])",
    "rate(hits_a_b[7m])",
    'sum(increase(hits_a_b{zone="x"}[10m]))',
    "sum by (pod_name) (rate(hits_a_b[5m]))",
    "sum without (pod_name) (increase(hits_a_b[1h]))",
    "irate(hits_a_b[5m])",
    "changes(hits_a_b[10m])",
    "avg_over_time(hits_a_b[5m])",
    "last_over_time(hits_a_b[5m])",
    "topk(1, increase(hits_a_b[5m]))",
    "histogram_sum(lat_a_b)",
    "histogram_count(increase(lat_a_b[5m]))",
    "histogram_quantile(0.9, sum by (zone) (rate(lat_a_b[5m])))",
    "max_over_time(lat_a_b[5m])",
    "quantile_over_time(0.5, lat_a_b[5m])",
    "stddev_over_time(lat_a_b[5m])",
    "increase(lat_a_b_count[5m])",
    "lat_a_b_sum",
    "sum by (le) (increase(lat_a_b_bucket[5m]))",
    "increase(lat_a_b_bucket[10m])",
    'lat_a_b{quantile="0.9"}',
    "users_a_b",
    "sum(users_a_b)",
    "sum by (zone) (users_a_b)",
    "sum_over_time(users_a_b[5m])",
    "sum by (pod_name) (sum_over_time(users_a_b[10m]))",
    "load_a_b",
    "timestamp(load_a_b)",
    "sum by (zone) (load_a_b)",
    "min_over_time(load_a_b[5m])",
    "sum_over_time(load_a_b[5m])",
    "count_over_time(load_a_b[5m])",
    "rate(load_a_b[5m])",
    "quantile_over_time(0.5, load_a_b[5m])",
    "present_over_time(load_a_b[5m])",
    '{__name__=~"(hits|load)_a_b"}',
)
GRIDS: Final = (
    Grid.instant(NOW_S * 1000),
    Grid((NOW_S - 1_803) * 1000, (NOW_S - 3) * 1000, 30_000),
    Grid((NOW_S - 86_400) * 1000, NOW_S * 1000, 3_600_000),
)


@pytest.mark.parametrize("query", QUERIES)
def test_names_that_are_one_are_one(p: Pipeline, query: str) -> None:
    """Of a project, and of the whole org over the longest time."""
    for grid, project_id in zip(GRIDS, (1, 1, None), strict=True):
        for _ in range(2 if p.blocks is not None else 1):  # the second finds cells in memory
            mixed, one = (_answer(p, org, project_id, query, grid) for org in (MIXED, ONE))
            assert mixed == one, grid
            if p.blocks is not None:
                p.blocks.filler.wait()


def test_samples(p: Pipeline) -> None:
    for name in ("hits_a_b", "load_a_b", "users_a_b"):
        found = []
        for org in (MIXED, ONE):
            asked = replace(p, tenant=Tenant(org, 1)).answer(f"{name}[3m]", GRIDS[0])
            assert isinstance(asked.value, Samples)
            samples = asked.value
            found.append(
                {
                    labels: (samples.times_ms[a:b].tolist(), samples.values[a:b].tolist())
                    for labels, a, b in zip(
                        samples.labels, samples.offsets[:-1], samples.offsets[1:], strict=True
                    )
                }
            )
        assert found[0] == found[1]
        assert found[0]


def _answer(
    p: Pipeline, org_id: int, project_id: int | None, query: str, grid: Grid
) -> dict[object, list[float | str | None]]:
    """Return the values at each step by labels; NaN as text, since it is not equal to itself."""
    instant = grid == Grid.instant(grid.start_ms)
    answer = replace(p, tenant=Tenant(org_id, project_id)).answer(query, grid, instant=instant)
    warned = bool(answer.notes.warnings)
    assert warned == ("load" in query and org_id == MIXED), answer.notes.warnings
    assert isinstance(answer.value, Vector)
    vector = answer.value
    assert vector.present.any()
    return {
        labels: [_comparable(v) if p else None for v, p in zip(row, present, strict=True)]
        for labels, row, present in zip(
            vector.labels, vector.values.tolist(), vector.present.tolist(), strict=True
        )
        if any(present)
    }


def _comparable(value: float) -> float | str:
    return "NaN" if math.isnan(value) else value
