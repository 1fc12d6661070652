"""The identities of semantics.md on random data of every type, over the whole path in one process.

Truth is kept as the lines were made; ClickHouse, the planner and the evaluation stand between. Windows are
asked at 10, 60, 3600 and 86400 s and at times that fit none of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.clickhouse.schema import Retention
from shim.model.labels import get
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DAY_S = 86_400
NOW_S = 20_400 * DAY_S
DAYS = 3
ROUTES = ("a", "b", "c")
GRANULARITIES = (10, 60, 3_600, DAY_S)

QUICK = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


@dataclass
class Truth:
    """Every line as (time in s, route, host, value)."""

    hits: list[tuple[int, str, str, int]] = field(default_factory=list)
    lat: list[tuple[int, str, str, float]] = field(default_factory=list)
    users: list[tuple[int, str, str, str]] = field(default_factory=list)
    temp: dict[tuple[str, int], list[float]] = field(default_factory=dict)


@dataclass(repr=False)
class World:
    pipeline: Pipeline
    truth: Truth


@pytest.fixture(scope="module")
def world(chdb_path: Path) -> Iterator[World]:
    with embedded(chdb_path, "semantics") as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=Retention(3650, 3650, 3650, 3650))
        truth, lines = make(random.Random(7))
        half = len(lines) // 2
        pipeline.send(lines[:half], agent="one")  # two agents, several frames: everything merges
        pipeline.send(lines[half:], agent="two")
        yield World(pipeline, truth)
        pipeline.close()


def make(rng: random.Random) -> tuple[Truth, list[str]]:
    truth, lines = Truth(), []
    for _ in range(6_000):
        t = NOW_S - rng.randrange(DAYS * DAY_S)
        if rng.random() < 0.5:  # a dense hour, where the small windows look
            t = NOW_S - DAY_S - rng.randrange(3_600)
        route, host = rng.choice(ROUTES), rng.choice(("h1", "h2"))
        tags = f"|#route:{route},host:{host}|T{t}"
        delta = rng.randrange(1, 1_000)
        truth.hits.append((t, route, host, delta))
        lines.append(f"hits:{delta}|c{tags}")
        value = round(rng.choice((rng.lognormvariate(0, 2), -rng.random(), 0.0)), 6)
        truth.lat.append((t, route, host, value))
        lines.append(f"lat:{value}|d{tags}")
        user = f"u{rng.randrange(800)}"
        truth.users.append((t, route, host, user))
        lines.append(f"users:{user}|s{tags}")
        level = round(rng.uniform(-5, 5), 3)
        truth.temp.setdefault((route, t // 10), []).append(level)
        lines.append(f"temp:{level}|g|#route:{route}|T{t}")
    order = sorted(range(len(lines)), key=lambda i: (i % 4 != 3, rng.random() if i % 4 != 3 else i))
    return truth, [lines[i] for i in order]


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int]:
    """(end, length) in s, aligned to one of the granularities."""
    g = draw(st.sampled_from(GRANULARITIES))
    length = g * draw(st.integers(1, 6 if g < 3_600 else 2))
    end = NOW_S - DAY_S + g * draw(st.integers(-40, 3) if g < 3_600 else st.integers(-5, 1))
    return end // g * g, length


def by_route(rows: list[tuple[int, str, str, object]], end: int, length: int) -> dict[str, list[object]]:
    out: dict[str, list[object]] = {}
    for t, route, _, value in rows:
        if end - length <= t // 10 * 10 < end:
            out.setdefault(route, []).append(value)
    return out


@QUICK
@given(windows())
def test_increase_is_the_true_count(world: World, window: tuple[int, int]) -> None:
    end, length = window
    truth = {r: float(sum(v)) for r, v in by_route(world.truth.hits, end, length).items()}  # type: ignore[arg-type]
    summed = world.pipeline.instant(f"sum by (route) (increase(hits[{length}s]))", end)
    assert {get(k, "route"): v for k, v in summed.items() if v} == truth
    single = world.pipeline.instant(f"increase(hits[{length}s])", end)
    folded: dict[str, float] = {}
    for labels, value in single.items():
        folded[get(labels, "route")] = folded.get(get(labels, "route"), 0.0) + value
    assert {k: v for k, v in folded.items() if v} == truth


@QUICK
@given(windows())
def test_rate_times_window_is_increase_is_a_difference_of_totals(
    world: World, window: tuple[int, int]
) -> None:
    end, length = window
    p = world.pipeline
    increase = p.instant(f"increase(hits[{length}s])", end)
    rate = p.instant(f"rate(hits[{length}s]) * {length}", end)
    assert rate.keys() == increase.keys()
    assert all(math.isclose(rate[k], increase[k], rel_tol=1e-12) for k in rate)
    totals = p.instant(f"hits - hits offset {length}s", end)
    assert all(increase[k] == v for k, v in totals.items() if k in increase)


@QUICK
@given(windows(), st.integers(1, 5))
def test_any_split_of_a_window_adds_up(world: World, window: tuple[int, int], tenths: int) -> None:
    end, length = window
    part = max(10, length * tenths // 6 // 10 * 10)
    if part >= length:
        return
    p = world.pipeline
    whole = p.instant(f"sum(increase(hits[{length}s])) or vector(0)", end)
    late = p.instant(f"sum(increase(hits[{part}s])) or vector(0)", end)
    early = p.instant(f"sum(increase(hits[{length - part}s] offset {part}s)) or vector(0)", end)
    assert whole[()] == late[()] + early[()]


@QUICK
@given(windows(), st.sampled_from(GRANULARITIES))
def test_a_range_query_gives_what_instant_queries_give(
    world: World, window: tuple[int, int], step: int
) -> None:
    end, length = window
    p = world.pipeline
    for query in (
        f"sum by (route) (increase(hits[{length}s]))",
        f"histogram_count(increase(lat[{length}s]))",
        f"sum_over_time(users[{length}s])",
        f"max_over_time(lat[{length}s])",
    ):
        ranged = p.range(query, end - 5 * step, end, step)
        for k in (0, 3, 5):
            at = end - (5 - k) * step
            here = {labels: v[k] for labels, v in ranged.items() if v[k] is not None}
            assert here == p.instant(query, at), (query, at)


@QUICK
@given(windows())
def test_granularity_changes_nothing(world: World, window: tuple[int, int]) -> None:
    end, length = window
    fits = [g for g in GRANULARITIES if end % g == length % g == 0]
    p = world.pipeline
    for query in (
        f"sum by (route) (increase(hits[{length}s]))",
        f"sum by (route) (sum_over_time(users[{length}s]))",
        f"histogram_quantile(0.9, sum(increase(lat[{length}s])))",
        f"min_over_time(lat[{length}s])",
    ):
        answers = [p.instant(query, end, granularity_s=g) for g in fits]
        assert all(a == answers[0] for a in answers), query


@QUICK
@given(windows())
def test_distributions_are_exact_and_quantiles_close(world: World, window: tuple[int, int]) -> None:
    end, length = window
    truth: dict[tuple[str, str], list[float]] = {}
    for t, route, host, value in world.truth.lat:
        if end - length <= t // 10 * 10 < end:
            truth.setdefault((route, host), []).append(value)
    p = world.pipeline

    def ask(query: str) -> dict[tuple[str, str], float]:
        return {(get(k, "route"), get(k, "host")): v for k, v in p.instant(query, end).items()}

    assert ask(f"count_over_time(lat[{length}s])") == {k: float(len(v)) for k, v in truth.items()}
    assert ask(f"min_over_time(lat[{length}s])") == {k: min(v) for k, v in truth.items()}
    assert ask(f"max_over_time(lat[{length}s])") == {k: max(v) for k, v in truth.items()}
    sums = ask(f"sum_over_time(lat[{length}s]) == 0 or histogram_sum(increase(lat[{length}s]))")
    assert all(math.isclose(sums[k], math.fsum(v), rel_tol=1e-9, abs_tol=1e-9) for k, v in truth.items())
    for q in (0.0, 0.5, 0.99, 1.0):
        found = ask(f"quantile_over_time({q}, lat[{length}s])")
        for k, values in truth.items():
            rank = q * (len(values) - 1)
            low, high = sorted(values)[math.floor(rank)], sorted(values)[math.ceil(rank)]
            slack = 0.011
            assert low - abs(low) * slack <= found[k] <= high + abs(high) * slack, (q, k, found[k], low, high)


@QUICK
@given(windows())
def test_sets_are_unions(world: World, window: tuple[int, int]) -> None:
    end, length = window
    truth = {r: float(len(set(v))) for r, v in by_route(world.truth.users, end, length).items()}  # type: ignore[arg-type]
    p = world.pipeline
    found = p.instant(f"sum by (route) (sum_over_time(users[{length}s]))", end)
    assert {get(k, "route"): v for k, v in found.items() if v} == truth
    everyone = {u for t, _, _, u in world.truth.users if end - length <= t // 10 * 10 < end}
    total = p.instant(f"sum(uniq_over_time(users[{length}s])) or vector(0)", end)
    assert total[()] == len(everyone)


@QUICK
@given(windows())
def test_gauges_keep_what_lay_between_two_flushes(world: World, window: tuple[int, int]) -> None:
    end, length = window
    p = world.pipeline
    for route in ROUTES:
        inside = [
            v for (r, tenth), values in world.truth.temp.items() if r == route for v in values
            if end - length < tenth * 10 < end - 10  # a last sample at the very start is outside
        ]  # fmt: skip
        if not inside:
            continue
        selector = f'temp{{route="{route}"}}[{length}s]'
        high = p.instant(f"max_over_time({selector})", end)
        low = p.instant(f"min_over_time({selector})", end)
        assert next(iter(high.values())) >= max(inside)
        assert next(iter(low.values())) <= min(inside)
