"""Cells in memory are invisible: with and without blocks the same grid, bit for bit, for any writes.

Deltas are whole numbers, whose sums do not depend on their order. (Of fractions ClickHouse itself gives other
last bits from one run of a statement to the next.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.clickhouse.schema import Retention
from shim.model.errors import QueryError
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Vector
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DATABASE: Final = "blocks"
NOW_S: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


@dataclass(repr=False)
class World:
    """Two engines over one store: `with_blocks` hears of each write, `without` reads statements."""

    with_blocks: Pipeline
    without: Pipeline
    rng: random.Random

    def write(self, ages_s: range, lines: int, *, agent: str, project_id: int = 1) -> None:
        sent = []
        for _ in range(lines):
            t = NOW_S - self.rng.choice(ages_s) - 5
            name = self.rng.choice(("hits", "hits", "views"))
            tags = f"|#route:{self.rng.choice('abc')},host:h{self.rng.randrange(6)}|T{t}"
            sent.append(f"{name}:{self.rng.randrange(1, 99)}|c{tags}")
            sent.append(f"lat:{self.rng.randrange(1, 9)}|d{tags}")
            sent.append(f"load:{self.rng.randrange(-9, 9)}|g{tags[: tags.index('|T')]}|T{t + t % 7}")
        self.with_blocks.send(sent, agent=agent, project_id=project_id)

    def check(self, query: str, grid: Grid, *, instant: bool, project_id: int | None = 1) -> None:
        plain, blocks = (
            _answer(replace(pipeline, tenant=Tenant(1, project_id)), query, grid, instant=instant)
            for pipeline in (self.without, self.with_blocks)
        )
        assert plain == blocks, (query, grid)


def _answer(pipeline: Pipeline, query: str, grid: Grid, *, instant: bool) -> object:
    try:
        answer = pipeline.answer(query, grid, instant=instant)
    except QueryError as e:
        return str(e)
    assert isinstance(answer.value, Vector)
    return _rows(answer.value), answer.notes


def _rows(vector: Vector) -> dict[object, tuple[bytes, bytes]]:
    values = np.where(vector.present, vector.values, 0.0)
    return {
        labels: (row.tobytes(), present.tobytes())
        for labels, row, present in zip(vector.labels, values, vector.present, strict=True)
        if present.any()
    }


@pytest.fixture(scope="module")
def world(chdb_path: Path) -> Iterator[World]:
    with embedded(chdb_path, DATABASE) as store:
        cache = CacheSettings(max_bytes=64 << 20, fill_after=1)
        blocks = Pipeline.open(store, NOW_S * 1000, retention=KEPT, cache=cache)
        plain = Pipeline.open(store, NOW_S * 1000, retention=KEPT, cache=CacheSettings(max_bytes=0))
        made = World(blocks, plain, random.Random(5))
        for project in (1, 2):
            made.write(range(0, 7_200, 10), 4_000, agent=f"first-{project}", project_id=project)
            made.write(range(7_200, 200_000, 600), 1_500, agent=f"old-{project}", project_id=project)
        yield made
        blocks.close()
        plain.close()


FORMS: Final = (
    "rate({})",
    "increase({})",
    "sum(rate({}))",
    "sum by (route) (increase({}))",
    "sum without (host) (rate({}))",
    "topk(2, rate({}))",
    "count(increase({}))",
    "max_over_time(rate({})[20m:1m])",
    "irate({})",
    "changes({})",
    "quantile_over_time(0.5, {})",
)
SELECTORS: Final = ("hits", 'hits{route="a"}', 'hits{route="b",host="h1"}', "lat_count", "lat_sum", "views",
                    '{__name__=~"hits|views"}')  # fmt: skip


OF_GAUGES: Final = (
    "last_over_time({})",
    "max_over_time({})",
    "min_over_time({})",
    "avg_over_time({})",
    "count_over_time({})",
    "sum(sum_over_time({}))",
    "rate({})",
    "timestamp(load{{route=~'a|b'}})",
    "avg by (route) (load)",
    "load{{host='h2'}} offset 40m",
)


OF_SKETCHES: Final = (
    "histogram_quantile(0.9, sum by (route) (rate(lat[{window}s]{offset})))",
    "histogram_quantile(0.4, increase(lat{{host='h1'}}[{window}s]{offset}))",
    "histogram_quantile(0.5, sum by (le) (rate(lat_bucket[{window}s]{offset})))",
    "sum without (host) (rate(lat_bucket{{le=~'.*[68].*'}}[{window}s]{offset}))",
    "quantile_over_time(0.7, lat{{route='a'}}[{window}s]{offset})",
    "histogram_stddev(sum(rate(lat[{window}s]{offset})))",
    "histogram_quantile(0.9, sum(lat{offset}))",
    "sum(rate(lat_bucket{{le='+Inf'}}[{window}s]{offset}))",
    "sum by (route) (rate(lat_bucket{{le=~'0.3|7'}}[{window}s]{offset}))",
    "lat_bucket{{le='3',host=~'h[12]'}}{offset}",
    "lat{{quantile=~'0.5|0.99',route='a'}}{offset}",
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, Grid, bool]:
    window = draw(st.sampled_from([10, 45, 60, 300, 3_600, 7_260, 100_000]))
    offset = draw(st.sampled_from(["", "", " offset 7m", " offset 3h"]))
    selector = draw(st.sampled_from(SELECTORS))
    query = draw(st.sampled_from(FORMS)).format(f"{selector}[{window}s]{offset}")
    if draw(st.integers(0, 9)) == 0:
        query = f"sum({selector}{offset})"
    if draw(st.integers(0, 3)) == 0:
        gauge = draw(st.sampled_from(["load", 'load{route="a"}', 'load{route="b",host="h1"}']))
        query = draw(st.sampled_from(OF_GAUGES)).format(f"{gauge}[{window}s]{offset}")
    if draw(st.integers(0, 2)) == 0:
        query = draw(st.sampled_from(OF_SKETCHES)).format(window=window, offset=offset)
    step_s = draw(st.sampled_from([10, 15, 60, 420, 3_600]))
    steps = draw(st.integers(1, 60))
    end_s = NOW_S - draw(st.sampled_from([0, 10, 60, 1_234, 7_200, 90_000]))
    return query, Grid((end_s - (steps - 1) * step_s) * 1000, end_s * 1000, step_s * 1000), steps == 1


@given(
    st.lists(questions(), min_size=1, max_size=4),
    st.sampled_from(["nothing", "now", "late", "again", "more series"]),
    st.sampled_from([1, 1, 2, None]),
    st.integers(0, 10**9),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_blocks_are_invisible(
    world: World, asked: list[tuple[str, Grid, bool]], written: str, project_id: int | None, seed: int
) -> None:
    blocks = world.with_blocks.blocks
    assert blocks is not None
    for query, grid, instant in asked:
        world.check(query, grid, instant=instant, project_id=project_id)
    blocks.filler.wait()
    for query, grid, instant in asked:
        world.check(query, grid, instant=instant, project_id=project_id)
    _write(world, written, seed)
    for query, grid, instant in asked:
        world.check(query, grid, instant=instant, project_id=project_id)


def _write(world: World, what: str, seed: int) -> None:
    world.rng.seed(seed)
    match what:
        case "now":
            world.write(range(0, 600, 10), 40, agent=f"now-{seed}")
        case "late":
            world.write(range(3_000, 100_000, 10), 40, agent=f"late-{seed}", project_id=1 + seed % 2)
        case "more series":
            tags = f"|#route:a,host:h{seed % 50}|T{NOW_S - seed % 5_000}"
            world.with_blocks.send(
                [f"hits:7|c{tags}", f"load:7|g{tags}", f"lat:7|d{tags}"], agent=f"more-{seed}"
            )
        case "again":
            lines = [f"{line}|#route:c|T{NOW_S - 100}" for line in ("hits:3|c", "load:3|g", "lat:3|d")]
            frames = world.with_blocks.send(lines, agent=f"again-{seed}")
            world.with_blocks.insert(frames)
