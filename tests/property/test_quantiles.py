"""histogram_quantile of stored distributions: within 1.1 % of the raw observations, however they are read."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.clickhouse.schema import Retention
from shim.model.tenancy import Tenant
from shim.settings import CacheSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DATABASE: Final = "quantiles"
NOW_S: Final = 20_400 * 86_400
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
#: Half a bucket of schema 5.
BOUND: Final = 2 ** (1 / 64) - 1
#: Groups of series, by the label that keeps them apart.
GROUPS: Final = {"": "", "route": "by (route)", "each": ""}
EXPRESSIONS: Final = {
    "": ("sum(rate({m}[{w}s]))", "sum(increase({m}[{w}s]))", "sum(sum by (host) (rate({m}[{w}s])))"),
    "route": ("sum by (route) (rate({m}[{w}s]))", "sum by (route) (sum_over_time({m}[{w}s]))",
              "sum by (route) (sum without (host) (increase({m}[{w}s])))"),
    "each": ("rate({m}[{w}s])", "increase({m}[{w}s])"),
}  # fmt: skip


class Observation(NamedTuple):
    """One value that was sent."""

    project: int
    metric: str
    route: str
    host: str
    at_s: int
    value: float


class World(NamedTuple):
    """The truth, and pipelines over one store that read it in different ways."""

    sent: list[Observation]
    ways: dict[str, Pipeline]


def _sent() -> list[Observation]:
    choose = random.Random(11)
    out = []
    for age_s in [*range(5, 7_200, 20), *range(8_000, 170_000, 1_700)]:
        for _ in range(3):
            route, host = choose.choice("ab"), choose.choice("123")
            project = choose.choice([1, 1, 2])
            value = float(f"{choose.lognormvariate(2, 1.5):.4g}")
            out.append(Observation(project, "lat", route, host, NOW_S - age_s, value))
            signed = choose.choice([0.0, -value, value, 5.0])
            out.append(Observation(project, "signed", route, host, NOW_S - age_s, signed))
    return out


@pytest.fixture(scope="module")
def world(chdb_path: Path) -> Iterator[World]:
    with embedded(chdb_path, DATABASE, pool=2) as store:
        held = CacheSettings(max_bytes=256 << 20)
        ways = {
            "rows": Pipeline.open(store, NOW_S * 1000, retention=KEPT),
            "statement": Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0),
            "memory": Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0, cache=held),
            "slices": Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0, slice_cells=50),
        }
        sent = _sent()
        for project in (1, 2):
            lines = [
                f"{o.metric}:{o.value}|d|#route:{o.route},host:{o.host}|T{o.at_s}"
                for o in sent
                if o.project == project
            ]
            ways["rows"].send(lines, project_id=project)
        yield World(sent, ways)
        for way in ways.values():
            way.close()


def _true(values: list[float], q: float) -> tuple[float, float]:
    """Return the quantile of values, and how far the sketch's may be from it."""
    values = sorted(values)
    rank = q * (len(values) - 1)
    first, second, weight = values[math.floor(rank)], values[math.ceil(rank)], rank % 1
    slack = abs(first) * (1 - weight) + abs(second) * weight
    return first * (1 - weight) + second * weight, BOUND * slack + 1e-12


@given(
    metric=st.sampled_from(["lat", "signed"]), by=st.sampled_from([*GROUPS]), form=st.integers(0, 5),
    q=st.one_of(st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.floats(0, 1)),
    window_s=st.sampled_from([60, 300, 600, 3_600]), steps=st.sampled_from([1, 30]),
    step_s=st.sampled_from([10, 60, 600]), forced_s=st.sampled_from([None, 10]),
    way=st.sampled_from(["statement", "memory", "memory", "slices"]), project=st.sampled_from([1, None]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_quantiles_are_those_of_the_observations(  # noqa: PLR0913
    world: World, metric: str, by: str, form: int, q: float, window_s: int, steps: int, step_s: int,
    forced_s: int | None, way: str, project: int | None,
) -> None:  # fmt: skip
    forms = EXPRESSIONS[by]
    query = f"histogram_quantile({q!r}, {forms[form % len(forms)].format(m=metric, w=window_s)})"
    begin_s = NOW_S - (steps - 1) * step_s
    found = {}
    for name in ("rows", way):
        pipeline = world.ways[name]
        pipeline.tenant = Tenant(1, project)
        answer = pipeline.range(query, begin_s, NOW_S, step_s, granularity_s=forced_s)
        found[name] = {_group(dict(labels), by): values for labels, values in answer.items()}
    assert found[way].keys() == found["rows"].keys()
    sent = [o for o in world.sent if o.metric == metric and project in (None, o.project)]
    groups = {key: [o for o in sent if _key(o, by) == key] for key in found["rows"]}
    assert groups
    for key, observed in groups.items():
        for n, value in enumerate(found["rows"][key]):
            other = found[way][key][n]
            end_s = begin_s + n * step_s
            values = [o.value for o in observed if end_s - window_s <= o.at_s // 10 * 10 < end_s]
            if value is None or other is None or not values:
                assert not values
                assert (value is None) == (other is None)
                continue
            assert other == pytest.approx(value, rel=1e-12, abs=1e-300)
            true, slack = _true(values, q)
            assert value == pytest.approx(true, abs=slack), (query, key, end_s)
            assert min(values) <= value <= max(values)


def _key(o: Observation, by: str) -> tuple[str, ...]:
    return {"": (), "route": (o.route,), "each": (str(o.project), o.route, o.host)}[by]


def _group(labels: dict[str, str], by: str) -> tuple[str, ...]:
    names = {"": (), "route": ("route",), "each": ("project_id", "route", "host")}[by]
    return tuple(labels.get(name, "1") for name in names)


@pytest.mark.parametrize("way", ["rows", "statement", "memory"])
@pytest.mark.parametrize("steps", [1, 40])
def test_running_totals_have_their_extremes(world: World, way: str, steps: int) -> None:
    pipeline = world.ways[way]
    pipeline.tenant = Tenant(1, None)
    sent = [
        ((o.project, o.route, o.host), o.at_s // 10 * 10, o.value) for o in world.sent if o.metric == "signed"
    ]
    for q in (0.0, 0.37, 1.0):
        (found,) = pipeline.range(
            f"histogram_quantile({q}, sum(signed))", NOW_S - (steps - 1) * 60, NOW_S, 60
        ).values()
        for n, value in enumerate(found):
            end_s = NOW_S - (steps - 1 - n) * 60
            alive = {series for series, at_s, _ in sent if end_s - 3_600 <= at_s < end_s}
            values = [v for series, at_s, v in sent if at_s < end_s and series in alive]
            true, slack = _true(values, q)
            assert value == pytest.approx(true, abs=slack)


def test_quantile_over_time_is_the_same_number(world: World) -> None:
    pipeline = world.ways["rows"]
    pipeline.tenant = Tenant(1, 1)
    for q in (0.1, 0.5, 0.99):
        over_time = pipeline.instant(f"quantile_over_time({q}, lat[10m])", NOW_S)
        assert pipeline.instant(f"histogram_quantile({q}, rate(lat[10m]))", NOW_S) == over_time
        several = pipeline.instant(f'histogram_quantiles(increase(lat[10m]), "q", {q})', NOW_S)
        assert sorted(several.values()) == sorted(over_time.values())


def test_other_histograms_are_interpolated_as_in_prometheus(world: World) -> None:
    """A product is not a count of observations: the quantile is within its bucket, 2.2 % wide."""
    pipeline = world.ways["rows"]
    pipeline.tenant = Tenant(1, 1)
    own = pipeline.instant("histogram_quantile(0.5, sum(rate(lat[1h])))", NOW_S)[()]
    scaled = pipeline.instant("histogram_quantile(0.5, sum(rate(lat[1h])) * 2)", NOW_S)[()]
    assert scaled == pytest.approx(own, rel=0.0222)
    assert scaled != own
