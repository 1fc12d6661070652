"""Each rule of the planner changes the cost of a query, not its answer: with and without, on random data.

Sets are left out of this: there `sum` is union only because of the rule that merges (semantics.md, "Sum is
merge"); tests/property/test_semantics.py holds them against the truth.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.clickhouse.schema import Retention
from shim.catalog import Catalog
from shim.engine.engine import QueryEngine
from shim.eval import chunked_aggregation
from shim.model.errors import QueryError
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.model.values import Floats, Histogram, Ints, Vector
from shim.plan.rules import RULES, Rule
from shim.plan.rules.merge import merge_sums
from shim.read import totals
from shim.read.reader import FEW_ROWS
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400
DATABASE = "rules"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
LABELS = ("route", "host", "zone")
TENANTS = (Tenant(1, 1), Tenant(1, 2), Tenant(1, None))

Grids = dict[tuple[str, Labels], list[object]]


@dataclass(repr=False)
class Engines:
    """Pipelines on the same data: the engine without rules, and one for each choice of rules."""

    plain: Pipeline
    ruled: Sequence[Pipeline]


def lines(rng: random.Random) -> Iterator[str]:
    """Series of every type: dense ones, and sparse ones that go stale and return; one name of 3 types."""
    for name, kind in (
        ("hits", "c"),
        ("lat", "d"),
        ("temp", "g"),
        ("mixed", "c"),
        ("mixed", "d"),
        ("mixed", "g"),
    ):
        for series in range(9 if name != "mixed" else 3):
            tags = [f"route:{rng.choice('ab')}", f"host:h{series}"]
            tags += [f"zone:{rng.choice('xyz')}"] * (series % 3 > 0)
            gap_s = rng.choice((10, 45, 240, 700))
            t = NOW_S - 7_200 + rng.randrange(gap_s)
            while t < NOW_S:
                value = rng.randrange(-3 if kind != "c" else 0, 50)
                yield f"{name}:{value}|{kind}|#{','.join(tags)}|T{t}"
                t += rng.randrange(1, 2 * gap_s)


@pytest.fixture(scope="module")
def engines(chdb_path: Path) -> Iterator[Engines]:
    with embedded(chdb_path, DATABASE) as store:
        first = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        rng = random.Random(11)
        first.send(lines(rng), project_id=1)
        first.send(lines(rng), project_id=2)
        first.send([*lines(rng)][::20], project_id=1, agent="second")  # more rows for buckets that have some
        shim = ShimSettings(settle_s=0.0, retention=KEPT)

        def engine(rules: Sequence[Rule], totals_from: int) -> Pipeline:
            # With rules ClickHouse adds up however few rows there are, without them we do.
            few_rows = 0 if rules else FEW_ROWS
            catalog = Catalog(store, shim, totals_from=totals_from)
            made = QueryEngine(store, catalog, shim, lambda: float(NOW_S), rules, few_rows)
            return replace(first, engine=made)

        few = 1_000  # series of any metric here are fewer: labels are read
        made = Engines(engine((), few), [engine([merge_sums], few), engine(RULES, 0), engine(RULES, few)])
        with pytest.MonkeyPatch.context() as small:
            small.setattr(totals, "_MIN_CHUNK", 4)
            small.setattr(totals, "_MAX_CHUNK", 4)
            small.setattr(totals, "_MIN_LABELLED", 2)
            small.setattr(chunked_aggregation, "_MIN_CHOICE", 1)
            yield made
        for pipeline in (first, made.plain, *made.ruled):
            pipeline.close()


#: Expressions around the sum.
AROUND = (
    "{}",
    "{}",
    "{} + {}",
    "sum({})",
    "histogram_quantile(0.5, {})",
    "topk(1, {})",
    "-{} or {}",
    "max_over_time(({})[10m:1m])",
    "{} / on () group_left () sum(hits)",
    "histogram_count({})",
)

#: Aggregations of all series with a parameter.
CHOSEN = (
    "topk(2, {})",
    "bottomk(1, {})",
    "topk(100, {})",
    "topk(0, {})",
    "quantile(0.7, {})",
    "quantile(1.5, {})",
    'count_values("v", {})',
    'count_values("__name__", {})',
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    name = draw(
        st.sampled_from(
            ["hits", "hits", "lat", "lat", "lat_count", "lat_sum", "lat_bucket", "temp", "mixed", "nothing"]
        )
    )
    matcher = draw(
        st.sampled_from(["", "", '{route="a"}', '{zone!=""}', '{host=~"h[0-4]"}', '{__type__!="gauge"}'])
    )
    window = f"[{draw(st.sampled_from([10, 45, 60, 300, 1_800, 3_605]))}s]"
    offset = draw(
        st.sampled_from(["", "", " offset 1m", " offset -35s", " @ end()", " @ start() offset 10m"])
    )
    function = draw(
        st.sampled_from(
            [
                "",
                "rate",
                "increase",
                "sum_over_time",
                "delta",
                "max_over_time",
                "irate",
                "avg_over_time",
                "present_over_time",
            ]
        )
    )
    inner = f"{function}({name}{matcher}{window}{offset})" if function else f"{name}{matcher}{offset}"
    if draw(st.integers(0, 2)) == 0:
        return draw(st.sampled_from(AROUND)).replace("{}", draw(st.sampled_from(CHOSEN)).format(inner))
    summed = f"{draw(groupings())} ({inner})"
    if draw(st.booleans()):
        summed = f"{draw(groupings())} ({summed})"
    return draw(st.sampled_from(AROUND)).replace("{}", summed)


@st.composite
def groupings(draw: st.DrawFn) -> str:
    how = draw(st.sampled_from(["", " by", " by", " without"]))
    names = draw(
        st.lists(
            st.sampled_from([*LABELS, "le", "le", "__name__", "project_id", "none"]), unique=True, max_size=3
        )
    )
    if how:
        return f"sum{how} ({', '.join(names)})"
    return draw(st.sampled_from(["sum", "sum", "count", "avg", "max", "min", "group"]))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    step_s = draw(st.sampled_from([10, 15, 60, 300, 1_800]))
    steps = draw(st.sampled_from([1, 2, 7, 30]))
    start_s = NOW_S - draw(st.sampled_from([0, 60, 600, 3_600, 6_000, 617]))
    return Grid(start_s * 1000, (start_s + (steps - 1) * step_s) * 1000, step_s * 1000)


def answered(pipeline: Pipeline, query: str, grid: Grid) -> Grids | str:
    """Every series with its values where it is present; or the error."""
    try:
        value = pipeline.answer(query, grid, instant=False).value
    except QueryError as e:
        return f"{type(e).__name__}: {e}"
    assert isinstance(value, Vector)
    found: Grids = {}
    for labels, row, present in zip(value.labels, value.values, value.present, strict=True):
        if present.any():
            found["float", labels] = [float(v) if p else None for v, p in zip(row, present, strict=True)]
    for labels, h in zip(value.histogram_labels, value.histograms, strict=True):
        if h.present.any():
            found["histogram", labels] = [_at(h, k) if h.present[k] else None for k in range(grid.steps)]
    return found


def _at(h: Histogram, step: int) -> tuple[object, ...]:
    def buckets(indices: Ints, counts: Floats) -> dict[int, float]:
        used = np.flatnonzero(np.abs(counts[step]) > 1e-12)
        return {int(indices[j]): float(counts[step, j]) for j in used}

    sides = (buckets(s.indices, s.counts) for s in (h.positive, h.negative))
    return (float(h.count[step]), float(h.sum[step]), float(h.zero[step]), *sides)


def same(a: object, b: object) -> bool:
    """Equal but for rounding: sums are taken in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.long
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(queries(), grids(), st.sampled_from(TENANTS))
def test_rules_change_no_answer(engines: Engines, query: str, grid: Grid, tenant: Tenant) -> None:
    want = answered(replace(engines.plain, tenant=tenant), query, grid)
    for pipeline in engines.ruled:
        got = answered(replace(pipeline, tenant=tenant), query, grid)
        assert same(got, want), (query, grid, got, want)


def test_the_rules_are_at_work(engines: Engines) -> None:
    """The property must not hold vacuously."""

    def rows(pipeline: Pipeline) -> int:
        grid = Grid((NOW_S - 1_800) * 1000, NOW_S * 1000, 60_000)
        explain = pipeline.answer("sum(rate(hits[5m]))", grid, instant=False, explain=True).explain
        assert explain is not None
        return int(sum(s["rows"] for s in explain["statements"]))

    assert all(rows(p) < rows(engines.plain) / 2 for p in engines.ruled)
